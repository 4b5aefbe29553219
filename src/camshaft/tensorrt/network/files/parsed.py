"""Nodes of ONNX files as layers: which class, and what its properties show."""

from __future__ import annotations

from typing import Any

from onnx import NodeProto, helper, numpy_helper

from camshaft.tensorrt.enums.layer_types import LayerType
from camshaft.tensorrt.enums.modes import GatherMode, PaddingMode, ScatterMode
from camshaft.tensorrt.enums.operations import (
    ActivationType,
    ElementWiseOperation,
    MatrixOperation,
    PoolingType,
    ReduceOperation,
    UnaryOperation,
)
from camshaft.tensorrt.network.element_types import data_type
from camshaft.tensorrt.network.files import computing, moving
from camshaft.tensorrt.network.files.node import (
    Elements,
    Read,
    Reader,
    axis,
    bit,
    bits,
    bits_from,
    weights,
)
from camshaft.tensorrt.network.layer import ILayer
from camshaft.tensorrt.network.layers.conditionals import IIfConditionalOutputLayer
from camshaft.tensorrt.network.layers.elementwise import (
    IActivationLayer,
    ICastLayer,
    IElementWiseLayer,
    IIdentityLayer,
    IParametricReLULayer,
    IScaleLayer,
    ISelectLayer,
    IUnaryLayer,
)
from camshaft.tensorrt.network.layers.images import IGridSampleLayer, ILRNLayer, IResizeLayer
from camshaft.tensorrt.network.layers.indexing import (
    IGatherLayer,
    INMSLayer,
    INonZeroLayer,
    IOneHotLayer,
    IReverseSequenceLayer,
    IScatterLayer,
)
from camshaft.tensorrt.network.layers.loops import ILoopOutputLayer
from camshaft.tensorrt.network.layers.movement import (
    IConcatenationLayer,
    IShuffleLayer,
    ISliceLayer,
    ISqueezeLayer,
    IUnsqueezeLayer,
)
from camshaft.tensorrt.network.layers.normalization import INormalizationLayer
from camshaft.tensorrt.network.layers.products import IEinsumLayer, IMatrixMultiplyLayer
from camshaft.tensorrt.network.layers.quantization import IDequantizeLayer, IQuantizeLayer
from camshaft.tensorrt.network.layers.reduction import (
    ICumulativeLayer,
    IReduceLayer,
    ISoftMaxLayer,
    ITopKLayer,
)
from camshaft.tensorrt.network.layers.sources import IConstantLayer, IFillLayer, IShapeLayer
from camshaft.tensorrt.network.layers.windows import (
    IConvolutionLayer,
    IDeconvolutionLayer,
    IPoolingLayer,
)
from camshaft.tensorrt.network.record import WHOLE


class OnnxLayer(ILayer):
    """A node of an operator that no class of layers stands for."""

    _kind = LayerType.PLUGIN_V2


_ROUND = {0: PaddingMode.EXPLICIT_ROUND_DOWN, 1: PaddingMode.EXPLICIT_ROUND_UP}
_AUTO = {"SAME_UPPER": PaddingMode.SAME_UPPER, "SAME_LOWER": PaddingMode.SAME_LOWER}
_NONE, _TRANSPOSE = MatrixOperation.NONE, MatrixOperation.TRANSPOSE


def _windows(read: Read, window: tuple[int, ...]) -> dict[str, Any]:
    a, rank = read.attributes, len(window)
    pads = tuple(a.get("pads", (0,) * 2 * rank))
    auto = a.get("auto_pad", b"NOTSET").decode()
    return {
        "stride_nd": tuple(a.get("strides", (1,) * rank)),
        "pre_padding": pads[:rank],
        "post_padding": pads[rank:],
        "padding_mode": _AUTO.get(auto) or _ROUND[a.get("ceil_mode", 0)],
    }


