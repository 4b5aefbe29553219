"""The models of the benchmark zoo as tests find them: where `benchmarks.zoo` has put them, if it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from camshaft.ir.graph import Graph

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
"""Whole networks inside the onnx package: true architectures, all of whose weights are 0.02."""
ZOO = Path(__file__).resolve().parents[3] / "build/zoo"
Shapes = Mapping[str, Sequence[int]]
SHAPES: Mapping[str, Shapes] = {
    "squeezenet1.1": {"input": [1, 3, 227, 227]},
    "open_nsfw": {"input:0": [1, 224, 224, 3]},
}
"""Of models whose inputs have no fixed shape."""


def zoo_files() -> list[Path]:
    """Every ONNX file of the zoo that has been made."""
    return sorted(ZOO.glob("*/*.onnx"))


def base_name(path: Path) -> str:
    """The name of the float model that a file is, or is quantized from."""
    return path.stem.partition(".qdq")[0]


def is_quantized(path: Path) -> bool:
    """Whether a file is a Q/DQ variant."""
    return path.stem != base_name(path)


def quantizes_as_it_runs(path: Path) -> bool:
    """Whether a file is what ONNX Runtime's `quantize_dynamic` makes."""
    return path.stem.endswith("dynamic")


_INTEGER_WEIGHTS = {"MatMulInteger": (1, 3), "ConvInteger": (1, 3), "QAttention": (1, 7)}
"""Of products of integers: the numbers of the inputs that are weights, and their zero points."""


def with_unsigned_weights(model: ModelProto) -> ModelProto:
    """The model with its signed 8-bit weights and their zero points 128 higher, which is the same model.

    Without VNNI ONNX Runtime multiplies u8 by s8 in pairs that saturate in 16 bits; u8 by u8 is exact everywhere.
    """
    held = {t.name: t for t in model.graph.initializer}
    for number, node in enumerate(model.graph.node):
        weights, zero_points = _INTEGER_WEIGHTS.get(node.op_type, (0, 0))
        initializer = held.get(node.input[weights]) if weights else None
        if initializer is None or initializer.data_type != TensorProto.INT8:
            continue
        node.input.extend([""] * (zero_points + 1 - len(node.input)))
        zero = held.get(node.input[zero_points])
        for place, array in (
            (weights, numpy_helper.to_array(initializer)),
            (zero_points, np.zeros((), np.int8) if zero is None else numpy_helper.to_array(zero)),
        ):
            node.input[place] = f"unsigned_{number}_{place}"
            higher = (array.astype(np.int32) + 128).astype(np.uint8)
            model.graph.initializer.append(numpy_helper.from_array(higher, node.input[place]))
    return model


def shapes_of(path: Path) -> Shapes | None:
    """What `shapes=` has to be for a file."""
    return SHAPES.get(base_name(path))


def noise(graph: Graph) -> dict[str, np.ndarray]:
    """Seeded inputs for a graph."""
    rng = np.random.default_rng(7)
    return {
        t.name: rng.standard_normal(t.shape).astype(t.type.dtype.numpy)
        if t.type.dtype.is_float
        else rng.integers(0, 10, t.shape).astype(t.type.dtype.numpy)
        for t in graph.inputs
    }


def light_model(name: str) -> ModelProto:
    """A network of the onnx package with seeded weights, cut before its softmax.

    With the constant weights that it comes with, all channels are equal and the logits huge and
    equal: which of them wins hangs on the last bit of a sum.  Filters and matrices are drawn such
    that signals keep their size (He et al. 2015, arXiv:1502.01852); a softmax would still multiply
    the rounding errors of logits by the size of the largest.
    """
    model = onnx.load(LIGHT / f"{name}.onnx")
    graph, rng = model.graph, np.random.default_rng(11)
    readers = {name: (node, i) for node in graph.node for i, name in enumerate(node.input)}
    arrays = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    shapes = {name: a.shape for name, a in arrays.items() if a.dtype == np.float32}
    filled = [n for n in graph.node if n.op_type == "ConstantOfShape"]
    shapes |= {n.output[0]: tuple(arrays[n.input[0]].tolist()) for n in filled}
    drawn = [
        numpy_helper.from_array(_draw(shape, *readers[name], rng), name)
        for name, shape in shapes.items()
        if name in readers
    ]
    kept = [t for t in graph.initializer if t.name not in shapes]
    nodes = [n for n in graph.node if n not in filled]
    if nodes[-1].op_type == "Softmax":
        logits = nodes.pop().input[0]
        graph.output[0].CopyFrom(helper.make_tensor_value_info(logits, TensorProto.FLOAT, None))
    for field, items in ((graph.initializer, kept + drawn), (graph.node, nodes)):
        del field[:]
        field.extend(items)
    return model


def _draw(
    shape: tuple[int, ...], reader: NodeProto, operand: int, rng: np.random.Generator
) -> np.ndarray:
    """A weight for its place: factors and variances near 1, shifts near 0."""
    factor = reader.op_type == "BatchNormalization" and operand in (1, 4)
    if factor or reader.op_type in ("Unsqueeze", "Mul"):
        return rng.uniform(0.8, 1.25, shape).astype(np.float32)
    spread = (2.0 / np.prod(shape[1:])) ** 0.5 if len(shape) > 1 else 0.1
    return (rng.standard_normal(shape) * spread).astype(np.float32)
