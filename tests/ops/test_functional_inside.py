"""What indices that are counted out of extents demand of the axis that they count along."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from camshaft.errors import ModelError
from camshaft.ir import expr as E
from camshaft.ir.extents.extent import Extent, extent_of
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ir.types import TensorType, f32, i32, i64
from camshaft.ops import functional as F

N, M, P = extent_of(Symbol("n")), extent_of(Symbol("m")), extent_of(Symbol("p", 0))
FOUND = extent_of(Symbol("found", 1, from_data=True))
Make = Callable[[GraphBuilder], Tensor]


def counted(start: Extent, limit: Extent) -> Make:
    return lambda b: F.arange(b, start, limit, 1)


def changed(expr: E.Expr, *parts: Make) -> Make:
    return lambda b: F.pointwise(b, expr, *(part(b) for part in parts))


def column(make: Make) -> Make:
    return lambda b: F.reshape(b, make(b), (-1, 1))


def picked_again(b: GraphBuilder) -> Tensor:
    """As PyTorch writes x[:, places]: indices of all axes side by side, then one of them."""
    rows = F.broadcast_to(b, F.reshape(b, F.arange(b, 0, N, 1), (N, 1, 1)), (N, P + N, 1))
    places = F.broadcast_to(b, F.reshape(b, F.arange(b, 0, P + N, 1), (1, P + N, 1)), (N, P + N, 1))
    return F.slice(b, F.concat(b, [rows, places], 2), [1], [2], [2])


SUM = E.add(E.inp(0), E.inp(1))
CASES = {
    "places behind a past": (counted(P, P + N), ["m >= n + p"]),
    "a step back": (counted(P + 1, P + N), []),
    "as i32": (changed(E.cast(E.inp(0), i32), counted(0, N)), ["m >= n"]),
    "rows and columns": (changed(SUM, column(counted(0, N)), counted(0, N)), ["m + 1 >= 2*n"]),
    "rows of a flat mask": (
        changed(E.add(E.inp(0), E.mul(E.inp(1), E.extent(M, i64))), counted(0, N), column(counted(0, 1))),
        ["m >= n"],
    ),
    "side by side": (picked_again, ["m >= n + p"]),
    "a constant that ascends": (lambda b: b.constant(np.array([0, 2, 5])), ["m - 5 >= 1"]),
    "from the end": (changed(E.sub(E.inp(0), E.extent(N, i64)), counted(0, N)), []),
    "what is computed": (changed(E.mul(E.inp(0), E.const(-1, i64)), counted(0, N)), []),
    "perhaps nothing": (counted(0, P), []),
    "found while it runs": (counted(0, FOUND), []),
    "an input": (lambda b: b.input("i", TensorType(i64, (N,))), []),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_counted_indices_say_how_long_an_axis_is(name: str) -> None:
    make, rules = CASES[name]
    b = GraphBuilder("g")
    x = b.input("x", TensorType(f32, (M, 2)))
    F.take(b, x, make(b), 0)
    assert [str(c) for c in b.constraints] == rules


def test_all_ways_to_pick_ask() -> None:
    b = GraphBuilder("g")
    x = b.input("x", TensorType(f32, (M, 3)))
    F.gather_nd(b, x, F.reshape(b, F.arange(b, 0, P + N, 1), (P + N, 1)))
    assert [str(c) for c in b.constraints] == ["m >= n + p"]
    b = GraphBuilder("g")
    x = b.input("x", TensorType(f32, (2, M)))
    places = F.reshape(b, F.arange(b, 0, P + N, 1), (1, P + N))
    F.take_along_axis(b, x, places, 1)
    assert [str(c) for c in b.constraints] == ["m >= n + p"]


def test_a_table_that_is_too_short_at_all_sizes_is_refused() -> None:
    b = GraphBuilder("g")
    n = extent_of(Symbol("n", 9, 9, 16))
    table = b.constant(np.zeros((8, 2), np.float32))
    with pytest.raises(ModelError, match=r"indices up to n - 1 leave axis 0 of f32\[8,2\]"):
        F.take(b, table, F.arange(b, 0, n, 1), 0)
