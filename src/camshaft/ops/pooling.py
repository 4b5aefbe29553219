"""Pooling windows (max, average), resampling (resize), all with an epilogue.

Max pooling looks at the numbers of a window only: a NaN beside numbers has no effect.  Everything
else hands NaN on; here a compare and choice of both orders would cost 4 to 40 % of the time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.op import (
    Attribute,
    Commutes,
    Int8Form,
    Integers,
    OpDef,
    Operands,
    Reordering,
    Role,
    Rounding,
    Types,
    ValueRange,
)
from camshaft.ir.types import TensorType, dtype_of, f32
from camshaft.ops.common import (
    EPILOGUE,
    IDENTITY,
    LAYOUT,
    PADS,
    apply_epilogue,
    epilogue_type,
    from_nchw,
    spatial,
    window_extent,
)

Attrs = Mapping[str, Any]


def _pool_infer(types: Sequence[TensorType], attrs: Attrs) -> list[TensorType]:
    x = types[0]
    if attrs["kind"] not in ("max", "avg"):
        raise ModelError(f"no pooling kind {attrs['kind']!r}")
    n, c, h, w = spatial(x.shape, attrs["layout"])
    top, left, bottom, right = attrs["pads"]
    extents = [
        window_extent(
            size,
            attrs["kernel"][axis],
            attrs["strides"][axis],
            pads,
            attrs["dilations"][axis],
            attrs["ceil_mode"],
        )
        for axis, (size, pads) in enumerate([(h, (top, bottom)), (w, (left, right))])
    ]
    averaged = x.dtype.accumulator if x.dtype.is_float else f32
    dtype = x.dtype if attrs["kind"] == "max" else averaged
    anchor = TensorType(dtype, from_nchw(n, c, extents[0], extents[1], attrs["layout"]))
    return [epilogue_type(anchor, types[1:], attrs)]


def _taps(size: int, out: int, axis: int, attrs: Attrs) -> np.ndarray:
    """[out, kernel] source positions along one axis, possibly outside 0..size-1."""
    start = np.arange(out) * attrs["strides"][axis] - attrs["pads"][axis]
    return np.asarray(start[:, None] + np.arange(attrs["kernel"][axis]) * attrs["dilations"][axis])


def pool_divisors(size: int, out: int, axis: int, attrs: Attrs) -> np.ndarray:
    """[out] window positions that count for an average along one axis (1-D factor).

    Without count_include_pad only positions inside the image count; with it those inside the
    padded image count too, but never the extra reach of ceil_mode.
    """
    at = _taps(size, out, axis, attrs)
    low, high = 0, size
    if attrs["count_include_pad"]:
        low, high = -attrs["pads"][axis], size + attrs["pads"][axis + 2]
    return np.asarray(((at >= low) & (at < high)).sum(axis=1))


def _pool_nhwc(x: np.ndarray, out: tuple[int, int], attrs: Attrs) -> np.ndarray:
    n, h, w, c = x.shape
    rows, cols = (_taps(s, o, a, attrs) for a, (s, o) in enumerate(zip((h, w), out, strict=True)))
    is_max = attrs["kind"] == "max"
    dtype = dtype_of(x)
    low = -np.inf if dtype.is_float else dtype.range[0]
    zero = attrs["x_zero_point"]
    wide = x if is_max or dtype.is_float else x.astype(np.float32) - np.float32(zero)
    if dtype.is_float and not is_max:  # averages of halves are f32
        wide = x.astype(dtype.accumulator.numpy, copy=False)
    y = np.full((n, *out, c), low if is_max else 0, wide.dtype)
    for r in range(rows.shape[1]):
        for s in range(cols.shape[1]):
            ok = ((rows[:, r] >= 0) & (rows[:, r] < h))[:, None] & (
                (cols[:, s] >= 0) & (cols[:, s] < w)
            )
            ri, ci = np.clip(rows[:, r], 0, h - 1), np.clip(cols[:, s], 0, w - 1)
            part = wide[:, ri[:, None], ci[None, :], :]
            if is_max:
                y = np.where(ok[None, :, :, None], np.fmax(y, part), y)
            else:
                y = y + np.where(ok[None, :, :, None], part, 0).astype(wide.dtype)
    if is_max:
        return y
    per_row = pool_divisors(h, out[0], 0, attrs)
    per_col = pool_divisors(w, out[1], 1, attrs)
    count = per_row[:, None] * per_col
    return np.asarray(y / np.maximum(count, 1)[None, :, :, None], wide.dtype)


def _pool_reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> list[np.ndarray]:
    x = arrays[0]
    bare = {**attrs, "epilogue": IDENTITY}
    (anchor,) = _pool_infer([TensorType(dtype_of(x), x.shape)], bare)
    _, _, oh, ow = spatial(anchor.static, attrs["layout"])
    if attrs["layout"] == "NHWC":
        y = _pool_nhwc(x, (oh, ow), attrs)
    else:
        y = _pool_nhwc(x.transpose(0, 2, 3, 1), (oh, ow), attrs).transpose(0, 3, 1, 2)
    return [apply_epilogue(np.ascontiguousarray(y), arrays[1:], attrs)]


def _pool_range(operands: Operands, attrs: Attrs) -> ValueRange | None:
    if not operands.types[0].dtype.is_float:
        return None
    low, high = operands.range_of(0)
    padded = attrs["kind"] == "avg" and attrs["count_include_pad"]
    return (min(low, 0.0), max(high, 0.0)) if padded else (low, high)


def _is_max(types: Types, attrs: Attrs) -> bool:
    return bool(attrs["kind"] == "max")


def _averaged(types: Types, output: TensorType, attrs: Attrs) -> tuple[int, ...]:
    """What an average takes as bytes (a maximum commutes with quantization)."""
    return (0,) if attrs["kind"] == "avg" else ()


def _of_whole_images(types: Types, output: TensorType, attrs: Attrs) -> bool:
    n, c, _, _ = spatial(output.shape, attrs["layout"])
    return bool(output.size == n * c)


POOL = OpDef(
    "pool",
    "Maximum or mean of each window of images x.  The mean of 8-bit integers is one of "
    "x - x_zero_point, as f32; that of half floats is f32.",
    _pool_infer,
    _pool_reference,
    {
        "kind": Attribute('"max" or "avg"'),
        "kernel": Attribute("height and width of the window"),
        "strides": Attribute("of the window, along height and width", (1, 1)),
        "pads": PADS,
        "dilations": Attribute("distance of the window's pixels", (1, 1)),
        "ceil_mode": Attribute("whether a last, partial window counts", False),
        "count_include_pad": Attribute("whether a mean counts the padding, as zeros", False),
        "layout": LAYOUT,
        "x_zero_point": Attribute("integer subtracted from x by an average", 0),
        "epilogue": EPILOGUE,
    },
    "pooling",
    anchors=1,
    reordering=Reordering((Role.IMAGE, Role.BROADCAST)),
    commutes=Commutes(_is_max, 'if kind is "max" and the scale is above 0', ordered=True),
    int8=Int8Form(_averaged),
    statistic=_of_whole_images,
    macs=lambda types, output, attrs: types[0].size,
    rounding=lambda types, attrs: Rounding.EXACT if _is_max(types, attrs) else Rounding.SUMS,
    increasing=lambda types, attrs: True,
    value_range=_pool_range,
)


def _resample_infer(types: Sequence[TensorType], attrs: Attrs) -> list[TensorType]:
    x, iy, wy, ix, wx = types[:5]
    n, c, _, _ = spatial(x.shape, attrs["layout"])
    fits = all(
        i.rank == 2 and w.shape in (i.shape, (1, i.shape[1])) for i, w in ((iy, wy), (ix, wx))
    )
    if not fits:
        raise ModelError(f"resample tables {iy},{wy} and {ix},{wx} do not match")
    shape = from_nchw(n, c, iy.shape[0], ix.shape[0], attrs["layout"])
    return [epilogue_type(TensorType(x.dtype, shape), types[5:], attrs)]


def _resample_reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> list[np.ndarray]:
    x, iy, wy, ix, wx = arrays[:5]
    rows, cols = (1, 2) if attrs["layout"] == "NHWC" else (2, 3)
    if iy.shape[1] == ix.shape[1] == 1:  # nearest: elements are copied, whatever their type
        y = np.take(np.take(x, iy[:, 0], rows), ix[:, 0], cols)
        return [apply_epilogue(np.ascontiguousarray(y), arrays[5:], attrs)]

    def blend(a: np.ndarray, at: np.ndarray, by: np.ndarray, axis: int) -> np.ndarray:
        shape = [1] * 4
        shape[axis] = -1
        parts = [np.take(a, at[:, t], axis) * by[:, t].reshape(shape) for t in range(at.shape[1])]
        return np.asarray(np.sum(parts, axis=0, dtype=np.float32))

    y = blend(blend(x.astype(np.float32), iy, wy, rows), ix, wx, cols).astype(x.dtype)
    return [apply_epilogue(y, arrays[5:], attrs)]


def _is_nearest(types: Types, attrs: Attrs) -> bool:
    return bool(types[1].shape[1] == types[3].shape[1] == 1)


def _table_integers(types: Types, attrs: Attrs) -> dict[int, Integers]:
    _, _, h, w = spatial(types[0].shape, attrs["layout"])
    return {1: (0, h - 1), 3: (0, w - 1)}


def _resample_range(operands: Operands, attrs: Attrs) -> ValueRange | None:
    weights = [operands.constants[i] for i in (2, 4)]
    if any(w is None or np.any(w < 0) or np.any(w.sum(1) > 1.0) for w in weights):
        return None
    low, high = operands.range_of(0)
    return min(low, 0.0), max(high, 0.0)


RESAMPLE = OpDef(
    "resample",
    "Separable resize of images x: y[h, w] = sum over a, b of wy[h, a] wx[w, b] x[iy[h, a], ix[w, b]].  "
    "Inputs: x, iy i32 [OH, T], wy f32 [OH, T], ix i32 [OW, U], wx f32 [OW, U]; weights of one row "
    "hold for all.  With T = U = 1 elements are copied, whatever their type.",
    _resample_infer,
    _resample_reference,
    {"layout": LAYOUT, "epilogue": EPILOGUE},
    "pooling",
    anchors=5,
    reordering=Reordering((Role.IMAGE, Role.OWN, Role.OWN, Role.OWN, Role.OWN, Role.BROADCAST)),
    commutes=Commutes(_is_nearest, "if it copies elements"),
    integers=_table_integers,
    rounding=lambda types, attrs: Rounding.EXACT if _is_nearest(types, attrs) else Rounding.SUMS,
    value_range=_resample_range,
)

OPS = (POOL, RESAMPLE)
