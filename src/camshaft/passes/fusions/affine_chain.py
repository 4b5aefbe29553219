"""Chains of per-channel scales and shifts in an expression, and the constants that they become.

A chain is found by the values of its constants.  What it becomes is computed by functions of these constants, so that it can
be computed again where they are weights that change (`ir.recipe`); then only the chain's operators decide
whether there is a scale and a shift, since other weights may be others than 1 and 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from camshaft.ir import expr as E
from camshaft.ir.constants import holds
from camshaft.ir.expr import Expr
from camshaft.ir.graph import Tensor
from camshaft.ir.op import Attr
from camshaft.ir.types import Shape, f32
from camshaft.ops.functional.normalization import LARGE_SHIFT
from camshaft.passes.bodies import Body
from camshaft.passes.fusions.pointwise import per_channel

ABSORBING = 1024.0
"""Largest ratio of a shift to a summand that is added to it: three of seven digits of the summand may be lost."""
ENDS = 1e-30, 1e30
"""Between these lies the largest magnitude of scales, shifts and weights, unless it is 0."""

Value = Callable[[Expr], np.ndarray | None]
"""The per-channel constant that a subexpression stands for, or None."""


@dataclass(frozen=True)
class Affine:
    """`top` equals input * a + b; a and b are [channels] or [1] in float64.  steps: operators.

    scales, shifts: whether operators among them make a other than 1 and b other than 0.
    """

    top: Expr
    a: np.ndarray
    b: np.ndarray
    steps: int
    scales: bool = False
    shifts: bool = False


@dataclass(frozen=True)
class Chain:
    """An affine chain in a body, with the constants that its operators read, in order, and their places among the operands."""

    affine: Affine
    start: Expr
    expr: Expr
    operands: tuple[Tensor, ...]
    places: tuple[int, ...]

    @property
    def changes(self) -> bool:
        """Whether it reads weights that may change."""
        return any(t.changes for t in self.operands)

    @property
    def scales(self) -> bool:
        """Whether the input is multiplied by other than 1, or may be with other weights."""
        return self.affine.scales if self.changes else bool(np.any(self.affine.a != 1.0))

    @property
    def shifts(self) -> bool:
        """Whether other than 0 is added, or may be with other weights."""
        return self.affine.shifts if self.changes else bool(np.any(self.affine.b))

    @property
    def params(self) -> dict[str, Attr]:
        """What `computed` needs besides the constants."""
        return {
            "expr": self.expr, "start": self.start, "steps": self.affine.steps, "places": self.places
        }  # fmt: skip


def chain_in(body: Body, expr: Expr, start: Expr, shape: Shape, axis: int) -> Chain:
    """The longest chain of affine operators on `start` alone in `expr`, over a body's operands."""
    known = [None if t is None else per_channel(t, shape, axis) for t in body.operands]
    found = _leading(expr, start, _values(known, judged=True))
    read = E.used_inputs(found.top)
    places = tuple(i for i, k in enumerate(known) if k is not None and i in read)
    operands = tuple(t for i in places if (t := body.operands[i]) is not None)
    chain = Chain(found, start, expr, operands, places)
    if found.steps:
        shift = max(LARGE_SHIFT, _largest(found.b))
        holds(
            is_within,
            operands,
            "scales and shifts are finite and not too large",
            shift=shift,
            **chain.params,
        )
    return chain


def _leading(expr: Expr, start: Expr, value: Value, steps: int | None = None) -> Affine:
    """steps: how many the chain has, where that has been found; they are not judged again."""
    readers: dict[Expr, list[Expr]] = {}
    for x in E.nodes(expr):
        for arg in x.args:
            readers.setdefault(arg, []).append(x)
    found = Affine(start, np.ones(1), np.zeros(1), 0)
    while steps is None or found.steps < steps:
        if found.top == expr or len(readers.get(found.top, ())) != 1:
            break
        step = _step(found, readers[found.top][0], value, judged=steps is None)
        if step is None:
            break
        found = step
    return found


def _step(x: Affine, reader: Expr, value: Value, *, judged: bool) -> Affine | None:
    if reader.op == "neg":
        return Affine(reader, -x.a, -x.b, x.steps + 1, True, x.shifts)
    if reader.op not in ("add", "sub", "mul", "div"):
        return None
    left = reader.args[0] == x.top
    c = value(reader.args[1 if left else 0])
    if c is None or (reader.op == "div" and (not left or (judged and not np.all(c)))):
        return None
    if reader.op == "mul":
        a, b = x.a * c, x.b * c
    elif reader.op == "div":
        a, b = x.a / c, x.b / c
    elif reader.op == "add":
        a, b = x.a + 0 * c, x.b + c
    else:
        a, b = (x.a + 0 * c, x.b - c) if left else (0 * c - x.a, c - x.b)
    adds = reader.op in ("add", "sub")
    scales = x.scales or not adds or (not left and reader.op == "sub")
    step = Affine(reader, a, b, x.steps + 1, scales, x.shifts or adds)
    return step if not judged or _is_harmless(x, step, c) else None


def _is_harmless(before: Affine, after: Affine, c: np.ndarray) -> bool:
    """Whether `after`, which comes of `before` by one step with the constant c, may stand for both steps."""
    if not (fits(after.a) and fits(after.b)):
        return False
    shift = _largest(before.b)
    if after.top.op in ("add", "sub"):
        return _largest(c) == 0 or shift <= ABSORBING * _largest(c)
    return _largest(after.b) <= max(shift, LARGE_SHIFT)


