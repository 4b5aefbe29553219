"""What a spec's kernel is expected to compute on given operands, and how far it may be off.

The reference of the spec's op up to its expression gives the operands of the expression with their
bounds; `error_bounds` does the rest.  Sums of integers are exact, sums of floats are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from camshaft.backends.base import KernelSpec
from camshaft.builder.spec_attrs import attrs_of_op
from camshaft.builder.tuning.error_bounds import SUM, Interval, bounds, steps_inside
from camshaft.builder.tuning.mismatch import mismatch
from camshaft.ir.attrs import expr_attr
from camshaft.ir.expr import Expr
from camshaft.ir.op import Attrs, OpDef, Rounding
from camshaft.ir.types import dtype_of, type_of
from camshaft.ops import OPS_BY_NAME
from camshaft.ops.common import IDENTITY, apply_epilogue

_MARGIN = 1024.0
"""How much larger than the sum of all terms' magnitudes a kernel's numbers may get (Winograd's transforms)."""


@dataclass(frozen=True)
class Reference:
    """The reference's value of one output, and the expression and bounds it came from.

    stepped: whether a step function, or what magnifies differences, stands before the expression.
    """

    value: np.ndarray
    expr: Expr
    inputs: tuple[Interval, ...]
    stepped: bool = False

    def check(self, got: np.ndarray) -> str:
        """What is wrong with a kernel's result, or ""."""
        return mismatch(got, self.value, self.expr, self.inputs, stepped=self.stepped)


def references(spec: KernelSpec, arrays: Sequence[np.ndarray]) -> list[Reference]:
    """What each output of `spec` should be.  arrays: all operands, constants included."""
    op = OPS_BY_NAME[spec.op]
    attrs = attrs_of_op(spec)
    if op.expression is None:
        error = _error(op, arrays, attrs)
        values = [np.asarray(a) for a in op.reference(arrays, attrs)]
        inner = op.inner_rounding(arrays, attrs)
        found = [_sums(op, v, error, arrays, attrs, n) for n, v in enumerate(values)]
        if inner is not None:
            found = [k.widened(by) for k, by in zip(found, inner, strict=True)]
        loose = inner is not None
        return [Reference(v, IDENTITY, (k,), loose) for v, k in zip(values, found, strict=True)]
    if not op.anchors:
        (value,) = op.reference(arrays, attrs)
        known = tuple(Interval.around(a) for a in arrays)
        return [Reference(value, expr_attr(spec, op.expression), known)]
    (anchor,) = op.reference(arrays, {**attrs, "epilogue": IDENTITY})
    first = _anchor(op, np.asarray(anchor), arrays, attrs)
    inner = op.inner_rounding(arrays, attrs)
    if inner is not None:
        first = first.widened(*inner)
    operands = arrays[op.own_inputs(attrs) :]
    value = apply_epilogue(np.asarray(anchor), operands, attrs)
    known = (first, *(Interval.around(a) for a in operands))
    stepped = inner is not None or steps_inside(expr_attr(spec, "prologue", IDENTITY))
    return [Reference(value, expr_attr(spec, "epilogue", IDENTITY), known, stepped)]


def _error(op: OpDef, arrays: Sequence[np.ndarray], attrs: Attrs) -> float:
    """How far a float result before the epilogue may be off, of the largest of its elements."""
    exact = op.rounding([type_of(a) for a in arrays], attrs) is Rounding.EXACT
    return 0.0 if exact else SUM


def _known(value: np.ndarray, error: float) -> Interval:
    """A value known to `error` of its largest magnitude (integers exactly)."""
    if not dtype_of(value).is_float:
        return Interval.around(value)
    finite = np.abs(value[np.isfinite(value)]).astype(np.float64)
    return Interval.around(value, error * float(np.max(finite, initial=1e-6)))


def _anchor(op: OpDef, value: np.ndarray, arrays: Sequence[np.ndarray], attrs: Attrs) -> Interval:
    """What enters the epilogue."""
    types = [type_of(a) for a in arrays]
    if attrs.get("prologue", IDENTITY) != IDENTITY and op.increasing(types, attrs):
        return _through(op, value, arrays, attrs)
    error = _error(op, arrays, attrs)
    if error and all(t.dtype.is_int for t in types[: op.anchors]):
        step = dtype_of(value).step
        return Interval.around(value, 4 * step * np.abs(value))  # exact sums, scaled
    return _sums(op, value, error, arrays[: op.own_inputs(attrs)], attrs)


def _sums(
    op: OpDef,
    value: np.ndarray,
    error: float,
    arrays: Sequence[np.ndarray],
    attrs: Attrs,
    output: int = 0,
) -> Interval:
    """As `_known`, and what is not known because sums may overflow.  arrays: the op's own operands.  output: the
    number of the output that the value is."""
    known = _known(value, error)
    if not error or not known.dtype.is_float:
        return known
    return replace(known, unknown=_overflowing(op, value, arrays, attrs, output))


def _overflowing(
    op: OpDef, value: np.ndarray, arrays: Sequence[np.ndarray], attrs: Attrs, output: int
) -> np.ndarray:
    """Where the finite terms of a float sum may overflow in a kernel, which adds and scales in its own order.

    value: what `op` gives before its epilogue.  The sum of the terms' magnitudes decides; it is
    taken only if a sum is so large that larger ones may have cancelled.
    """
    largest = dtype_of(value).accumulator.largest
    finite = np.isfinite(value)
    most = float(np.max(np.abs(value.astype(np.float64)), initial=0.0, where=finite))
    if most * _MARGIN**2 < largest and finite.all():
        return np.zeros((), bool)
    bare = {**attrs, "epilogue": IDENTITY} if op.expression is not None else attrs
    terms = [_magnitudes(a) if dtype_of(a).is_float else a for a in arrays]
    total = np.abs(np.asarray(op.reference(terms, bare)[output]).astype(np.float64))
    unknown = ~(total * _MARGIN < largest)
    if all(np.isfinite(a).all() for a in arrays if dtype_of(a).is_float):
        unknown |= ~finite
    return np.asarray(unknown)


def _magnitudes(a: np.ndarray) -> np.ndarray:
    """Of finite elements; 0 for others."""
    return np.asarray(np.where(np.isfinite(a), np.abs(a), np.zeros((), a.dtype)))


def _through(op: OpDef, value: np.ndarray, arrays: Sequence[np.ndarray], attrs: Attrs) -> Interval:
    """Bounds of the result of an increasing op: its results for both ends of its prologue's
    bounds."""
    x = arrays[0]
    terms = bounds(attrs["prologue"], [Interval.around(x)])  # type: ignore[arg-type]
    bare = {**attrs, "prologue": IDENTITY, "epilogue": IDENTITY}

    def result(of: np.ndarray) -> np.ndarray:
        return np.asarray(op.reference([np.broadcast_to(of, x.shape)], bare)[0])

    low, high = map(result, terms.ends)
    unknown = np.zeros((), bool)
    if terms.unknown.any():  # of any term that a result is the largest or least of
        marks = terms.unknown.astype(np.float32)
        unknown = np.asarray((result(marks) > 0) | (result(-marks) < 0))
    if not dtype_of(value).is_float:
        return Interval(low, high, dtype_of(value), unknown)
    slack = _known(value, _error(op, arrays, attrs))
    return Interval(
        np.minimum(low, slack.low),
        np.maximum(high, slack.high),
        dtype_of(value),
        unknown,
    )
