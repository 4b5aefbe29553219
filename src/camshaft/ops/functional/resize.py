"""Resize: every separable one becomes index and weight tables, one pair an axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.extent import Extent
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ops.common import normal_axis
from camshaft.ops.functional.core import MOST_ELEMENTS, constant, emit, fixed
from camshaft.ops.functional.shape import reshape, transpose
from camshaft.ops.pooling import RESAMPLE

F32 = np.float32


@dataclass(frozen=True)
class Axis:
    """One axis: its extent before and after, and the scale, which need not be their ratio."""

    size: int
    out: int
    scale: float

    @property
    def unchanged(self) -> bool:
        return self.size == self.out and self.scale == 1.0


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
    The names and formulas are those of ONNX's Resize.
    """

    mode: str = "nearest"
    coordinates: str = "half_pixel"
    nearest: str = "round_prefer_floor"
    cubic_coeff_a: float = -0.75
    exclude_outside: bool = False


def resize(
    builder: GraphBuilder,
    x: Tensor,
    *,
    sizes: Sequence[int] | None = None,
    scales: Sequence[float] | np.ndarray | None = None,
    axes: Sequence[int] | None = None,
    sampling: Sampling = Sampling(),
    keep_aspect_ratio: str = "stretch",
    output: str | None = None,
) -> Tensor:
    """x with other extents along `axes` (all where None); x itself where nothing changes.

    sizes: the new extents, or scales: f32 factors, of which the extents are the whole parts.  With sizes,
    keep_aspect_ratio "not_larger" or "not_smaller" uses one scale for all axes, "stretch" one for each.
    Of any rank and element type; integers are computed in f32 and truncated.
    Raises ModelError where arguments do not fit or nothing would be left.
    """
    if (sizes is None) == (scales is None):
        raise ModelError("either sizes or scales must be given")
    rank = x.type.rank
    chosen = range(rank) if axes is None else [normal_axis(a, rank) for a in axes]
    if scales is not None:
        given = _from_scales(x, chosen, np.asarray(scales, F32))
    else:
        given = _from_sizes(x, chosen, sizes or (), keep_aspect_ratio)
    if sampling.mode not in ("nearest", "linear", "cubic"):
        raise ModelError(f"unknown resize mode {sampling.mode!r}")
    outs = [given[a].out if a in given else d for a, d in enumerate(x.shape)]
    if 0 in x.shape or any(d < 1 for d in outs):
        raise ModelError(f"resizing {x.type} to {outs} leaves nothing")
    if prod(d for d in outs if isinstance(d, int)) > MOST_ELEMENTS:
        raise ModelError(f"resizing {x.type} to {outs} is out of proportion")
    tables = {a: table_of(g, sampling) for a, g in sorted(given.items()) if not g.unchanged}
    return _resampled(builder, x, outs, tables, output) if tables else x


def _from_scales(x: Tensor, axes: Sequence[int], scales: np.ndarray) -> dict[int, Axis]:
    """What becomes of each of `axes`; those of scale 1 stay and are left out."""
    if scales.size != len(axes) or not np.all(np.isfinite(scales)) or np.any(scales <= 0):
        raise ModelError(f"scales {scales.tolist()} do not fit axes {list(axes)}")
    factors = {a: s for a, s in zip(axes, scales.reshape(-1), strict=True) if s != 1}
    extents = fixed([x.shape[a] for a in factors], "resized extents")
    return {
        a: Axis(d, int(np.floor(F32(d) * s)), float(s))
        for d, (a, s) in zip(extents, factors.items(), strict=True)
    }


def _from_sizes(
    x: Tensor, axes: Sequence[int], sizes: Sequence[int], keep_aspect_ratio: str
) -> dict[int, Axis]:
    """What becomes of each of `axes`."""
    if len(sizes) != len(axes) or min(sizes, default=1) < 1 or 0 in x.shape:
        raise ModelError(f"sizes {list(sizes)} do not fit axes {list(axes)} of shape {x.shape}")
    extents = fixed([x.shape[a] for a in axes], "resized extents")
    if keep_aspect_ratio == "stretch":
        scaled = zip(axes, extents, sizes, strict=True)
        return {a: Axis(d, size, size / d) for a, d, size in scaled}
    if keep_aspect_ratio not in ("not_larger", "not_smaller"):
        raise ModelError(f"unknown keep_aspect_ratio {keep_aspect_ratio!r}")
    ratios = [size / d for d, size in zip(extents, sizes, strict=True)]
    scale = min(ratios) if keep_aspect_ratio == "not_larger" else max(ratios)
    return {
        a: Axis(d, int(np.floor(scale * d + 0.5)), scale)
        for a, d in zip(axes, extents, strict=True)
    }


Table = tuple[np.ndarray, np.ndarray]