def _convolution(read: Read) -> dict[str, Any]:
    kernel, bias, a = read.constant(1), read.constant(2), read.attributes
    window = tuple(a.get("kernel_shape", () if kernel is None else kernel.shape[2:]))
    groups = a.get("group", 1)
    made: dict[str, Any] = {
        "kernel_size_nd": window,
        "dilation_nd": tuple(a.get("dilations", (1,) * len(window))),
        "num_groups": groups,
        "kernel": weights(kernel),
        "bias": weights(bias),
        **_windows(read, window),
    }
    if kernel is not None:
        is_deconvolution = read.node.op_type == "ConvTranspose"
        made["num_output_maps"] = kernel.shape[1] * groups if is_deconvolution else kernel.shape[0]
        made[WHOLE] = not a.keys() & {"output_padding", "output_shape"}
    return made


def _pool(read: Read) -> dict[str, Any]:
    a = read.attributes
    window = tuple(a["kernel_shape"])
    kind = PoolingType.MAX if read.node.op_type == "MaxPool" else PoolingType.AVERAGE
    return {
        "type": kind,
        "window_size_nd": window,
        "blend_factor": 0.0,
        "average_count_excludes_padding": not a.get("count_include_pad", 0),
        WHOLE: len(read.node.output) == 1 and not {"dilations", "storage_order"} & a.keys(),
        **_windows(read, window),
    }


def _activation(kind: ActivationType, alpha: float = 0.0, beta: float = 0.0) -> Reader:
    def read(read: Read) -> dict[str, Any]:
        a = read.attributes
        named = {"alpha": a.get("alpha", alpha), "beta": a.get("beta", a.get("gamma", beta))}
        return {"type": kind, **named, WHOLE: True}

    return read


def _gelu(read: Read) -> dict[str, Any]:
    is_tanh = read.attributes.get("approximate") == b"tanh"
    kind = ActivationType.GELU_TANH if is_tanh else ActivationType.GELU_ERF
    return {"type": kind, "alpha": 0.0, "beta": 0.0, WHOLE: True}


def _clip(read: Read) -> dict[str, Any]:
    a, bounds = read.attributes, [read.constant(1), read.constant(2)]
    low, high = (a.get(n, v) for n, v in (("min", -3.4e38), ("max", 3.4e38)))
    values = [d if v is None else float(v) for v, d in zip(bounds, (low, high), strict=True)]
    return {"type": ActivationType.CLIP, "alpha": values[0], "beta": values[1]}


def _matrices(read: Read) -> dict[str, Any]:
    turned = [read.attributes.get(n, 0) for n in ("transA", "transB")]
    return {f"op{i}": _TRANSPOSE if t else _NONE for i, t in enumerate(turned)}


def _shuffle(read: Read) -> dict[str, Any]:
    kind, shape = read.node.op_type, read.constant(1)
    perm = read.attributes.get("perm")
    dims = None
    if kind == "Reshape" and shape is not None:
        dims = tuple(int(d) for d in shape)
    turned = tuple(perm) + (0,) * (8 - len(perm)) if perm else None
    return {
        "first_transpose": turned,
        "reshape_dims": dims,
        "second_transpose": None,
        "zero_is_placeholder": not read.attributes.get("allowzero", 0),
        WHOLE: kind == "Transpose" and turned is not None,
    }


def _constant(read: Read) -> dict[str, Any]:
    value = read.attributes.get("value")
    if value is None:
        return {}
    elements = numpy_helper.to_array(value)
    held = weights(elements)
    return {"weights": held, "shape": elements.shape, WHOLE: True} if held.size else {}


def _axis(read: Read) -> dict[str, Any]:
    said = read.attributes.get("axis", 0)
    return {"axis": said if said >= 0 else axis(said), WHOLE: said >= 0}


def _reduce(op: ReduceOperation) -> Reader:
    def read(read: Read) -> dict[str, Any]:
        a = read.attributes
        axes = read.listed("axes", 1)
        made: dict[str, Any] = {"op": op, "keep_dims": bool(a.get("keepdims", 1))}
        if axes is None and read.has(1):
            return made
        nothing = not axes and a.get("noop_with_empty_axes", 0)
        return made | {"axes": 0 if nothing else bits(axes or ())}

    return read


