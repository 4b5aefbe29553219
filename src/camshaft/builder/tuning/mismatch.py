"""Whether a kernel's result lies within the bounds of `error_bounds`, block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import numpy as np

from camshaft.builder.tuning.error_bounds import SUM, Interval, bounds, steps_inside
from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.types import dtype_of

BLOCK = 1 << 17
"""Most elements whose bounds are in memory at a time."""

Block = tuple[slice, ...]


def mismatch(
    got: np.ndarray,
    expected: np.ndarray,
    expr: Expr,
    inputs: Sequence[Interval],
    *,
    stepped: bool = False,
) -> str:
    """What distinguishes a result from the reference's beyond what is allowed, or "".

    expr, inputs: how the result came about, and within which bounds its operands (which broadcast
    to the result's shape) are known.  Only elements that differ from `expected` are looked at.
    Without a step function (a quantization, say) inside the expression or before it (`stepped`), and without
    sin and cos, of which large arguments may be off by a good part of a period,
    8 bits may be off by one quantum and floats by `SUM` of the largest magnitude at most (half floats by
    one of its steps more), whatever the bounds.  Where the expected value is not finite, or an operand may have
    overflowed, the bounds alone count.  Blocks of the arrays are looked at one after another, so that it
    takes little memory.
    """
    if got.dtype != expected.dtype or got.shape != expected.shape:
        return f"{got.dtype}{got.shape} instead of {expected.dtype}{expected.shape}"
    got, expected = np.atleast_1d(got), np.atleast_1d(expected)
    is_narrow = not stepped and not steps_inside(expr) and not _has_waves(expr)
    reach: float | None = None
    wrong, first = 0, ""
    for block in _blocks(got.shape):
        found, value = got[block], expected[block]
        differs = found != value
        if dtype_of(got).is_float:
            differs &= ~(np.isnan(found) & np.isnan(value))
        if not differs.any():
            continue
        reach = _reach(expected) if is_narrow and reach is None else reach
        known = [_picked(x, got.shape, block, differs) for x in inputs]
        count, where, text = _outside(found[differs], value[differs], expr, known, reach)
        if count and not wrong:
            place = (int(axis[where]) for axis in np.nonzero(differs))
            starts = [s.start for s in block] + [0] * (got.ndim - len(block))
            place_text = ",".join(str(s + n) for s, n in zip(starts, place, strict=True))
            first = f"the first at [{place_text}]: {text}"
        wrong += count
    return f"{wrong} of {got.size} elements are off, {first}" if wrong else ""


def _outside(
    found: np.ndarray,
    value: np.ndarray,
    expr: Expr,
    known: Sequence[Interval],
    reach: float | None,
) -> tuple[int, int, str]:
    """How many elements lie outside their bounds, the first of them, and what it is instead.

    found, value: what a kernel and the reference give, flat.  reach: as of `_reach`, None where
    bounds alone count.
    """
    allowed = bounds(expr, known)
    low, high = (np.broadcast_to(end, found.shape) for end in allowed.ends)
    if reach is not None:
        low, high = _narrowed(low, high, value, reach)
    is_float = dtype_of(found).is_float
    wide = found.astype(np.float64) if is_float else found
    inside = (wide >= low) & (wide <= high)
    if is_float:
        inside &= ~np.isnan(value)
    inside |= allowed.unknown
    wrong = np.flatnonzero(~inside)
    if not wrong.size:
        return 0, 0, ""
    n = int(wrong[0])
    return wrong.size, n, f"{found[n]} is not in {low[n]:.9g} .. {high[n]:.9g}"


def _picked(x: Interval, shape: tuple[int, ...], block: Block, where: np.ndarray) -> Interval:
    low, high = (np.broadcast_to(end, shape)[block][where] for end in x.ends)
    return Interval(low, high, x.dtype, np.broadcast_to(x.unknown, shape)[block][where])


def _blocks(shape: tuple[int, ...]) -> Iterator[Block]:
    """Slices that cut an array of this shape into blocks of at most BLOCK elements."""
    axis = next((i for i in range(len(shape)) if prod(shape[i + 1 :]) <= BLOCK), len(shape))
    if axis == len(shape):
        yield ()
        return
    step = max(1, BLOCK // max(1, prod(shape[axis + 1 :])))
    for outer in np.ndindex(*shape[:axis]):
        leading = tuple(slice(n, n + 1) for n in outer)
        for start in range(0, shape[axis], step):
            yield (*leading, slice(start, start + step))


def _reach(expected: np.ndarray) -> float:
    """How far a float may be from what is expected: SUM of the largest magnitude (and a step)."""
    dtype = dtype_of(expected)
    if not dtype.is_float:
        return 0.0
    blocks = (expected[block] for block in _blocks(expected.shape))
    largest = max(
        float(np.max(np.abs(b[np.isfinite(b)].astype(np.float64)), initial=1e-6)) for b in blocks
    )
    return (SUM + (dtype.step if dtype.bits <= 16 else 0)) * largest


def _narrowed(
    low: np.ndarray, high: np.ndarray, value: np.ndarray, reach: float
) -> tuple[np.ndarray, np.ndarray]:
    """The bounds, no further from what is expected than one quantum, or `reach`."""
    if dtype_of(value).is_float:
        value = value.astype(np.float64)
        least = np.where(value == np.inf, -np.inf, value - reach)
        most = np.where(value == -np.inf, np.inf, value + reach)
        return np.maximum(low, least), np.minimum(high, most)
    if value.dtype.kind == "b" or value.dtype.itemsize > 1:
        return low, high
    wide = value.astype(np.int64)
    return np.maximum(low.astype(np.int64), wide - 1), np.minimum(high.astype(np.int64), wide + 1)


def _has_waves(e: Expr) -> bool:
    return any(x.op in ("sin", "cos") for x in E.nodes(e))
