"""Attention, FP32: a block of queries at a time, its scores in the cache.

Work items are (head, block of queries).  Each goes over tiles of keys: values into panels, scores =
queries times keys, their softmax, results = powers times values.  One tile of keys needs no rescaling; more are
joined as in FlashAttention (Dao et al. 2022).  No sum is split over workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from camshaft.backends.base import KernelSpec, Source
from camshaft.backends.cpu.abi import constant_numbers, operand_pointer, phase_args
from camshaft.backends.cpu.attention.block import BlockWriter
from camshaft.backends.cpu.attention.plan import Cut, Scratch
from camshaft.backends.cpu.attention.problem import AttentionProblem, is_supported
from camshaft.backends.cpu.attention.rows import add_rows
from camshaft.backends.cpu.candidate import CpuCandidate
from camshaft.backends.cpu.lang import Module
from camshaft.backends.cpu.pointwise.tactic import row_loop
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.extents.bounds import bounds
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import typical

_BLOCKS = (64, 128, 32)
"""Queries of a work item, about."""
_KEYS = (256, 512)
_MOST_AT_ONCE = 512
"""Keys up to which one tile holds them all."""


class Attention:
    """Softmax of scores times values, in one pass over keys and values."""

    name = "attention"
    version = 1

    def plan(
        self, spec: KernelSpec, target: CpuTarget, threads: int
    ) -> Sequence[AttentionCandidate]:
        """Blocks of several sizes; none for types without code."""
        if not is_supported(spec):
            return ()
        p = AttentionProblem.of(spec)
        spare = 4 if target.registers >= 32 else 3
        room = target.registers - spare
        queries, most = typical(p.queries), bounds(p.keys)[1]
        found: dict[tuple[int, int, int, int], None] = {}
        for keys in (int(most),) if most <= _MOST_AT_ONCE else _KEYS:
            for block in _BLOCKS:
                for cols in (2, 4) if target.registers >= 32 or queries == 1 else (2,):
                    rows = min(queries, max(1, room // cols))
                    if queries <= 2:
                        cols = max(cols, room // 2)
                    blocks = -(-queries // block)
                    tiles = -(-queries // (blocks * rows))
                    found[(rows, cols, tiles, keys)] = None
        names = ("rows", "cols", "tiles", "keys")
        return [
            AttentionCandidate(spec, target, p, dict(zip(names, params, strict=True)))
            for params in found
        ]


class AttentionCandidate(CpuCandidate[AttentionProblem]):
    """Parameters: rows, cols (register tile: queries x vectors of keys), tiles (of rows in a block), keys (of
    a tile)."""

    @cached_property
    def cut(self) -> Cut:
        """What the parameters mean."""
        return Cut.of(self.problem, self.params, self.target)

    def workspace(self, threads: int) -> Extent:
        """Bytes of the workers' scores, packed keys and values."""
        return 4 * threads * Scratch.of(self.problem, self.cut).size

    def emit(self) -> Source:
        """One phase."""
        p, cut, spec = self.problem, self.cut, self.spec
        m = Module(self.target)
        known = p.keys if isinstance(p.keys, int) and not cut.several else None
        hidden = p.zero_hidden
        add_rows(m, cut.block, cut.pitch, known, several=cut.several, zero_hidden=hidden)
        blocks = cut.blocks(p)
        with m.phase("attention", p.heads * blocks, phase_args(spec)) as k:
            packed = constant_numbers(spec)
            pointers = [operand_pointer(k, spec, n, packed) for n in range(len(spec.inputs))]
            dtypes = [o.dtype for o in (*spec.inputs, *spec.outputs)]
            writer = BlockWriter(k, p, cut, [*pointers, k.args["out0"]], dtypes)
            with row_loop(k, k.begin, k.end, (*p.lead, blocks)) as position:
                writer.item(position[:-1], k.index(position[-1]))
        return m.source()
