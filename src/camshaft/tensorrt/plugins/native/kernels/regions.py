"""Kernel of ROIAlign_TRT: rows of bins, channels last."""

from __future__ import annotations

from dataclasses import dataclass

from camshaft.backends.cpu.lang import Carry, FunctionBuilder, Index, Pointer, Value
from camshaft.ir.extents.extent import Extent
from camshaft.ir.plugins.kernels import Work
from camshaft.ir.types import f32, i64
from camshaft.tensorrt.plugins.native.kernels.scan import lanes_of

_NAN, _INF = float("nan"), float("inf")


def row_items(work: Work) -> Extent:
    """An item for each row of bins of each region."""
    shape = work.outputs[0].shape
    return shape[0] * shape[1]


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
    k: FunctionBuilder, work: Work, x: Pointer, rois: Pointer, images: Pointer, y: Pointer
) -> None:
    """x [N, H, W, C], rois [R, 4], images [R] -> y [R, rows, columns, C]."""
    given, lanes = work.inputs[0], lanes_of(k)
    assert given is not None
    count, height, width, channels = given.shape
    rows, columns = work.attrs["output_height"], work.attrs["output_width"]
    with k.loop(k.begin, k.end) as item:
        roi, row = item // rows, item % rows
        image = k.cast(k.load(images.at(roi)), i64)
        corners = [k.load(rois.at(roi * 4 + i)) for i in range(4)]
        inside = (image >= 0) & (image < k.index(count))
        for corner in corners:
            inside = inside & (k.abs(corner) < _INF)
        to = y.at(item * columns * channels)
        with k.if_else(inside) as branch:
            with branch.then():
                axes = _axes(k, work, corners, height, width)
                pixels = x.at(image * (height * width * channels))
                region = _Region(k, pixels, channels, *axes, bool(work.attrs["mode"]))
                with k.loop(0, columns) as column:
                    at = to.at(column * channels)
                    _write_bin(k, region, row, column, at, lanes, int(work.params["vectors"]))
            with branch.otherwise(), k.loop(0, k.index(channels) * columns) as i:
                k.store(k.const(_NAN, f32), to.at(i))


def _write_bin(
    k: FunctionBuilder,
    region: _Region,
    row: Value,
    column: Value,
    to: Pointer,
    lanes: int,
    vectors: int,
) -> None:
    """All channels of a bin: several vectors at a time, then one, whose lanes may be fewer."""
    channels, wide = k.index(region.channels), lanes * vectors
    whole = channels // wide * wide
    with k.loop(0, whole, wide) as first:
        for n, value in enumerate(region.bin(row, column, first, lanes, vectors, None)):
            k.store(value, to.at(first).at(n * lanes))
    with k.loop(whole, channels, lanes) as first:
        left = channels - first
        (value,) = region.bin(row, column, first, lanes, 1, left)
        k.store(value, to.at(first), left)


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
