"""Tree ensembles of ai.onnx.ml: all rows descend one tree together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ops.hosted.call import Call, Value
from camshaft.ops.hosted.ml.scores import transformed

_COMPARISONS: dict[str, Callable[[Any, Any], np.ndarray]] = {
    "BRANCH_EQ": np.equal,
    "BRANCH_GT": np.greater,
    "BRANCH_GTE": np.greater_equal,
    "BRANCH_LEQ": np.less_equal,
    "BRANCH_LT": np.less,
    "BRANCH_NEQ": np.not_equal,
}


def numbers(call: Call, name: str) -> np.ndarray:
    """A list of floats, or the tensor `name`_as_tensor that may stand for it; empty where neither does."""
    tensor = call.attrs.get(f"{name}_as_tensor")
    return np.asarray(call.attrs.get(name, ()) if tensor is None else tensor, np.float64)


@dataclass(frozen=True)
class _Forest:
    """Nodes of all trees: the feature that each looks at, its threshold, comparison and children.

    modes: "LEAF" or a name of _COMPARISONS.
    missing: whether NaN goes to the true side.  ranges: first
    and last node of each tree, whose root it starts with.
    """

    features: np.ndarray
    values: np.ndarray
    modes: np.ndarray
    true: np.ndarray
    false: np.ndarray
    missing: np.ndarray
    roots: list[int]
    place: dict[tuple[int, int], int]

    @classmethod
    def of(cls, call: Call, dtype: np.dtype) -> _Forest:
        trees, ids = call.attr_ints("nodes_treeids") or [], call.attr_ints("nodes_nodeids") or []
        place = {key: i for i, key in enumerate(zip(trees, ids, strict=True))}
        modes = np.array(call.attr_strings("nodes_modes") or [], object)
        unknown = set(modes) - set(_COMPARISONS) - {"LEAF"}
        if unknown:
            raise ModelError(f"nodes_modes {sorted(unknown)} are not known")
        true, false = (_children(call, f"nodes_{side}nodeids", place, modes) for side in _SIDES)
        inner = modes != "LEAF"
        below = {*true[inner].tolist(), *false[inner].tolist()}
        missing = call.attr_ints("nodes_missing_value_tracks_true") or [0] * len(trees)
        return cls(
            np.array(call.attr_ints("nodes_featureids") or [], np.int64),
            numbers(call, "nodes_values").astype(dtype),
            modes,
            true,
            false,
            np.array(missing, bool),
            [i for i in range(len(trees)) if i not in below],
            place,
        )

    def leaves(self, x: np.ndarray, root: int) -> np.ndarray:
        """The leaf of a tree that each row of x [N, F] falls into."""
        at = np.full(len(x), root)
        rows = np.arange(len(x))
        while True:
            modes = self.modes[at]
            if (modes == "LEAF").all():
                return at
            seen, limit = x[rows, self.features[at]], self.values[at]
            holds = np.isnan(seen) & self.missing[at]
            for mode in set(modes) - {"LEAF"}:
                chosen = modes == mode
                holds[chosen] |= _COMPARISONS[mode](seen[chosen], limit[chosen])
            at = np.where(holds, self.true[at], self.false[at])


_SIDES = ("true", "false")


def _children(
    call: Call, name: str, place: dict[tuple[int, int], int], modes: np.ndarray
) -> np.ndarray:
    """Where the child of each node stands on the side that attribute `name` is of; a leaf's is itself."""
    trees, there = call.attr_ints("nodes_treeids") or [], call.attr_ints(name) or []
    return np.array(
        [
            i if modes[i] == "LEAF" else place[tree, child]
            for i, (tree, child) in enumerate(zip(trees, there, strict=True))
        ],
        np.int64,
    )


def _rows(call: Call) -> np.ndarray:
    """Input 0 as rows [N, F] of floats: f64 where it is, else f32."""
    x = call.array(0)
    x = x if x.dtype == np.float64 else x.astype(np.float32)
    return x.reshape(1, -1) if x.ndim == 1 else x


