"""Writes an output row of a convolution of open width, whatever computes its tiles (see `edges`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, reduce

from camshaft.backends.cpu.conv.problem import ConvProblem
from camshaft.backends.cpu.edges import Edges, Windows
from camshaft.backends.cpu.lang import FunctionBuilder, Value
from camshaft.ir.extents.bounds import bounds
from camshaft.ir.extents.extent import ceil_div
from camshaft.ir.extents.sizes import typical

Tile = Callable[[Windows, Value], None]
"""Writes the code of a tile: the windows of its pixels, and the first of them."""


def edges_of(p: ConvProblem) -> Edges:
    """The edges of a convolution's rows."""
    return Edges.of(p.w, p.s, p.stride[1], p.dilation[1], (p.pad[1], p.pad_end[1]))


def write_row(
    k: FunctionBuilder,
    p: ConvProblem,
    steps: Sequence[int],
    tile: Tile,
    alone: Callable[[Value], None],
) -> None:
    """Code for a row: in tiles of the first of the steps for which it is long enough, else pixel by
    pixel.

    alone: writes the code of one pixel, whose window is known at run time only.
    """
    if not steps:
        with k.loop(0, p.ow) as pixel:
            alone(pixel)
        return
    fewest = edges_of(p).fewest(steps[0])
    if bounds(p.ow)[0] >= fewest:
        _write_tiles(k, p, steps[0], tile)
        return
    with k.if_else(k.index(p.ow) >= fewest) as branch:
        with branch.then():
            _write_tiles(k, p, steps[0], tile)
        with branch.otherwise():
            write_row(k, p, steps[1:], tile, alone)


def write_typical_row(
    k: FunctionBuilder,
    p: ConvProblem,
    step: int,
    tile: Tile,
    others: Callable[[], None],
) -> None:
    """Code for a row where a narrow row of the typical width has tiles of its own.

    others: writes the code of rows of other widths.
    """
    windows = edges_of(p).typical_windows(step, typical(p.ow))
    if not windows:
        others()
        return
    with k.if_else(k.eq(k.index(p.w), typical(p.w))) as branch:
        with branch.then():
            for start in range(0, len(windows), step):
                tile(windows[start : start + step], k.index(start))
        with branch.otherwise():
            others()


def _write_tiles(k: FunctionBuilder, p: ConvProblem, step: int, tile: Tile) -> None:
    edges = edges_of(p)
    lefts, rights = edges.lefts(step), edges.rights(step)
    for n in range(lefts):
        tile(edges.left_windows(n * step, step), k.index(n * step))
    begin, end = lefts * step, p.ow - rights * step
    with k.loop(0, ceil_div(end - begin, step)) as number:
        start = k.max(k.min(number * step + begin, end - step), edges.left)
        tile(((0, p.s),) * step, start)
    for n in range(rights, 0, -1):
        _write_right(k, p, edges, step, n * step, tile)


def _write_right(
    k: FunctionBuilder, p: ConvProblem, edges: Edges, step: int, before: int, tile: Tile
) -> None:
    """The tile that begins `before` pixels before the end of the row, in its variants."""
    start = k.index(p.ow - before)
    found = [edges.right_windows(last, before, step) for last in edges.last]
    variants = dict.fromkeys(found)
    if len(variants) == 1:
        tile(found[0], start)
        return
    which = k.index(edges.variant)
    for windows in variants:
        numbers = [k.eq(which, n) for n, its in enumerate(found) if its == windows]
        with k.if_(reduce(partial(k.bit, "or"), numbers)):
            tile(windows, start)
