"""The arena: offsets for buffers from their lifetimes, and the order in which they lie.

Offline dynamic storage allocation is NP-hard; greedy placement in several orders and the best of
them taken comes within a few percent of the lower bound on real nets (TensorFlow Lite's
"greedy by size", Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference",
2020).  What holds at other sizes is read off the placement: see `program.arena`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from camshaft.program.arena import ALIGNMENT


@dataclass(frozen=True)
class Lifetime:
    """A buffer's size in bytes and the first and last step (inclusive) during which it is live."""

    name: str
    nbytes: int
    first: int
    last: int


@dataclass(frozen=True)
class ArenaPlan:
    """Byte offset of every buffer, the arena's size, and the most bytes live at once.

    order: the buffers by offset; above[i]: those, by their number in `order`, that buffer i lies
    above at any sizes, without those that it lies above through another.
    """

    offsets: dict[str, int]
    nbytes: int
    lower_bound: int
    order: tuple[str, ...] = ()
    above: tuple[tuple[int, ...], ...] = ()


def plan_arena(lifetimes: Sequence[Lifetime], alignment: int = ALIGNMENT) -> ArenaPlan:
    """Place all buffers so that no two that live at the same time overlap.

    Offsets are multiples of `alignment`.  The result depends only on the arguments (ties are
    broken by name), never on their order.
    """
    items = sorted(lifetimes, key=lambda b: b.name)
    bound = _most_live(items)
    orders: tuple[Callable[[Lifetime], tuple[int, ...]], ...] = (
        lambda b: (-b.nbytes, b.first),
        lambda b: (-b.nbytes * (b.last - b.first + 1), b.first),
        lambda b: (b.first, -b.nbytes),
        lambda b: (-(b.last - b.first), -b.nbytes),
        lambda b: (-_pressure(items, b), -b.nbytes, b.first),
    )
    best: dict[str, int] = {}
    least: int | None = None
    for order in orders:
        offsets = _greedy(sorted(items, key=order), alignment)
        nbytes = max((offsets[b.name] + b.nbytes for b in items), default=0)
        if least is None or nbytes < least:
            best, least = offsets, nbytes
        if least <= bound:
            break
    assert least is not None
    ordered = sorted(items, key=lambda b: (best[b.name], best[b.name] + b.nbytes, b.name))
    names = tuple(b.name for b in ordered)
    return ArenaPlan(best, least, bound, names, tuple(_above(ordered)))


def _above(ordered: Sequence[Lifetime]) -> list[tuple[int, ...]]:
    """For buffers by offset: numbers of those that each lies directly above.

    Two that live at the same time do not overlap, so the later in the order lies above the earlier.
    What lies below one of those is below at any sizes and need not be named (transitive reduction).
    """
    below: list[set[int]] = []
    direct: list[tuple[int, ...]] = []
    for i, b in enumerate(ordered):
        named: list[int] = []
        reached: set[int] = set()
        for j in reversed(range(i)):
            if j not in reached and _live_together(ordered[j], b):
                named.append(j)
                reached |= {j} | below[j]
        below.append(reached)
        direct.append(tuple(reversed(named)))
    return direct


def _live_together(a: Lifetime, b: Lifetime) -> bool:
    return a.first <= b.last and b.first <= a.last


def _most_live(items: Sequence[Lifetime]) -> int:
    steps = {b.first for b in items}
    return max((sum(b.nbytes for b in items if b.first <= s <= b.last) for s in steps), default=0)


def _pressure(items: Sequence[Lifetime], b: Lifetime) -> int:
    """Bytes live at the busiest step of `b`'s life: the tightest buffers are placed first."""
    steps = {b.first, *(o.first for o in items if b.first <= o.first <= b.last)}
    return max(sum(o.nbytes for o in items if o.first <= s <= o.last) for s in steps)


def _greedy(items: Sequence[Lifetime], alignment: int) -> dict[str, int]:
    """Each buffer at the best-fitting gap between those already placed that live with it."""
    placed: list[tuple[int, Lifetime]] = []
    offsets: dict[str, int] = {}
    for b in items:
        at, best, smallest = 0, None, None
        rivals = [(o, p) for o, p in placed if _live_together(p, b)]
        for offset, other in sorted(rivals, key=lambda pair: pair[0]):
            gap = offset - at
            if gap >= b.nbytes and (smallest is None or gap < smallest):
                best, smallest = at, gap
            at = max(at, -(-(offset + other.nbytes) // alignment) * alignment)
        offsets[b.name] = at if best is None else best
        placed.append((offsets[b.name], b))
    return offsets
