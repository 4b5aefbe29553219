"""Open extents of inputs: which symbols they become, what the model's own arithmetic teaches, and that
shape arithmetic leaves no work to be done."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from camshaft.errors import ModelError
from camshaft.frontends.onnx import import_model, import_onnx
from camshaft.ir.extents.sizes import typical, typical_sizes
from declared_models import Dims, ints, model, node, relu, symbols
from recurrent_models import Layer


def test_equal_names_are_equal_extents_and_placeholders_are_not() -> None:
    graph = import_onnx(relu(a=["batch", 4], b=["batch", "?"], c=["?", "?"]))
    a, b, c = (t.shape for t in graph.inputs)
    assert a[0] == b[0]
    assert len({str(d) for d in (b[1], *c)}) == 3


@pytest.mark.parametrize("name", ["?", "-1", "None", "unk__7", "", "unknown"])
def test_placeholders(name: str) -> None:
    (x,) = import_onnx(relu(x=[name, name])).inputs
    assert [str(d) for d in x.shape] == ["x_0", "x_1"]


def test_names_become_identifiers() -> None:
    (x, y) = import_onnx(relu(x=["batch-size", "1d"], y=["batch_size", 3])).inputs
    assert [str(d) for d in x.shape] == ["batch_size", "_1d"]
    assert str(y.shape[0]) == "batch_size_2"


@pytest.mark.parametrize(
    ("declared", "typical"),
    [
        (["n", 3, "h", "w"], (1, 224, 224)),
        (["n", "h", "w", 3], (1, 224, 224)),
        (["n", 3, 48, "w"], (1, 320)),
        (["n", 3, "h", 640], (1, 640)),
        (["n", "length"], (1, 128)),
        (["n", "length", 64], (1, 128)),
        (["length"], (128,)),
        (["n", 3, "t", "h", "w"], (1, 128, 128, 128)),
        (["n", 2048, "h", "w"], (1, 56, 56)),
        ([3, "a", "a", "a", "d"], (32, 32)),
        ([2**25, "n"], (1,)),
        (["height", "width", 3], (224, 224)),
        ([3, "H", "W"], (224, 224)),
        (["h", 640, 3], (640,)),
    ],
)
def test_typical_sizes_by_rank_and_position(declared: Dims, typical: tuple[int, ...]) -> None:
    found = symbols(import_onnx(relu(x=declared)))
    assert tuple(s.typical for s in found.values()) == typical
    assert all(s.low == 1 and s.high is None for s in found.values())


# -- what the model's arithmetic teaches -------------------------------------------------------------


def test_sums_make_extents_equal() -> None:
    graph = import_onnx(model([node("Add", "a b")], {"a": ["n", 8], "b": ["m", 8]}))
    a, b = (t.shape for t in graph.inputs)
    assert a == b and not list(graph.constraints)
    graph = import_onnx(
        model([node("Add", "a w")], {"a": ["n", 8]}, weights={"w": np.ones((5, 8), np.float32)})
    )
    assert graph.inputs[0].shape == (5, 8)


def test_what_may_broadcast_is_equal_unless_it_is_said_to_be_1() -> None:
    proto = model([node("Add", "a b")], {"a": ["n", 8], "b": ["m", 8]})
    (y,) = import_onnx(proto, shapes={"b": (1, 8)}).outputs
    assert [str(d) for d in y.shape] == ["n", "8"]
    (y,) = import_onnx(proto).outputs
    assert [str(d) for d in y.shape] == ["m", "8"]


def test_windows_say_how_small_an_axis_may_be() -> None:
    weight = np.ones((4, 3, 5, 5), np.float32)
    graph = import_onnx(model([node("Conv", "x w")], {"x": [1, 3, "h", 8]}, weights={"w": weight}))
    assert symbols(graph)["h"].low == 5
    assert [str(d) for d in graph.outputs[0].shape] == ["1", "4", "h - 4", "4"]


def test_slices_of_tables_say_how_long_a_sequence_may_be() -> None:
    table = np.zeros((1, 512, 8), np.float32)
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s one", "n", axis=0),
        node("Slice", "table zero n one", "rows"),
        node("Add", "x rows"),
    ]
    weights = {"table": table, "one": ints(1), "zero": ints(0)}
    graph = import_onnx(model(nodes, {"x": ["b", "seq", 8]}, weights=weights))
    assert symbols(graph)["seq"].high == 512
    assert graph.outputs[0].shape == graph.inputs[0].shape


def test_skips_across_strides_move_typical_sizes_and_are_remembered() -> None:
    weight = np.ones((4, 4, 3, 3), np.float32)
    down = {"strides": [2, 2], "pads": [1, 1, 1, 1]}
    nodes = [
        node("Conv", "x w", "half", **down),
        node("Conv", "half w", "quarter", **down),
        node("Resize", "quarter none scales", "back", mode="nearest"),
        node("Concat", "half back", axis=1),
    ]
    weights = {"w": weight, "none": np.zeros(0, np.float32)}
    weights["scales"] = np.array([1, 1, 2, 2], np.float32)
    proto = model(nodes, {"x": [1, 4, "h", 32]}, weights=weights)
    graph = import_onnx(proto, shapes={"x": (1, 4, "h=1..61..", 32)})
    (constraint,) = graph.constraints
    assert str(constraint) == "2*((h + 3)//4) == (h + 1)//2"
    assert constraint.holds({"h": symbols(graph)["h"].typical})


@pytest.mark.parametrize(
    ("strides", "typical"),
    [(4, (48, 320)), (3, (32, 320)), (6, (224, 224))],
)
def test_heights_that_strides_bring_down_to_one(strides: int, typical: tuple[int, int]) -> None:
    """As PP-OCR's recognizer: halvings, a window of three rows, one row of characters."""
    nodes, x = [], "x"
    for i in range(strides):
        nodes.append(node("MaxPool", x, f"h{i}", kernel_shape=[1, 1], strides=[2, 2]))
        x = f"h{i}"
    window = {"kernel_shape": [3, 2], "strides": [3, 2]}
    nodes.append(node("AveragePool", x, "a", **window))
    nodes.append(node("Squeeze", "a axes", "y"))
    for name in ("?", "height"):
        proto = model(nodes, {"x": ["n", 3, name, "w"]}, weights={"axes": ints(2)})
        height, width = list(symbols(import_onnx(proto)).values())[1:]
        assert (height.low, height.high) == (2**strides * 2 + 1, 2**strides * 5)
        assert (height.typical, width.typical) == typical
    said = import_onnx(proto, shapes={"x": ("n", 3, f"height=1..{height.high}..", "w")})
    assert symbols(said)["height"].typical == height.high  # what is said goes first


