"""Where a rewrite must keep its hands off, and corner cases in which it must get the value right."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from camshaft.ir import expr as E
from camshaft.ir.graph import Graph, GraphBuilder
from camshaft.ir.types import TensorType, f32, i32, u8
from camshaft.ops import CONCAT, CONV, PAD, POINTWISE, POOL, REDUCE, RESHAPE, SLICE, TRANSPOSE
from camshaft.passes.canonical.rules import canonicalize
from camshaft.passes.canonical.slices import slice_attrs
from camshaft.passes.fusions.siblings import merge_siblings
from camshaft.passes.pipeline import optimize, with_merged_siblings
from graph_checks import same
from small_nets import ADD, MUL, Net, shuffle

NHWC = {"layout": "NHWC"}


def fused(graph: Graph, **options) -> dict[str, int]:
    """Node counts after the pipeline, which must keep the value."""
    after = optimize(graph, check=True, **options)
    same(graph, after)
    return dict(Counter(n.op.name for n in after.nodes if n.op.name != "transpose"))


def test_result_with_two_readers_keeps_its_own_node() -> None:
    n = Net("two-readers")
    y = n.conv(n.input((1, 3, 4, 4)), 4)
    g = n.done(n.relu(y), n.sigmoid(y))
    assert fused(g) == {"conv": 1, "pointwise": 2}


def test_result_that_is_also_a_graph_output_is_not_fused_away() -> None:
    n = Net("output")
    y = n.conv(n.input((1, 3, 4, 4)), 4)
    after = optimize(n.done(y, n.relu(y)))
    assert [node.op.name for node in after.nodes].count("pointwise") == 1


def test_broadcast_result_does_not_become_an_epilogue() -> None:
    n = Net("gate")
    x = n.input((1, 4, 4, 4))
    gate = n.conv(n.pool(x, "avg", 4, 1), 4)
    assert fused(n.done(n.mul(x, gate))) == {"conv": 1, "pool": 1, "pointwise": 1}


def test_two_convolutions_added_are_two_nodes_and_the_later_adds() -> None:
    n = Net("two-convs")
    x = n.input((1, 3, 4, 4))
    a, b = n.conv(x, 4), n.conv(x, 4)
    after = optimize(n.done(n.relu(n.add(a, b))))
    convs = [node for node in after.nodes if node.op is CONV]
    assert len(convs) == 2 and len(after.nodes) == 4
    assert convs[1].name == "conv2 + add3 + relu4"
    assert len(convs[0].args) == 2 and len(convs[1].args) == 3


@pytest.mark.parametrize("order", ["conv-skip", "skip-conv", "bias-after", "scaled"])
def test_residual_in_any_order_is_one_node(order) -> None:
    n = Net(order)
    x = n.input((1, 4, 4, 4))
    y = n.conv(x, 4)
    if order == "conv-skip":
        y = n.relu(n.add(y, x))
    elif order == "skip-conv":
        y = n.relu(n.add(x, y))
    elif order == "bias-after":
        y = n.add(n.relu(n.add(y, x)), n.random(4, 1, 1))
    else:
        y = n.add(n.mul(n.bn(y), n.b.constant(np.float32(0.5))), n.swish(x))
    assert fused(n.done(y))["conv"] == 1
    assert "pointwise" not in fused(n.done(y)) or order == "scaled"


def test_expensive_small_operand_is_not_evaluated_per_pixel() -> None:
    n = Net("gate")
    x = n.input((1, 4, 6, 6))
    gate = n.sigmoid(n.input((1, 4, 1, 1), "gate"))
    assert fused(n.done(n.mul(x, gate)))["pointwise"] == 2


def test_swish_and_gelu_chains_are_one_epilogue() -> None:
    n = Net("chains")
    x = n.input((1, 3, 4, 4))
    half, root = n.b.constant(np.float32(0.5)), n.b.constant(np.float32(1.41421354))
    y = n.conv(x, 4, bias=True)
    erf = n.point(E.unary("erf", E.div(E.inp(0), E.inp(1))), y, root)
    gelu = n.mul(n.mul(y, n.point(E.add(E.inp(0), E.const(1.0)), erf)), half)
    assert fused(n.done(n.swish(gelu))) == {"conv": 1}


def test_batch_norm_leaves_one_bias_and_no_scale() -> None:
    n = Net("bn-twice")
    y = n.bn(n.bn(n.conv(n.input((1, 3, 4, 4)), 4, bias=True)))
    after = optimize(n.done(n.relu(y)))
    (conv,) = (node for node in after.nodes if node.op is CONV)
    assert conv.attrs["epilogue"] == E.maximum(ADD, E.const(0.0))
    assert conv.args[2].shape == (4,)
    same(n.done(n.relu(y)), after)


def test_integer_weights_are_not_scaled() -> None:
    b = GraphBuilder("int8")
    rng = np.random.default_rng(0)
    x = b.input("x", TensorType(u8, (1, 4, 4, 3)))
    w = b.constant(rng.integers(-127, 128, (5, 3, 3, 3)).astype(np.int8), "w")
    scale = b.constant(rng.random(5, np.float32), "scale")
    y = b.emit(CONV, [x, w], {**NHWC, "x_zero_point": 3}, name="conv")
    expr = E.mul(E.cast(E.inp(0), f32), E.inp(1))
    y = b.emit(POINTWISE, [y, scale], {"expr": expr}, name="dequantize")
    after = optimize(b.graph({"y": y}), check=True)
    assert [node.op for node in after.nodes] == [CONV]
    assert after.nodes[0].args[1].type.dtype.name == "i8"
    assert after.nodes[0].args[1].data is w.data
    same(b.graph({"y": y}), after)


def test_shift_does_not_cross_a_padded_convolution_but_a_scale_does() -> None:
    for shift, expected in ((True, {"conv": 1, "pointwise": 1}), (False, {"conv": 1})):
        n = Net("forward")
        x = n.input((1, 3, 5, 5))
        x = n.bn(x) if shift else n.mul(x, n.positive(3, 1, 1))
        assert fused(n.done(n.conv(x, 4, 3, pads=(1, 1, 1, 1)))) == expected


def test_affine_in_front_of_a_grouped_convolution_scales_the_right_channels() -> None:
    n = Net("grouped")
    assert fused(n.done(n.conv(n.bn(n.input((1, 6, 5, 5))), 9, 3, groups=3))) == {"conv": 1}


def test_pad_of_another_value_or_axis_stays() -> None:
    for attrs in (
        {"before": (0, 0, 1, 1), "after": (0, 0, 1, 1), "value": 1.0},
        {"before": (0, 1, 0, 0), "after": (0, 0, 0, 0)},
        {"before": (0, 0, 1, 1), "after": (0, 0, 1, 1), "mode": "reflect"},
    ):
        n = Net("pad")
        x = n.b.emit(PAD, [n.input((1, 3, 5, 5))], attrs, name="pad")
        assert fused(n.done(n.conv(x, 4, 3)))["pad"] == 1


@pytest.mark.parametrize("positive", [True, False])
def test_zero_pad_goes_into_a_max_pool_only_behind_a_relu(positive) -> None:
    n = Net("pad-max")
    x = n.conv(n.input((1, 3, 6, 6)), 4)
    x = n.pad(n.relu(x) if positive else x, 0, 0, 1, 1)
    counts = fused(n.done(n.pool(x, "max", 3, 2)))
    assert counts.get("pad", 0) == (0 if positive else 1)


def test_pad_with_minus_infinity_goes_into_any_max_pool() -> None:
    n = Net("pad-max")
    attrs = {"before": (0, 0, 1, 1), "after": (0, 0, 0, 0), "value": -np.inf}
    x = n.b.emit(PAD, [n.input((1, 3, 6, 6))], attrs, name="pad")
    assert fused(n.done(n.pool(x, "max", 3, 2))) == {"pool": 1}


def test_pad_in_front_of_an_average_that_does_not_count_padding_stays() -> None:
    n = Net("pad-avg")
    x = n.pad(n.input((1, 3, 6, 6)), 1, 1, 0, 0)
    assert fused(n.done(n.pool(x, "avg", 3, 2, 1)))["pad"] == 1


def test_average_without_own_padding_takes_the_pad() -> None:
    n = Net("pad-avg")
    x = n.pad(n.input((1, 3, 6, 6)), 1, 1, 0, 0)
    assert fused(n.done(n.pool(x, "avg", 3, 2))) == {"pool": 1}


def test_transpose_that_really_moves_is_kept_and_merged() -> None:
    n = Net("moves")
    x = n.input((2, 3, 4, 5))
    y = n.transpose(n.transpose(x, 0, 2, 3, 1), 0, 2, 1, 3)
    after = optimize(n.done(y))
    assert [node.op for node in after.nodes] == [TRANSPOSE]
    assert after.nodes[0].attrs["perm"] == (0, 3, 2, 1)
    same(n.done(y), after)


def test_reshape_that_mixes_channels_and_pixels_gets_the_models_order() -> None:
    n = Net("flatten")
    x = n.relu(n.conv(n.input((1, 3, 4, 4)), 4))
    after = optimize(n.done(n.reshape(x, 8, 8)))
    assert [node.op.name for node in after.nodes].count("transpose") == 2
    same(n.done(n.reshape(x, 8, 8)), after)


def test_flatten_behind_global_pool_moves_nothing() -> None:
    n = Net("head")
    x = n.pool(n.conv(n.input((2, 3, 4, 4)), 4), "avg", 4, 1)
    after = optimize(n.done(n.linear(n.reshape(x, 2, 4), 5)))
    assert [node.op.name for node in after.nodes].count("transpose") == 1


def test_slice_across_all_parts_or_with_steps_keeps_the_concat() -> None:
    for start, size, step in ((1, 8, 1), (0, 5, 2)):
        b = GraphBuilder("slice")
        x, y, z = (b.input(n, TensorType(f32, (2, 3))) for n in "xyz")
        joined = b.emit(CONCAT, [x, y, z], {"axis": 1})
        out = b.emit(SLICE, [joined], slice_attrs((2, 9), 1, start, size, step))
        after = canonicalize(b.graph({"y": out}))
        assert sorted(node.op.name for node in after.nodes) == ["concat", "slice"]


def test_split_and_concat_cancel() -> None:
    n = Net("split")
    x = n.input((1, 6, 2, 2))
    parts = [n.channels(x, 0, 2), n.channels(x, 2, 3), n.channels(x, 5, 1)]
    after = canonicalize(n.done(n.concat(*parts)))
    assert after.nodes == ()


def test_reduction_over_other_axes_is_no_pool() -> None:
    b = GraphBuilder("mean")
    x = b.input("x", TensorType(f32, (2, 3, 4, 5)))
    mean = {"kind": "sum", "epilogue": E.mul(E.inp(0), E.const(1.0 / 12.0))}
    for axes, name in (((2, 3), "pixels"), ((1, 2), "wrong factor")):
        scale = 12.0 if name == "pixels" else 13.0
        attrs = {**mean, "axes": axes, "epilogue": E.mul(E.inp(0), E.const(1.0 / scale))}
        y = b.emit(REDUCE, [x], attrs, name=name)
        after = optimize(b.graph({"y": y}))
        assert [node.op for node in after.nodes] == [REDUCE]
        same(b.graph({"y": y}), after)


def test_max_of_sum_is_not_merged() -> None:
    b = GraphBuilder("mixed")
    x = b.input("x", TensorType(f32, (2, 3, 4)))
    y = b.emit(REDUCE, [x], {"kind": "sum", "axes": (2,)}, name="sum")
    y = b.emit(REDUCE, [y], {"kind": "max", "axes": (1,)}, name="max")
    assert len(optimize(b.graph({"y": y})).nodes) == 2


def test_operand_that_gives_the_shape_is_kept() -> None:
    b = GraphBuilder("shape-giver")
    x = b.input("x", TensorType(f32, (1, 3)))
    wide = b.input("wide", TensorType(f32, (4, 3)))
    zero = E.select(E.const(True, f32), E.inp(0), E.inp(1))
    y = b.emit(POINTWISE, [x, wide], {"expr": zero}, name="select")
    after = optimize(b.graph({"y": y}))
    same(b.graph({"y": y}), after)


def test_dequantization_is_repeated_in_its_readers() -> None:
    b = GraphBuilder("dequantized-twice")
    q = b.input("q", TensorType(u8, (2, 3)))
    x = b.emit(POINTWISE, [q], {"expr": E.dequantize(E.inp(0), E.const(0.5), 3)}, name="dq")
    y = b.emit(POINTWISE, [x], {"expr": E.unary("exp", E.inp(0))}, name="exp")
    z = b.emit(POINTWISE, [x], {"expr": E.unary("neg", E.inp(0))}, name="neg")
    after = optimize(b.graph({"y": y, "z": z}))
    assert [node.args for node in after.nodes] == [(after.inputs[0],)] * 2


def test_integer_arithmetic_that_wraps_is_not_simplified_away() -> None:
    b = GraphBuilder("wrap")
    x = b.input("x", TensorType(u8, (256,)))
    total = E.add(E.inp(0), E.const(200, u8))
    attrs = {"expr": E.maximum(E.cast(total, i32), E.const(200, i32))}
    graph = b.graph({"y": b.emit(POINTWISE, [x], attrs)})
    same(graph, optimize(graph))


def test_siblings_are_merged_only_on_request_and_in_one_geometry() -> None:
    n = Net("siblings")
    x = n.relu(n.conv(n.input((1, 3, 6, 6)), 8))
    same_size = [n.relu(n.conv(x, k, bias=True)) for k in (4, 6)]
    other = n.relu(n.conv(x, 4, 3, bias=True, pads=(1, 1, 1, 1)))
    linear = n.conv(x, 4, bias=True)
    graph = n.done(n.concat(*same_size, other, linear))
    assert fused(graph)["conv"] == 5
    after = with_merged_siblings(optimize(graph), check=True)
    same(graph, after)
    convs = [node for node in after.nodes if node.op is CONV]
    assert len(convs) == 4
    assert convs[1].name == "conv3 + relu4 || conv5 + relu6"
    assert merge_siblings(graph) is graph, "NCHW convolutions are left alone"


def test_average_pool_of_one_pixel_and_identity_reshape_vanish() -> None:
    n = Net("nothing")
    x = n.conv(n.input((1, 3, 4, 4)), 4)
    x = n.b.emit(POOL, [x], {"kind": "avg", "kernel": (1, 1), "strides": (1, 1), "layout": "NCHW"})
    x = n.b.emit(RESHAPE, [x], {"shape": (1, 4, 4, 4)})
    assert fused(n.done(n.relu(x))) == {"conv": 1}


def test_multiplying_by_itself_is_not_affine() -> None:
    n = Net("square")
    y = n.conv(n.input((1, 3, 4, 4)), 4)
    assert fused(n.done(n.point(MUL, y, y))) == {"conv": 1}


@pytest.mark.parametrize("batch", [1, 2])
def test_fully_connected_layer_behind_an_image_reads_it_as_it_lies(batch) -> None:
    n = Net("flatten")
    x = n.pool(n.conv(n.input((batch, 3, 4, 6)), 4), "max", 2, 2)
    graph = n.done(n.linear(n.relu(n.linear(n.reshape(x, batch, 24), 5)), 3))
    after = optimize(graph, check=True)
    same(graph, after)
    assert [node.op.name for node in after.nodes].count("transpose") == 1, "only the graph input"


def test_dense_concats_are_a_chain_and_prefixes_are_shared_longest_first() -> None:
    b = GraphBuilder("dense")
    parts = [b.input(f"x{i}", TensorType(f32, (1, 2, 2, 3))) for i in range(4)]
    outs = {f"y{i}": b.emit(CONCAT, parts[:i], {"axis": 3}) for i in (2, 3, 4)}
    outs["other axis"] = b.emit(CONCAT, parts[:3], {"axis": 2})
    graph = b.graph(outs)
    after = optimize(graph, check=True)
    same(graph, after)
    assert [len(node.args) for node in after.nodes] == [2, 2, 2, 3]
    assert after.nodes[2].args[0] is after.nodes[1].output


def test_dequantized_result_with_several_readers_is_kept_narrow() -> None:
    b = GraphBuilder("narrow")
    x = b.input("x", TensorType(u8, (1, 4, 4, 3)))
    attrs = {"kind": "max", "kernel": (2, 2), "strides": (2, 2), "layout": "NHWC"}
    y = b.emit(POOL, [x], attrs, name="pool")
    y = b.emit(POINTWISE, [y], {"expr": E.dequantize(E.inp(0), E.const(0.5), 3)}, name="dq")
    outs = {op: b.emit(POINTWISE, [y], {"expr": E.unary(op, E.inp(0))}) for op in ("exp", "neg")}
    after = optimize(b.graph(outs), check=True)
    same(b.graph(outs), after)
    assert [node.args[0].type.dtype for node in after.nodes] == [u8, u8, u8]


def test_node_whose_inputs_became_constant_is_folded() -> None:
    b = GraphBuilder("late-constant")
    x = b.input("x", TensorType(f32, (1, 3)))
    c = b.constant(np.ones((1, 3), np.float32))
    y = b.emit(CONCAT, [c, x], {"axis": 0})
    y = b.emit(SLICE, [y], slice_attrs((2, 3), 0, 0, 1), name="constant half")
    y = b.emit(POINTWISE, [y], {"expr": E.unary("exp", E.inp(0))})
    after = optimize(b.graph({"y": y}))
    assert after.nodes == () and after.outputs[0].is_const
    same(b.graph({"y": y}), after)


@pytest.mark.parametrize("where", ["behind", "in front", "grouped", "residual"])
def test_shuffle_beside_a_dense_convolution_is_an_order_of_weights(where) -> None:
    n = Net(where)
    x = n.input((1, 6, 5, 5))
    if where == "behind":
        y = shuffle(n, n.relu(n.bn(n.conv(x, 6, 3, bias=True))), 3)
    elif where == "in front":
        y = n.relu(n.conv(shuffle(n, n.conv(x, 6, groups=2), 2), 4, bias=True))
    elif where == "grouped":
        y = n.conv(shuffle(n, n.conv(x, 6, groups=2), 2), 4, groups=2)
    else:
        y = n.relu(shuffle(n, n.add(n.conv(x, 6), x), 2))
    graph = n.done(y)
    after = optimize(graph, check=True)
    same(graph, after)
    inner = [m for m in after.nodes if m.op is TRANSPOSE and len(m.output.shape) > 4]
    assert len(inner) == (1 if where in ("grouped", "residual") else 0)
