"""Tactic: sliding-window pooling, maximum and average, with any padding, stride and dilation.

Images may be of open batch, height and width: `sliding` and `open_window` write the code.
Parameters: pixels, vectors (tile: output pixels of a row x vectors of channels).
"""

from __future__ import annotations

from collections.abc import Sequence

from camshaft.backends.base import KernelSpec, Params, Source
from camshaft.backends.cpu.abi import phase_args
from camshaft.backends.cpu.candidate import CpuCandidate
from camshaft.backends.cpu.lang import Module
from camshaft.backends.cpu.pool.open_window import OpenWindows
from camshaft.backends.cpu.pool.problem import PoolProblem, supported
from camshaft.backends.cpu.pool.sliding import SlidingWindows, Split, column_offsets
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.extents.sizes import is_static, typical

_ENOUGH_ITEMS = 24
_LEAST_ITEM_BYTES = 8 << 10
_MOST_PIXELS = 8


def split_of(p: PoolProblem, params: Params, target: CpuTarget) -> Split:
    """Rows, and blocks of channels where there are few rows: reading along memory is faster."""
    lanes, tile = p.lanes(target), int(params["vectors"])
    tiles = -(-p.c // (lanes * tile))
    rows = p.n * p.oh
    tile_bytes = p.kernel[0] * typical(p.ow) * p.strides[1] * p.dtype.bytes * lanes * tile
    most = max(1, tiles * tile_bytes // _LEAST_ITEM_BYTES)
    blocks = max(1, min(tiles, most, -(-_ENOUGH_ITEMS // max(1, typical(rows)))))
    block = -(-tiles // blocks) * tile * lanes
    blocks = max(1, -(-p.c // block))
    items = rows * blocks if p.c else 0
    return Split(lanes, int(params["pixels"]), tile, block, blocks, items)


class PoolWindow:
    """Pooling over any window, with any padding, stride and dilation."""

    name = "pool_window"
    version = 5

    def plan(
        self, spec: KernelSpec, target: CpuTarget, threads: int
    ) -> Sequence[PoolWindowCandidate]:
        """Tiles of as many pixels as fit in registers, for windows of up to 64 columns."""
        p = supported(spec)
        if p is None or not is_static(p.window) or p.kernel[1] > 64:
            return ()
        return [PoolWindowCandidate(spec, target, p, params) for params in _tiles(p, target)]


def _tiles(p: PoolProblem, target: CpuTarget) -> list[Params]:
    """Pixels and vectors of channels of a tile."""
    room = target.registers - 3
    across = -(-p.c // p.lanes(target))
    width = typical(p.ow)
    found: list[Params] = []
    for vectors in (1, 2, 4):
        if vectors > across:
            break
        fitting = [
            pixels
            for pixels in range(1, min(_MOST_PIXELS, width) + 1)
            if len(column_offsets(p, pixels)) * vectors <= room
        ]
        best = max(fitting, default=1 if vectors == 1 else 0)
        if best:
            found.append({"pixels": -(-width // -(-width // best)), "vectors": vectors})
    return found


class PoolWindowCandidate(CpuCandidate[PoolProblem]):
    """Parameters: pixels, vectors (tile: output pixels of a row x vectors of channels)."""

    def emit(self) -> Source:
        """One phase; work items are output rows, or blocks of their channels."""
        split = split_of(self.problem, self.params, self.target)
        m = Module(self.target)
        args = phase_args(self.spec)
        with m.phase("pool", split.items, args) as k:
            if split.items != 0:
                open_width = not isinstance(self.problem.w, int)
                writer = OpenWindows if open_width else SlidingWindows
                writer(k, self.spec, self.problem, split).all_items()
        return m.source()
