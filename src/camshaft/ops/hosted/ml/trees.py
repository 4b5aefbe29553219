"""Tree ensembles of ai.onnx.ml: all rows descend one tree together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ops.hosted.call import Call, Value
from camshaft.ops.hosted.ml.scores import transformed

_SIDES = ("true", "false")
_MEMBER = "BRANCH_MEMBER"
_MODES = (
    "BRANCH_LEQ",
    "BRANCH_LT",
    "BRANCH_GTE",
    "BRANCH_GT",
    "BRANCH_EQ",
    "BRANCH_NEQ",
    _MEMBER,
)
"""What the numbers of TreeEnsemble's nodes_modes are; so below."""
_AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")
_TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")
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

    modes: "LEAF", _MEMBER or a name of _COMPARISONS.  missing: whether NaN goes to the true side.
    roots: where trees start.  members: of nodes of _MEMBER, the values that go to the true side.
    """

    features: np.ndarray
    values: np.ndarray
    modes: np.ndarray
    true: np.ndarray
    false: np.ndarray
    missing: np.ndarray
    roots: Sequence[int]
    members: Mapping[int, np.ndarray]

    @classmethod
    def of(cls, call: Call, dtype: np.dtype) -> _Forest:
        """Of operators that list nodes, leaves among them, by numbers of trees and nodes."""
        trees, place = call.attr_ints("nodes_treeids") or [], _places(call)
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
            {},
        )

    @classmethod
    def of_ensemble(cls, call: Call) -> _Forest:
        """Of TreeEnsemble: inner nodes, and leaves behind all of them."""
        features = call.attr_ints("nodes_featureids") or []
        inner, leaves = len(features), len(call.attr_ints("leaf_targetids") or [])
        more = np.zeros(leaves, np.int64)
        itself = np.arange(inner, inner + leaves)
        children = []
        for side in _SIDES:
            there = np.array(call.attr_ints(f"nodes_{side}nodeids") or [], np.int64)
            is_leaf = np.array(call.attr_ints(f"nodes_{side}leafs") or [], np.int64)
            children.append(np.concatenate([there + inner * is_leaf, itself]))
        modes = [_MODES[int(m)] for m in np.asarray(call.attrs["nodes_modes"]).reshape(-1)]
        splits = np.asarray(call.attrs["nodes_splits"])
        missing = call.attr_ints("nodes_missing_value_tracks_true") or [0] * inner
        sets = iter(_between_nans(np.asarray(call.attrs.get("membership_values", ()))))
        return cls(
            np.concatenate([np.array(features, np.int64), more]),
            np.concatenate([splits, more.astype(splits.dtype)]),
            np.array([*modes, *["LEAF"] * leaves], object),
            children[0],
            children[1],
            np.concatenate([np.array(missing, bool), more.astype(bool)]),
            call.attr_ints("tree_roots") or [],
            {i: next(sets) for i, mode in enumerate(modes) if mode == _MEMBER},
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
                if mode == _MEMBER:
                    for node in np.unique(at[chosen]).tolist():
                        here = at == node
                        holds[here] |= np.isin(seen[here], self.members[node])
                else:
                    holds[chosen] |= _COMPARISONS[mode](seen[chosen], limit[chosen])
            at = np.where(holds, self.true[at], self.false[at])


def _between_nans(values: np.ndarray) -> list[np.ndarray]:
    """The parts of a list that NaN separates."""
    ends = np.flatnonzero(np.isnan(values))
    return [part[~np.isnan(part)] for part in np.split(values, ends)]


def _places(call: Call) -> dict[tuple[int, int], int]:
    """(tree, node) -> where it stands among the nodes."""
    trees, ids = call.attr_ints("nodes_treeids") or [], call.attr_ints("nodes_nodeids") or []
    return {key: i for i, key in enumerate(zip(trees, ids, strict=True))}


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


def _leaves_of(call: Call, kind: str) -> list[int]:
    """Where the leaves stand that weights are listed of."""
    place = _places(call)
    trees, nodes = call.attr_ints(f"{kind}_treeids") or [], call.attr_ints(f"{kind}_nodeids") or []
    return [place[key] for key in zip(trees, nodes, strict=True)]


def _summed(
    x: np.ndarray,
    forest: _Forest,
    weights: tuple[Sequence[int], Sequence[int], np.ndarray],
    count: int,
    aggregate: str,
) -> tuple[np.ndarray, np.ndarray]:
    """(what the leaves of all trees add up to [N, count], which of that any leaf speaks of).

    weights: leaves, the target that each speaks of, and what it says.
    """
    start = {"MIN": np.inf, "MAX": -np.inf}.get(aggregate, 0.0)
    of_leaf = np.full((len(forest.modes), count), start)
    spoken = np.zeros((len(forest.modes), count), bool)
    join = {"MIN": np.minimum, "MAX": np.maximum}.get(aggregate, np.add)
    for leaf, target, weight in zip(*weights, strict=True):
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


def tree_ensemble(call: Call) -> Sequence[Value]:
    """TreeEnsemble(X) -> Y [N, n_targets], in X's type."""
    x, targets = _rows(call), call.attr_ints("leaf_targetids") or []
    forest = _Forest.of_ensemble(call)
    said = np.asarray(call.attrs["leaf_weights"], np.float64)
    behind = range(len(forest.modes) - len(targets), len(forest.modes))
    aggregate = _AGGREGATES[call.attr_int("aggregate_function", 1)]
    count = call.attr_int("n_targets", max(targets, default=0) + 1)
    total, _ = _summed(x, forest, (behind, targets, said), count, aggregate)
    return [transformed(total.astype(x.dtype), _TRANSFORMS[call.attr_int("post_transform")])]


def tree_regressor(call: Call) -> Sequence[Value]:
    """TreeEnsembleRegressor(X) -> Y [N, n_targets], f32."""
    count = call.attr_int("n_targets", 1)
    aggregate = call.choice("aggregate_function", "SUM", ("SUM", "AVERAGE", "MIN", "MAX"))
    x = _rows(call)
    ids, weights = call.attr_ints("target_ids") or [], numbers(call, "target_weights")
    said = _leaves_of(call, "target"), ids, weights
    total, spoken = _summed(x, _Forest.of(call, x.dtype), said, count, aggregate)
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
    x, post = _rows(call), call.attr_str("post_transform", "NONE")
    weights, ids = numbers(call, "class_weights"), call.attr_ints("class_ids") or []
    said = _leaves_of(call, "class"), ids, weights
    total, spoken = _summed(x, _Forest.of(call, x.dtype), said, len(labels), "SUM")
    base = numbers(call, "base_values")
    if len(labels) == 2 and len(set(ids)) == 1:
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
