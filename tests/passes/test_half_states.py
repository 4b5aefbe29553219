"""States of halves: what they become has the same bits, and is made of rounded rows."""

from __future__ import annotations

import numpy as np

from camshaft.ir import expr as E
from camshaft.ir.graph import Graph, GraphBuilder
from camshaft.ir.interpret import interpret
from camshaft.ir.types import DType, TensorType, bf16, f16, f32
from camshaft.ops import CONCAT, POINTWISE
from camshaft.passes.half_states import with_half_states

STATES = {"past": "present"}


def joined(dtype: DType = f16, *, first: bool = True) -> Graph:
    """present = half(concat(f32(past), x)), and y = 2 * the concatenation."""
    b = GraphBuilder("g")
    past = b.input("past", TensorType(dtype, (3, 4)))
    x = b.input("x", TensorType(f32, (2, 4)))
    wide = b.emit(POINTWISE, [past], {"expr": E.cast(E.inp(0), f32)}, name="wide")
    parts = [wide, x] if first else [x, wide]
    whole = b.emit(CONCAT, parts, {"axis": 0}, name="whole")
    twice = b.emit(POINTWISE, [whole], {"expr": E.mul(E.inp(0), E.const(2.0))}, name="twice")
    present = b.emit(POINTWISE, [whole], {"expr": E.cast(E.inp(0), dtype)}, name="present")
    return b.graph({"present": present, "y": twice})


def test_rows_are_rounded_before_they_are_appended() -> None:
    rng = np.random.default_rng(0)
    for dtype in (f16, bf16):
        graph = joined(dtype)
        made = with_half_states(graph, STATES)
        past = rng.standard_normal((3, 4)).astype(dtype.numpy)
        feeds = {"past": past, "x": rng.standard_normal((2, 4)).astype(np.float32)}
        want, got = interpret(graph, feeds), interpret(made, feeds)
        np.testing.assert_array_equal(
            got["present"].view(np.uint16), want["present"].view(np.uint16)
        )
        np.testing.assert_array_equal(got["y"], 2 * want["present"].astype(np.float32))
        maker = made.producers[made.outputs[0].name]
        assert maker.op is CONCAT and maker.args[0].name == "past"


def test_others_stay_as_they_are() -> None:
    for graph, states in (
        (joined(), {}),
        (joined(first=False), STATES),
        (joined(), {"past": "y"}),
    ):
        assert with_half_states(graph, states) is graph
