"""Lowering of Q/DQ: each rule fires on its example and keeps its meaning."""

from __future__ import annotations

import numpy as np
import pytest

from camshaft.ir import expr as E
from camshaft.ir.graph import Graph, GraphBuilder
from camshaft.ir.interpret import interpret
from camshaft.ir.types import TensorType, f32, i8, u8
from camshaft.ir.verify import verify
from camshaft.ops import CONCAT, CONV, DEQUANTIZE, PAD, POINTWISE, POOL, QUANTIZE, RESHAPE
from camshaft.passes.qdq.few_bits import COLUMN_RULES
from camshaft.passes.qdq.integer import BIAS_RULES, EXPAND_RULES, INTEGER_RULES
from camshaft.passes.qdq.lowering import TransposeFirst
from camshaft.passes.qdq.requantize import REQUANTIZE_RULES, fold_requantization
from camshaft.passes.qdq.rules import LEVEL_RULES, MOVE_RULES, unsign
from camshaft.passes.rewrite import Rewrite, rewrite, sweep

RULES = (
    *MOVE_RULES,
    *BIAS_RULES,
    *LEVEL_RULES,
    *INTEGER_RULES,
    *COLUMN_RULES,
    *EXPAND_RULES,
    *REQUANTIZE_RULES,
    TransposeFirst(),
)


