"""What the leaves that rows fall into say together: sums, means or extremes of their weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from camshaft.ops.hosted.ml.forest import Forest

Array = np.ndarray
_JOINS: dict[str, tuple[Any, float]] = {
    "AVERAGE": (np.add, 0.0),
    "MAX": (np.maximum, -np.inf),
    "MIN": (np.minimum, np.inf),
    "SUM": (np.add, 0.0),
}
"""How weights are joined, and what with none is."""


@dataclass(frozen=True)
class Votes:
    """Weights of leaves.

    said: by node and target, f64 [nodes, targets].  spoken: whether a node speaks of a target, [nodes, targets].
    aggregate: a name of _JOINS.
    """

    forest: Forest
    said: Array
    spoken: Array
    aggregate: str

    @classmethod
    def of_leaves(
        cls,
        forest: Forest,
        leaves: Sequence[int],
        targets: Sequence[int],
        weights: Array,
        count: int,
        aggregate: str,
    ) -> Votes:
        """leaves, targets, weights: what is said, of which target, in this order.  count: of targets."""
        join, start = _JOINS[aggregate]
        shape = len(forest.modes), count
        said, spoken = np.full(shape, start), np.zeros(shape, np.bool_)
        at = np.array(leaves, np.intp), np.array(targets, np.intp)
        join.at(said, at, weights)
        spoken[at] = True
        return cls(forest, said, spoken, aggregate)

    @cached_property
    def _by_tree(self) -> tuple[Array, bool]:
        """(the only target that leaves of each tree speak of, or none; whether all targets are always spoken of).

        The first is empty where a tree speaks of several."""
        count = self.spoken.shape[1]
        trees, leaves = self.forest.leaves.T
        some, always = (np.zeros((len(self.forest.roots), count), np.bool_) for _ in range(2))
        np.logical_or.at(some, trees, self.spoken[leaves])
        always[trees] = True
        np.logical_and.at(always, trees, self.spoken[leaves])
        alone = bool((some.sum(1) <= 1).all())
        return some.argmax(1) if alone else np.zeros(0, np.intp), bool(always.any(0).all())

    @cached_property
    def _groups(self) -> list[Array]:
        """The trees that speak of each target, where each speaks of one."""
        return [np.flatnonzero(self._by_tree[0] == t) for t in range(self.spoken.shape[1])]

    def of(self, x: Array) -> tuple[Array, Array]:
        """(what leaves say of rows x [N, F]: f64 [N, targets]; which of that any leaf speaks of: bool)."""
        count = self.spoken.shape[1]
        total, spoken = np.zeros((len(x), count)), np.ones((len(x), count), np.bool_)
        only, everywhere = self._by_tree
        for rows, leaves in self.forest.descend(x):
            if len(only):
                self._alone(leaves, total[rows])
            else:
                total[rows] = self._joined(self.said.take(leaves, 0))
            if not everywhere:
                spoken[rows] = self.spoken.take(leaves, 0).any(0)
        if not everywhere:
            total[~spoken] = 0
        if self.aggregate == "AVERAGE":
            total /= len(self.forest.roots)
        return total, spoken

    def _alone(self, leaves: Array, total: Array) -> None:
        """Sums into total [rows, targets] of trees that speak of one target each."""
        count = total.shape[1]
        if count > 1:
            leaves = leaves * count + self._by_tree[0][:, None]
        weights = self.said.reshape(-1).take(leaves)
        for target, trees in enumerate(self._groups):
            total[:, target] = self._joined(weights if count == 1 else weights[trees])

    def _joined(self, weights: Array) -> Array:
        """Weights [trees, ...] joined tree by tree, in this order whatever the number of rows."""
        join, start = _JOINS[self.aggregate]
        if weights[:1].size != 1:
            return np.asarray(join.reduce(weights, axis=0, initial=start))
        first = np.full((1, *weights.shape[1:]), start)  # NumPy's sums of one column go in pairs
        return np.asarray(join.accumulate(np.concatenate([first, weights]), axis=0)[-1])
