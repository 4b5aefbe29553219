"""Attention on floats, halves and bytes: a block of queries at a time, its scores in the cache.

Work items are (head, block of queries).  Each goes over tiles of keys: keys and values into panels, unless a phase
before has done so, scores = queries times keys, their softmax, results = powers times values.  One tile of keys needs no rescaling; more are
joined as in FlashAttention (Dao et al. 2022).  No sum is split over workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from camshaft.backends.base import KernelSpec, Source
from camshaft.backends.cpu.abi import constant_numbers, operand_pointer, phase_args
from camshaft.backends.cpu.attention.block import BlockWriter
from camshaft.backends.cpu.attention.bytes import quantize_all
from camshaft.backends.cpu.attention.pack import pack_all
from camshaft.backends.cpu.attention.plan import MOST_KEYS, Cut, Scratch, Shared
from camshaft.backends.cpu.attention.problem import (
    RAGGED,
    AttentionProblem,
    Segments,
    is_supported,
)
from camshaft.backends.cpu.attention.rows import add_rows
from camshaft.backends.cpu.candidate import CpuCandidate
from camshaft.backends.cpu.lang import FunctionBuilder, Module
from camshaft.backends.cpu.pointwise.tactic import row_loop
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.attrs import extent_attr
from camshaft.ir.extents.bounds import bounds
from camshaft.ir.extents.extent import Extent, ceil_div
from camshaft.ir.extents.sizes import typical
from camshaft.ir.types import f32, i64

_BLOCKS = ((32, True), (64, True), (128, False), (64, False))
"""Queries of a work item, about, and whether keys and values are packed beforehand."""
_WHOLE = ((128, False), (32, False))
_ONE_BLOCK = 64
"""Queries up to which one block may hold them all."""
_KEYS = (MOST_KEYS, 256)


class Attention:
    """Softmax of scores times values, in one pass over keys and values."""

    name = "attention"
    version = 2

    def plan(
        self, spec: KernelSpec, target: CpuTarget, threads: int
    ) -> Sequence[AttentionCandidate]:
        """Blocks of several sizes; none for types without code."""
        if spec.op != self.name or not is_supported(spec):
            return ()
        p = AttentionProblem.of(spec)
        spare = 4 if target.registers >= 32 else 3
        if p.factors != f32 or spec.inputs[0].dtype != f32:
            spare += 1  # nothing multiplies by halves or bytes in memory
        room = target.registers - spare
        queries, most = typical(p.queries), bounds(p.keys)[1]
        found: dict[tuple[int, int, int, int, bool], None] = {}
        for keys in (int(most),) if most <= MOST_KEYS else _KEYS:
            for block, packed in _BLOCKS if queries > _ONE_BLOCK else _WHOLE:
                for cols in (2, 4) if target.registers >= 32 or queries == 1 else (2,):
                    rows = min(queries, max(1, room // cols))
                    if queries <= 2:
                        cols = max(cols, room // 2)
                    blocks = -(-queries // block)
                    tiles = -(-queries // (blocks * rows))
                    found[(rows, cols, tiles, keys, packed)] = None
        names = ("rows", "cols", "tiles", "keys", "packed")
        return [
            AttentionCandidate(spec, target, p, dict(zip(names, params, strict=True)))
            for params in found
            if p.segments is None or not params[-1]
        ]


class RaggedAttention(Attention):
    """The same within segments of rows, each of which packs its own keys and values."""

    name = "ragged_attention"
    version = 1


class AttentionCandidate(CpuCandidate[AttentionProblem]):
    """Parameters: rows, cols (register tile: queries x vectors of keys), tiles (of rows in a block), keys (of
    a tile), packed (whether a first phase packs keys and values)."""

    @cached_property
    def cut(self) -> Cut:
        """What the parameters mean."""
        return Cut.of(self.problem, self.spec.inputs[0].dtype, self.params, self.target)

    def workspace(self, threads: int) -> Extent:
        """Bytes of the workers' scores, packed keys and values."""
        shared = Shared.of(self.problem, self.cut).size if self.cut.packed else 0
        return 4 * (threads * Scratch.of(self.problem, self.cut).size + shared)

    def emit(self) -> Source:
        """The phase of the blocks, behind one that packs keys and values where that is apart."""
        p, cut, spec = self.problem, self.cut, self.spec
        m = Module(self.target.for_word_products if cut.quantized else self.target)
        known = p.keys if isinstance(p.keys, int) and not cut.several else None
        add_rows(m, cut, known, zero_hidden=p.zero_hidden)
        if cut.packed:
            shared = Shared.of(p, cut)
            pack = quantize_all if cut.quantized else pack_all
            with m.phase("pack", shared.heads * shared.pieces, phase_args(spec)) as k:
                pack(k, p, cut, k.args["in1"], k.args["in2"])
        if p.segments is not None:
            self._ragged(m, p.segments)
            return m.source()
        blocks = cut.blocks(p)
        with m.phase("attention", p.heads * blocks, phase_args(spec)) as k:
            writer = self._writer(k)
            with row_loop(k, k.begin, k.end, (*p.lead, blocks)) as position:
                writer.item(position[:-1], k.index(position[-1]))
        return m.source()

    def _writer(self, k: FunctionBuilder) -> BlockWriter:
        spec, segments = self.spec, self.problem.segments
        packed = constant_numbers(spec)
        numbers = [n for n in range(len(spec.inputs)) if n != RAGGED or segments is None]
        pointers = [operand_pointer(k, spec, n, packed) for n in numbers]
        dtypes = [*(spec.inputs[n].dtype for n in numbers), spec.outputs[0].dtype]
        return BlockWriter(k, self.problem, self.cut, [*pointers, k.args["out0"]], dtypes)

    def _ragged(self, m: Module, segments: Segments) -> None:
        """Work items are blocks of all segments, as if each were the longest: those behind its end are empty."""
        p, cut, spec = self.problem, self.cut, self.spec
        longest = extent_attr(spec, "longest")
        blocks = ceil_div(longest, cut.block)
        with m.phase("attention", p.heads * segments.count * blocks, phase_args(spec)) as k:
            writer = self._writer(k)
            starts = operand_pointer(k, spec, RAGGED, constant_numbers(spec))
            step = spec.inputs[RAGGED].strides[0]
            loops = (*p.lead, segments.count, blocks)
            with row_loop(k, k.begin, k.end, loops) as position:
                segment, block = (k.index(n) for n in position[-2:])
                first, behind = (
                    k.cast(k.load(starts.at(k.mul(segment + n, step))), i64) for n in (0, 1)
                )
                length = k.min(behind - first, longest)
                with k.if_(block * cut.block < length), k.known_here(segments.length, length):
                    writer.item(position[:-2], block, first)