def _values(known: Sequence[np.ndarray | None], *, judged: bool) -> Value:
    """Per-channel value of a subexpression that reads constants only; judged: and is finite."""

    def value(x: Expr) -> np.ndarray | None:
        if any(known[i] is None for i in E.used_inputs(x)):
            return None
        if any(y.op in ("cast", "extent") for y in E.nodes(x)):
            return None
        arrays = [np.zeros(1) if k is None else k for k in known]
        result = np.asarray(E.evaluate(x, arrays), np.float64).reshape(-1)
        return result if not judged or np.all(np.isfinite(result)) else None

    return value


def _largest(values: np.ndarray) -> float:
    return float(np.abs(values).max(initial=0.0))


def fits(array: np.ndarray) -> bool:
    """Whether the largest magnitude, as float32, is far from the ends of its range, or 0."""
    return _largest(array) == 0 or ENDS[0] <= _largest(array) <= ENDS[1]


# -- constants of a chain: functions of its operands, and of weights before these -----------------------


def computed(
    constants: Sequence[np.ndarray], expr: Expr, start: Expr, steps: int, places: tuple[int, ...]
) -> Affine:
    """The chain of these constants.  Other arguments: `Chain.params`."""
    known: list[np.ndarray | None] = [None] * (max(places, default=-1) + 1)
    for place, array in zip(places, constants, strict=True):
        known[place] = np.asarray(array, np.float64).reshape(-1)
    inputs = E.used_inputs(expr)
    known += [None] * (max(inputs, default=-1) + 1 - len(known))
    with np.errstate(divide="ignore", invalid="ignore"):
        return _leading(expr, start, _values(known, judged=False), steps)


def is_within(*constants: np.ndarray, shift: float, **chain: Attr) -> bool:
    """Whether the chain's scale and shift are finite and within float32, and the shift no larger than `shift`."""
    found = computed(constants, **chain)  # type: ignore[arg-type]
    finite = bool(np.isfinite(found.a).all() and np.isfinite(found.b).all())
    return finite and fits(found.a) and fits(found.b) and _largest(found.b) <= shift


def factor(*constants: np.ndarray, shape: tuple[int, ...], **chain: Attr) -> np.ndarray:
    """The chain's scale as f32, in this shape."""
    return _rounded(computed(constants, **chain).a.reshape(shape))  # type: ignore[arg-type]


def summand(*constants: np.ndarray, shape: tuple[int, ...], **chain: Attr) -> np.ndarray:
    """The chain's shift as f32, in this shape."""
    return _rounded(computed(constants, **chain).b.reshape(shape))  # type: ignore[arg-type]


def bias(*constants: np.ndarray, channels: int, column: bool, **chain: Attr) -> np.ndarray:
    """The chain's shift of each channel as f32; column: [channels, 1, 1]."""
    return _vector(computed(constants, **chain).b, channels, column)  # type: ignore[arg-type]


def scaled_outputs(
    weights: np.ndarray, *constants: np.ndarray, filters: bool, **chain: Attr
) -> np.ndarray:
    """Weights (a convolution's filters [K, ...], or a matrix [.., N]) whose outputs are scaled as the chain does."""
    a = computed(constants, **chain).a  # type: ignore[arg-type]
    return _rounded(weights.astype(np.float64) * (a[:, None, None, None] if filters else a))


def scaled_inputs(
    weights: np.ndarray, *constants: np.ndarray, channels: int, groups: int, layout: str,
    column: bool, **chain: Attr,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Weights in whose input channels the chain's scale is, and what its shift adds to their results.

    layout: of a convolution; "" for a matrix.
    """
    found = computed(constants, **chain)  # type: ignore[arg-type]
    a, b = (np.broadcast_to(v, channels) for v in (found.a, found.b))
    wide = weights.astype(np.float64)
    if layout:
        scaled, shift = _per_input_channel(wide, a, b, groups, nchw=layout == "NCHW")
    else:
        scaled, shift = wide * a[:, None], b @ wide
    return _rounded(scaled), _vector(shift, len(shift), column)


def _per_input_channel(
    weights: np.ndarray, a: np.ndarray, b: np.ndarray, groups: int, *, nchw: bool
) -> tuple[np.ndarray, np.ndarray]:
    """(weights scaled by a along their input channels, sum of weights times b) of a convolution."""
    w = weights.transpose(0, 2, 3, 1) if nchw else weights  # [K,R,S,C/g]
    k = w.shape[0]
    of_filter = np.repeat(np.arange(groups), k // groups)
    scale = a.reshape(groups, -1)[of_filter][:, None, None, :]
    offset = b.reshape(groups, -1)[of_filter][:, None, None, :]
    shift = (w * offset).sum(axis=(1, 2, 3))
    scaled = w * scale
    return (scaled.transpose(0, 3, 1, 2) if nchw else scaled), shift


def _vector(values: np.ndarray, channels: int, column: bool) -> np.ndarray:
    vector = np.broadcast_to(values, channels)
    return _rounded(vector[:, None, None] if column else vector)


def _rounded(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, f32.numpy)
