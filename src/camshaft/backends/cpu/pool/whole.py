"""Global pooling: one window over the whole image, channels split over work items.

Reads every pixel's channels once, several vectors of channels side by side and several pixels at
a time.  Large images are summed row by row first, which keeps the rounding error of sums small and
8-bit sums in 16 bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from camshaft.backends.base import KernelSpec, Source
from camshaft.backends.cpu.abi import constant_numbers, operand_pointer, phase_args
from camshaft.backends.cpu.candidate import CpuCandidate
from camshaft.backends.cpu.expr.epilogue import Epilogue
from camshaft.backends.cpu.lang import FunctionBuilder, Module, Pointer, Value
from camshaft.backends.cpu.pool.problem import PoolProblem, supported
from camshaft.backends.cpu.reduce.run import reduced_run
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.extents.extent import Extent
from camshaft.ir.types import DType

_FLAT_PIXELS = 256
"""Images of up to this many pixels are summed in one run."""


class PoolGlobal:
    """Pooling of whole images (global average or maximum)."""

    name = "pool_global"
    version = 2

    def plan(
        self, spec: KernelSpec, target: CpuTarget, threads: int
    ) -> Sequence[PoolGlobalCandidate]:
        """Blocks of one to four vectors of channels, for one window that is the whole image."""
        p = supported(spec)
        if p is None or not p.is_global:
            return ()
        vectors = -(-p.c // p.lanes(target))
        fitting = [v for v in (4, 2, 1) if v <= vectors] or [1]
        return [PoolGlobalCandidate(spec, target, p, {"vectors": v}) for v in fitting]


class PoolGlobalCandidate(CpuCandidate[PoolProblem]):
    """Parameter: vectors of channels of a work item."""

    def emit(self) -> Source:
        """One phase; work items are blocks of channels of one image."""
        spec, p = self.spec, self.problem
        lanes = p.lanes(self.target)
        block = int(self.params["vectors"]) * lanes
        blocks = -(-p.c // block)
        m = Module(self.target)
        args = phase_args(spec)
        with m.phase("pool", p.n * blocks, args) as k:
            numbers = constant_numbers(spec, 1)
            operands = spec.inputs[1:]
            pointers = [operand_pointer(k, spec, 1 + n, numbers) for n in range(len(operands))]
            epilogue = Epilogue(k, p.epilogue, operands, pointers, spec.outputs[0], k.args["out0"])
            writer = _WholeImage(k, p, epilogue, lanes)
            with k.loop(k.begin, k.end) as item:
                image, c = item // blocks, (item % blocks) * block
                for tile in k.tile_at(p.c, block, c, is_full=partial(_is_full, c, block, p.c)):
                    writer.block(image, c, tile.size)
        return m.source()


def _is_full(c: Value, block: int, channels: int) -> Value:
    return c + block <= channels


class _WholeImage:
    """Writes the reduction of one block of channels."""

    def __init__(self, k: FunctionBuilder, p: PoolProblem, epilogue: Epilogue, lanes: int) -> None:
        self.k, self.p, self.epilogue, self.lanes = k, p, epilogue, lanes

    def block(self, image: Value, c: Value, channels: int) -> None:
        """Reduce `channels` channels from c on and store the result."""
        k, p, lanes = self.k, self.p, self.lanes
        counts = [min(lanes, channels - first) for first in range(0, channels, lanes)]
        x = k.args["in0"].at(image * p.steps[0]).at(c)
        totals = self._rows(x, counts) if self._by_rows else self._flat(x, counts)
        place = self.epilogue.at((image, 0, 0, c))
        taps = k.index(self._pixels)
        for n, (total, count) in enumerate(zip(totals, counts, strict=True)):
            result = p.maximum(k, total) if p.is_max else p.mean(k, total, taps, taps)
            place.store(result, (0, 0, 0, n * lanes), count)

    @property
    def _pixels(self) -> Extent:
        """Those of an image, which is one window."""
        return self.p.h * self.p.w

    @property
    def _by_rows(self) -> bool:
        p = self.p
        dense = p.h == 1 or p.steps[1] == p.w * p.steps[2]
        return not (dense and isinstance(self._pixels, int) and self._pixels <= _FLAT_PIXELS)

    def _flat(self, x: Pointer, counts: list[int]) -> list[Value]:
        return self._run(x, self._pixels, counts, self.p.sum_dtype(self._pixels))

    def _rows(self, x: Pointer, counts: list[int]) -> list[Value]:
        k, p = self.k, self.p
        wide = p.sum_dtype(self._pixels)
        totals = [p.initial(k, wide, self.lanes) for _ in counts]
        with k.loop(0, p.h, carry=totals) as row:
            line = x.at(row * p.steps[1])
            parts = self._run(line, p.w, counts, p.sum_dtype(p.w))
            for n, part in enumerate(parts):
                totals[n] = p.combine(k, totals[n], k.cast(part, wide))
        return totals

    def _run(self, x: Pointer, pixels: Extent, counts: list[int], dtype: DType) -> list[Value]:
        """Reduce a run of pixels; one result for every vector of channels."""
        k, p, lanes = self.k, self.p, self.lanes

        def read(pixel: Pointer) -> Iterator[Value]:
            for n, count in enumerate(counts):
                yield k.cast(k.load(pixel.at(n * lanes), lanes, count), dtype)

        identity = [p.initial(k, dtype, lanes)] * len(counts)
        return reduced_run(
            k, x, pixels, p.steps[2], identity, read, lambda a, b: p.combine(k, a, b)
        )
