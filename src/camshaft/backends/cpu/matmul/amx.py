"""Matrix product of bf16 or 8-bit integers by constant weights on AMX's tiles.

b lies in the panels of `layout`, with K rounded up to whole tiles by zeros.  A first phase writes a into tiles in the workspace, [batch][16 rows][K tile][16][64
bytes], zeros behind K, signed bytes plus 128; rows that do not exist hold anything, and what comes of them
is not stored.  Sums go through the worker's scratch memory to the epilogue, row by row.

No machine of ours has AMX: this code is compiled, and its tile instructions are interpreted by a model in
the tests; it was never timed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial

import numpy as np

from camshaft.backends.base import KernelSpec, Packing, Source
from camshaft.backends.cpu.abi import constant_numbers, operand_pointer, phase_args
from camshaft.backends.cpu.candidate import CpuCandidate
from camshaft.backends.cpu.expr.epilogue import Epilogue
from camshaft.backends.cpu.lang import FunctionBuilder, Module, Pointer, Value
from camshaft.backends.cpu.lang.matrix_tiles import TILE_BYTES, TILE_ROWS, whole_tiles
from camshaft.backends.cpu.matmul.layout import ALIGN, Layout, packed_b
from camshaft.backends.cpu.matmul.problem import MatmulProblem, is_supported
from camshaft.backends.cpu.products.form import ProductForm
from camshaft.backends.cpu.products.tile_sums import TileSums, blocks_for, scratch_bytes
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.extents.extent import Extent, ceil_div
from camshaft.ir.extents.sizes import fixed_extent, typical
from camshaft.ir.types import DType, bf16, i8, i32, u8, u16

_TILE = TILE_ROWS * TILE_BYTES


class MatmulAmx:
    """Product on tiles, for targets with AMX."""

    name = "matmul_amx"
    version = 1

    def plan(
        self, spec: KernelSpec, target: CpuTarget, threads: int
    ) -> Sequence[MatmulAmxCandidate]:
        """Blocks of tiles; for constant b, K that is known and adjacent in a, and no zero point of b."""
        if not target.has_amx or not is_supported(spec):
            return ()
        p = MatmulProblem.of(spec)
        types = p.integer or (p.a_dtype == p.b_dtype == bf16)
        adjacent = p.k == 1 or p.a_steps[-1] == 1
        if not types or not p.b_const or not isinstance(p.k, int) or not adjacent:
            return ()
        if p.integer and p.zeros[1]:
            return ()
        return [
            MatmulAmxCandidate(spec, target, p, params)
            for params in blocks_for(typical(p.m), typical(p.n))
        ]


class MatmulAmxCandidate(CpuCandidate[MatmulProblem]):
    """Parameters: rows, cols (tiles that are summed at once)."""

    @cached_property
    def layout(self) -> Layout:
        """Panels of `cols` tiles."""
        p, form = (
            self.problem,
            ProductForm.packed(self.problem.a_dtype, self.problem.b_dtype, adjacent=True),
        )
        assert p.b_const
        rows, cols = int(self.params["rows"]), int(self.params["cols"])
        return Layout("packed", rows, cols, TILE_ROWS, form, whole=TILE_ROWS)

    @cached_property
    def row_tiles(self) -> Extent:
        """Tiles of rows of one product, such that blocks of them are whole."""
        rows = self.layout.rows
        return ceil_div(ceil_div(self.problem.m, TILE_ROWS), rows) * rows

    @cached_property
    def k_tiles(self) -> int:
        """Tiles along K."""
        depth = fixed_extent(self.layout.depth(self.problem), "K of a product on tiles")
        return depth // TILE_ROWS

    @property
    def a_bytes(self) -> Extent:
        """Bytes of all tiles of a."""
        return self.problem.batches * self.row_tiles * self.k_tiles * _TILE

    @property
    def scratch_bytes(self) -> int:
        """Bytes of the sums of a block."""
        return scratch_bytes(self.layout.rows, self.layout.cols)

    @property
    def packing(self) -> Packing:
        """As its layout says."""
        return self.layout.packing

    def prepack(self, constants: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """The tiles' configuration, b in panels (integers: and its columns' constants), then the others."""
        numbers = constant_numbers(self.spec)
        others = [np.ascontiguousarray(constants[numbers[n]]) for n in numbers if n != 1]
        return [
            whole_tiles(),
            *packed_b(self.problem, constants[numbers[1]], self.layout),
            *others,
        ]

    def workspace(self, threads: int) -> Extent:
        """The tiles of a, and each worker's sums."""
        return self.a_bytes + self.scratch_bytes * threads

    def emit(self) -> Source:
        """A phase that writes a into tiles, and the product."""
        p, spec = self.problem, self.spec
        own: list[DType] = [u8, i8, i32] if p.integer else [u8, p.b_dtype]
        others = [n for n in constant_numbers(spec) if n != 1]
        packed = {n: len(own) + place for place, n in enumerate(others)}
        args = phase_args(spec, [*own, *(spec.inputs[n].dtype for n in others)])
        m = Module(self.target)
        with m.phase("tiles", p.batches * self.row_tiles, args) as k:
            _write_tiles(k, self, operand_pointer(k, spec, 0, packed))
        blocks = self.row_tiles // self.layout.rows
        panels = p.panels(self.layout.width)
        with m.phase("product", p.batches * panels * blocks, args) as k:
            _BlockProduct(k, self, packed).all_items(blocks, panels)
        return m.source()


