"""Where the boxes of a drawing lie: in layers, each box below all that it reads.

The layered method of Sugiyama, Tagawa and Toda ("Methods for visual understanding of hierarchical system
structures", 1981): layers by longest path, an order within layers by barycentres, then positions.  What a box gives to boxes
further down goes through one chain of points, a point in each layer between; very long ways are left out.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

LONGEST = 40
"""Layers that a way may cross and still be drawn; of longer ones only the ends are."""
GAP, ROW_GAP, MARGIN = 22.0, 34.0, 16.0
_POINT = 10.0  # width of a way that passes through a layer
_SWEEPS = 8

XY = tuple[float, float]


@dataclass(frozen=True)
class Way:
    """What one box gives to others.

    source, targets: boxes.  pieces: from one place to the next; ends: where it enters a box.
    cut: whether an end is far away, and only that is drawn.
    """

    source: int
    targets: tuple[int, ...]
    pieces: tuple[tuple[XY, XY], ...]
    ends: tuple[XY, ...]
    cut: tuple[XY, ...] = ()


@dataclass(frozen=True)
class Layout:
    """corners: left and upper edge of each box."""

    width: float
    height: float
    corners: tuple[XY, ...]
    ways: tuple[Way, ...]


@dataclass
class _Units:
    """Boxes, then points of ways: what layers hold.  up, down: neighbours one layer away."""

    width: list[float]
    rank: list[int]
    up: list[list[int]]
    down: list[list[int]]
    chains: dict[int, list[int]] = field(default_factory=dict)  # box -> points of its way


def laid_out(boxes: Sequence[XY], reads: Sequence[Sequence[int]]) -> Layout:
    """Places for boxes of these widths and heights; reads: numbers of the boxes before that each reads from."""
    if not boxes:
        return Layout(2 * MARGIN, 2 * MARGIN, (), ())
    units = _with_points([w for w, _ in boxes], _ranks(reads), reads)
    rows = _ordered(units)
    x = _positions(units, rows)
    tops, heights = _row_tops(boxes, rows)
    corners = tuple(
        (x[i] - w / 2, tops[units.rank[i]] + (heights[units.rank[i]] - h) / 2)
        for i, (w, h) in enumerate(boxes)
    )
    ways = _ways(units, boxes, reads, corners, x, tops, heights)
    width = max(c[0] + b[0] for c, b in zip(corners, boxes, strict=True))
    width = max([width, *x[len(boxes) :]]) + MARGIN
    return Layout(width, tops[-1] + heights[-1] + MARGIN, corners, ways)


def _ranks(reads: Sequence[Sequence[int]]) -> list[int]:
    """The layer of each box; those that read nothing stand just above what reads them."""
    rank = [0] * len(reads)
    first: dict[int, int] = {}
    for i, sources in enumerate(reads):
        rank[i] = 1 + max((rank[s] for s in sources), default=-1)
    for i, sources in enumerate(reads):
        for s in sources:
            first[s] = min(rank[i], first.get(s, rank[i]))
    return [
        first.get(i, r + 1) - 1 if not sources else r
        for i, (r, sources) in enumerate(zip(rank, reads, strict=True))
    ]


def _with_points(
    widths: Sequence[float], ranks: list[int], reads: Sequence[Sequence[int]]
) -> _Units:
    count = len(widths)
    units = _Units(list(widths), ranks, [[] for _ in range(count)], [[] for _ in range(count)])
    targets: dict[int, list[int]] = {}
    for i, sources in enumerate(reads):
        for s in dict.fromkeys(sources):
            if ranks[i] - ranks[s] <= LONGEST:
                targets.setdefault(s, []).append(i)
    for s, found in targets.items():
        last = max(ranks[t] for t in found)
        chain = [s]
        for rank in range(ranks[s] + 1, last):
            chain.append(len(units.width))
            units.width.append(_POINT)
            units.rank.append(rank)
            units.up.append([])
            units.down.append([])
            _link(units, chain[-2], chain[-1])
        units.chains[s] = chain
        for t in found:
            _link(units, chain[ranks[t] - ranks[s] - 1], t)
    return units


def _link(units: _Units, above: int, below: int) -> None:
    units.down[above].append(below)
    units.up[below].append(above)


def _ordered(units: _Units) -> list[list[int]]:
    """The units of each layer from left to right; of several tries the one with the fewest crossings."""
    rows: list[list[int]] = [[] for _ in range(max(units.rank) + 1)]
    for u, rank in enumerate(units.rank):
        rows[rank].append(u)
    best, least = rows, _crossings(units, rows)
    for sweep in range(_SWEEPS):
        if least == 0:
            break
        rows = [list(row) for row in rows]
        down = sweep % 2 == 0
        beside = units.up if down else units.down
        at = {u: float(i) for row in rows for i, u in enumerate(row)}
        for row in rows if down else reversed(rows):
            centre = {
                u: sum(at[v] for v in beside[u]) / len(beside[u]) if beside[u] else at[u]
                for u in row
            }
            row.sort(key=lambda u, c=centre: c[u])  # type: ignore[misc]
            at.update((u, float(i)) for i, u in enumerate(row))
        crossings = _crossings(units, rows)
        if crossings < least:
            best, least = rows, crossings
    return best


def _crossings(units: _Units, rows: Sequence[Sequence[int]]) -> int:
    """How often ways cross between layers."""
    total = 0
    for upper, lower in itertools.pairwise(rows):
        at = {u: i for i, u in enumerate(lower)}
        tree = [0] * (len(lower) + 1)
        seen = 0
        for u in upper:
            ends = sorted(at[v] for v in units.down[u])
            for e in ends:
                total += seen - _sum_to(tree, e + 1)
            for e in ends:
                _count(tree, e + 1)
            seen += len(ends)
    return total


def _sum_to(tree: list[int], i: int) -> int:
    total = 0
    while i > 0:
        total += tree[i]
        i -= i & -i
    return total


def _count(tree: list[int], i: int) -> None:
    while i < len(tree):
        tree[i] += 1
        i += i & -i


def _positions(units: _Units, rows: Sequence[Sequence[int]]) -> list[float]:
    """The centre of each unit: near those of its neighbours, and apart from those beside it."""
    x = [0.0] * len(units.width)
    for row in rows:
        _settle(units, row, x, dict.fromkeys(row, (0.0, 1.0)))
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for row in rows if down else reversed(rows):
            wanted = {}
            for u in row:
                near = units.up[u] if down else units.down[u]
                if sweep == _SWEEPS - 1:
                    near = units.up[u] + units.down[u]
                wanted[u] = _wanted(units, u, near, x)
            _settle(units, row, x, wanted)
    left = min(c - w / 2 for c, w in zip(x, units.width, strict=True)) - MARGIN
    return [c - left for c in x]


def _wanted(units: _Units, u: int, near: Sequence[int], x: Sequence[float]) -> tuple[float, float]:
    """Where a unit would like to be, and how much: a box by boxes, the points of a way in a line."""
    if not near:
        return x[u], 0.1
    point = units.width[u] == _POINT
    like = [4.0 if (units.width[v] == _POINT) == point else 0.1 for v in near]
    centre = sum(w * x[v] for w, v in zip(like, near, strict=True)) / sum(like)
    if not point:
        return centre, 2.0
    return centre, 4.0 if units.width[near[0]] == _POINT else 0.1


def _settle(
    units: _Units, row: Sequence[int], x: list[float], wanted: dict[int, tuple[float, float]]
) -> None:
    """Give a row's units the places nearest to those wanted (in weighted squares) that keep them apart and in order:
    an isotonic regression, by pooling neighbours that are in the wrong order."""
    pools: list[list[float]] = []  # weighted mean, weight, number of units
    shifts, shift = [], 0.0
    for i, u in enumerate(row):
        if i:
            gap = GAP if _POINT not in (units.width[u], units.width[row[i - 1]]) else GAP / 2
            shift += (units.width[u] + units.width[row[i - 1]]) / 2 + gap
        shifts.append(shift)
        centre, weight = wanted[u]
        pools.append([centre - shift, weight, 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            mean, weight, number = pools.pop()
            whole = pools[-1][1] + weight
            pools[-1][0] = (pools[-1][0] * pools[-1][1] + mean * weight) / whole
            pools[-1][1], pools[-1][2] = whole, pools[-1][2] + number
    places = [mean for mean, _, number in pools for _ in range(int(number))]
    for u, place, by in zip(row, places, shifts, strict=True):
        x[u] = place + by


def _row_tops(
    boxes: Sequence[XY], rows: Sequence[Sequence[int]]
) -> tuple[list[float], list[float]]:
    heights = [max((boxes[u][1] for u in row if u < len(boxes)), default=0.0) for row in rows]
    tops, at = [], MARGIN
    for height in heights:
        tops.append(at)
        at += height + ROW_GAP
    return tops, heights


def _ways(
    units: _Units,
    boxes: Sequence[XY],
    reads: Sequence[Sequence[int]],
    corners: Sequence[XY],
    x: Sequence[float],
    tops: Sequence[float],
    heights: Sequence[float],
) -> tuple[Way, ...]:
    targets: dict[int, list[int]] = {}
    for i, sources in enumerate(reads):
        for s in dict.fromkeys(sources):
            targets.setdefault(s, []).append(i)
    ways = []
    for s, found in targets.items():
        chain = units.chains.get(s, [s])
        bottom = (x[s], corners[s][1] + boxes[s][1])
        leaves = [bottom]  # where the way leaves each layer
        pieces: list[tuple[XY, XY]] = []
        for u in chain[1:]:
            rank = units.rank[u]
            enters = (x[u], tops[rank])
            pieces.append((leaves[-1], enters))
            leaves.append((x[u], tops[rank] + heights[rank]))
            pieces.append((enters, leaves[-1]))
        ends, cut = [], []
        for t in found:
            end = (x[t], corners[t][1])
            way = units.rank[t] - units.rank[s] - 1
            if way < LONGEST:
                pieces.append((leaves[way], end))
                ends.append(end)
            else:
                cut.append(end)
        ways.append(Way(s, tuple(found), tuple(pieces), tuple(ends), tuple(cut)))
    return tuple(ways)
