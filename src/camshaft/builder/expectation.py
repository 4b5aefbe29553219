"""What a spec's kernel is expected to compute on given operands, and how far it may be off.

The reference of the spec's op up to its expression gives the operands of the expression with their
bounds; `agreement` does the rest.  Sums of integers are exact, sums of floats are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from camshaft.backends.base import KernelSpec
from camshaft.builder.agreement import STEP, SUM, Interval, bounds, disagreement, steps_inside
from camshaft.ir.attrs import expr_attr
from camshaft.ir.expr import Expr
from camshaft.ir.op import OpDef
from camshaft.ir.types import dtype_of
from camshaft.ops import OPS_BY_NAME, POINTWISE, REDUCE
from camshaft.ops.common import IDENTITY, apply_epilogue


@dataclass(frozen=True)
class Expectation:
    """The reference's value of one output, and the expression and bounds it came from.

    stepped: whether a step function stands before the expression.
    """

    value: np.ndarray
    expr: Expr
    inputs: tuple[Interval, ...]
    stepped: bool = False

    def problem(self, got: np.ndarray) -> str:
        """What is wrong with a kernel's result, or ""."""
        return disagreement(got, self.value, self.expr, self.inputs, stepped=self.stepped)


def expectations(spec: KernelSpec, arrays: Sequence[np.ndarray]) -> list[Expectation]:
    """What each output of `spec` should be.  arrays: all operands, constants included."""
    op = OPS_BY_NAME[spec.op]
    implied = {"layout": "NHWC"} if "layout" in op.attributes else {}
    attrs = op.complete({**dict(spec.attrs), **implied})
    if op is POINTWISE:
        (value,) = op.reference(arrays, attrs)
        known = tuple(Interval.around(a) for a in arrays)
        return [Expectation(value, expr_attr(spec, "expr"), known)]
    if "epilogue" not in op.attributes:
        values = [np.asarray(a) for a in op.reference(arrays, attrs)]
        error = 0.0 if "movement" in op.traits else SUM
        return [Expectation(v, IDENTITY, (_known(v, error),)) for v in values]
    (anchor,) = op.reference(arrays, {**attrs, "epilogue": IDENTITY})
    first = _anchor(op, np.asarray(anchor), arrays, attrs)
    operands = arrays[op.anchors or 0 :]
    value = apply_epilogue(np.asarray(anchor), operands, attrs)
    known = (first, *(Interval.around(a) for a in operands))
    stepped = steps_inside(expr_attr(spec, "prologue", IDENTITY))
    return [Expectation(value, expr_attr(spec, "epilogue", IDENTITY), known, stepped)]


def _known(value: np.ndarray, error: float) -> Interval:
    """A value known to `error` of its largest magnitude (integers exactly)."""
    if not dtype_of(value).is_float:
        return Interval.around(value)
    finite = np.abs(value[np.isfinite(value)]).astype(np.float64)
    return Interval.around(value, error * float(np.max(finite, initial=1e-6)))


def _anchor(
    op: OpDef, value: np.ndarray, arrays: Sequence[np.ndarray], attrs: Mapping[str, Any]
) -> Interval:
    """What enters the epilogue."""
    kind = attrs.get("kind")
    if op is REDUCE and attrs["prologue"] != IDENTITY and kind != "prod":
        return _reduced(value, arrays[0], attrs)
    if kind in ("max", "min"):
        return _known(value, 0.0)
    if all(dtype_of(a).is_int for a in arrays[: op.anchors]):
        return Interval.around(value, 4 * STEP * np.abs(value))  # exact sums, scaled
    return _known(value, SUM)


def _reduced(value: np.ndarray, x: np.ndarray, attrs: Mapping[str, Any]) -> Interval:
    """A reduction of what a prologue makes of x: sums, maxima and minima of both ends."""
    terms = bounds(attrs["prologue"], [Interval.around(x)])
    bare = {**attrs, "prologue": IDENTITY, "epilogue": IDENTITY}
    low, high = (
        np.asarray(REDUCE.reference([np.broadcast_to(end, x.shape)], bare)[0]) for end in terms.ends
    )
    if not dtype_of(value).is_float:
        return Interval(low, high, dtype_of(value))
    slack = _known(value, SUM if attrs["kind"] == "sum" else 0.0)
    return Interval(np.minimum(low, slack.low), np.maximum(high, slack.high), dtype_of(value))
