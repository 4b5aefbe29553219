"""How groups fill vectors in a grouped convolution, and which tiles are worth timing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from camshaft.backends.base import Params
from camshaft.backends.cpu.conv.columns import UNROLL_LIMIT, distinct, row_blocks
from camshaft.backends.cpu.conv.problem import ConvProblem, SizedConvProblem
from camshaft.backends.cpu.conv.row_cut import edges_of
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.extents.sizes import fixed_extent
from camshaft.ir.types import DType, f32, i32


@dataclass(frozen=True)
class Shape:
    """How groups fill vectors.

    lanes: output channels of a vector.  groups: groups in a vector.  steps: input elements of a
    group (channels, INT8: fours of channels).  vectors: vectors of output channels.
    """

    problem: ConvProblem
    lanes: int
    groups: int
    steps: int
    vectors: int

    @staticmethod
    def of(p: ConvProblem, target: CpuTarget) -> Shape:
        """The shape of a problem on a target."""
        lanes = target.lanes(f32)
        groups = lanes // p.k
        steps = p.c // 4 if p.is_int8 else p.c
        return Shape(p, lanes, groups, steps, -(-p.groups // groups))

    @property
    def element(self) -> DType:
        """What a lane of inputs holds: one float, or four u8."""
        return i32 if self.problem.is_int8 else self.problem.x_dtype

    def blank_row(self, columns: int) -> int:
        """Bytes of a row of zero points that can stand for any input row: a whole one, or what is
        under a tile of `columns` output pixels where rows are of open width."""
        p = self.problem
        width = p.w
        if p.has_open_columns:
            width = (columns - 1) * p.stride[1] + (p.s - 1) * p.dilation[1] + 1
        nbytes = (width - 1) * p.x_strides[2] + p.groups * p.c
        return fixed_extent(nbytes, "a row of zero points")

    def spread(self, step: int) -> list[int]:
        """For each lane the input element (of the vector's groups) that it multiplies."""
        return [lane // self.problem.k * self.steps + step for lane in range(self.lanes)]


def tiles(problem: ConvProblem, target: CpuTarget, threads: int) -> list[Params]:
    """Parameters of the candidates for a problem, the best guess first."""
    shape, p = Shape.of(problem, target), problem.typical
    free = max(target.registers - p.s - 2, target.registers // 2 - 2)
    most = min(free, UNROLL_LIMIT // (p.s * shape.steps))
    widths = [w for w in (14, 7, 10, 8, 4, 2, 1) if w <= max(1, most)]
    best = min(widths, key=lambda w: (-(-p.ow // w) * w + (w < 7) * p.ow, -w))
    rows = row_blocks(p.oh, shape.vectors * p.n, threads, 7)
    fewer = max(1, -(-rows // 2))
    if problem.has_open_columns:
        cuts = _open_tiles(p, widths, best)
        return distinct([{**cut, "rows": n} for n in (rows, fewer) for cut in cuts][:3])
    return distinct(
        [
            {"cols": best, "rows": rows},
            {"cols": max(1, best // 2), "rows": rows},
            {"cols": best, "rows": fewer},
        ]
    )


def _open_tiles(p: SizedConvProblem, widths: Sequence[int], whole: int) -> list[Params]:
    """Tiles for rows of open width that suit typical ones.

    Rows of exactly the typical width get code of their own, in tiles of `whole` pixels, where that
    is faster: narrow ones, which tiles that may lie anywhere fit badly.
    """
    edges = edges_of(p)
    costs = {
        width: edges.pixels(width, p.ow) // width * _cycles(p, width)
        for width in widths
        if p.ow >= edges.fewest(width)
    }
    found = sorted(costs, key=lambda width: (costs[width], -width))[:2] or [1]
    full, rest = divmod(p.ow, whole)
    exact = full * _cycles(p, whole) + (_cycles(p, rest) if rest else 0)
    is_faster = 1.05 * exact < costs.get(found[0], 2 * exact)
    return [{"cols": width, "typical": whole if is_faster else 0} for width in found]


def _cycles(p: ConvProblem, width: int) -> int:
    """Of a filter row of a tile, about: products or loads, and what each tile costs besides."""
    columns = {i * p.stride[1] + s * p.dilation[1] for i in range(width) for s in range(p.s)}
    return max(width * p.s, len(columns) + p.s) + 3