def feeds(graph: Graph, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    out = {}
    for t in graph.inputs:
        if t.type.dtype.is_float:
            out[t.name] = rng.standard_normal(t.shape).astype(np.float32)
        else:
            low, high = t.type.dtype.range
            low, high = max(low, -(1 << 12)), min(high, 1 << 12)
            out[t.name] = rng.integers(low, high, t.shape, endpoint=True).astype(t.type.dtype.numpy)
    return out


def assert_same(before: Graph, after: Graph, quanta: int = 1) -> None:
    verify(after)
    for seed in range(3):
        data = feeds(before, seed)
        want, got = interpret(before, data), interpret(after, data)
        assert list(want) == list(got)
        for name, array in want.items():
            assert got[name].dtype == array.dtype
            if array.dtype.kind == "f":
                np.testing.assert_allclose(got[name], array, rtol=1e-5, atol=1e-5)
            else:
                gap = np.abs(got[name].astype(int) - array.astype(int)).max()
                assert gap <= quanta, (name, gap)


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
def test_rule_fires_on_its_example_and_keeps_it(rule: Rewrite) -> None:
    graph = rule.example()
    new, fired = sweep(graph, [rule])
    assert fired[rule.name]
    assert_same(graph, new)


def s8_params(b: GraphBuilder, scale: float = 0.05, zero: int = 0) -> list:
    return [b.constant(np.float32(scale), "s"), b.constant(np.int8(zero), "z")]


def test_signed_activations_become_unsigned_without_changing_a_bit() -> None:
    b = GraphBuilder("s8")
    x = b.input("x", TensorType(f32, (1, 4, 4, 3)))
    raw = b.input("raw", TensorType(i8, (1, 2, 2, 3)))
    q = b.emit(QUANTIZE, [x, *s8_params(b)], name="q", output="q")
    attrs = {"kind": "max", "kernel": (2, 2), "strides": (2, 2), "layout": "NHWC"}
    p = b.emit(POOL, [q], attrs, name="pool")
    c = b.emit(CONCAT, [p, raw], {"axis": 3}, name="concat")
    padded = b.emit(PAD, [c], {"before": (0, 1, 1, 0), "after": (0, 0, 0, 0)}, name="pad")
    d = b.emit(DEQUANTIZE, [padded, *s8_params(b)], name="dq")
    g = b.graph({"y": d, "q8": q})
    new = unsign(g)
    assert all(t.type.dtype != i8 for n in new.nodes if n.op is DEQUANTIZE for t in n.args)
    assert_same(g, new, quanta=0)


def test_dequantize_does_not_move_through_an_average() -> None:
    b = GraphBuilder("avg")
    x = b.input("x", TensorType(u8, (1, 4, 4, 3)))
    params = [b.constant(np.float32(0.1)), b.constant(np.uint8(3))]
    d = b.emit(DEQUANTIZE, [x, *params], {"axis": 0}, name="dq")
    g = b.graph({"y": b.emit(POOL, [d], {"kind": "avg", "kernel": (2, 2), "layout": "NHWC"})})
    _, fired = sweep(g, MOVE_RULES)
    assert not fired


def test_concat_of_different_scales_stays_float() -> None:
    b = GraphBuilder("concat")
    parts = []
    for i, scale in enumerate((0.1, 0.2)):
        x = b.input(f"x{i}", TensorType(u8, (2, 3)))
        params = [b.constant(np.float32(scale)), b.constant(np.uint8(3))]
        parts.append(b.emit(DEQUANTIZE, [x, *params], {"axis": 0}, name=f"dq{i}"))
    g = b.graph({"y": b.emit(CONCAT, parts, {"axis": 1})})
    _, fired = sweep(g, MOVE_RULES)
    assert not fired


def quantized_conv(pads: tuple[int, int, int, int], zero: int) -> Graph:
    """Q/DQ around conv + bias + relu, and a reshape before the last pair."""
    rng = np.random.default_rng(1)
    b = GraphBuilder("net")
    x = b.input("x", TensorType(f32, (1, 6, 6, 4)))
    act = [b.constant(np.float32(0.02), "sx"), b.constant(np.uint8(zero), "zx")]
    dx = b.emit(DEQUANTIZE, [b.emit(QUANTIZE, [x, *act], name="qx"), *act], name="dqx")
    w = b.constant(rng.integers(-127, 128, (5, 3, 3, 4)).astype(np.int8), "w")
    ws = b.constant(rng.uniform(0.005, 0.01, 5).astype(np.float32), "ws")
    wz = b.constant(np.zeros(5, np.int8), "wz")
    dw = b.emit(DEQUANTIZE, [w, ws, wz], {"axis": 0}, name="dqw")
    bias = b.constant(rng.integers(-900, 900, 5).astype(np.int32), "bias")
    bs, bz = b.constant(ws.array * np.float32(0.02)), b.constant(np.zeros(5, np.int32))
    db = b.emit(DEQUANTIZE, [bias, bs, bz], {"axis": 0}, name="dqb")
    attrs = {
        "layout": "NHWC",
        "pads": pads,
        "epilogue": E.maximum(E.add(E.inp(0), E.inp(1)), E.const(0.0)),
    }
    y = b.emit(CONV, [dx, dw, db], attrs, name="conv")
    flat = b.emit(RESHAPE, [y], {"shape": (1, y.type.size)}, name="flat")
    out = [b.constant(np.float32(0.01), "so"), b.constant(np.uint8(0), "zo")]
    q = b.emit(QUANTIZE, [flat, *out], {"axis": 0}, name="qy")
    return b.graph({"y": b.emit(DEQUANTIZE, [q, *out], {"axis": 0}, name="dqy")})


@pytest.mark.parametrize("pads", [(0, 0, 0, 0), (1, 2, 0, 1)])
@pytest.mark.parametrize("zero", [0, 119])
def test_whole_lowering_of_a_quantized_conv(pads: tuple[int, int, int, int], zero: int) -> None:
    g = quantized_conv(pads, zero)
    low = g
    for rules in (BIAS_RULES, MOVE_RULES, INTEGER_RULES, EXPAND_RULES):
        low = rewrite(low, rules)
    convs = [n for n in low.nodes if n.op is CONV]
    assert [t.type.dtype for t in convs[0].args[:2]] == [u8, i8]
    assert not [n for n in low.nodes if n.op in (QUANTIZE, DEQUANTIZE)]
    assert_same(g, low)
    data = feeds(g)
    want, got = interpret(g, data)["y"], interpret(rewrite(low, REQUANTIZE_RULES), data)["y"]
    assert np.abs(want - got).max() <= 0.0101  # one quantum of the output


def test_requantization_of_a_relu_is_one_multiply_add_and_a_cast() -> None:
    acc = E.cast(E.inp(0), f32)
    real = E.maximum(E.add(E.mul(acc, E.inp(2)), E.inp(1)), E.const(0.0))
    types = dict.fromkeys((1, 2), TensorType(f32, (4,)))
    folded = fold_requantization(E.quantize(real, E.const(0.25), 0, u8), types)
    assert folded is not None
    expr, changed = folded
    assert expr == E.cast(E.add(E.mul(acc, E.inp(2)), E.inp(1)), u8)
    assert changed == {1: (4.0, 0.0), 2: (4.0, 0.0)}


def test_an_operand_read_twice_is_not_rescaled() -> None:
    x = E.inp(0)
    real = E.mul(E.add(x, E.inp(1)), E.inp(1))
    vector = {1: TensorType(f32, (3,))}
    folded = fold_requantization(E.quantize(real, E.const(0.5), 0, u8), vector)
    assert folded is not None and not folded[1]


def test_pointwise_inputs_may_be_requantized_constants() -> None:
    b = GraphBuilder("p")
    x = b.input("x", TensorType(f32, (2, 3)))
    c = b.constant(np.arange(3, dtype=np.float32), "c")
    expr = E.quantize(E.add(E.inp(0), E.inp(1)), E.const(0.3), 7, u8)
    g = b.graph({"y": b.emit(POINTWISE, [x, c], {"expr": expr}, name="q")})
    assert_same(g, rewrite(g, REQUANTIZE_RULES))
