"""What may share bytes, at known sizes and at symbolic ones."""

from __future__ import annotations

import pytest

from camshaft.builder.barriers import SharedMemory
from camshaft.ir.extents.extent import Extent, extent_of
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.types import u8
from camshaft.program.program import Arena, Slot
from camshaft.program.view import Buffer, View

N = extent_of(Symbol("n", 1, 64))


def view(name: str, elements: Extent, first: Extent = 0, length: Extent | None = None) -> View:
    shape = (elements if length is None else length,)
    return View(Buffer(name, u8, elements), first, shape, (1,))


def memory(elements: Extent) -> SharedMemory:
    """Buffers a and c live together, and so do b and c; a and b need not be apart."""
    a, b, c = (Buffer(name, u8, elements) for name in "abc")
    return SharedMemory(Arena((Slot(a, 0), Slot(b, 64), Slot(c, 128, (0, 1)))))


@pytest.mark.parametrize("elements", [64, N], ids=["static", "symbolic"])
def test_buffers_in_order_are_apart(elements: Extent) -> None:
    shared = memory(elements)
    assert not shared.overlap(view("a", elements), view("c", elements))
    assert not shared.overlap(view("c", elements), view("b", elements))
    assert shared.overlap(view("a", elements), view("a", elements))


def test_buffers_that_happen_to_lie_apart_do_so_at_known_sizes_only() -> None:
    assert not memory(64).overlap(view("a", 64), view("b", 64))
    assert memory(N).overlap(view("a", N), view("b", N))


def test_halves_of_a_buffer_are_apart_where_the_bounds_decide() -> None:
    shared = memory(2 * N)
    assert not shared.overlap(view("a", 2 * N, 0, N), view("a", 2 * N, N, N))
    assert shared.overlap(view("a", 2 * N, 0, N + 1), view("a", 2 * N, N, N))
    assert shared.overlap(view("a", 2 * N, 0, 64), view("a", 2 * N, N, N))  # perhaps
