"""No-copy reshapes against NumPy, and the arithmetic of views."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camshaft.ir.extents.extent import Extent, extent_of
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.strides import inner_is_unit, is_dense, reshaped, span
from camshaft.ir.types import Shape, row_major_strides

SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


def factorings(size: int) -> st.SearchStrategy[tuple[int, ...]]:
    divisors = [d for d in range(1, size + 1) if size % d == 0]

    def split(first: int) -> st.SearchStrategy[tuple[int, ...]]:
        rest = size // first
        inner = [d for d in range(1, rest + 1) if rest % d == 0]
        return st.sampled_from(inner).map(lambda second: (first, second, rest // second))

    return st.sampled_from(divisors).flatmap(split)


@given(SHAPES.flatmap(lambda s: st.tuples(st.just(s), st.permutations(range(len(s))))), st.data())
def test_reshaped_reads_the_same_elements_as_a_reshape(
    case: tuple[tuple[int, ...], list[int]], data: st.DataObject
) -> None:
    shape, order = case
    base = np.arange(int(np.prod(shape)) * 2).reshape(*(shape[p] for p in order), 2)[..., 0]
    view = base.transpose(np.argsort(order))
    new_shape = data.draw(factorings(view.size))
    strides = reshaped(view.shape, tuple(s // view.itemsize for s in view.strides), new_shape)
    if strides is None:
        return
    flat = np.arange(int(np.prod(shape)) * 2)
    read = np.lib.stride_tricks.as_strided(flat, new_shape, [s * flat.itemsize for s in strides])
    np.testing.assert_array_equal(read, view.reshape(new_shape))


@pytest.mark.parametrize(
    ("shape", "strides", "new", "expected"),
    [
        ((2, 3, 4), (12, 4, 1), (6, 4), (4, 1)),
        ((2, 3, 4), (24, 8, 1), (6, 4), (8, 1)),  # pitched rows still merge
        ((2, 3, 4), (24, 8, 1), (2, 12), None),  # a gap lies inside the merged axis
        ((1, 8), (99, 1), (8, 1, 1), (1, 1, 1)),
        ((4, 4), (1, 4), (16,), None),  # transposed
    ],
)
def test_reshaped_known_cases(
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    new: tuple[int, ...],
    expected: tuple[int, ...] | None,
) -> None:
    assert reshaped(shape, strides, new) == expected


def test_symbolic_shapes_reshape_where_axes_group_whatever_the_sizes() -> None:
    b, s, h = (extent_of(Symbol(name)) for name in "bsh")

    def dense(*shape: Extent) -> tuple[Shape, Shape]:
        return shape, row_major_strides(shape)

    assert reshaped(*dense(b, s, 12, 64), (b, s, 768)) == (s * 768, 768, 1)
    assert reshaped(*dense(b, s, 768), (b * s, 12, 64)) == (768, 64, 1)
    assert reshaped(*dense(b * s, 768), (b, s, 768)) == (s * 768, 768, 1)
    assert reshaped(*dense(b, s, h), (b, h, s)) == (h * s, s, 1)  # without gaps, as any shape
    assert reshaped((b, s, h), (2 * s * h, h, 1), (s, b, h)) is None
    gappy = (s * 1536, 1536, 1)
    assert reshaped((b, s, 768), gappy, (b * s, 768)) == (1536, 1)
    assert reshaped((b, s, 768), gappy, (b, s * 768)) is None


def test_span_and_density() -> None:
    assert span((2, 3), (10, 1)) == 13
    assert span((2, 0), (10, 1)) == 0
    assert is_dense((1, 3), (77, 1)) and not is_dense((2, 3), (4, 1))
    assert inner_is_unit((3, 1), (5, 9)) and not inner_is_unit((3, 2), (5, 2))
