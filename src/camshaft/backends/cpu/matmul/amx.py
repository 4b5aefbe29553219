"""Matrix product of bf16 or 8-bit integers by constant weights on AMX's tiles.

    product: C tiles [16 rows][16 columns] += A tile [16 rows][64 bytes of K] x B tile [16 groups of K][16 columns]

b lies in the panels of `layout`, with K rounded up to whole tiles by zeros: a B tile is read from a panel
with the panel's stride.  A first phase writes a into tiles in the workspace, [batch][16 rows][K tile][16][64
bytes], zeros behind K, signed bytes plus 128; rows that do not exist hold anything, and what comes of them
is not stored.  Sums go through the worker's scratch memory to the epilogue, row by row.

No machine of ours has AMX: this code is compiled, and its tile instructions are interpreted by a model in
the tests; it was never timed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial

import numpy as np

from camshaft.backends.base import KernelSpec, Source
from camshaft.backends.cpu.abi import constant_numbers, operand_pointer, phase_args
from camshaft.backends.cpu.candidate import CpuCandidate
from camshaft.backends.cpu.expr.epilogue import Epilogue
from camshaft.backends.cpu.lang import FunctionBuilder, Module, Pointer, Value
from camshaft.backends.cpu.lang.matrix_tiles import TILE_BYTES, TILE_ROWS, whole_tiles
from camshaft.backends.cpu.matmul.layout import ALIGN, Layout, packed_b
from camshaft.backends.cpu.matmul.problem import MatmulProblem, is_supported
from camshaft.backends.cpu.products import ProductForm
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.extents.extent import Extent, ceil_div
from camshaft.ir.extents.sizes import fixed_extent, typical
from camshaft.ir.types import DType, bf16, i8, i32, u8, u16

_TILE = TILE_ROWS * TILE_BYTES
_SHAPES = ((2, 2), (1, 3), (1, 2), (1, 1))
"""Tiles of rows x tiles of columns that are summed at once: with one tile of a for each row and one of b for
each column, eight at most."""


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
        few, narrow = typical(p.m) <= TILE_ROWS, typical(p.n) <= TILE_ROWS
        return [
            MatmulAmxCandidate(spec, target, p, {"rows": rows, "cols": cols})
            for rows, cols in _SHAPES
            if not (few and rows > 1) and not (narrow and cols > 1)
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
        return self.layout.rows * TILE_ROWS * self.layout.width * 4

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
        scratch = k.args["workspace"].at(c.a_bytes).at(k.worker * c.scratch_bytes)
        self.scratch = scratch.as_type(c.layout.form.sums).aligned(ALIGN)

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
                self._store(place, rows, columns.counts(TILE_ROWS), constants)
        k.tile_release()

    def _sums(self, a: Pointer, b: Pointer) -> None:
        """All products of a block, stored to scratch memory, [row][column] of the block."""
        k, c, layout = self.k, self.c, self.layout
        rows, cols = range(layout.rows), range(layout.cols)
        sums = {(i, j): i * layout.cols + j for i in rows for j in cols}
        left, right = len(sums), len(sums) + layout.rows  # numbers of the first tiles of a and b
        types = (u8, i8) if self.p.integer else (bf16, bf16)
        stride = layout.width * 4
        for number in sums.values():
            k.tile_zero(number)
        with k.loop(0, c.k_tiles) as step:
            for i in rows:
                place = a.at(i * c.k_tiles * _TILE).at(step * _TILE)
                k.tile_load(left + i, place, TILE_BYTES)
            panel = b.as_type(i32).at(step * (TILE_ROWS * layout.width))
            for j in cols:
                k.tile_load(right + j, panel.at(j * TILE_ROWS), stride)
                for i in rows:
                    k.tile_dot(sums[i, j], left + i, right + j, types)
        for (i, j), number in sums.items():
            k.tile_store(number, self.scratch.at((i * layout.width + j) * TILE_ROWS), stride)

    def _store(
        self,
        place: Epilogue,
        rows: Value,
        counts: Sequence[int | Value],
        constants: Pointer | None,
    ) -> None:
        """The block's rows that exist through the epilogue."""
        k, axes = self.k, len(self.p.rows) - 1
        with k.loop(0, rows) as i:
            row = self.scratch.at(i * self.layout.width).aligned(ALIGN)
            here = place.at((*(0,) * axes, i, 0))
            for j, count in enumerate(counts):
                value = k.load(row.at(j * TILE_ROWS), TILE_ROWS)
                if constants is not None:
                    value = value + k.load(constants.at(j * TILE_ROWS), TILE_ROWS)
                here.store(value, (*(0,) * axes, 0, j * TILE_ROWS), count)