def _is_full(panel: Value, panels: Extent) -> Value:
    """Whether all columns of a panel exist."""
    return panel < panels - 1


def _positions(k: FunctionBuilder, p: MatmulProblem, batch: Value) -> list[Value]:
    """The number of a product as positions in its axes."""
    position: list[Value] = []
    for extent in reversed(p.rows[:-1]):
        position.insert(0, batch % extent)
        batch = batch // extent
    return position


def _write_tiles(k: FunctionBuilder, c: MatmulAmxCandidate, a: Pointer) -> None:
    """The work items of the first phase: 16 rows of a each, of which some may not exist."""
    p = c.problem
    kind = u8 if p.integer else u16  # elements as bits
    lanes = TILE_BYTES // kind.bytes
    whole, left = divmod(fixed_extent(p.k, "K of a product on tiles"), lanes)

    def moved(source: Pointer, target: Pointer, count: int | None) -> None:
        value = k.load(source, lanes, count)
        k.store(value ^ 0x80 if p.a_dtype == i8 else value, target)

    with k.loop(k.begin, k.end) as item:
        batch, tile = item // c.row_tiles, item % c.row_tiles
        line = a.as_type(kind)
        for index, step in zip(_positions(k, p, batch), p.a_steps[:-2], strict=True):
            line = line.at(index * step)
        first = tile * TILE_ROWS
        tiles = k.args["workspace"].at(item * (c.k_tiles * _TILE)).aligned(ALIGN).as_type(kind)
        with k.loop(first, k.min(first + TILE_ROWS, p.m)) as row:
            source = line.at(row * p.a_steps[-2])
            target = tiles.at((row - first) * lanes).aligned(ALIGN)
            with k.loop(0, whole) as n:
                moved(
                    source.at(n * lanes), target.at(n * (_TILE // kind.bytes)).aligned(ALIGN), None
                )
            if left:
                last = target.at(whole * (_TILE // kind.bytes))
                moved(source.at(whole * lanes), last, left)


class _BlockProduct:
    """Writes the second phase: a block of rows x cols tiles of sums for each work item."""

    def __init__(self, k: FunctionBuilder, c: MatmulAmxCandidate, packed: dict[int, int]) -> None:
        self.k, self.c, self.p, self.layout = k, c, c.problem, c.layout
        p, spec = c.problem, c.spec
        pointers = [operand_pointer(k, spec, n, packed) for n in range(2, len(spec.inputs))]
        self.epilogue = Epilogue(k, p.epilogue, p.operands, pointers, p.output, k.args["out0"])
        layout = c.layout
        scratch = k.args["workspace"].at(c.a_bytes).at(k.worker * c.scratch_bytes)
        scratch = scratch.as_type(layout.form.sums).aligned(ALIGN)
        self.sums = TileSums(k, layout.rows, layout.cols, layout.form, scratch)

    def all_items(self, blocks: Extent, panels: Extent) -> None:
        """Every work item of this call."""
        k, p, c = self.k, self.p, self.c
        k.tile_configure(k.args["packed0"])
        with k.loop(k.begin, k.end) as item:
            block, rest = item % blocks, item // blocks
            panel, batch = rest % panels, rest // panels
            position = _positions(k, p, batch)
            matrix = k.index(0)
            for index, step in zip(position, p.b_matrices[:-1], strict=True):
                matrix = matrix + index * step
            tile = batch * c.row_tiles + block * self.layout.rows
            a = k.args["workspace"].at(tile * (c.k_tiles * _TILE)).aligned(ALIGN)
            size = self.layout.panel_elements(p)
            b = k.args["packed1"].at((matrix * panels + panel) * size).aligned(ALIGN)
            self._sums(a, b)
            first = block * (self.layout.rows * TILE_ROWS)
            rows = k.min(self.layout.rows * TILE_ROWS, p.m - first)
            start = panel * self.layout.width
            constants = None
            if p.integer:
                constants = k.args["packed2"].at(matrix * (panels * self.layout.width) + start)
            is_full = partial(_is_full, panel, panels)
            for columns in k.tile_at(p.n, self.layout.width, 0, is_full=is_full):
                place = self.epilogue.at((*position, first, start))
                counts = columns.counts(TILE_ROWS)
                self.sums.finish(place, len(position) + 2, rows, counts, constants)
        k.tile_release()

    def _sums(self, a: Pointer, b: Pointer) -> None:
        """All products of a block, brought to scratch memory."""
        k, c, sums = self.k, self.c, self.sums
        sums.clear()
        with k.loop(0, c.k_tiles) as step:
            panel = b.at(step * (TILE_ROWS * self.layout.width * self.layout.form.group))
            sums.add(a.at(step * _TILE), c.k_tiles * _TILE, TILE_BYTES, panel)
        sums.store()