def test_nothing_that_fits_is_an_error_that_names_the_node() -> None:
    weights = {"a": np.ones((5, 8), np.float32), "b": np.ones((6, 8), np.float32)}
    nodes = [node("Add", "x a", "s"), node("Add", "s b")]
    with pytest.raises(ModelError, match="broadcast"):
        import_onnx(model(nodes, {"x": ["n", 8]}, weights=weights))


# -- shape arithmetic ----------------------------------------------------------------------------------


def test_shape_arithmetic_leaves_no_work() -> None:
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s zero", "n", axis=0),
        node("Unsqueeze", "n axis", "n1"),
        node("Concat", "n1 minus twelve", "to", axis=0),
        node("Reshape", "x to", "r"),
        node("Transpose", "r", perm=[0, 2, 1]),
    ]
    weights = {"zero": np.array(0), "axis": ints(0), "minus": ints(-1), "twelve": ints(12)}
    graph = import_onnx(model(nodes, {"x": ["n", "m", 36]}, weights=weights))
    assert [n.op.name for n in graph.nodes] == ["reshape", "transpose"]
    assert [str(d) for d in graph.outputs[0].shape] == ["n", "12", "3*m"]


def test_floats_on_the_way() -> None:
    nodes = [
        node("Shape", "x", "s"),
        node("Cast", "s", "f", to=TensorProto.FLOAT),
        node("Mul", "f half", "g"),
        node("Floor", "g", "h"),
        node("Cast", "h", "i", to=TensorProto.INT64),
        node("Slice", "x zeros i"),
    ]
    weights = {"half": np.array(0.5, np.float32), "zeros": ints(0, 0)}
    graph = import_onnx(model(nodes, {"x": ["n", "m"]}, weights=weights))
    assert [n.op.name for n in graph.nodes] == ["slice"]
    assert [str(d) for d in graph.outputs[0].shape] == ["n//2", "m//2"]