def _global(op: ReduceOperation) -> Reader:
    return lambda read: {"op": op, "keep_dims": True, "axes": bits_from(2)}


def _softmax(read: Read) -> dict[str, Any]:
    return {"axes": bit(read.attributes.get("axis", -1 if read.opset >= 13 else 1))}


def _of(**params: Any) -> Reader:
    return lambda read: dict(params)


_A, _E, _U, _R = ActivationType, ElementWiseOperation, UnaryOperation, ReduceOperation
_TWO = {
    "Add": _E.SUM,
    "Mul": _E.PROD,
    "Max": _E.MAX,
    "Min": _E.MIN,
    "Sub": _E.SUB,
    "Div": _E.DIV,
    "Pow": _E.POW,
    "And": _E.AND,
    "Or": _E.OR,
    "Xor": _E.XOR,
    "Equal": _E.EQUAL,
    "Greater": _E.GREATER,
    "Less": _E.LESS,
}
_ONE = {
    "Reciprocal": _U.RECIP,
    "Exp": _U.EXP,
    "Log": _U.LOG,
    "Sqrt": _U.SQRT,
    "Abs": _U.ABS,
    "Neg": _U.NEG,
    "Sin": _U.SIN,
    "Cos": _U.COS,
    "Tan": _U.TAN,
    "Asin": _U.ASIN,
    "Acos": _U.ACOS,
    "Atan": _U.ATAN,
    "Sinh": _U.SINH,
    "Cosh": _U.COSH,
    "Asinh": _U.ASINH,
    "Acosh": _U.ACOSH,
    "Atanh": _U.ATANH,
    "Ceil": _U.CEIL,
    "Floor": _U.FLOOR,
    "Erf": _U.ERF,
    "Not": _U.NOT,
    "Sign": _U.SIGN,
    "Round": _U.ROUND,
    "IsNaN": _U.ISNAN,
}
_REDUCED = {"Sum": _R.SUM, "Prod": _R.PROD, "Max": _R.MAX, "Min": _R.MIN, "Mean": _R.AVG}
_CLASSES: dict[type[ILayer], str] = {
    IIfConditionalOutputLayer: "If",
    ILoopOutputLayer: "Loop Scan LSTM GRU RNN",
    IParametricReLULayer: "PRelu",
    ISelectLayer: "Where",
    IShapeLayer: "Shape",
    ISqueezeLayer: "Squeeze",
    IUnsqueezeLayer: "Unsqueeze",
    IIdentityLayer: "Identity Dropout",
}
"""Those that only inputs and outputs tell of."""
_READ: dict[str, tuple[type[ILayer], Reader]] = {
    "CumSum": (ICumulativeLayer, computing.sums),
    "Einsum": (IEinsumLayer, computing.einsum),
    "ConstantOfShape Range RandomUniform RandomUniformLike RandomNormal RandomNormalLike": (
        IFillLayer,
        computing.fills,
    ),
    "GridSample": (IGridSampleLayer, computing.grids),
    "LRN": (ILRNLayer, computing.across_channels),
    "InstanceNormalization LayerNormalization GroupNormalization": (
        INormalizationLayer,
        computing.norms,
    ),
    "Resize Upsample": (IResizeLayer, computing.resizes),
    "BatchNormalization": (IScaleLayer, computing.batch_norm),
    "DequantizeLinear": (IDequantizeLayer, computing.quantizers),
    "QuantizeLinear": (IQuantizeLayer, computing.quantizers),
    "NonMaxSuppression": (INMSLayer, moving.boxes),
    "NonZero": (INonZeroLayer, moving.places),
    "OneHot": (IOneHotLayer, moving.one_hot),
    "ReverseSequence": (IReverseSequenceLayer, moving.turned_rows),
    "Slice": (ISliceLayer, moving.slices),
    "Pad": (ISliceLayer, moving.pads),
    "Expand": (ISliceLayer, moving.expands),
    "TopK ArgMax ArgMin": (ITopKLayer, moving.best),
}
_TABLE: dict[str, tuple[type[ILayer], Reader]] = {
    **{op: read for ops, read in _READ.items() for op in ops.split()},
    **{op: (cls, _of()) for cls, ops in _CLASSES.items() for op in ops.split()},
    **{op: (IElementWiseLayer, _of(op=kind)) for op, kind in _TWO.items()},
    **{op: (IUnaryLayer, _of(op=kind, **{WHOLE: True})) for op, kind in _ONE.items()},
    **{f"Reduce{op}": (IReduceLayer, _reduce(kind)) for op, kind in _REDUCED.items()},
    "Conv": (IConvolutionLayer, _convolution),
    "ConvTranspose": (IDeconvolutionLayer, _convolution),
    "MaxPool": (IPoolingLayer, _pool),
    "AveragePool": (IPoolingLayer, _pool),
    "GlobalAveragePool": (IReduceLayer, _global(_R.AVG)),
    "GlobalMaxPool": (IReduceLayer, _global(_R.MAX)),
    "Relu": (IActivationLayer, _activation(_A.RELU)),
    "Sigmoid": (IActivationLayer, _activation(_A.SIGMOID)),
    "Tanh": (IActivationLayer, _activation(_A.TANH)),
    "LeakyRelu": (IActivationLayer, _activation(_A.LEAKY_RELU, 0.01)),
    "Elu": (IActivationLayer, _activation(_A.ELU, 1.0)),
    "Selu": (
        IActivationLayer,
        _activation(_A.SELU, 1.67326319217681884765625, 1.05070102214813232421875),
    ),
    "Softsign": (IActivationLayer, _activation(_A.SOFTSIGN)),
    "Softplus": (IActivationLayer, _activation(_A.SOFTPLUS, 1.0, 1.0)),
    "HardSigmoid": (IActivationLayer, _activation(_A.HARD_SIGMOID, 0.2, 0.5)),
    "ThresholdedRelu": (IActivationLayer, _activation(_A.THRESHOLDED_RELU, 1.0)),
    "Gelu": (IActivationLayer, _gelu),
    "Clip": (IActivationLayer, _clip),
    "MatMul": (IMatrixMultiplyLayer, _matrices),
    "Gemm": (IMatrixMultiplyLayer, _matrices),
    "Reshape": (IShuffleLayer, _shuffle),
    "Transpose": (IShuffleLayer, _shuffle),
    "Flatten": (IShuffleLayer, _shuffle),
    "Concat": (IConcatenationLayer, _axis),
    "Gather": (IGatherLayer, moving.gathers(GatherMode.DEFAULT)),
    "GatherElements": (IGatherLayer, moving.gathers(GatherMode.ELEMENT)),
    "GatherND": (IGatherLayer, moving.gathers(GatherMode.ND)),
    "Scatter": (IScatterLayer, moving.scatters(ScatterMode.ELEMENT)),
    "ScatterElements": (IScatterLayer, moving.scatters(ScatterMode.ELEMENT)),
    "ScatterND": (IScatterLayer, moving.scatters(ScatterMode.ND)),
    "Softmax": (ISoftMaxLayer, _softmax),
    "Constant": (IConstantLayer, _constant),
    "Cast": (ICastLayer, lambda r: {"to_type": data_type(r.attributes["to"])}),
}


def read_node(
    node: NodeProto, constants: Elements, opset: int
) -> tuple[type[ILayer], dict[str, Any]]:
    """The class of a node's layer, and the parameters that it shows.  constants: name -> elements.

    Attributes that make no sense show nothing: lowering the node says what is wrong with them.
    """
    if node.domain not in ("", "ai.onnx") or node.op_type not in _TABLE:
        return OnnxLayer, {}
    cls, reader = _TABLE[node.op_type]
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    try:
        return cls, reader(Read(node, attributes, constants, opset))
    except (KeyError, ValueError, TypeError, IndexError):
        return cls, {}
