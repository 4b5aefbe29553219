"""Products of many rows with weights of few bits: a panel of weights is expanded, then multiplied.

A work item expands one panel of columns into the worker's own part of the workspace, as floats
[K, width], which stay in its cache, and multiplies all rows by it with the register tile of the
matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence

from camshaft.backends.base import KernelSpec, Source
from camshaft.backends.cpu.abi import phase_args
from camshaft.backends.cpu.lang import FunctionBuilder, Index, Module, Pointer, Value
from camshaft.backends.cpu.matmul.tile import MatmulTile, PanelVectors
from camshaft.backends.cpu.matmul_nbits.floats import PanelCandidate, field_of, packed_dtypes
from camshaft.backends.cpu.matmul_nbits.loops import Block, PanelLoops, RowTile, each_block
from camshaft.backends.cpu.matmul_nbits.problem import NbitsProblem, is_supported
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import typical
from camshaft.ir.types import f32

_FEWEST_ROWS = 12
_ALIGN = 64


class MatmulNbitsExpanded:
    """Weights expanded panel by panel, for many rows."""

    name = "matmul_nbits_expanded"
    version = 1

    def plan(self, spec: KernelSpec, target: CpuTarget, threads: int) -> Sequence[ExpandCandidate]:
        """Register tiles as of a product of floats; none for few rows, or where activations are
        quantized."""
        if not is_supported(spec):
            return ()
        p = NbitsProblem.of(spec)
        m = typical(p.product.m)
        if p.int8 or m < _FEWEST_ROWS:
            return ()
        room = target.registers - (4 if target.registers >= 32 else 3)
        vectors = -(-p.n // target.lanes(f32))
        tiles: dict[tuple[int, int], None] = {}
        for cols in (2, 3, 1):
            cols = min(cols, vectors)
            most = max(1, room // cols)
            tiles[(-(-m // -(-m // most)), cols)] = None
        return [
            ExpandCandidate(spec, target, p, {"rows": rows, "cols": cols}) for rows, cols in tiles
        ]


class ExpandCandidate(PanelCandidate):
    """Parameters: rows, cols (register tile: rows of x times vectors of columns)."""

    def workspace(self, threads: int) -> Extent:
        """A panel of floats for each worker."""
        return threads * self._panel_bytes

    @property
    def _panel_bytes(self) -> int:
        return -(-4 * self.problem.k * self.width // _ALIGN) * _ALIGN

    def emit(self) -> Source:
        """One phase."""
        p, width = self.problem, self.width
        m = Module(self.target)
        args = phase_args(self.spec, packed_dtypes(self.spec))
        with m.phase("product", PanelLoops.items(p, width), args) as k:
            loops = PanelLoops(k, self.spec, p, int(self.params["rows"]), width)
            floats = k.args["workspace"].at(k.worker * self._panel_bytes).as_type(f32)
            floats = floats.aligned(_ALIGN)
            lanes = loops.lanes
            tile = MatmulTile(k, p.product, lanes)
            vectors = PanelVectors.of_floats(k, floats, width, lanes)

            def write(at: RowTile, rows: int, counts: Sequence[int | Value]) -> None:
                tile.write(at.x, vectors, None, at.place, rows, counts)

            loops.all_items(write, lambda panel: _expand(k, p, panel, width, floats))
        return m.source()


def _expand(k: FunctionBuilder, p: NbitsProblem, panel: Pointer, width: int, out: Pointer) -> None:
    """Writes a panel's weights as floats [K, width]."""
    lanes = k.target.lanes(f32)

    def block(b: Block, number: Index) -> None:
        start = out.at(k.index(number) * (p.block * width))
        for j in range(width // lanes):
            _expand_vector(k, p, b, j, start.at(j * lanes))

    each_block(k, p, panel, width, [], block)


def _expand_vector(k: FunctionBuilder, p: NbitsProblem, b: Block, j: int, out: Pointer) -> None:
    """Writes a block's weights of vector `j` of the columns."""
    scale = b.scale(j)
    shift = b.zero(j) - float(p.middle) if p.zero else None

    def group(at: Index, count: int) -> None:
        words = b.words(at, j)
        place = out.at(k.index(at) * (p.per_lane * b.width))
        for n in range(count):
            value = k.cast(field_of(words, n, p.bits), f32)
            value = value if shift is None else value - shift
            k.store(value * scale, place.at(n * b.width))

    whole = b.length // p.per_lane
    if whole:
        with k.loop(0, whole) as at:
            group(at, p.per_lane)
    if b.length % p.per_lane:
        group(whole, b.length % p.per_lane)
