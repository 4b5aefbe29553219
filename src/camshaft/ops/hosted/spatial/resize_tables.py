"""One axis of a Resize: which elements of the input make each element of the result, by what weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from camshaft.errors import ModelError

Array = np.ndarray
_KEPT = 32
"""Tables that are kept for the next call, which often has the same sizes."""

COORDINATES = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
    "tf_half_pixel_for_nn",
    "tf_crop_and_resize",
)
NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil", "simple")


@dataclass(frozen=True)
class Axis:
    """One axis: its extents, the scale (computed or given), and the part of it that is looked at."""

    size: int
    out: int
    scale: float
    start: float = 0.0
    end: float = 1.0

    @property
    def unchanged(self) -> bool:
        """Whether it stays as it is."""
        return self.out == self.size and self.scale == 1 and (self.start, self.end) == (0, 1)


@dataclass(frozen=True)
class Sampling:
    """The attributes of a Resize that say what is read where."""

    mode: str
    coordinates: str
    nearest: str
    cubic: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False
    outside: float = 0.0

    @property
    def spreads(self) -> bool:
        """Whether the number of taps hangs on the scale."""
        return self.antialias and self.mode != "nearest"


@dataclass(frozen=True)
class Table:
    """index i64 [out, taps], within the axis; weight f64 [out, taps], None where elements are copied.
    Not to be written to."""

    index: Array
    weight: Array | None


@lru_cache(maxsize=_KEPT)
def table_of(axis: Axis, sampling: Sampling) -> Table:
    """The table of an axis.  ModelError where its elements would be made of nothing."""
    if axis.size:
        return _table(axis, places(axis, sampling.coordinates), sampling)
    if axis.out:
        raise ModelError(f"an axis without elements cannot be resized to {axis.out}")
    return Table(*np.zeros((2, 0, 4 if sampling.mode == "cubic" else 2), np.int64))


@lru_cache(maxsize=_KEPT)
def narrow_table(axis: Axis, sampling: Sampling) -> tuple[Array, Array]:
    """Index and weight of a table as i32 and f32.  Not to be written to."""
    table = table_of(axis, sampling)
    weight = np.ones((1, 1)) if table.weight is None else table.weight
    return table.index.astype(np.int32), weight.astype(np.float32)


def _table(axis: Axis, at: Array, sampling: Sampling) -> Table:
    """at: `places` of the axis."""
    if sampling.mode == "nearest":
        return Table(_nearest(at, axis, sampling.nearest)[:, None], None)
    at = at.astype(np.float64)
    if sampling.spreads:
        return _spread(at, axis, sampling)
    if sampling.mode == "linear":
        at = np.clip(at, 0, axis.size - 1)
        low = np.floor(at)
        taps = low.astype(np.int64)[:, None] + np.arange(2)
        share = np.stack([1 - (at - low), at - low], 1)
        return Table(np.minimum(taps, axis.size - 1), share)
    taps = np.floor(at).astype(np.int64)[:, None] + np.arange(-1, 3)
    return _weighted(taps, _keys(np.abs(taps - at[:, None]), sampling.cubic), axis, sampling)


def _spread(at: Array, axis: Axis, sampling: Sampling) -> Table:
    """Antialiased: the kernel is as much wider as the axis shrinks."""
    shrink = min(axis.scale, 1.0)
    support = (1 if sampling.mode == "linear" else 2) / shrink
    first = np.floor(at - support).astype(np.int64)
    taps = first[:, None] + np.arange(int(np.ceil(2 * support)) + 2)
    distance = np.abs(taps - at[:, None]) * shrink
    linear = sampling.mode == "linear"
    share = np.maximum(0, 1 - distance) if linear else _keys(distance, sampling.cubic)
    return _weighted(taps, share, axis, sampling)


def _weighted(taps: Array, share: Array, axis: Axis, sampling: Sampling) -> Table:
    """Shares that sum to 1; what lies beyond the border reads the element there, or weighs nothing."""
    if sampling.exclude_outside:
        share = np.where((taps >= 0) & (taps < axis.size), share, 0)
    return Table(np.clip(taps, 0, axis.size - 1), share / share.sum(1, keepdims=True))


def places(axis: Axis, coordinates: str) -> Array:
    """Where in the input each element of the result lies, in f32 as runtimes compute it."""
    out = np.arange(axis.out, dtype=np.float32)
    scale, size, count = np.float32(axis.scale), np.float32(axis.size), axis.out
    half = np.float32(0.5)
    if coordinates == "asymmetric":
        return out / scale
    if coordinates == "pytorch_half_pixel":
        return (out + half) / scale - half if count > 1 else np.zeros_like(out)
    if coordinates == "align_corners":
        return out * (size - 1) / np.float32(count - 1) if count > 1 else np.zeros_like(out)
    if coordinates == "tf_half_pixel_for_nn":
        return (out + half) / scale
    if coordinates == "tf_crop_and_resize":
        start, end = np.float32(axis.start), np.float32(axis.end)
        if count <= 1:
            return np.full_like(out, half * (start + end) * (size - 1))
        return start * (size - 1) + out * (end - start) * (size - 1) / np.float32(count - 1)
    at = (out + half) / scale - half
    if coordinates == "half_pixel_symmetric":
        adjustment = np.float32(count) / (scale * size)
        at = at + size / 2 * (1 - adjustment)
    return at


def _nearest(at: Array, axis: Axis, rule: str) -> Array:
    if rule == "simple":
        rule = "ceil" if axis.scale < 1 else "floor"
    if rule == "round_prefer_floor":
        index = np.ceil(at - np.float32(0.5))
    elif rule == "round_prefer_ceil":
        index = np.floor(at + np.float32(0.5))
    else:
        index = np.floor(at) if rule == "floor" else np.ceil(at)
    return np.clip(index, 0, axis.size - 1).astype(np.int64)


def _keys(d: Array, a: float) -> Array:
    """Keys 1981, of distances d >= 0."""
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0))
