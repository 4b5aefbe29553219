"""Where the elements of a resized axis come from: source positions and weights, as expressions.

The formulas serve both kinds of extents: evaluated while the graph is built where they are ints,
computed by the graph itself where they are open.  Everything is computed in f64, operation by
operation, so both give the same bits.  Formulas and names are those of ONNX's Resize.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.extents.extent import Extent
from camshaft.ir.types import f32, f64, i32

POSITION, TAP = E.inp(0), E.inp(1)
"""What the expressions read, both f64: the element's number in the result, the tap's number."""


@dataclass(frozen=True)
class Axis:
    """One axis: its extent before and after, and the scale, which need not be their ratio.

    scale: a number, or an expression of extents; None where it is their ratio, out / size, which is
    known when sizes are set.
    """

    size: Extent
    out: Extent
    scale: float | Expr | None

    @property
    def unchanged(self) -> bool:
        """Whether it stays as it is."""
        return self.size == self.out and self.scale == 1.0

    @property
    def is_ratio(self) -> bool:
        """Whether the scale is out / size."""
        if self.scale is None:
            return True
        if not isinstance(self.size, int) or not isinstance(self.out, int) or not self.size:
            return False
        return not isinstance(self.scale, Expr) and 0 < self.scale == self.out / self.size

    @property
    def factor(self) -> Expr:
        """The scale."""
        if self.scale is None:
            return E.div(number(self.out), number(self.size))
        return self.scale if isinstance(self.scale, Expr) else number(self.scale)


@dataclass(frozen=True)
class Sampling:
    """Where a result's element lies in the source, and what is read there.

    mode: "nearest", "linear" (bilinear over two axes), or "cubic" (Keys 1981).
    coordinates: how position i of n becomes a position in the source: "half_pixel" (pixels are areas;
        PyTorch's align_corners=False), "align_corners", "asymmetric" (i / scale),
        "pytorch_half_pixel" (0 where the result has one element), "half_pixel_symmetric",
        "tf_half_pixel_for_nn".
    nearest: rounding of "nearest": "round_prefer_floor", "round_prefer_ceil", "floor", "ceil", or
        "simple", down, but up where the axis shrinks.
    cubic_coeff_a: the kernel's parameter.  exclude_outside: elements beyond the border weigh nothing,
        instead of reading the border.
    antialias: where an axis shrinks, "linear" and "cubic" read all pixels that an element covers.
    """

    mode: str = "nearest"
    coordinates: str = "half_pixel"
    nearest: str = "round_prefer_floor"
    cubic_coeff_a: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False


NEAREST = Sampling()
IDENTITY = Sampling("nearest", "asymmetric", "floor")
"""Of an axis that keeps its extent: every element is itself."""


@dataclass(frozen=True)
class Table:
    """Source positions i32 and weights f32 of each of `taps` taps, over POSITION and TAP."""

    index: Expr
    weight: Expr
    taps: int

    def arrays(self, out: int) -> tuple[np.ndarray, np.ndarray]:
        """[out, taps] positions and weights; no extent may be open."""
        at = np.arange(out, dtype=np.float64)[:, None]
        tap = np.arange(self.taps, dtype=np.float64)
        made = (E.evaluate(e, [at, tap]) for e in (self.index, self.weight))
        index, weight = (np.ascontiguousarray(np.broadcast_to(a, (out, self.taps))) for a in made)
        return index, weight


def table_of(axis: Axis, sampling: Sampling) -> Table:
    """The table of one axis; ModelError for a mode that does not exist."""
    at = coordinates_of(axis, sampling.coordinates)
    if sampling.mode == "nearest":
        return nearest_table(at, axis, sampling.nearest)
    if sampling.mode == "linear":
        return linear_table(at, axis.size)
    return cubic_table(at, axis.size, sampling.cubic_coeff_a, sampling.exclude_outside)


def coordinates_of(axis: Axis, mode: str) -> Expr:
    """The source coordinate of POSITION, as the ONNX operator's document computes it."""
    half, scale, out = number(0.5), axis.factor, number(axis.out)
    pixel = _unscaled(E.add(POSITION, half), axis)
    if mode == "half_pixel":
        return E.sub(pixel, half)
    if mode == "pytorch_half_pixel":
        return _unless_single(axis.out, E.sub(pixel, half))
    if mode == "half_pixel_symmetric":
        size = number(axis.size)
        adjustment = E.div(out, E.mul(scale, size))
        offset = E.mul(E.div(size, number(2)), E.sub(number(1), adjustment))
        return E.sub(E.add(offset, pixel), half)
    if mode == "align_corners":
        reach = E.mul(POSITION, number(axis.size - 1))
        if axis.out == 1:
            return number(0)
        last = E.maximum(number(axis.out - 1), number(1))
        return _unless_single(axis.out, E.div(reach, last))
    if mode == "asymmetric":
        return _unscaled(POSITION, axis)
    if mode == "tf_half_pixel_for_nn":
        return pixel
    raise ModelError(f"unknown coordinate_transformation_mode {mode!r}")


def _unscaled(position: Expr, axis: Axis) -> Expr:
    """position / scale; with one rounding where the scale is a ratio of extents, so that what lies in the
    middle of two pixels is found there."""
    if axis.is_ratio:
        return E.div(E.mul(position, number(axis.size)), number(axis.out))
    return E.div(position, axis.factor)


def nearest_table(at: Expr, axis: Axis, mode: str) -> Table:
    """One tap: the pixel that `mode` rounds to.  "simple": down, or up where the axis shrinks."""
    down, up, half = E.unary("floor", at), E.unary("ceil", at), number(0.5)
    shrinks = E.binary("lt", axis.factor, number(1))
    rounded = {
        "round_prefer_floor": E.unary("ceil", E.sub(at, half)),
        "round_prefer_ceil": E.unary("floor", E.add(at, half)),
        "floor": down,
        "ceil": up,
        "simple": E.select(shrinks, up, down),
    }
    if mode not in rounded:
        raise ModelError(f"unknown nearest_mode {mode!r}")
    return Table(_index(rounded[mode], axis.size), E.const(1.0), 1)


def linear_table(at: Expr, size: Extent) -> Table:
    """Two taps; beyond the border the border pixel."""
    at = _clipped(at, size)
    low = E.unary("floor", at)
    fraction = E.sub(at, low)
    is_first = E.binary("eq", TAP, number(0))
    weight = E.select(is_first, E.sub(number(1), fraction), fraction)
    return Table(_index(E.add(low, TAP), size), E.cast(weight, f32), 2)


def cubic_table(at: Expr, size: Extent, a: float, exclude_outside: bool) -> Table:
    """Four taps of Keys' cubic convolution kernel with parameter `a` (1981).

    Taps beyond the border read the border pixel, or with `exclude_outside` weigh nothing.
    """
    low = E.unary("floor", at)

    def position(tap: Expr) -> Expr:
        return E.add(low, E.sub(tap, number(1)))

    def weight(tap: Expr) -> Expr:
        value = keys(E.unary("abs", E.sub(at, position(tap))), a)
        if not exclude_outside:
            return value
        here = position(tap)
        exists = E.binary("and", *(E.binary("le", x, y) for x, y in (
            (number(0), here), (here, number(size - 1)))))  # fmt: skip
        return E.select(exists, value, number(0))

    total = weight(TAP)
    if exclude_outside:
        total = E.div(total, reduce(E.add, (weight(number(n)) for n in range(4))))
    return Table(_index(position(TAP), size), E.cast(total, f32), 4)


def keys(distance: Expr, a: float) -> Expr:
    """The cubic kernel at a distance of 0 or more."""
    c: Callable[[float], Expr] = number
    square = E.mul(distance, distance)
    near = E.add(E.mul(E.sub(E.mul(c(a + 2), distance), c(a + 3)), square), c(1))
    inner = E.add(E.mul(E.sub(E.mul(c(a), distance), c(5 * a)), distance), c(8 * a))
    far = E.sub(E.mul(inner, distance), c(4 * a))
    is_near, is_far = (E.binary(op, distance, c(n)) for op, n in (("le", 1), ("lt", 2)))
    return E.select(is_near, near, E.select(is_far, far, c(0)))


def _unless_single(out: Extent, at: Expr) -> Expr:
    """0 where the result has one element, else `at`."""
    return E.select(E.binary("eq", number(out), number(1)), number(0), at)


def _clipped(x: Expr, size: Extent) -> Expr:
    return E.minimum(E.maximum(x, number(0)), number(size - 1))


def _index(x: Expr, size: Extent) -> Expr:
    return E.cast(_clipped(x, size), i32)


def number(value: float | Extent) -> Expr:
    """A number or an extent in f64, in which positions are computed."""
    return E.const(value, f64) if isinstance(value, int | float) else E.extent(value, f64)
