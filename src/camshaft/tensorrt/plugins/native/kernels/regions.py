"""Kernel of ROIAlign_TRT: regions are sampled with channels last, and written with channels first."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

from camshaft.backends.cpu.lang import Carry, FunctionBuilder, Index, Pointer, Value
from camshaft.backends.cpu.pointwise.lanes import transposed
from camshaft.ir.extents.extent import Extent, ceil_div
from camshaft.ir.plugins.kernels import Work
from camshaft.ir.types import f32, i64
from camshaft.tensorrt.plugins.native.kernels.scan import lanes_of

_NAN, _INF = float("nan"), float("inf")
_PADDING = 16


def channels_of(work: Work) -> int:
    """Channels of an item."""
    return int(work.params["channels"])


def part_items(work: Work) -> Extent:
    """An item for each region and part of its channels."""
    shape = work.outputs[0].shape
    return shape[0] * ceil_div(shape[1], channels_of(work))


def part_bytes(work: Work) -> Extent:
    """Scratch memory of an item, whose bins are written channel by channel when all are there."""
    return 4 * ceil_div(_bins(work), _PADDING) * _PADDING * channels_of(work)


def _bins(work: Work) -> int:
    return int(work.attrs["output_height"] * work.attrs["output_width"])


@dataclass(frozen=True, eq=False)
class _Axis:
    """Samples along an axis of `size` pixels.

    start, step: of its bins, in pixels.  count: samples of a bin.
    """

    k: FunctionBuilder
    size: Index
    start: Value
    step: Value
    count: Value

    def taps(self, bin: Value, sample: Value) -> list[tuple[Value, Value]]:
        """The two pixels that a sample is between, and their weights: 0 outside of the image."""
        k = self.k
        share = k.cast(sample, f32) + 0.5
        line = (
            self.start + k.cast(bin, f32) * self.step + share * self.step / k.cast(self.count, f32)
        )
        size = k.index(self.size)
        outside = (line < -1.0) | (line > k.cast(size, f32))
        at = k.lesser(k.greater(line, 0.0), k.cast(size - 1, f32))
        low = k.cast(k.truncate_to_i32(at), i64)
        part = at - k.cast(low, f32)
        second = k.select(outside, 0.0, part)
        first = k.select(outside, 0.0, 1.0 - part)
        return [(low, first), (k.min(low + 1, size - 1), second)]


@dataclass(frozen=True, eq=False)
class _Region:
    """Samples of one region.  image: pixels [H, W, C] of its image."""

    k: FunctionBuilder
    image: Pointer
    channels: Index
    rows: _Axis
    columns: _Axis
    mean: bool

    def bin(
        self, row: Value, column: Value, first: Index, lanes: int, vectors: int, mask: Value | None
    ) -> list[Value]:
        """`vectors` vectors of a bin's channels from `first` on.  mask: how many lanes there are, None for all."""
        k = self.k
        total: Carry = [k.const(0.0 if self.mean else -_INF, f32, lanes) for _ in range(vectors)]
        with k.loop(0, self.rows.count, carry=total) as down:
            lines = self.rows.taps(row, down)
            with k.loop(0, self.columns.count, carry=total) as across:
                for x, right in self.columns.taps(column, across):
                    for y, below in lines:
                        pixel = self.image.at((y * self.columns.size + x) * self.channels).at(first)
                        self._add(total, pixel, below, right, mask)
        samples = self.rows.count * self.columns.count
        some = samples > 0
        if self.mean:
            share = k.splat(k.cast(k.max(samples, 1), f32), lanes)
            return [t / share for t in total]
        return [k.select(some, t, 0.0) for t in total]

    def _add(
        self, total: Carry, pixel: Pointer, below: Value, right: Value, mask: Value | None
    ) -> None:
        k = self.k
        for n, t in enumerate(total):
            p = k.load(pixel.at(n * t.lanes), t.lanes, mask)
            if self.mean:
                total[n] = k.fma(p, k.splat(below * right, t.lanes), t)
            else:
                total[n] = k.max(p * k.splat(below, t.lanes) * k.splat(right, t.lanes), t)


