"""Which filter rows and columns lie inside the image, for a pixel that is known at run time only.

`ConvProblem.rows_of` and `columns_of` are the same for pixels that are known when code is written.
"""

from __future__ import annotations

from camshaft.backends.cpu.conv.problem import ConvProblem
from camshaft.backends.cpu.lang import FunctionBuilder
from camshaft.backends.cpu.lang.values import Index, Value
from camshaft.ir.extents.extent import Extent


def rows_inside(k: FunctionBuilder, p: ConvProblem, oh: Value) -> tuple[Index, Index]:
    """First and one past the last filter row inside the image for output row `oh`."""
    if not p.clips_rows:
        return 0, p.r
    return _inside(k, oh * p.stride[0] - p.pad[0], p.dilation[0], p.r, p.h)


def columns_inside(k: FunctionBuilder, p: ConvProblem, ow: Value) -> tuple[Index, Index]:
    """First and one past the last filter column inside the image for output column `ow`."""
    return _inside(k, ow * p.stride[1] - p.pad[1], p.dilation[1], p.s, p.w)


def _inside(
    k: FunctionBuilder, start: Value, dilation: int, taps: int, extent: Extent
) -> tuple[Index, Index]:
    """start: position of tap 0, which may be outside."""
    first = k.max(-start + (dilation - 1), 0)
    last = k.max(extent - start + (dilation - 1), 0)
    if dilation > 1:
        first, last = first // dilation, last // dilation
    return first, k.min(last, taps)


def clamped_rows(k: FunctionBuilder, problem: ConvProblem, oh: Value) -> tuple[Index, Index]:
    """As `rows_inside`, with both ends within the filter, also where no row lies inside."""
    if not problem.clips_rows:
        return 0, problem.r
    dilation = problem.dilation[0]
    top = problem.pad[0] - oh * problem.stride[0]
    first = k.max(top, 0)
    last = k.max(top + problem.h, 0)
    if dilation > 1:
        first = (first + (dilation - 1)) // dilation
        last = (last + (dilation - 1)) // dilation
    return k.min(first, problem.r), k.min(last, problem.r)