def test_division_of_what_is_never_positive_rounds_towards_zero() -> None:
    nodes = [
        node("Shape", "x", "s"),
        node("Neg", "s", "minus"),
        node("Div", "minus eight", "q"),
        node("Neg", "q", "n"),
        node("ConstantOfShape", "n", "y"),
    ]
    graph = import_onnx(model(nodes, {"x": ["n"]}, weights={"eight": ints(8)}))
    assert [str(d) for d in graph.outputs[0].shape] == ["n//8"]


def test_an_image_is_padded_to_a_multiple() -> None:
    """x + (-x) mod 32, as exporters write it: the result is known to be a multiple, and not empty."""
    nodes = [
        node("Shape", "x", "s"),
        node("Neg", "s", "minus"),
        node("Mod", "minus to", "missing"),
        node("Concat", "zeros missing", "pads", axis=0),
        node("Pad", "x pads", "padded"),
        node("Reshape", "padded cut"),
    ]
    weights = {"to": ints(32), "zeros": ints(0), "cut": ints(-1, 32)}
    graph = import_onnx(model(nodes, {"x": ["n"]}, weights=weights))
    assert [str(d) for d in graph.outputs[0].shape] == ["(n + 31)//32", "32"]
    assert not graph.constraints.found


def test_extents_that_are_read_as_data_are_one_step() -> None:
    nodes = [
        node("Shape", "x", "s"),
        node("ReduceProd", "s", "p", axes=[0], keepdims=0),
        node("Cast", "p", "f", to=TensorProto.FLOAT),
        node("Div", "x f"),
    ]
    graph = import_onnx(model(nodes, {"x": ["n", "m"]}))
    assert [n.op.name for n in graph.nodes] == ["extents", "pointwise", "pointwise"]


# -- open channels ---------------------------------------------------------------------------------

FOUR = np.ones(4, np.float32)


@pytest.mark.parametrize(
    ("layer", "weights"),
    [
        (node("Conv", "x w"), {"w": np.ones((3, 4, 3, 3), np.float32)}),
        (node("Conv", "x w", group=2), {"w": np.ones((4, 2, 3, 3), np.float32)}),
        (node("ConvTranspose", "x w"), {"w": np.ones((4, 3, 2, 2), np.float32)}),
        (
            node("BatchNormalization", "x s b m v"),
            {"s": FOUR, "b": FOUR, "m": FOUR, "v": FOUR},
        ),
        (node("InstanceNormalization", "x s b"), {"s": FOUR, "b": FOUR}),
        (node("Split", "x sizes", axis=1), {"sizes": ints(4)}),
    ],
    ids=lambda value: value.op_type if isinstance(value, NodeProto) else "",
)
def test_weights_say_how_many_channels_an_image_has(
    layer: NodeProto, weights: dict[str, np.ndarray]
) -> None:
    (x,) = import_onnx(model([layer], {"x": ["n", "c", "h", "w"]}, weights=weights)).inputs
    assert [str(d) for d in x.shape] == ["n", "4", "h", "w"]