def write_regions(
    k: FunctionBuilder,
    work: Work,
    x: Pointer,
    rois: Pointer,
    images: Pointer,
    y: Pointer,
    scratch: Pointer,
) -> None:
    """x [N, H, W, C], rois [R, 4], images [R] -> y [R, C, rows, columns]."""
    given, wide = work.inputs[0], channels_of(work)
    assert given is not None
    count, height, width, channels = given.shape
    parts, bins = ceil_div(channels, wide), _bins(work)
    with k.loop(k.begin, k.end) as item:
        roi, first = item // parts, item % parts * wide
        mine = k.min(k.index(channels) - first, wide)
        image = k.cast(k.load(images.at(roi)), i64)
        corners = [k.load(rois.at(roi * 4 + i)) for i in range(4)]
        inside = (image >= 0) & (image < k.index(count))
        for corner in corners:
            inside = inside & (k.abs(corner) < _INF)
        to = y.at((roi * channels + first) * bins)
        with k.if_else(inside) as branch:
            with branch.then():
                axes = _axes(k, work, corners, height, width)
                pixels = x.at(image * (height * width * channels)).at(first)
                region = _Region(k, pixels, channels, *axes, bool(work.attrs["mode"]))
                own = scratch.as_type(f32)
                _sample(k, work, region, mine, own)
                _write_planes(k, own, wide, bins, mine, to)
            with branch.otherwise(), k.loop(0, mine * bins) as i:
                k.store(k.const(_NAN, f32), to.at(i))


def _sample(k: FunctionBuilder, work: Work, region: _Region, count: Value, to: Pointer) -> None:
    """All bins of the first `count` channels, bin by bin: [bins, channels of an item]."""
    wide, lanes, columns = channels_of(work), lanes_of(k), work.attrs["output_width"]
    with k.loop(0, work.attrs["output_height"]) as row, k.loop(0, columns) as column:
        at = to.at((row * columns + column) * wide)
        with k.if_else(k.eq(count, wide)) as branch:
            with branch.then():
                for n, value in enumerate(region.bin(row, column, 0, lanes, wide // lanes, None)):
                    k.store(value, at.at(n * lanes))
            with branch.otherwise(), k.loop(0, count, lanes) as first:
                (value,) = region.bin(row, column, first, lanes, 1, count - first)
                k.store(value, at.at(first))


def _write_planes(
    k: FunctionBuilder, own: Pointer, wide: int, bins: int, count: Value, to: Pointer
) -> None:
    """[bins, wide] -> [count, bins], block by block."""
    lanes = lanes_of(k)
    whole = bins // lanes * lanes

    def block(channel: Value, bin: Index, width: int, full: bool) -> None:
        rows = [k.load(own.at(bin * wide + channel).at(t * wide), lanes) for t in range(lanes)]
        for t, values in enumerate(transposed(k, rows)):
            with nullcontext() if full else k.if_(channel + t < count):
                k.store(values, to.at((channel + t) * bins).at(bin), width)

    def blocks(channel: Value, full: bool) -> None:
        with k.loop(0, whole, lanes) as bin:
            block(channel, bin, lanes, full)
        if whole < bins:
            block(channel, k.index(whole), bins - whole, full)

    with k.loop(0, count // lanes * lanes, lanes) as channel:
        blocks(channel, True)
    with k.if_(count % lanes > 0):
        blocks(count // lanes * lanes, False)


def _axes(
    k: FunctionBuilder, work: Work, corners: list[Value], height: Index, width: Index
) -> tuple[_Axis, _Axis]:
    """How a region's rows and columns are sampled."""
    attrs, half = work.attrs, bool(work.attrs["coordinate_transformation_mode"])
    places = [c * attrs["spatial_scale"] - (0.5 if half else 0.0) for c in corners]

    def axis(low: Value, high: Value, size: Index, bins: int) -> _Axis:
        extent = high - low
        if not half:
            extent = k.max(extent, 1.0)
        step, ratio = extent / float(bins), attrs["sampling_ratio"]
        count = k.index(ratio) if ratio else k.cast(k.max(k.ceil(step), 0.0), i64)
        return _Axis(k, size, low, step, count)

    left, top, right, bottom = places
    rows = axis(top, bottom, height, attrs["output_height"])
    return rows, axis(left, right, width, attrs["output_width"])
