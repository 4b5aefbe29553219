"""Where boxes lie: below what they read, beside one another, and out of the way of ways."""

from __future__ import annotations

import random

import pytest

from camshaft.report.page.sections.layout import LONGEST, Layout, laid_out

Reads = list[tuple[int, ...]]


def net(seed: int, count: int = 60) -> tuple[list[tuple[float, float]], Reads]:
    """Boxes of random heights in a random net, mostly a chain with branches."""
    r = random.Random(seed)
    reads: Reads = []
    for i in range(count):
        near = range(max(0, i - r.choice((2, 4, 20))), i)
        reads.append(tuple(sorted(r.sample(near, min(len(near), r.randint(0 if i < 3 else 1, 3))))))
    return [(212.0, r.uniform(30, 100)) for _ in range(count)], reads


def edges(
    layout: Layout, boxes: list[tuple[float, float]]
) -> list[tuple[float, float, float, float]]:
    return [(x, y, x + w, y + h) for (x, y), (w, h) in zip(layout.corners, boxes, strict=True)]


@pytest.mark.parametrize("seed", range(12))
def test_boxes_are_below_what_they_read_and_apart(seed: int) -> None:
    boxes, reads = net(seed)
    layout = laid_out(boxes, reads)
    found = edges(layout, boxes)
    for i, sources in enumerate(reads):
        assert all(found[s][3] < found[i][1] for s in sources)
    for i, (left, top, right, bottom) in enumerate(found):
        assert left >= 0 and right <= layout.width and top >= 0 and bottom <= layout.height
        for other in found[:i]:
            assert right < other[0] or other[2] < left or bottom < other[1] or other[3] < top


@pytest.mark.parametrize("seed", range(12))
def test_ways_go_round_boxes_and_reach_all_that_read(seed: int) -> None:
    boxes, reads = net(seed)
    layout = laid_out(boxes, reads)
    found = edges(layout, boxes)
    for way in layout.ways:
        assert len(way.ends) + len(way.cut) == len(way.targets)
        for (x0, y0), (x1, y1) in way.pieces:
            if x0 == x1 and (y1 - y0) > 40:  # through a layer
                assert not [b for b in found if b[0] < x0 < b[2] and y0 < b[3] and b[1] < y1]
    pairs = {(way.source, t) for way in layout.ways for t in way.targets}
    assert pairs == {(s, i) for i, sources in enumerate(reads) for s in sources}


def test_a_chain_is_straight_although_one_way_skips_a_box() -> None:
    layout = laid_out([(212.0, 40.0)] * 4, [(), (0,), (0, 1), (2,)])
    centres = [x for x, _ in layout.corners]
    assert max(centres) - min(centres) < 15


def test_very_long_ways_are_cut() -> None:
    count = LONGEST + 10
    reads: Reads = [(), *((i,) for i in range(count - 1))]
    reads[-1] = (0, count - 2)
    layout = laid_out([(212.0, 40.0)] * count, reads)
    first = next(way for way in layout.ways if way.source == 0)
    assert len(first.cut) == 1 and len(first.pieces) == 1


def test_no_boxes_and_one() -> None:
    assert laid_out([], []).ways == ()
    assert laid_out([(10.0, 10.0)], [()]).corners == ((16.0, 16.0),)
