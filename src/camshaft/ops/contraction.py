"""Convolution and matrix product, float and integer, each with an epilogue expression.

One `conv` serves FP32 (f32 x f32 -> f32), half precision (bf16 or f16 on both sides, or f32 images and
half weights -> f32) and INT8 (u8 or i8 x i8 -> i32, exact): the epilogue turns the accumulator into the
output, whatever that is (bias, activation, residual add, requantization).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from camshaft.errors import ModelError
from camshaft.ir.extents.constraints import require_at_least, require_equal
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import typical
from camshaft.ir.op import Attribute, Int8Form, OpDef, Reordering, Role, Types
from camshaft.ir.types import TensorType, broadcast_shapes, dtype_of, f32, i32
from camshaft.ops.common import (
    EPILOGUE,
    LAYOUT,
    PADS,
    accumulator,
    apply_epilogue,
    epilogue_type,
    from_nchw,
    spatial,
    window_extent,
)

Attrs = Mapping[str, Any]


def _conv_infer(types: Sequence[TensorType], attrs: Attrs) -> list[TensorType]:
    x, w = types[:2]
    n, c, h, wd = spatial(x.shape, attrs["layout"])
    k, cg, r, s = spatial(w.shape, attrs["layout"])
    groups = attrs["groups"]
    misfit = f"input has {c} channels, weights {w} with {groups} groups want {cg * groups}"
    require_equal(c, cg * groups, misfit)
    require_equal(k % groups, 0, misfit)
    top, left, bottom, right = attrs["pads"]
    oh = window_extent(h, r, attrs["strides"][0], (top, bottom), attrs["dilations"][0])
    ow = window_extent(wd, s, attrs["strides"][1], (left, right), attrs["dilations"][1])
    shape = from_nchw(n, k, oh, ow, attrs["layout"])
    anchor = TensorType(accumulator(x.dtype, w.dtype), shape)
    return [epilogue_type(anchor, types[2:], attrs)]


def _windows(x: np.ndarray, r: int, s: int, attrs: Attrs, fill: float) -> np.ndarray:
    """NHWC x -> [N,OH,OW,C,R,S] view of its padded windows."""
    top, left, bottom, right = attrs["pads"]
    pads = ((0, 0), (top, bottom), (left, right), (0, 0))
    x = np.pad(x, pads, constant_values=np.asarray(fill, x.dtype))
    dh, dw = attrs["dilations"]
    sh, sw = attrs["strides"]
    reach = (dh * (r - 1) + 1, dw * (s - 1) + 1)
    n, h, w, c = x.shape
    if h < reach[0] or w < reach[1]:
        rows, columns = (h - reach[0]) // sh + 1, (w - reach[1]) // sw + 1
        return np.zeros((n, max(rows, 0), max(columns, 0), c, r, s), x.dtype)
    view = sliding_window_view(x, reach, axis=(1, 2))
    return np.asarray(view[:, ::sh, ::sw, :, ::dh, ::dw])


def conv_nhwc(x: np.ndarray, w: np.ndarray, attrs: Attrs) -> np.ndarray:
    """The bare convolution on NHWC x and [K,R,S,C/g] w; integers exactly (through float64)."""
    acc = accumulator(dtype_of(x), dtype_of(w))
    wide = np.float64 if acc == i32 else acc.numpy
    x = x.astype(wide) - attrs["x_zero_point"]
    k, r, s, cg = w.shape
    groups = attrs["groups"]
    view = _windows(x, r, s, attrs, 0.0)
    n, oh, ow = view.shape[:3]
    if cg == 1 and k == groups:
        y = np.einsum("nhwcrs,crs->nhwc", view, w[..., 0].astype(wide), optimize=True)
        return np.asarray(y, acc.numpy)
    y = np.empty((n, oh, ow, k), acc.numpy)
    kg = k // groups
    for g in range(groups):
        part = view[:, :, :, g * cg : (g + 1) * cg].transpose(0, 1, 2, 4, 5, 3)
        weights = w[g * kg : (g + 1) * kg].reshape(kg, -1).T.astype(wide)
        flat = part.reshape(n * oh * ow, r * s * cg) @ weights
        y[..., g * kg : (g + 1) * kg] = flat.reshape(n, oh, ow, kg)
    return y


def _conv_reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> list[np.ndarray]:
    x, w = arrays[:2]
    if attrs["layout"] == "NHWC":
        return [apply_epilogue(conv_nhwc(x, w, attrs), arrays[2:], attrs)]
    y = conv_nhwc(x.transpose(0, 2, 3, 1), w.transpose(0, 2, 3, 1), attrs)
    y = np.ascontiguousarray(y.transpose(0, 3, 1, 2))
    return [apply_epilogue(y, arrays[2:], attrs)]


def _conv_macs(types: Types, output: TensorType, attrs: Attrs) -> Extent:
    return output.size * prod(types[1].shape[1:])


def taps_inside(types: Types, output: TensorType, attrs: Attrs) -> np.ndarray:
    """Share of a convolution's output pixels whose tap (r, s) lies inside the image, [R, S]; at
    typical sizes."""
    images = (types[0].shape, types[1].shape, output.shape)
    extents, taps, outputs = (
        [typical(e) for e in spatial(shape, attrs["layout"])[2:]] for shape in images
    )
    shares = []
    for axis in (0, 1):
        first = np.arange(outputs[axis]) * attrs["strides"][axis] - attrs["pads"][axis]
        position = first + np.arange(taps[axis])[:, None] * attrs["dilations"][axis]
        shares.append(((position >= 0) & (position < extents[axis])).mean(axis=1))
    return np.asarray(np.outer(*shares))


def _conv_mean_shift(
    types: Types, output: TensorType, attrs: Attrs, error: np.ndarray, means: np.ndarray
) -> np.ndarray:
    """Of a channels-last convolution: error [K, R, S, C/groups], means [C]; see `quant.channels.bias`."""
    per_channel = np.einsum("krsc,rs->kc", error, taps_inside(types, output, attrs))
    grouped = per_channel.reshape(attrs["groups"], -1, per_channel.shape[1])
    shift = np.einsum("gkc,gc->gk", grouped, means.reshape(attrs["groups"], -1))
    return np.asarray(shift.ravel())


_STRIDES = Attribute("of the window, along height and width", (1, 1))
_DILATIONS = Attribute("distance of filter taps, along height and width", (1, 1))
_GROUPS = Attribute("into how many groups channels are split; each has filters of its own", 1)

CONV = OpDef(
    "conv",
    "Convolution of images x with filters w: [K, C/groups, R, S] in layout NCHW, [K, R, S, C/groups] "
    "in NHWC.  Floats are summed in their own type, half floats in f32, 8-bit integers exactly in i32.",
    _conv_infer,
    _conv_reference,
    {
        "strides": _STRIDES,
        "pads": PADS,
        "dilations": _DILATIONS,
        "groups": _GROUPS,
        "layout": LAYOUT,
        "x_zero_point": Attribute("integer subtracted from x; padding is zero after it", 0),
        "epilogue": EPILOGUE,
    },
    "contraction",
    anchors=2,
    reordering=Reordering((Role.IMAGE, Role.IMAGE, Role.BROADCAST)),
    int8=Int8Form(lambda types, output, attrs: (0,), weights=1, mean_shift=_conv_mean_shift),
    smooths=True,
    macs=_conv_macs,
)


def _transpose_conv_infer(types: Sequence[TensorType], attrs: Attrs) -> list[TensorType]:
    x, w = types
    n, c, h, wd = x.shape
    misfit = f"input has {c} channels, transposed weights {w} have {w.shape[0]}"
    require_equal(c, w.shape[0], misfit)
    require_equal(w.shape[0] % attrs["groups"], 0, misfit)
    top, left, bottom, right = attrs["pads"]
    out = []
    for axis, (size, kernel, pad) in enumerate(
        [(h, w.shape[2], top + bottom), (wd, w.shape[3], left + right)]
    ):
        reach = attrs["dilations"][axis] * (kernel - 1) + 1
        extent = (size - 1) * attrs["strides"][axis] + reach + attrs["output_padding"][axis] - pad
        require_at_least(extent, 1, f"pads {attrs['pads']} leave no output")
        out.append(extent)
    return [TensorType(x.dtype, (n, w.shape[1] * attrs["groups"], *out))]


def _transpose_conv_reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> list[np.ndarray]:
    x, w = arrays
    (out,) = _transpose_conv_infer([TensorType(f32, x.shape), TensorType(f32, w.shape)], attrs)
    n, c, h, wd = x.shape
    groups = attrs["groups"]
    (sh, sw), (dh, dw) = attrs["strides"], attrs["dilations"]
    top, left = attrs["pads"][:2]
    _, k, oh, ow = out.static
    reach_h = max((h - 1) * sh + dh * (w.shape[2] - 1) + 1, oh + top)
    reach_w = max((wd - 1) * sw + dw * (w.shape[3] - 1) + 1, ow + left)
    full = np.zeros((n, k, reach_h, reach_w), x.dtype)
    xg = x.reshape(n, groups, c // groups, h, wd)
    wg = w.reshape(groups, c // groups, *w.shape[1:])
    for r in range(w.shape[2]):
        for s in range(w.shape[3]):
            part = np.einsum("ngchw,gck->ngkhw", xg, wg[..., r, s], optimize=True)
            rows = slice(r * dh, r * dh + (h - 1) * sh + 1, sh)
            cols = slice(s * dw, s * dw + (wd - 1) * sw + 1, sw)
            full[:, :, rows, cols] += part.reshape(n, -1, h, wd)
    return [np.ascontiguousarray(full[:, :, top : top + oh, left : left + ow])]


def _transpose_conv_macs(types: Types, output: TensorType, attrs: Attrs) -> Extent:
    return types[0].size * prod(types[1].shape[1:])


CONV_TRANSPOSE = OpDef(
    "conv_transpose",
    "Transposed convolution of x [N, C, H, W] with filters w [C, K/groups, R, S].  The passes make "
    "plain convolutions of it whose results are interleaved.",
    _transpose_conv_infer,
    _transpose_conv_reference,
    {
        "strides": Attribute("distance of input pixels in the output", (1, 1)),
        "pads": Attribute("pixels cut off at the top, left, bottom and right", (0, 0, 0, 0)),
        "dilations": _DILATIONS,
        "output_padding": Attribute("rows added at the bottom, columns at the right", (0, 0)),
        "groups": _GROUPS,
    },
    "contraction",
    smooths=True,
    macs=_transpose_conv_macs,
)


_EXACT_IN_F64 = 2**53


def _matmul_infer(types: Sequence[TensorType], attrs: Attrs) -> list[TensorType]:
    a, b = types[:2]
    misfit = f"matrices {a} and {b} do not multiply"
    if a.rank < 2 or b.rank < 2:
        raise ModelError(misfit)
    require_equal(a.shape[-1], b.shape[-2], misfit)
    batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    anchor = TensorType(accumulator(a.dtype, b.dtype), (*batch, a.shape[-2], b.shape[-1]))
    return [epilogue_type(anchor, types[2:], attrs)]


def _matmul_reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> list[np.ndarray]:
    a, b = arrays[:2]
    acc = accumulator(dtype_of(a), dtype_of(b))
    if acc == i32:
        y = _whole_product(a, b, attrs["a_zero_point"], attrs["b_zero_point"])
    else:  # halves are widened: their products are exact in f32
        y = np.matmul(a.astype(acc.numpy, copy=False), b.astype(acc.numpy, copy=False))
    return [apply_epilogue(y, arrays[2:], attrs)]


def _whole_product(a: np.ndarray, b: np.ndarray, a_zero: int, b_zero: int) -> np.ndarray:
    """Products of integers, i32, which wraps: in f64 where all sums are exact there, which is far faster."""
    left, right = a.astype(np.int64) - a_zero, b.astype(np.int64) - b_zero
    largest = [int(np.abs(m).max(initial=0)) for m in (left, right)]
    if a.shape[-1] * largest[0] * largest[1] < _EXACT_IN_F64:
        exact = left.astype(np.float64) @ right.astype(np.float64)
        return np.asarray(exact.astype(np.int64), np.int32)
    return np.asarray(np.matmul(left, right), np.int32)


def _matmul_macs(types: Types, output: TensorType, attrs: Attrs) -> Extent:
    return output.size * types[0].shape[-1]


MATMUL = OpDef(
    "matmul",
    "Products of matrices a [..., M, K] and b [..., K, N]; leading axes broadcast.  Floats are summed "
    "in their own type, half floats in f32, 8-bit integers exactly in i32.",
    _matmul_infer,
    _matmul_reference,
    {
        "a_zero_point": Attribute("integer subtracted from a", 0),
        "b_zero_point": Attribute("integer subtracted from b", 0),
        "epilogue": EPILOGUE,
    },
    "contraction",
    anchors=2,
    smooths=True,
    macs=_matmul_macs,
)

OPS = (CONV, CONV_TRANSPOSE, MATMUL)
