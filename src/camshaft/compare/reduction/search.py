"""The smallest part of a list that still fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

Fails = Callable[[Sequence[int]], bool]


def smallest(items: Sequence[int], fails: Fails) -> list[int]:
    """A part of `items`, which fail, that fails and of which no single item can be left out.

    Bisection cuts off the end and then the start, which takes few checks where one stretch is at fault; delta
    debugging takes away what is left between.
    """
    tried: dict[tuple[int, ...], bool] = {}

    def known(part: Sequence[int]) -> bool:
        key = tuple(part)
        if key not in tried:
            tried[key] = fails(part)
        return tried[key]

    ended = _bisected(len(items), lambda n: known(items[:n]))
    kept = list(items[:ended])
    started = _bisected(len(kept), lambda n: known(kept[len(kept) - n :]))
    return _minimal(kept[len(kept) - started :], known)


def _bisected(count: int, fails: Callable[[int], bool]) -> int:
    """The least n of which `fails` is known to hold, if it holds from some n up to `count`."""
    low, high = 1, count
    while low < high:
        middle = (low + high) // 2
        if fails(middle):
            high = middle
        else:
            low = middle + 1
    return high


def _minimal(items: Sequence[int], fails: Fails) -> list[int]:
    """Delta debugging (Zeller's ddmin): parts, or all but a part, of ever finer cuts."""
    kept, parts = list(items), 2
    while len(kept) > 1:
        parts = min(parts, len(kept))
        bounds = [len(kept) * i // parts for i in range(parts + 1)]
        cuts = list(pairwise(bounds))
        part = next((kept[a:b] for a, b in cuts if parts > 1 and fails(kept[a:b])), None)
        if part is not None:
            kept, parts = part, 2
            continue
        rest = next((kept[:a] + kept[b:] for a, b in cuts if fails(kept[:a] + kept[b:])), None)
        if rest is not None:
            kept, parts = rest, max(parts - 1, 2)
        elif parts == len(kept):
            break
        else:
            parts *= 2
    return kept