def test_scales_say_how_many_channels_an_image_has() -> None:
    nodes = [
        node("QuantizeLinear", "x s z", "q", axis=1),
        node("DequantizeLinear", "q s z", axis=1),
    ]
    weights = {"s": FOUR, "z": np.zeros(4, np.uint8)}
    (x,) = import_onnx(model(nodes, {"x": ["n", "c", "h", "w"]}, weights=weights)).inputs
    assert [str(d) for d in x.shape] == ["n", "4", "h", "w"]


def test_channels_that_must_divide_stay_open() -> None:
    layer = node("DepthToSpace", "x", blocksize=2)
    graph = import_onnx(model([layer], {"x": ["n", "c", "h", "w"]}))
    (x,), (y,) = graph.inputs, graph.outputs
    assert [str(d) for d in x.shape] == ["n", "c", "h", "w"]
    assert [str(d) for d in y.shape] == ["n", "c//4", "2*h", "2*w"]
    assert symbols(graph)["c"].typical % 4 == 0


def test_channels_that_do_not_fit_name_the_node() -> None:
    weights = {"a": np.ones((3, 4, 1, 1), np.float32), "b": np.ones((3, 5, 1, 1), np.float32)}
    nodes = [node("Conv", "x a", "p"), node("Conv", "x b", "q"), node("Add", "p q")]
    with pytest.raises(
        ModelError, match=r"4 channels, weights f32\[3,5,1,1\] with 1 groups want 5"
    ):
        import_onnx(model(nodes, {"x": ["n", "c", "h", "w"]}, weights=weights))


# -- loops -----------------------------------------------------------------------------------------


def scan(inputs: str, **dims: Dims) -> ModelProto:
    row = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [3]) for n in "abcdef"]
    nodes = [node("Add", "a b", "d"), node("Add", "d c", "e"), node("Identity", "e", "f")]
    count = len(dims)
    if count == 1:
        nodes = [node("Add", "a b", "e"), node("Identity", "e", "f")]
    body = helper.make_graph(nodes, "body", row[: 1 + count], row[4:])
    loop = helper.make_node(
        "Scan", ["start", *inputs.split()], ["last", "y"], body=body, num_scan_inputs=count
    )
    return model([loop], dict(dims), weights={"start": np.zeros(3, np.float32)})


def test_what_an_open_scan_collects_has_the_length_of_its_sequence() -> None:
    found = import_model(scan("x", x=["n", 3]))
    (x,) = found.face.inputs
    assert [e.type for e in found.outputs] == [x.type]


def test_sequences_that_are_scanned_together_are_equally_long() -> None:
    graph = import_onnx(scan("x z", x=["n", 3], z=[5, 3]))
    assert [t.shape for t in graph.inputs] == [(5, 3), (5, 3)]


# -- recurrent layers ------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", [0, 1])
def test_recurrent_layers_say_which_axis_is_the_batch(layout: int) -> None:
    given = ("bias", "lengths", "h", "c")
    layer = Layer("lstm", steps="t", batch="b", given=given, attrs={"layout": 1} if layout else {})
    sizes = typical_sizes(symbols(import_onnx(layer.model())).values())
    assert sizes == {"t": 128, "b": 1}


def test_a_batch_behind_a_transpose_and_a_projection() -> None:
    proto = Layer("gru", steps="?", batch="?", given=()).model()
    proto.graph.initializer.append(numpy_helper.from_array(np.ones((6, 6), np.float32), "m"))
    proto.graph.node[0].input[0] = "turned"
    nodes = [
        helper.make_node("MatMul", ["x", "m"], ["p"]),
        helper.make_node("Transpose", ["p"], ["turned"], perm=[1, 0, 2]),
        *proto.graph.node,
    ]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    (x,) = import_onnx(proto).inputs
    assert [typical(d) for d in x.shape] == [1, 128, 6]
