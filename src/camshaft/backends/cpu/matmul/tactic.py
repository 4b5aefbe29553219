"""Matrix product, FP32, half precision and INT8, batched, with an epilogue.

A constant b is packed once at build time.  Otherwise b is read where it lies (rows of floats), each worker packs the
panel that it multiplies by (floats, of which many rows pass), or a first phase packs it into the workspace (8-bit
integers, pairs of bf16 that the target multiplies at once, or columns that are not contiguous).  Halves on one side
or both are multiplied as `products` says.
Work items are (batch, panel of columns, block of rows); the sum over K is never split.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial

import numpy as np

from camshaft.backends.base import KernelSpec, Packing, Params, Source
from camshaft.backends.cpu.abi import constant_numbers, operand_pointer, phase_args
from camshaft.backends.cpu.candidate import CpuCandidate
from camshaft.backends.cpu.expr.epilogue import Epilogue
from camshaft.backends.cpu.lang import FunctionBuilder, Module, Pointer, Tile, Value
from camshaft.backends.cpu.matmul.layout import ALIGN, Layout, layout_of, may_pack, packed_b
from camshaft.backends.cpu.matmul.pack import PanelPacker, pack_phase
from camshaft.backends.cpu.matmul.problem import MatmulProblem, is_supported
from camshaft.backends.cpu.matmul.tile import MatmulTile, PanelVectors
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import typical
from camshaft.ir.types import DType, f32, i8, i32

_ITEM_MACS = 1 << 19
_PACKED_ROWS = 96
"""Rows that a packed panel should at least be multiplied by."""
_FEWEST_ROWS, _MANY_ROWS = 16, 32
"""Rows for which packing a panel may pay, and for which it should."""


class Matmul:
    """Register-tiled product over packed or plain columns."""

    name = "matmul"
    version = 5

    def plan(self, spec: KernelSpec, target: CpuTarget, threads: int) -> Sequence[MatmulCandidate]:
        """Register tiles of several widths, as high as fits, and with packed panels where rows are many; none for
        types or strides without code."""
        if not is_supported(spec):
            return ()
        p = MatmulProblem.of(spec)
        form = layout_of(p, {"rows": 1, "cols": 1}, target).form
        room = target.registers - (4 if target.registers >= 32 else 3)
        vectors = -(-typical(p.n) // target.lanes(f32))
        m = typical(p.m)
        found: dict[tuple[int, int], None] = {}
        for cols in (8, 4, 6) if p.m == 1 else (2, 4, 3, 1, 6):
            cols = min(cols, vectors)
            free = room - form.extra_registers(cols, target)
            most = max(1, free // (cols + (1 if p.integer and p.zeros[1] else 0)))
            tiles = -(-m // most)
            found[(-(-m // tiles), cols)] = None
            if not isinstance(p.m, int):
                found[(most, cols)] = None
        plain: list[Params] = [{"rows": rows, "cols": cols} for rows, cols in found]
        packs = []
        if m >= _FEWEST_ROWS and may_pack(p, target):
            packs = [{**params, "packs": 1} for params in plain if params["cols"] in (2, 3, 4)][:3]
        ordered = [*packs, *plain] if m >= _MANY_ROWS else [*plain, *packs]
        return [MatmulCandidate(spec, target, p, params) for params in ordered]


class MatmulCandidate(CpuCandidate[MatmulProblem]):
    """Parameters: rows, cols (register tile: rows of a x vectors of columns of b); packs: 1 where workers pack
    panels of b."""

    @cached_property
    def layout(self) -> Layout:
        """The register tile and the place of b."""
        return layout_of(self.problem, self.params, self.target)

    @property
    def packing(self) -> Packing:
        """As its layout says; none of a b that is computed at run time."""
        return self.layout.packing if self.problem.b_const else ()

    def prepack(self, constants: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """A constant b in panels (integers: and its columns' constants), then the others as is."""
        p, numbers = self.problem, constant_numbers(self.spec)
        packed: list[np.ndarray] = []
        if p.b_const:
            packed += packed_b(p, constants[numbers[1]], self.layout)
        others = [n for n in numbers if n != 1]
        return packed + [np.ascontiguousarray(constants[numbers[n]]) for n in others]

    def workspace(self, threads: int) -> Extent:
        """Bytes of the panels that the first phase packs, and of their columns' constants; or of a panel for
        each worker."""
        p, width = self.problem, self.layout.width
        if self.layout.source == "scratch":
            return threads * _scratch_bytes(p, self.layout)
        if self.layout.source != "workspace":
            return 0
        columns = p.matrices * p.panels(width) * width if p.integer else 0
        return self.layout.panel_bytes(p) + 4 * columns

    def emit(self) -> Source:
        """A phase that packs b where it has to be, and the product."""
        p, layout = self.problem, self.layout
        args = phase_args(self.spec, _packed_dtypes(self.spec, p, layout))
        m = Module(self.target)
        if layout.source == "workspace":
            pack_phase(m, p, layout, args)
        split = _Split(p, layout)
        with m.phase("product", split.items, args) as k:
            _ProductLoops(k, self.spec, p, layout, split).all_items()
        return m.source()


def _scratch_bytes(p: MatmulProblem, layout: Layout) -> Extent:
    """Of one worker's panel."""
    size = layout.panel_elements(p) * layout.form.w.bytes
    return -(-size // ALIGN) * ALIGN


def _packed_dtypes(spec: KernelSpec, p: MatmulProblem, layout: Layout) -> list[DType]:
    dtypes: list[DType] = []
    if p.b_const:
        dtypes += [i8, i32] if p.integer else [layout.form.w]
    return dtypes + [o.dtype for n, o in enumerate(spec.inputs) if o.const and n != 1]


class _Split:
    """Work items: batches x panels x blocks of `tiles` row tiles."""

    def __init__(self, p: MatmulProblem, layout: Layout) -> None:
        row_tiles = -(-p.m // layout.rows)
        macs = layout.rows * layout.width * typical(p.k)
        most = _ITEM_MACS // max(1, macs)
        if layout.source == "scratch":
            most = max(most, -(-_PACKED_ROWS // layout.rows))
        self.tiles = max(1, min(row_tiles, most) if isinstance(row_tiles, int) else most)
        self.blocks = -(-row_tiles // self.tiles)
        self.panels = p.panels(layout.width)
        self.items = p.batches * self.panels * self.blocks


class _ProductLoops:
    """Writes the loops around the register tile."""

    def __init__(
        self, k: FunctionBuilder, spec: KernelSpec, p: MatmulProblem, layout: Layout, split: _Split
    ) -> None:
        self.k, self.p, self.layout, self.split = k, p, layout, split
        self.tile = MatmulTile(k, p, layout.lanes, layout.form)
        # Packed constants: b's own first, then the other constants in order.
        own = (2 if p.integer else 1) if p.b_const else 0
        others = [n for n in constant_numbers(spec) if n != 1]
        packed = {n: own + place for place, n in enumerate(others)}
        self.a = operand_pointer(k, spec, 0, packed)
        pointers = [operand_pointer(k, spec, n, packed) for n in range(2, len(spec.inputs))]
        self.epilogue = Epilogue(k, p.epilogue, p.operands, pointers, p.output, k.args["out0"])
        self.b, self.constants = self._right_hand()

    def _right_hand(self) -> tuple[Pointer, Pointer | None]:
        k, p = self.k, self.p
        if self.layout.source == "direct":
            return k.args["in1"], None
        if self.layout.source == "packed":
            return k.args["packed0"], k.args["packed1"] if p.integer else None
        space = k.args["workspace"]
        if self.layout.source == "scratch":
            mine = space.at(k.mul(k.worker, _scratch_bytes(p, self.layout)))
            return mine.as_type(self.layout.form.w).aligned(ALIGN), None
        constants = space.at(self.layout.panel_bytes(p)).as_type(i32)
        kind = i8 if p.integer else self.layout.form.w
        return space.as_type(kind), constants if p.integer else None

    def all_items(self) -> None:
        """Every work item of this call."""
        k, p, split = self.k, self.p, self.split
        with k.loop(k.begin, k.end) as item:
            block, rest = item % split.blocks, item // split.blocks
            panel, rest = rest % split.panels, rest // split.panels
            position: list[Value] = []
            for extent in reversed(p.rows[:-1]):
                position.insert(0, rest % extent)
                rest = rest // extent
            is_full = partial(self._is_full, panel)
            for tile in k.tile_at(p.n, self.layout.width, 0, is_full=is_full):
                if self.layout.source == "scratch":
                    # A worker's items of one panel follow each other.
                    with k.if_(k.eq(block, 0) | k.eq(item, k.begin)):
                        packer = PanelPacker(
                            k, p, self.layout, self._columns(position, panel), self.b
                        )
                        packer.panel(tile)
                self._panel(position, panel, block, tile)

    def _is_full(self, panel: Value) -> Value:
        """Whether all columns of a panel exist."""
        return panel < self.split.panels - 1

    def _panel(self, position: list[Value], panel: Value, block: Value, columns: Tile) -> None:
        """The rows of one block times the columns of a panel that exist."""
        k, p, lanes = self.k, self.p, self.layout.lanes
        counts = columns.counts(lanes)
        a, matrix, start = self.a, k.index(0), panel * self.layout.width
        for axis, index in enumerate(position):
            a = a.at(index * p.a_steps[axis])
            matrix = matrix + index * p.b_matrices[axis]
        vectors = self._vectors(position, matrix, panel)
        constants = None
        if self.constants is not None:
            width = self.split.panels * self.layout.width
            constants = self.constants.at(matrix * width + start)
        place = self.epilogue.at((*position, 0, start))

        def rows_at(first: Value, rows: int) -> None:
            here = place.at((*(0,) * len(position), first, 0))
            self.tile.write(a.at(first * p.a_steps[-2]), vectors, constants, here, rows, counts)

        step = self.layout.rows
        whole = p.m // step
        low = block * self.split.tiles
        if whole != 0:
            with k.loop(low, k.min(low + self.split.tiles, whole)) as number:
                rows_at(number * step, step)

        def is_last() -> Value:
            return k.eq(block, self.split.blocks - 1)

        for tile in k.rest(p.m, whole * step, step, is_last=is_last, halves=True):
            rows_at(k.index(tile.start), tile.size)

    def _columns(self, position: list[Value], panel: Value) -> Pointer:
        """The first of a panel's columns where b lies."""
        columns = self.k.args["in1"].at(panel * (self.layout.width * self.p.b_strides[-1]))
        for axis, index in enumerate(position):
            columns = columns.at(index * self.p.b_steps[axis])
        return columns

    def _vectors(self, position: list[Value], matrix: Value, panel: Value) -> PanelVectors:
        k, p, layout = self.k, self.p, self.layout
        lanes, width = layout.lanes, layout.width
        if layout.source == "direct":
            base = self._columns(position, panel)

            def plain(line: Pointer, j: int, count: int | Value) -> Value:
                return k.load(line.at(j * lanes), lanes, count)

            return PanelVectors(base, p.b_strides[-2], plain)
        if layout.source == "scratch":
            return PanelVectors.of_floats(k, self.b, width, lanes)
        group, size = layout.form.group, layout.panel_elements(p)
        base = self.b.at((matrix * self.split.panels + panel) * size).aligned(ALIGN)

        def packed(line: Pointer, j: int, count: int | Value) -> Value:
            whole = line.at(j * lanes * group)
            return k.load(whole.as_type(layout.form.unit), lanes)

        return PanelVectors(base, width * group, packed)
