"""FP32 3x3 convolution by Winograd F(2,3) and F(4,3): less arithmetic than the direct kernel.

Two schedules, chosen by timing:
- "blocks": an item is a block of tiles; it transforms its input into the worker's workspace, then for
  every panel of output channels multiplies and transforms back.  Everything but the weights stays
  in L2; the weights are streamed once a block.
- "panels": a first phase transforms the whole input, an item of the second is one panel of output
  channels over one block of tiles.  For small images with many channels, where the
  weights must be streamed once only and shared among workers.

Layouts, f32: V [position][tile][C'] transformed input, M [position][tile][panel] products,
U [position][panel][C][panel width] packed weights; C' is C rounded up to whole vectors.

Batch, height and width may be symbolic: tiles are numbered through all images, and which of their
pixels exist is asked when the kernel runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from camshaft.backends.base import KernelSpec, Packing, Params, Source
from camshaft.backends.cpu.abi import constant_numbers, operand_pointer, phase_args
from camshaft.backends.cpu.candidate import CpuCandidate
from camshaft.backends.cpu.expr.epilogue import Epilogue
from camshaft.backends.cpu.lang import FunctionBuilder, Index, Module, Pointer, Value
from camshaft.backends.cpu.lang.memory import Count
from camshaft.backends.cpu.target import CpuTarget
from camshaft.backends.cpu.winograd.features import winograd_features
from camshaft.backends.cpu.winograd.plan import WinogradLayout, emit_expansion, stored_weights
from camshaft.backends.cpu.winograd.transforms import TAPS, transform_grid
from camshaft.ir.attrs import expr_attr, ints_attr
from camshaft.ir.extents.extent import Extent, ceil_div
from camshaft.ir.extents.sizes import fixed_extent, is_static, typical
from camshaft.ir.types import f32


class Winograd:
    """F(m,3) with m in {2, 4}."""

    name = "winograd"
    version = 5

    def plan(
        self, spec: KernelSpec, target: CpuTarget, threads: int
    ) -> Sequence[WinogradCandidate]:
        """F(4,3) before F(2,3), register tiles of several shapes, both schedules.

        For 3x3 filters without stride, dilation or groups, and at least a vector of channels.
        """
        if not _is_supported(spec, target):
            return ()
        return [
            WinogradCandidate(spec, target, None, params)
            for params in _tilings(spec, target, threads)
        ]


def _is_supported(spec: KernelSpec, target: CpuTarget) -> bool:
    if spec.op != "conv" or len(spec.outputs) != 1:
        return False
    x, w, y = spec.inputs[0], spec.inputs[1], spec.outputs[0]
    attrs = dict(spec.attrs)
    return (
        is_static((x.shape[3], y.shape[3]))
        and x.dtype == w.dtype == f32
        and w.const
        and w.shape[1:3] == (TAPS, TAPS)
        and attrs["strides"] == attrs["dilations"] == (1, 1)
        and attrs["groups"] == 1
        and (x.strides[3] == 1 or x.shape[3] == 1)
        and min(x.shape[3], y.shape[3]) >= target.lanes(f32)
        and 0 not in y.shape
    )


def _tilings(spec: KernelSpec, target: CpuTarget, threads: int) -> list[Params]:
    n, oh, ow, channels = spec.outputs[0].shape
    lanes = target.lanes(f32)
    shapes = [(14, 2), (7, 4), (9, 3)] if target.registers >= 32 else [(6, 2), (4, 3)]
    found: list[Params] = []
    for m in (4, 2):
        tiles = typical(n * ceil_div(oh, m) * ceil_div(ow, m))
        for rows, cols in shapes:
            if cols > 1 and (cols - 1) * lanes >= channels:
                continue
            rows = min(rows, tiles)
            for schedule, groups in _schedules(spec, rows, tiles, threads, m, target):
                found.append(
                    {
                        "m": m,
                        "rows": rows,
                        "panel": cols * lanes,
                        "groups": groups,
                        "schedule": schedule,
                    }
                )
    return found


def _schedules(
    spec: KernelSpec, rows: int, tiles: int, threads: int, m: int, target: CpuTarget
) -> list[tuple[str, int]]:
    """Blocks whose V and M take 60 % of L2, through which the weights pass, and panels."""
    bytes_a_tile = 4 * (m + 2) ** 2 * (fixed_extent(spec.inputs[0].shape[3], "input channels") + 32)
    whole = -(-tiles // rows)
    found: list[tuple[str, int]] = []
    if tiles >= rows * threads or threads == 1:
        fit = max(1, target.l2_bytes * 600 // 1024 // (bytes_a_tile * rows))
        even = max(1, whole // threads)
        found.append(("blocks", min(fit, even)))
    if bytes_a_tile * tiles <= 4 << 20:
        found.append(("panels", whole if whole <= 4 else 2))
    return found or [("blocks", 1)]


class WinogradCandidate(CpuCandidate[None]):
    """Parameters: m, rows (tiles in a register tile), panel (output channels in one), groups
    (register tiles in a block), schedule."""

    @cached_property
    def layout(self) -> WinogradLayout:
        """Sizes and memory layouts."""
        return WinogradLayout.of(self.spec, self.params, self.target.lanes(f32))

    @property
    def approximate(self) -> bool:
        """F(4,3), whose transforms multiply by up to 8 and add up to ten terms: up to about 100
        times the rounding error of a direct sum.  F(2,3) rounds about as a direct sum does."""
        return self.params["m"] == 4

    def features(self, threads: int) -> Mapping[str, float]:
        """As `winograd.features` says."""
        return winograd_features(self.layout, self.target, threads)

    @property
    def packing(self) -> Packing:
        """Transformed, in panels."""
        return ("winograd", int(self.params["m"]), int(self.params["panel"]))

    def prepack(self, constants: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """W, of which the code makes U (`plan`); the other constants as they are."""
        return [stored_weights(self.layout, constants[0]), *constants[1:]]

    def workspace(self, threads: int) -> Extent:
        """Bytes of V and M."""
        return self.layout.workspace(threads)

    def emit(self) -> Source:
        """One phase, or with schedule "panels" one that transforms the input and one that
        multiplies."""
        spec, p = self.spec, self.layout
        module = Module(self.target)
        emit_expansion(module, p)
        args = phase_args(spec)
        if p.by_panels:
            with module.phase("winograd_input", p.tiles, args) as k:
                v = k.args["workspace"].as_type(f32)
                with k.loop(k.begin, k.end) as tile:
                    _Stages(k, p).input_tile(tile, v.at(tile * p.padded_channels))
            with module.phase("winograd_product", p.panels * p.blocks, args) as k:
                shared = k.args["workspace"].as_type(f32)
                products = shared.at(p.v_size).at(k.worker * p.m_size)
                with k.loop(k.begin, k.end) as item:
                    panel, block = item // p.blocks, item % p.blocks
                    v = shared.at(block * (p.block * p.padded_channels))
                    _Stages(k, p).panel(panel, block, v, products)
            return module.source()
        with module.phase("winograd", p.blocks, args) as k:
            v = k.args["workspace"].as_type(f32).at(k.worker * (p.v_size + p.m_size))
            writer = _Stages(k, p)
            with k.loop(k.begin, k.end) as block:
                first = block * p.block
                count = k.min(p.tiles - first, p.block)
                with k.loop(0, count) as t:
                    writer.input_tile(first + t, v.at(t * p.padded_channels))
                with k.loop(0, p.panels) as panel:
                    writer.panel(panel, block, v, v.at(p.v_size))
        return module.source()


class _Stages:
    """Writes the stages of the algorithm into a function body."""

    def __init__(self, k: FunctionBuilder, plan: WinogradLayout) -> None:
        self.k, self.p = k, plan

    # -- input -------------------------------------------------------------------------------

    def input_tile(self, tile: Value, v: Pointer) -> None:
        """Transform one tile's windows of all channels into V (v: the tile's row, position 0)."""
        k, p = self.k, self.p
        x = p.spec.inputs[0]
        n, y, col = self._coordinates(tile)
        top, left = self._pads()
        y0, x0 = y * p.m - top, col * p.m - left
        source = k.args["in0"].at(n * x.strides[0]).at(y0 * x.strides[1]).at(x0 * x.strides[2])
        size = p.m + TAPS - 1
        inside = k.bit(
            "and",
            k.bit("and", y0 >= 0, y0 + size <= x.shape[1]),
            k.bit("and", x0 >= 0, x0 + size <= x.shape[2]),
        )
        with k.if_else(inside) as branch:
            with branch.then():
                for piece in k.tiles(p.channels, p.lanes):
                    c = piece.start
                    self._transform(source.at(c), v.at(c), None, piece.count)
            with branch.otherwise():
                for piece in k.tiles(p.channels, p.lanes):
                    c = piece.start
                    self._transform(source.at(c), v.at(c), (y0, x0), piece.count)

    def _transform(
        self,
        source: Pointer,
        v: Pointer,
        border: tuple[Value, Value] | None,
        count: Count,
    ) -> None:
        k, p = self.k, self.p
        size = p.m + TAPS - 1
        grid = []
        for i in range(size):
            row = []
            for j in range(size):
                row.append(self._pixel(self._neighbour(source, i, j), border, i, j, count))
            grid.append(row)
        step = p.tiles_in_v * p.padded_channels
        for i, line in enumerate(transform_grid(k, grid, p.m, output=False)):
            for j, value in enumerate(line):
                k.store(value, v.at(self._times(step, i * size + j)))

    def _neighbour(self, source: Pointer, i: int, j: int) -> Pointer:
        """The pixel i rows and j columns further on."""
        _, row, column, _ = self.p.spec.inputs[0].strides
        if is_static((row, column)):
            return source.at(i * row + j * column)
        return source.at(self._times(row, i)).at(self._times(column, j))

    def _times(self, extent: Extent, n: int) -> Index:
        """extent * n; of a symbolic extent it is multiplied when the kernel runs."""
        return n * extent if isinstance(extent, int) else self.k.index(extent) * n

    def _pixel(
        self,
        at: Pointer,
        border: tuple[Value, Value] | None,
        i: int,
        j: int,
        count: Count,
    ) -> Value:
        """One input vector; zero outside the image."""
        k, p = self.k, self.p
        if border is None:
            return k.load(at, p.lanes, count)
        x = p.spec.inputs[0]
        y, col = border[0] + i, border[1] + j
        exists = k.bit(
            "and",
            k.bit("and", y >= 0, y < x.shape[1]),
            k.bit("and", col >= 0, col < x.shape[2]),
        )
        result = [k.const(0.0, f32, p.lanes)]
        with k.if_(exists, carry=result):
            result[0] = k.load(at, p.lanes, count)
        value: Value = result[0]
        return value

    # -- one panel of output channels ----------------------------------------------------------

    def panel(self, panel: Value, block: Value, v: Pointer, products: Pointer) -> None:
        """Multiply a block of V with one panel of U at every position, and transform back."""
        k, p = self.k, self.p
        weights = k.args["packed0"].at(panel * (p.channels * p.panel))
        first = block * p.block
        count = k.min(p.tiles - first, p.block)
        with k.loop(0, p.positions) as position:
            u = weights.at(position * (p.panels * p.channels * p.panel))
            v_at = v.at(position * (p.tiles_in_v * p.padded_channels))
            m_at = products.at(position * (p.block * p.panel))
            with k.loop(0, p.groups) as group:
                row = group * p.rows
                with k.if_(row < count):
                    self._product(v_at.at(row * p.padded_channels), u, m_at.at(row * p.panel))
        channel = panel * p.panel
        with k.loop(0, count) as t:
            self._output_tile(first + t, channel, products.at(t * p.panel))

    def _product(self, v: Pointer, u: Pointer, out: Pointer) -> None:
        """rows x panel products over all channels, in registers."""
        k, p = self.k, self.p
        acc = k.zeros(p.rows, p.cols, f32, p.lanes)
        with k.loop(0, p.channels, 1, carry=acc) as c:
            line = u.at(c * p.panel)
            w = [k.load(line.at(j * p.lanes), p.lanes) for j in range(p.cols)]
            at = v.at(c)
            for i in range(p.rows):
                x = k.broadcast(at.at(i * p.padded_channels), p.lanes)
                for j in range(p.cols):
                    acc[i][j] = k.fma(x, w[j], acc[i][j])
        for i in range(p.rows):
            for j in range(p.cols):
                k.store(acc[i][j], out.at(i * p.panel + j * p.lanes))

    # -- output ------------------------------------------------------------------------------

    def _output_tile(self, tile: Value, channel: Value, products: Pointer) -> None:
        k, p = self.k, self.p
        _, oh, ow, _ = p.spec.outputs[0].shape
        n, ty, tx = self._coordinates(tile)
        y, x = ty * p.m, tx * p.m
        whole_tiles = oh % p.m == 0 and ow % p.m == 0

        def vector(j: Index, count: Count) -> None:
            place = n, y, x, channel + j * p.lanes
            epilogue = self._epilogue().at(place)
            self._output_vector(epilogue, products.at(j * p.lanes), count, y, x, whole_tiles)

        whole, rest = divmod(p.outputs - (p.panels - 1) * p.panel, p.lanes)  # of the last panel
        if p.panels == 1 or whole == p.cols:
            vectors: Index = whole
        else:
            vectors = k.min((p.outputs - channel) // p.lanes, p.cols)
        if p.cols == 1 and whole == 1:
            vector(0, None)
        else:
            with k.loop(0, vectors) as j:
                vector(j, None)
        if rest:
            with k.if_(channel >= (p.panels - 1) * p.panel):
                vector(whole, rest)

    def _output_vector(
        self,
        epilogue: Epilogue,
        products: Pointer,
        count: Count,
        y: Value,
        x: Value,
        whole: bool,
    ) -> None:
        k, p = self.k, self.p
        _, oh, ow, _ = p.spec.outputs[0].shape
        size = p.m + TAPS - 1
        step = p.block * p.panel
        grid = [
            [k.load(products.at((a * size + b) * step), p.lanes) for b in range(size)]
            for a in range(size)
        ]
        result = transform_grid(k, grid, p.m, output=True)
        tiles = [(result[a][b], (0, a, b, 0), count) for a in range(p.m) for b in range(p.m)]
        if whole:
            epilogue.store_all(tiles)
            return
        for value, place, _ in tiles:
            _, a, b, _ = place
            if a == 0 and b == 0:
                epilogue.store(value, place, count)
                continue
            with k.if_(k.bit("and", y + a < oh, x + b < ow)):
                epilogue.store(value, place, count)

    # -- shared ------------------------------------------------------------------------------

    def _coordinates(self, tile: Value) -> tuple[Index, Value, Value]:
        """(image, tile row, tile column) of a tile number."""
        rows, cols = self.p.tiles_yx
        if self.p.spec.outputs[0].shape[0] == 1:
            return 0, tile // cols, tile % cols
        rest = tile % (rows * cols)
        return tile // (rows * cols), rest // cols, rest % cols

    def _pads(self) -> tuple[int, int]:
        top, left, *_ = ints_attr(self.p.spec, "pads")
        return top, left

    def _epilogue(self) -> Epilogue:
        k, spec = self.k, self.p.spec
        packed = constant_numbers(spec)
        numbers = range(2, len(spec.inputs))
        return Epilogue(
            k,
            expr_attr(spec, "epilogue"),
            [spec.inputs[i] for i in numbers],
            [operand_pointer(k, spec, i, packed) for i in numbers],
            spec.outputs[0],
            k.args["out0"],
        )