def _summed(
    call: Call, forest: _Forest, kind: str, count: int, aggregate: str
) -> tuple[np.ndarray, np.ndarray]:
    """(what the leaves of all trees add up to [N, count], which of that any leaf speaks of)."""
    x = _rows(call)
    ids = np.array(call.attr_ints(f"{kind}_ids") or [], np.int64)
    weights = numbers(call, f"{kind}_weights")
    keys = zip(
        call.attr_ints(f"{kind}_treeids") or [],
        call.attr_ints(f"{kind}_nodeids") or [],
        strict=True,
    )
    start = {"MIN": np.inf, "MAX": -np.inf}.get(aggregate, 0.0)
    of_leaf = np.full((len(forest.modes), count), start)
    spoken = np.zeros((len(forest.modes), count), bool)
    join = {"MIN": np.minimum, "MAX": np.maximum}.get(aggregate, np.add)
    for key, target, weight in zip(keys, ids, weights, strict=True):
        leaf = forest.place[key]
        of_leaf[leaf, target] = join(of_leaf[leaf, target], weight)
        spoken[leaf, target] = True
    total, any_spoken = np.full((len(x), count), start), np.zeros((len(x), count), bool)
    for root in forest.roots:
        leaves = forest.leaves(x, root)
        total = join(total, of_leaf[leaves])
        any_spoken |= spoken[leaves]
    total[~any_spoken] = 0
    if aggregate == "AVERAGE":
        total /= len(forest.roots)
    return total, any_spoken


def tree_regressor(call: Call) -> Sequence[Value]:
    """TreeEnsembleRegressor(X) -> Y [N, n_targets], f32."""
    count = call.attr_int("n_targets", 1)
    aggregate = call.choice("aggregate_function", "SUM", ("SUM", "AVERAGE", "MIN", "MAX"))
    forest = _Forest.of(call, _rows(call).dtype)
    total, spoken = _summed(call, forest, "target", count, aggregate)
    base = numbers(call, "base_values")
    if base.size:  # of several targets, ONNX Runtime adds it where a leaf speaks of the target
        total = total + (base if count == 1 else np.where(spoken, base, 0))
    return [transformed(total.astype(np.float32), call.attr_str("post_transform", "NONE"))]


def tree_classifier(call: Call) -> Sequence[Value]:
    """TreeEnsembleClassifier(X) -> labels [N], scores [N, classes], f32.

    Where all weights speak of one of two classes their sum is its score, and the other one's is 1 less
    it, or where some weights are negative its negative.
    """
    names = call.attr_strings("classlabels_strings")
    labels: Any = call.attr_ints("classlabels_int64s") or []
    labels = np.array(names, object) if names else np.array(labels, np.int64)
    forest, post = _Forest.of(call, _rows(call).dtype), call.attr_str("post_transform", "NONE")
    total, spoken = _summed(call, forest, "class", len(labels), "SUM")
    base = numbers(call, "base_values")
    weights, ids = numbers(call, "class_weights"), set(call.attr_ints("class_ids") or [])
    if len(labels) == 2 and len(ids) == 1:
        score = total[:, next(iter(ids))]
        if base.size:
            score = score + base[-1]
        positive = bool((weights >= 0).all())
        chosen = labels[(score > (0.5 if positive else 0.0)).astype(int)]
        return [chosen, binary_scores(score.astype(np.float32), post, complement=positive)]
    if base.size:
        total, spoken = total + base, np.ones_like(spoken)
    total = total.astype(np.float32)
    best = np.where(spoken, total, -np.inf).argmax(1)  # of classes that any leaf speaks of
    return [labels[best], transformed(total, post)]


def binary_scores(score: np.ndarray, post: str, *, complement: bool) -> np.ndarray:
    """Scores [N, 2] of two classes by that of the second, [N].  complement: they add up to 1."""
    both = np.stack([-score, score], 1)
    if post == "LOGISTIC":
        return transformed(both, post)
    return np.stack([1 - score, score], 1) if complement else both