def table_of(axis: Axis, sampling: Sampling) -> Table:
    """[out, taps] source positions i32 and their weights f32."""
    at = coordinates_of(axis, sampling.coordinates)
    if sampling.mode == "nearest":
        return nearest_table(at, axis.size, sampling.nearest, axis.scale)
    if sampling.mode == "linear":
        return linear_table(at, axis.size)
    return cubic_table(at, axis.size, sampling.cubic_coeff_a, sampling.exclude_outside)


def _resampled(
    builder: GraphBuilder,
    x: Tensor,
    outs: Sequence[Extent],
    tables: Mapping[int, Table],
    output: str | None,
) -> Tensor:
    """x resampled along the axes that have tables, two axes at once where they are an image's."""
    changed = list(tables)
    if x.type.rank == 4 and set(changed) <= {1, 2} and changed != [1]:  # channels last
        turned = transpose(builder, x, (0, 3, 1, 2))
        y = _sample(builder, turned, tables.get(1), tables.get(2))
        return transpose(builder, y, (0, 2, 3, 1), output=output)
    if x.type.rank == 4 and set(changed) <= {2, 3}:
        return _sample(builder, x, tables.get(2), tables.get(3), output)
    y = x
    for a in changed:
        parts = (prod(y.shape[:a]), 1, y.shape[a], prod(y.shape[a + 1 :]))
        y = _sample(builder, reshape(builder, y, parts), tables[a], None)
        done = (*outs[: a + 1], *x.shape[a + 1 :])
        y = reshape(builder, y, done, output=output if a == changed[-1] else None)
    return y


def _sample(
    builder: GraphBuilder,
    x: Tensor,
    rows: Table | None,
    cols: Table | None,
    output: str | None = None,
) -> Tensor:
    """x NCHW resampled along H by `rows` and along W by `cols`; None leaves the axis as it is."""
    operands = [x]
    for what, table, extent in (("rows", rows, x.shape[2]), ("cols", cols, x.shape[3])):
        index, weight = table or _identity_table(extent)
        operands.append(constant(builder, index.astype(np.int32), f"{what}.index"))
        operands.append(constant(builder, weight.astype(F32), f"{what}.weight"))
    return emit(builder, RESAMPLE, operands, {"layout": "NCHW"}, output)


def _identity_table(extent: Extent) -> Table:
    (size,) = fixed([extent], "an extent beside resized ones")
    return np.arange(size)[:, None], np.ones((size, 1))


def coordinates_of(axis: Axis, mode: str) -> np.ndarray:
    """[out] source coordinates, as the ONNX operator's document computes them."""
    i = np.arange(axis.out, dtype=np.float64)
    scale, half = axis.scale, 0.5
    if mode == "pytorch_half_pixel" and axis.out == 1:
        return np.zeros(1)
    if mode in ("half_pixel", "pytorch_half_pixel"):
        return (i + half) / scale - half
    if mode == "half_pixel_symmetric":
        adjustment = axis.out / (scale * axis.size)
        offset = axis.size / 2 * (1 - adjustment)
        return offset + (i + half) / scale - half
    if mode == "align_corners":
        if axis.out == 1:
            return np.zeros(1)
        return i * (axis.size - 1) / (axis.out - 1)
    if mode == "asymmetric":
        return i / scale
    if mode == "tf_half_pixel_for_nn":
        return (i + half) / scale
    raise ModelError(f"unknown coordinate_transformation_mode {mode!r}")


def nearest_table(at: np.ndarray, size: int, mode: str, scale: float) -> Table:
    """One tap: the pixel that `mode` rounds to.  "simple": down, or up where the axis shrinks."""
    rounders = {
        "round_prefer_floor": np.ceil(at - 0.5),
        "round_prefer_ceil": np.floor(at + 0.5),
        "floor": np.floor(at),
        "ceil": np.ceil(at),
        "simple": np.ceil(at) if scale < 1 else np.floor(at),
    }
    if mode not in rounders:
        raise ModelError(f"unknown nearest_mode {mode!r}")
    index = np.clip(rounders[mode], 0, size - 1).astype(np.int32)[:, None]
    return index, np.ones(index.shape, F32)


def linear_table(at: np.ndarray, size: int) -> Table:
    """Two taps; beyond the border the border pixel."""
    at = np.clip(at, 0, size - 1)
    low = np.floor(at)
    index = np.stack([low, np.minimum(low + 1, size - 1)], axis=1).astype(np.int32)
    fraction = at - low
    return index, np.stack([1 - fraction, fraction], axis=1).astype(F32)


def cubic_table(at: np.ndarray, size: int, a: float, exclude_outside: bool) -> Table:
    """Four taps of Keys' cubic convolution kernel with parameter `a` (1981).

    Taps beyond the border read the border pixel, or with `exclude_outside` weigh nothing.
    """
    low = np.floor(at)
    positions = low[:, None] + np.arange(-1, 3)
    distance = np.abs(at[:, None] - positions)
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    weight = np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
    if exclude_outside:
        weight = np.where((positions >= 0) & (positions < size), weight, 0.0)
        weight /= weight.sum(axis=1, keepdims=True)
    return np.clip(positions, 0, size - 1).astype(np.int32), weight.astype(F32)
