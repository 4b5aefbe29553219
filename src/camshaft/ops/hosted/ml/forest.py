"""Trees as flat tables of nodes, which all rows descend together, one level of all trees at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from camshaft.errors import ModelError

LEAF, MEMBER = "LEAF", "BRANCH_MEMBER"
COMPARISONS: Mapping[str, Callable[..., Any]] = {
    "BRANCH_EQ": np.equal,
    "BRANCH_GT": np.greater,
    "BRANCH_GTE": np.greater_equal,
    "BRANCH_LEQ": np.less_equal,
    "BRANCH_LT": np.less,
    "BRANCH_NEQ": np.not_equal,
}
_BLOCK = 32768
"""Trees times rows that descend together: what is known of them stays in cache."""
_STRIDE, _FEW = 5, 0.7
"""After so many levels those that have reached a leaf are left, if no more than this share goes on."""

Array = np.ndarray


@dataclass(frozen=True)
class Forest:
    """Nodes of all trees: the feature that each looks at, its threshold, comparison and children.

    modes: LEAF, MEMBER or a name of COMPARISONS.  missing: whether NaN goes to the true side.
    roots: where trees start.  members: of nodes of MEMBER, the values that go to the true side.
    """

    features: Array
    values: Array
    modes: Array
    true: Array
    false: Array
    missing: Array
    roots: Sequence[int]
    members: Mapping[int, Array]

    @cached_property
    def is_leaf(self) -> Array:
        """Whether each node is a leaf."""
        return np.asarray(self.modes == LEAF)

    @cached_property
    def _levels(self) -> tuple[int, Array]:
        """(levels of inner nodes, (tree, leaf) [L, 2] of all leaves that are reached).

        ModelError where nodes do not form trees.
        """
        count = len(self.modes)
        at = np.stack([np.arange(len(self.roots)), np.array(self.roots, np.int64)], 1)
        found = []
        for level in range(count + 1):
            if at.size and not 0 <= at[:, 1].min() <= at[:, 1].max() < count:
                raise ModelError("a node has a child that does not exist")
            ends = self.is_leaf[at[:, 1]]
            found.append(at[ends])
            at = at[~ends]
            if not len(at):
                return level, np.concatenate(found)
            below = [np.stack([at[:, 0], side[at[:, 1]]], 1) for side in (self.true, self.false)]
            at = np.unique(np.concatenate(below), axis=0)
        raise ModelError("a node is among those below it")

    @property
    def leaves(self) -> Array:
        """(tree, leaf) [L, 2]: the leaves of each tree."""
        return self._levels[1]

    @cached_property
    def _tables(self) -> tuple[Array, Array, Array, Array]:
        """(features, thresholds, missing, children) with two places for a node: what holds for node n is at 2 n,
        its children are at 2 n (false) and 2 n + 1 (true), as 2 times their places.  A leaf's are itself."""
        itself = np.arange(len(self.modes))
        sides = [np.where(self.is_leaf, itself, side) * 2 for side in (self.false, self.true)]
        features = np.where(self.is_leaf, 0, self.features)
        if (features < 0).any():
            raise ModelError(f"feature {features.min()} does not exist")
        return (
            np.repeat(features, 2).astype(np.intp),
            np.repeat(self.values, 2),
            np.repeat(self.missing & ~self.is_leaf, 2),
            np.stack(sides, 1).reshape(-1).astype(np.intp),
        )

    @cached_property
    def _inner(self) -> Array:
        """Whether a node is no leaf, with two places for a node."""
        return np.repeat(~self.is_leaf, 2)

    @cached_property
    def _kinds(self) -> tuple[str, ...]:
        """The modes of inner nodes, in order."""
        return tuple(sorted({*self.modes.tolist()} - {LEAF}))

    def descend(self, x: Array) -> Iterator[tuple[slice, Array]]:
        """The leaf of each tree that each row of x [N, F] falls into: some rows, and [trees, rows]."""
        width, trees = x.shape[1], len(self.roots)
        depth, _ = self._levels
        most = int(self._tables[0].max(initial=0))
        if depth and most >= width:
            raise ModelError(f"feature {most} does not exist in rows of {width}")
        size = max(_BLOCK // max(trees, 1), 64)
        for i in range(0, len(x), size):
            part = slice(i, i + size)
            yield part, self._block(x[part])

    def _block(self, x: Array) -> Array:
        """The leaves of some rows at once, see `descend`."""
        rows, trees = len(x), len(self.roots)
        depth, _ = self._levels
        flat, start = x.reshape(-1), np.tile(np.arange(rows) * x.shape[1], trees)
        missing = self._tables[2]
        tracked = missing if missing.any() and np.isnan(flat).any() else None
        found = at = np.repeat(np.array(self.roots, np.intp) * 2, rows)
        place: Array | None = None
        for first in range(0, depth, _STRIDE):
            going = np.flatnonzero(self._inner.take(at)) if first else np.empty(0)
            if first and len(going) < _FEW * len(at):
                if place is not None:
                    found[place] = at
                place = going if place is None else place[going]
                at, start = at[going], start[going]
            self._fall(flat, at, start, tracked, min(_STRIDE, depth - first))
        if place is not None:
            found[place] = at
        return (found >> 1).reshape(trees, rows)

    def _fall(
        self, flat: Array, at: Array, start: Array, tracked: Array | None, levels: int
    ) -> None:
        """Move `at`, twice the numbers of nodes, some levels down.

        start: where the row of each begins in `flat`.  tracked: `missing`, None where no NaN follows it."""
        features, limits, _, children = self._tables
        where, seen = np.empty_like(at), np.empty(at.shape, flat.dtype)
        limit, holds = np.empty(at.shape, limits.dtype), np.empty(at.shape, np.bool_)
        compare = COMPARISONS.get(self._kinds[0]) if len(self._kinds) == 1 else None
        for _ in range(levels):
            features.take(at, out=where, mode="clip")  # mode: with another one NumPy makes a copy
            np.add(where, start, out=where)
            flat.take(where, out=seen, mode="clip")
            limits.take(at, out=limit, mode="clip")
            if compare is None:
                holds = self._compared(at >> 1, seen, limit)
            else:
                compare(seen, limit, out=holds)
            if tracked is not None:
                holds |= np.isnan(seen) & tracked.take(at)
            np.add(at, holds, out=where)
            children.take(where, out=at, mode="clip")

    def _compared(self, at: Array, seen: Array, limit: Array) -> Array:
        """Whether what nodes ask holds, where they ask in several ways."""
        modes, holds = self.modes[at], np.zeros(at.shape, np.bool_)
        for mode in self._kinds:
            chosen = modes == mode
            if mode != MEMBER:
                holds |= chosen & COMPARISONS[mode](seen, limit)
                continue
            for node in np.unique(at[chosen]).tolist():
                here = at == node
                holds[here] = np.isin(seen[here], self.members[node])
        return holds
