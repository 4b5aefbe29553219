"""ATen operators over windows: pools, and images of other sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from camshaft.frontends.torch.call import Call, handles
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import fixed, is_static
from camshaft.ir.graph import Tensor
from camshaft.ops import functional as F
from camshaft.ops.functional.spatial.sampling import Sampling


def _ints(value: Any, axes: int) -> list[int]:
    values = [int(v) for v in value] if isinstance(value, list | tuple) else [int(value)]
    return values * axes if len(values) == 1 else values


def _with_batch(c: Call, axes: int) -> Tensor:
    x = c.tensor("self")
    return F.unsqueeze(c.builder, x, 0) if x.type.rank == axes + 1 else x


def _window(c: Call, axes: int) -> dict[str, Any]:
    stride = c.get("stride") or c["kernel_size"]
    return {
        "stride": _ints(stride, axes),
        "padding": _ints(c["padding"], axes),
        "ceil_mode": bool(c.get("ceil_mode", False)),
    }


@handles(
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_pool2d_with_indices",
    "max_pool1d_with_indices",
    "max_pool3d_with_indices",
)
def max_pool(c: Call) -> Tensor | list[Tensor | None]:
    axes = int(c.name.removeprefix("aten::max_pool")[0])
    x, kernel = _with_batch(c, axes), _ints(c["kernel_size"], axes)
    b, window = c.builder, {"dilation": _ints(c["dilation"], axes), **_window(c, axes)}
    if len(c.results) == 1:
        return F.reshape(b, F.max_pool(b, x, kernel, **window), c.shape)
    values, places = c.results
    assert values is not None
    if places is None:
        return [F.reshape(b, F.max_pool(b, x, kernel, **window), values.shape), None]
    if axes > 2 or not is_static(x.shape):
        raise c.refuse("places of maxima are wanted of volumes, or at open sizes")
    y, at = F.max_pool_with_indices(b, x, kernel, **window)
    plane = math.prod(fixed(x.shape[2:], "extents"))
    return [F.reshape(b, y, values.shape), F.reshape(b, F.remainder(b, at, plane), places.shape)]


@handles("avg_pool1d", "avg_pool2d", "avg_pool3d")
def avg_pool(c: Call) -> Tensor:
    axes = int(c.name.removeprefix("aten::avg_pool")[0])
    if c.get("divisor_override") is not None:
        raise c.refuse("divisor_override is given")
    y = F.avg_pool(
        c.builder,
        _with_batch(c, axes),
        _ints(c["kernel_size"], axes),
        count_include_pad=bool(c["count_include_pad"]),
        **_window(c, axes),
    )
    return F.reshape(c.builder, y, c.shape)


@handles(
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "_adaptive_avg_pool2d",
    "_adaptive_avg_pool3d",
)
def adaptive_avg_pool(c: Call) -> Tensor:
    b, x = c.builder, c.tensor("self")
    axes = int(c.name.rpartition("pool")[2][0])
    behind = list(range(x.type.rank - axes, x.type.rank))
    wanted = c.shape[-axes:]
    if all(n == 1 for n in wanted):
        return F.mean(b, x, behind, keepdims=True)
    known = _windows(c, [x.shape[a] for a in behind], wanted)
    if all(s % n == 0 for s, n in known):
        kernel = [s // n for s, n in known]
        y = F.avg_pool(b, _with_batch(c, axes), kernel, stride=kernel)
        return F.reshape(b, y, c.shape)
    for axis, (size, count) in zip(behind, known, strict=True):
        x = _averaged(c, x, axis, size, count)
    return x


def _windows(c: Call, sizes: Sequence[Extent], wanted: Sequence[Extent]) -> list[tuple[int, int]]:
    """Extents of an image and of its pool, which must be known."""
    if not is_static((*sizes, *wanted)):
        raise c.refuse("its windows hang on open sizes")
    return list(zip(fixed(sizes, "an image"), fixed(wanted, "a pool"), strict=True))


def _averaged(c: Call, x: Tensor, axis: int, size: int, count: int) -> Tensor:
    """Means of windows that divide an axis as evenly as can be, which may overlap: a product with constant weights."""
    if size == count:
        return x
    weights = np.zeros((size, count), np.float32)
    for n in range(count):
        low, high = n * size // count, -(-(n + 1) * size // count)
        weights[low:high, n] = 1 / (high - low)
    b, last = c.builder, x.type.rank - 1
    order = [a for a in range(x.type.rank) if a != axis] + [axis]
    w = b.constant(weights, b.local("windows"))
    y = F.matmul(b, F.transpose(b, x, order), w)
    back = list(range(last))
    back.insert(axis, last)
    return F.transpose(b, y, back)


@handles("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d")
def adaptive_max_pool(c: Call) -> list[Tensor | None]:
    b, x = c.builder, c.tensor("self")
    axes = int(c.name.rpartition("pool")[2][0])
    behind = list(range(x.type.rank - axes, x.type.rank))
    first = c.results[0]
    assert first is not None
    wanted = first.shape[-axes:]
    if all(n == 1 for n in wanted):
        return [F.amax(b, x, behind, keepdims=True), None]
    known = _windows(c, [x.shape[a] for a in behind], wanted)
    if any(s % n for s, n in known):
        raise c.refuse("its windows differ in size")
    kernel = [s // n for s, n in known]
    y = F.max_pool(b, _with_batch(c, axes), kernel, stride=kernel)
    return [F.reshape(b, y, first.shape), None]


@handles(
    "upsample_nearest1d",
    "upsample_nearest2d",
    "upsample_nearest3d",
    "_upsample_nearest_exact1d",
    "_upsample_nearest_exact2d",
    "upsample_linear1d",
    "upsample_bilinear2d",
    "upsample_trilinear3d",
    "upsample_bicubic2d",
    "_upsample_bilinear2d_aa",
    "_upsample_bicubic2d_aa",
)
def upsample(c: Call) -> Tensor:
    name = c.name.removeprefix("aten::")
    x = c.tensor("input" if "input" in c.args else "self")
    axes = list(range(2, x.type.rank))
    if "nearest" in name:
        where = "half_pixel" if "exact" in name else "asymmetric"
        way = "round_prefer_ceil" if "exact" in name else "floor"
        sampling = Sampling("nearest", where, way)
    else:
        mode = "cubic" if "cubic" in name else "linear"
        where = "align_corners" if c.get("align_corners", False) else "half_pixel"
        aa = name.endswith("_aa")
        sampling = Sampling(
            mode, where, cubic_coeff_a=-0.5 if aa else -0.75, antialias=aa, exclude_outside=aa
        )
    factors = c.get("scale_factors") or [
        c[n] for n in ("scales", "scales_d", "scales_h", "scales_w") if c.get(n) is not None
    ]
    if any(float(f) != int(f) for f in factors) and where != "align_corners":
        return F.resize(
            c.builder, x, scales=[float(f) for f in factors], axes=axes, sampling=sampling
        )
    return F.resize(c.builder, x, sizes=c.shape[2:], axes=axes, sampling=sampling)


@handles("grid_sampler", "grid_sampler_2d", "grid_sampler_3d")
def grid_sample(c: Call) -> Tensor:
    mode = ("linear", "nearest", "cubic")[int(c["interpolation_mode"])]
    padding = ("zeros", "border", "reflection")[int(c["padding_mode"])]
    return F.grid_sample(
        c.builder,
        c.tensor("input"),
        c.tensor("grid"),
        mode,
        padding,
        align_corners=bool(c["align_corners"]),
    )
