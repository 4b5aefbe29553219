"""Products of floats with large constant matrices, blocked over all three extents (Goto and van de Geijn 2008).

A work item is a block of rows times a block of columns.  It takes K in pieces: a panel of b of one piece stays in
the L1 cache while all rows of the block pass, whose piece of a stays in the L2 cache; sums wait in scratch
memory between pieces.  While a panel is used, the next one is fetched.
1x1 convolutions are such products of their pixels.
Where the target has arithmetic on f16, products of f16 are summed in f16 within a piece, and pieces in f32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from camshaft.backends.base import KernelSpec, Operand, Packing, Source
from camshaft.backends.cpu.abi import constant_numbers, operand_pointer, phase_args
from camshaft.backends.cpu.candidate import CpuCandidate
from camshaft.backends.cpu.expr.epilogue import Epilogue
from camshaft.backends.cpu.lang import FunctionBuilder, Index, Module, Value
from camshaft.backends.cpu.matmul.features import blocked_features
from camshaft.backends.cpu.matmul.layout import ALIGN, Layout, packed_b
from camshaft.backends.cpu.matmul.problem import MatmulProblem, is_supported
from camshaft.backends.cpu.matmul.tile import MatmulTile, PanelVectors, Partial
from camshaft.backends.cpu.products.form import ProductForm
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.attrs import int_attr, ints_attr
from camshaft.ir.extents.extent import Extent, ceil_div
from camshaft.ir.extents.sizes import typical
from camshaft.ir.types import f16, f32

_FEWEST_ROWS = 16
_FEWEST_MACS = 1 << 20
_DEPTHS = (256, 384)
_NARROW_DEPTHS = (128,)
_ITEM_COLUMNS = 256
_LINE = 64


def as_product(spec: KernelSpec) -> KernelSpec | None:
    """A "matmul" spec, or that of a convolution of single pixels as one; None for what is neither."""
    if spec.op == "matmul":
        return spec
    if spec.op != "conv" or len(spec.inputs) < 2:
        return None
    x, w = spec.inputs[:2]
    plain = w.shape[1:3] == (1, 1) and int_attr(spec, "groups", 1) == 1
    if not plain or not w.const or ints_attr(spec, "strides", (1, 1)) != (1, 1):
        return None
    if any(ints_attr(spec, "pads", (0, 0, 0, 0))):
        return None
    b = Operand.dense(w.dtype, (w.shape[3], w.shape[0]), const=True)
    attrs = {
        "a_zero_point": int_attr(spec, "x_zero_point", 0),
        "b_zero_point": 0,
        "epilogue": dict(spec.attrs)["epilogue"],
    }
    return KernelSpec("matmul", (x, b, *spec.inputs[2:]), spec.outputs, tuple(attrs.items()))


@dataclass(frozen=True)
class Blocks:
    """rows: register tiles in a block of rows.  panels: panels in a block of columns.  depth: elements of K in a
    piece, all but the last."""

    rows: int
    panels: int
    depth: int

    def pieces(self, k: int) -> int:
        """Pieces of K."""
        return -(-k // self.depth)


class MatmulBlocked:
    """Blocked product of f32 rows, or f16 ones, with a constant matrix."""

    name = "matmul_blocked"
    version = 1

    def plan(self, spec: KernelSpec, target: CpuTarget, threads: int) -> Sequence[BlockedCandidate]:
        """Two shapes of the register tile, pieces of two depths; none for few rows, small products and
        types or strides without code."""
        product = as_product(spec)
        if product is None or not is_supported(product) or not product.inputs[1].const:
            return ()
        p = MatmulProblem.of(product)
        form = _form(p, target)
        if form is None or p.matrices != 1:
            return ()
        if not isinstance(p.k, int) or not isinstance(p.n, int):
            return ()
        m = typical(p.m)
        if m < _FEWEST_ROWS or typical(p.batches) * m * p.k * p.n < _FEWEST_MACS:
            return ()
        lanes, found = target.lanes(form.sums), dict[tuple[int, int, int, int, int], None]()
        for cols in (2, 3) if target.registers < 32 else (2, 4, 3):
            cols = min(cols, -(-p.n // lanes))
            kept = 4 if target.registers >= 32 else 3
            if form.narrow:  # no multiply-add of f16 takes weights or rows from memory
                kept = cols + 2
            rows = min(m, (target.registers - kept) // cols)
            for most in _NARROW_DEPTHS if form.narrow else _DEPTHS:
                depth = _even(p.k, most)
                tiles = self._tiles(m, rows, depth * form.x.bytes, target)
                panels = self._panels(p, cols * lanes, -(-m // (rows * tiles)), threads)
                found[(rows, cols, depth, tiles, panels)] = None
        names = ("rows", "cols", "depth", "tiles", "panels")
        return [
            BlockedCandidate(spec, target, p, dict(zip(names, params, strict=True)))
            for params in found
        ]

    @staticmethod
    def _tiles(m: int, rows: int, nbytes: int, target: CpuTarget) -> int:
        """Register tiles of a block of rows, whose piece of a fills a third of the L2 cache.  nbytes: of a
        row of the piece."""
        most = max(1, target.l2_bytes // 3 // (nbytes * rows))
        tiles = -(-m // rows)
        return -(-tiles // -(-tiles // most))

    @staticmethod
    def _panels(p: MatmulProblem, width: int, row_blocks: int, threads: int) -> int:
        """Panels of a block of columns: about 256 columns, or fewer where workers would be idle."""
        assert isinstance(p.n, int)
        panels = -(-p.n // width)
        blocks = max(1, -(-p.n // _ITEM_COLUMNS))
        if threads > 1:
            items = blocks * row_blocks * typical(p.batches)
            while items % threads and items < 8 * threads and blocks < panels:
                blocks += 1
                items = blocks * row_blocks * typical(p.batches)
        return -(-panels // blocks)


def _even(k: int, most: int) -> int:
    """Elements of pieces of K, about equal and at most about `most`, a multiple of 4."""
    pieces = -(-k // most)
    return -(-k // (4 * pieces)) * 4


def _form(p: MatmulProblem, target: CpuTarget) -> ProductForm | None:
    """How elements are multiplied; None where there is no code."""
    if p.a_dtype == p.b_dtype == f32:
        return ProductForm.plain(f32, f32)
    if p.a_dtype == p.b_dtype == f16 and target.has_fp16:
        return ProductForm.half_sums()
    return None


class BlockedCandidate(CpuCandidate[MatmulProblem]):
    """Parameters: rows, cols (register tile), depth (elements of K in a piece), tiles (of rows in a block),
    panels (of columns in a block)."""

    @cached_property
    def layout(self) -> Layout:
        """The register tile and the panels."""
        form = _form(self.problem, self.target)
        assert form is not None
        rows, cols = int(self.params["rows"]), int(self.params["cols"])
        return Layout("packed", rows, cols, self.target.lanes(form.sums), form)

    @cached_property
    def blocks(self) -> Blocks:
        """What the parameters say of blocks."""
        return Blocks(*(int(self.params[name]) for name in ("tiles", "panels", "depth")))

    @property
    def _k(self) -> int:
        assert isinstance(self.problem.k, int)
        return self.problem.k

    @property
    def _pitch(self) -> int:
        return self.blocks.panels * self.layout.width

    @property
    def packing(self) -> Packing:
        """As its layout says."""
        return self.layout.packing

    def prepack(self, constants: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """b in panels, then the other constants as they are."""
        numbers = constant_numbers(self.spec)
        b = constants[numbers[1]]
        if self.spec.op == "conv":
            b = np.ascontiguousarray(b.reshape(b.shape[0], b.shape[3]).T)
        others = [n for n in numbers if n != 1]
        packed = packed_b(self.problem, b, self.layout)
        return packed + [np.ascontiguousarray(constants[numbers[n]]) for n in others]

    def features(self, threads: int) -> Mapping[str, float]:
        """As `matmul.features` says; none of half floats, to which no model was fitted."""
        if self.problem.a_dtype != f32 or self.problem.b_dtype != f32:
            return {}
        return blocked_features(self.problem, self.params, self.target, threads)

    def _sums(self) -> int:
        """Floats of a worker's sums between pieces of K."""
        if self.blocks.pieces(self._k) == 1:
            return 0
        return self.blocks.rows * self.layout.rows * self._pitch

    def workspace(self, threads: int) -> Extent:
        """Bytes of the workers' sums."""
        return 4 * threads * self._sums()

    def emit(self) -> Source:
        """One phase."""
        p, spec, blocks = self.problem, self.spec, self.blocks
        assert isinstance(p.n, int)
        others = [o.dtype for n, o in enumerate(spec.inputs) if o.const and n != 1]
        row_blocks = ceil_div(p.m, blocks.rows * self.layout.rows)
        panels = -(-p.n // self.layout.width)
        column_blocks = -(-panels // blocks.panels)
        m = Module(self.target)
        items = p.batches * row_blocks * column_blocks
        args = phase_args(spec, [self.layout.form.w, *others])
        with m.phase("product", items, args) as k, k.loop(k.begin, k.end) as item:
            row, rest = item % row_blocks, item // row_blocks
            column, rest = rest % column_blocks, rest // column_blocks
            position: list[Value] = []
            for extent in reversed(p.rows[:-1]):
                position.insert(0, rest % extent)
                rest = rest // extent
            _BlockWriter(k, self, position, row, self._sums()).columns(column, panels)
        return m.source()


class _BlockWriter:
    """Writes the code of one work item."""

    def __init__(
        self,
        k: FunctionBuilder,
        candidate: BlockedCandidate,
        position: Sequence[Value],
        row: Value,
        sums: int,
    ) -> None:
        """position: in the loops over batches.  row: number of the block of rows."""
        self.k, self.p, self.row = k, candidate.problem, row
        self.layout, self.blocks = candidate.layout, candidate.blocks
        spec = candidate.spec
        numbers = [n for n in constant_numbers(spec) if n != 1]
        packed = {n: 1 + place for place, n in enumerate(numbers)}
        a = operand_pointer(k, spec, 0, packed)
        for index, step in zip(position, self.p.a_steps, strict=False):
            a = a.at(k.mul(index, step))
        self.a = a
        pointers = [operand_pointer(k, spec, n, packed) for n in range(2, len(spec.inputs))]
        whole = Epilogue(
            k, self.p.epilogue, self.p.operands, pointers, self.p.output, k.args["out0"]
        )
        self.lead = (0,) * len(position)
        self.place = whole.at((*position, 0, 0))
        self.sums = k.args["workspace"].as_type(f32).at(k.worker * sums).aligned(ALIGN)
        self.pitch = self.blocks.panels * self.layout.width
        assert isinstance(self.p.k, int)
        self.depth, self.pieces = self.p.k, self.blocks.pieces(self.p.k)

    def columns(self, column: Value, panels: int) -> None:
        """The block of columns number `column`, all pieces of K."""
        k, blocks = self.k, self.blocks
        first = column * blocks.panels
        end = k.min(first + blocks.panels, panels)
        if self.pieces > 1:
            self._clear()
            with k.loop(0, self.pieces - 1) as piece, k.loop(first, end) as panel:
                self._panel(panel, first, piece * blocks.depth, blocks.depth, last=False)
        done = (self.pieces - 1) * blocks.depth
        with k.loop(first, end) as panel:
            self._panel(panel, first, k.index(done), self.depth - done, last=True)

    def _clear(self) -> None:
        k, lanes = self.k, self.layout.lanes
        with k.loop(0, self.blocks.rows * self.layout.rows * self.pitch, lanes) as at:
            k.store(k.const(0.0, f32, lanes), self.sums.at(at).aligned(min(ALIGN, 4 * lanes)))

    def _panel(self, panel: Value, first: Value, start: Value, depth: int, *, last: bool) -> None:
        """One panel of one piece of K, for all rows of the block."""
        k, p, layout = self.k, self.p, self.layout
        size, width, lanes = layout.panel_elements(p), layout.width, layout.lanes
        base = k.args["packed0"].at(panel * size).at(start * width).aligned(ALIGN)
        vectors = PanelVectors.of_floats(k, base, width, lanes)
        tile = MatmulTile(k, replace(p, k=depth), lanes, layout.form)
        sums = self.sums.at((panel - first) * width).aligned(min(ALIGN, 4 * lanes))
        a = self.a.at(k.mul(start, p.a_steps[-1]))
        following = base.at(k.index(size))
        nbytes = layout.form.w.bytes
        share = -(-depth * width * nbytes // _LINE // self.blocks.rows)

        def rows_at(number: Index, row: Value, within: Value, rows: int) -> None:
            here = a.at(k.mul(row, p.a_steps[-2]))
            partial = Partial(sums.at(within * self.pitch), self.pitch)
            line = following.at(k.mul(k.index(number), share * _LINE // nbytes))
            for n in range(share):
                k.prefetch(line.at(n * _LINE // nbytes), locality=2)
            if not last:
                tile.add(here, vectors, rows, [lanes] * layout.cols, partial)
                return
            before = partial if self.pieces > 1 else None
            end = panel * width + width
            for columns in k.tile_at(p.n, width, panel * width, is_full=lambda: end <= p.n):
                place = self.place.at((*self.lead, row, panel * width))
                tile.write(here, vectors, None, place, rows, columns.counts(lanes), sums=before)

        self._row_tiles(rows_at)

    def _row_tiles(self, write: Callable[[Index, Value, Value, int], None]) -> None:
        """Register tiles of the block: (number in the block, first row, that within the block, rows)."""
        k, p, step, tiles = self.k, self.p, self.layout.rows, self.blocks.rows
        whole = p.m // step
        low = self.row * tiles
        if whole != 0:
            with k.loop(0, k.min(tiles, k.index(whole) - low)) as number:
                write(number, (low + number) * step, number * step, step)
        blocks = ceil_div(p.m, tiles * step)

        def is_last() -> Value:
            return k.eq(self.row, blocks - 1)

        for tile in k.rest(p.m, whole * step, step, is_last=is_last, halves=True):
            row = k.index(tile.start)
            write(tiles - 1, row, row - low * step, tile.size)
