"""What tools read off layers: they list what a layer has and ILayer lacks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import camshaft.tensorrt as trt
from trt_networks import Log, network


def test_what_is_ours_is_no_parameter_of_a_layer() -> None:
    named = [getattr(trt, name) for name in trt.__all__]
    classes = [c for c in named if isinstance(c, type) and issubclass(c, trt.ILayer)]
    net = network()
    x: Any = net.add_input("x", trt.float32, (2, 3))
    softmax: Any = net.add_softmax(x)
    assert len(classes) > 40
    for shown in (*classes, softmax):
        assert not [a for a in dir(shown) if a.startswith("_") and not hasattr(trt.ILayer, a)]
    assert [a for a in dir(softmax) if not hasattr(trt.ILayer, a)] == ["axes"]


F32, I64 = np.float32, np.int64
SHOWN: list[tuple[str, dict[str, Any], dict[int, Any], dict[str, Any]]] = [
    ("Gather", {"axis": -1}, {1: I64([1])}, {"axis": 3, "mode": "DEFAULT", "num_elementwise_dims": 0}),
    ("GatherND", {"batch_dims": 1}, {1: np.zeros((2, 1), I64)}, {"mode": "ND", "num_elementwise_dims": 1}),
    ("Slice", {}, {1: I64([-5, 1]), 2: I64([9, 4]), 3: I64([-1, 1]), 4: I64([2, 1])},
     {"start": (0, 1, 0, 3), "shape": (2, 3, 6, 3), "stride": (1, 1, 1, 2), "mode": "STRICT_BOUNDS", "axes": ()}),
    ("Pad", {"mode": "edge"}, {1: I64([0, 0, 1, 2, 0, 0, 3, 4])},
     {"start": (0, 0, -1, -2), "shape": (2, 4, 10, 14), "stride": (1, 1, 1, 1), "mode": "CLAMP"}),
    ("Expand", {}, {1: I64([3, 2, 4, 6, 8])}, {"start": (0,) * 5, "shape": (3, 2, 4, 6, 8), "stride": (0, 1, 1, 1, 1)}),
    ("TopK", {"axis": -2, "largest": 0}, {1: I64([3])}, {"op": "MIN", "k": 3, "axes": 0b100, "indices_type": "INT64"}),
    ("ArgMax", {"axis": 1}, {}, {"op": "MAX", "k": 1, "axes": 0b10}),
    ("ReduceMean", {"axes": [-1, 1]}, {}, {"axes": 0b1010, "op": "AVG"}),
    ("ReduceMax", {}, {}, {"axes": 0b1111}),
    ("GlobalAveragePool", {}, {}, {"axes": 0b1100, "keep_dims": True, "op": "AVG"}),
    ("Softmax", {}, {}, {"axes": 0b1000}),
    ("Concat", {"axis": -1}, {1: np.zeros((2, 4, 6, 1), F32)}, {"axis": 3}),
    ("CumSum", {"reverse": 1}, {1: I64(1)}, {"op": "SUM", "exclusive": False, "reverse": True}),
    ("InstanceNormalization", {}, {1: np.ones(4, F32), 2: np.ones(4, F32)}, {"axes": 0b1100, "num_groups": 1, "epsilon": 1e-5}),
    ("LayerNormalization", {"epsilon": 0.5}, {1: np.ones(8, F32)}, {"axes": 0b1000, "epsilon": 0.5, "is_v2": False}),
    ("QuantizeLinear", {}, {1: F32(0.5), 2: np.int8(0)}, {"axis": -1, "to_type": "INT8", "block_shape": ()}),
    ("QuantizeLinear", {"axis": -3}, {1: np.ones(4, F32), 2: np.zeros(4, np.int8)}, {"axis": 1}),
    ("Resize", {"mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"}, {2: F32([1, 1, 2, 2])},
     {"scales": (1, 1, 2, 2), "shape": (), "resize_mode": "LINEAR", "coordinate_transformation": "HALF_PIXEL",
      "selector_for_single_pixel": "UPPER", "nearest_rounding": "HALF_DOWN", "exclude_outside": False, "cubic_coeff": -0.75}),
    ("Resize", {}, {3: I64([2, 4, 3, 4])}, {"shape": (2, 4, 3, 4), "scales": (), "resize_mode": "NEAREST"}),
    ("GridSample", {"padding_mode": "border"}, {1: np.zeros((2, 3, 3, 2), F32)},
     {"interpolation_mode": "LINEAR", "sample_mode": "CLAMP", "align_corners": False}),
    ("LRN", {"size": 3}, {}, {"window_size": 3, "alpha": 1e-4, "beta": 0.75, "k": 1.0}),
    ("ScatterElements", {"axis": -1}, {1: np.zeros((2, 4, 6, 1), I64), 2: np.zeros((2, 4, 6, 1), F32)}, {"axis": 3, "mode": "ELEMENT"}),
    ("RandomNormalLike", {"mean": 2.0}, {}, {"operation": "RANDOM_NORMAL", "alpha": 2.0, "beta": 1.0, "shape": (2, 4, 6, 8), "to_type": "FLOAT"}),
    ("ReverseSequence", {}, {1: I64([1, 2, 3, 4])}, {"batch_axis": 1, "sequence_axis": 0}),
]  # fmt: skip
"""Operator, attributes, constant inputs behind x (2, 4, 6, 8) -> what the layer shows; members of enums by name."""


def parsed(op: str, attributes: dict[str, Any], constants: dict[int, Any], x: Any) -> Any:
    """The layer of a node that reads x."""
    names = ["x", *("" for _ in range(max(constants, default=0)))]
    for index in constants:
        names[index] = f"c{index}"
    outputs = ["y", "i"] if op == "TopK" else ["y"]
    graph = helper.make_graph(
        [helper.make_node(op, names, outputs, "node", **attributes)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
        [helper.make_tensor_value_info(o, TensorProto.UNDEFINED, None) for o in outputs],
        [numpy_helper.from_array(np.asarray(c), f"c{i}") for i, c in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    log = Log()
    made = network(log=log)
    assert trt.OnnxParser(made, log).parse(model.SerializeToString()), log.errors
    layer: Any = next(layer for layer in made if layer.name == "node")
    layer.__class__ = layer._record.cls
    return layer


@pytest.mark.parametrize(("op", "attributes", "constants", "wanted"), SHOWN, ids=[s[0] for s in SHOWN])  # fmt: skip
def test_layers_of_files_show_what_their_nodes_say(
    op: str, attributes: dict[str, Any], constants: dict[int, Any], wanted: dict[str, Any]
) -> None:
    layer = parsed(op, attributes, constants, (2, 4, 6, 8))
    own = [
        a for a in dir(type(layer)) if not hasattr(trt.ILayer, a) and not a.startswith("is_alpha")
    ]
    found = {name: getattr(layer, name) for name in own}  # all of them
    for name, value in wanted.items():
        seen = found[name]
        if isinstance(value, tuple):
            seen = tuple(seen)
        assert (seen.name if isinstance(value, str) else seen) == pytest.approx(value), name


def test_constants_of_nodes_are_known_as_those_of_files() -> None:
    starts, scale = I64([1]), np.arange(1, 5, dtype=F32)
    nodes = [
        helper.make_node("Constant", [], ["s"], value=numpy_helper.from_array(starts)),
        helper.make_node("Identity", ["ones"], ["same"]),
        helper.make_node("Slice", ["x", "s", "end"], ["part"], "slice"),
        helper.make_node("BatchNormalization", ["x", "scale", "same", "same", "same"], ["y"], "bn", epsilon=3.0),
        helper.make_node("Conv", ["x", "kernel"], ["z"], "conv"),
    ]  # fmt: skip
    held = {"ones": np.ones(4, F32), "end": I64([2]), "scale": scale}
    ends = {"x": (2, 4, 6, 6), "kernel": (7, 4, 3, 3)}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in ends.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("part", "y", "z")],
        [numpy_helper.from_array(v, n) for n, v in held.items()],
    )
    log = Log()
    net = network(log=log)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    assert trt.OnnxParser(net, log).parse(model.SerializeToString()), log.errors
    layers: dict[str, Any] = {layer.name: layer for layer in net}
    for layer in layers.values():
        layer.__class__ = layer._record.cls
    assert tuple(layers["slice"].start) == (1, 0, 0, 0)
    np.testing.assert_allclose(layers["bn"].scale, scale / 2)
    np.testing.assert_allclose(layers["bn"].shift, 1 - scale / 2)
    assert layers["bn"].power.size == 0
    assert layers["conv"].num_output_maps == 7
    assert "bn SCALE" not in net._weights_names()
