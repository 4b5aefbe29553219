"""Whole Q/DQ nets through all passes: integer kernels, and the meaning of the Q/DQ graph."""

from __future__ import annotations

import numpy as np
import pytest

from camshaft.ir.graph import GraphBuilder
from camshaft.ir.interpret import interpret
from camshaft.ir.types import TensorType, f32, i8, u8
from camshaft.ops import CONV, DEQUANTIZE, POINTWISE, QUANTIZE
from camshaft.passes.pipeline import optimize
from camshaft.passes.qdq.lowering import LOWERING, lower_quantization
from qdq_nets import RELU, residual_net


@pytest.mark.parametrize("per_channel", [False, True], ids=["tensor", "channel"])
@pytest.mark.parametrize("activations", [np.uint8, np.int8], ids=["u8", "s8"])
def test_residual_net_runs_in_integers_and_agrees(activations: type, per_channel: bool) -> None:
    graph = residual_net(activations, per_channel)
    low = lower_quantization(optimize(graph, check=True))
    convs = [n for n in low.nodes if n.op is CONV]
    assert len(convs) == 4
    for n in convs:
        assert [t.type.dtype for t in n.args[:2]] == [u8, i8], n
    inner = [n for n in convs if "fc" not in n.name]
    assert all(n.output.type.dtype == u8 for n in inner)
    kinds = [n.op.name for n in low.nodes if n.op.name not in ("conv", "pool", "reshape")]
    assert sorted(kinds) == ["pointwise", "transpose"]  # quantize x; the fc dequantizes y
    (q,) = [n for n in low.nodes if n.op.name == "pointwise" and n.output.type.dtype == u8]
    assert low.producers[q.args[0].name].op.name == "transpose"  # one step reads x transposed
    rng = np.random.default_rng(7)
    worst = 0.0
    for _ in range(5):
        x = rng.standard_normal((1, 4, 8, 8)).astype(np.float32)
        want, got = interpret(graph, {"x": x})["y"], interpret(low, {"x": x})["y"]
        worst = max(worst, float(np.abs(want - got).max()))
    assert worst <= 0.0201  # one quantum of the output


def test_without_permission_the_same_values_are_computed_in_float() -> None:
    graph = residual_net(np.uint8, True)
    low = lower_quantization(optimize(graph), integer=False)
    assert all(n.args[0].type.dtype == f32 for n in low.nodes if n.op is CONV)
    x = np.random.default_rng(7).standard_normal((1, 4, 8, 8)).astype(np.float32)
    want, got = interpret(graph, {"x": x})["y"], interpret(low, {"x": x})["y"]
    assert np.abs(want - got).max() <= 0.0201


def test_a_float_graph_passes_through() -> None:
    b = GraphBuilder("float")
    g = b.graph({"y": b.emit(POINTWISE, [b.input("x", TensorType(f32, (3,)))], RELU)})
    assert lower_quantization(g) is g


def test_signed_inputs_and_outputs_keep_their_type() -> None:
    b = GraphBuilder("io")
    x = b.input("x", TensorType(i8, (1, 4)))
    params = [b.constant(np.float32(0.1)), b.constant(np.int8(0))]
    d = b.emit(DEQUANTIZE, [x, *params], name="dq")
    g = b.graph({"y": b.emit(QUANTIZE, [b.emit(POINTWISE, [d], RELU), *params], name="q")})
    low = lower_quantization(g)
    assert low.outputs[0].type.dtype == i8
    data = {"x": np.array([[-128, -1, 5, 127]], np.int8)}
    np.testing.assert_array_equal(interpret(low, data)["y"], interpret(g, data)["y"])


def test_lowering_goes_through_the_pass_manager() -> None:
    """Every pass is checked and can be dumped, under a name of its own."""
    graph = optimize(residual_net(np.int8, True))
    seen: list[str] = []
    lowered = lower_quantization(graph, check=True, on_pass=lambda name, g: seen.append(name))
    assert seen == [p.name for p in LOWERING] and len(set(seen)) == len(seen)
    seen.clear()
    lower_quantization(graph, integer=False, level=0, on_pass=lambda name, g: seen.append(name))
    assert seen == [p.name for p in LOWERING if p.level == 0 and p.name != "integer"]
    seen.clear()
    assert lower_quantization(lowered, on_pass=lambda name, g: seen.append(name)) is lowered
    assert not seen
