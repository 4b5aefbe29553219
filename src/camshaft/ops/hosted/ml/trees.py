"""Tree ensembles of ai.onnx.ml: what their nodes are, and what the leaves say together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camshaft.errors import ModelError
from camshaft.ops.hosted.call import Call, Value
from camshaft.ops.hosted.ml.forest import COMPARISONS, LEAF, MEMBER, Forest
from camshaft.ops.hosted.ml.scores import transformed
from camshaft.ops.hosted.ml.votes import Votes

_SIDES = ("true", "false")
_MODES = (
    "BRANCH_LEQ",
    "BRANCH_LT",
    "BRANCH_GTE",
    "BRANCH_GT",
    "BRANCH_EQ",
    "BRANCH_NEQ",
    MEMBER,
)
"""What the numbers of TreeEnsemble's nodes_modes are; so below."""
_AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")
_TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")


def numbers(call: Call, name: str) -> np.ndarray:
    """A list of floats, or the tensor `name`_as_tensor that may stand for it; empty where neither does."""
    tensor = call.attrs.get(f"{name}_as_tensor")
    return np.asarray(call.attrs.get(name, ()) if tensor is None else tensor, np.float64)


def _listed(call: Call, dtype: np.dtype) -> Forest:
    """Of operators that list nodes, leaves among them, by numbers of trees and nodes."""
    trees, place = call.attr_ints("nodes_treeids") or [], _places(call)
    modes = np.array(call.attr_strings("nodes_modes") or [], object)
    unknown = set(modes) - set(COMPARISONS) - {LEAF}
    if unknown:
        raise ModelError(f"nodes_modes {sorted(unknown)} are not known")
    true, false = (_children(call, f"nodes_{side}nodeids", place, modes) for side in _SIDES)
    inner = modes != LEAF
    below = {*true[inner].tolist(), *false[inner].tolist()}
    missing = call.attr_ints("nodes_missing_value_tracks_true") or [0] * len(trees)
    return Forest(
        np.array(call.attr_ints("nodes_featureids") or [], np.int64),
        numbers(call, "nodes_values").astype(dtype),
        modes,
        true,
        false,
        np.array(missing, bool),
        [i for i in range(len(trees)) if i not in below],
        {},
    )


def _of_ensemble(call: Call) -> Forest:
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
    return Forest(
        np.concatenate([np.array(features, np.int64), more]),
        np.concatenate([splits, more.astype(splits.dtype)]),
        np.array([*modes, *[LEAF] * leaves], object),
        children[0],
        children[1],
        np.concatenate([np.array(missing, bool), more.astype(bool)]),
        call.attr_ints("tree_roots") or [],
        {i: next(sets) for i, mode in enumerate(modes) if mode == MEMBER},
    )


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
            i if modes[i] == LEAF else place[tree, child]
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


def tree_ensemble(call: Call) -> Sequence[Value]:
    """TreeEnsemble(X) -> Y [N, n_targets], in X's type."""
    x = _rows(call)
    total, _ = call.kept("votes", lambda: _votes_of_ensemble(call)).of(x)
    return [transformed(total.astype(x.dtype), _TRANSFORMS[call.attr_int("post_transform")])]


def _votes_of_ensemble(call: Call) -> Votes:
    forest, targets = _of_ensemble(call), call.attr_ints("leaf_targetids") or []
    behind = range(len(forest.modes) - len(targets), len(forest.modes))
    count = call.attr_int("n_targets", max(targets, default=0) + 1)
    aggregate = _AGGREGATES[call.attr_int("aggregate_function", 1)]
    said = np.asarray(call.attrs["leaf_weights"], np.float64)
    return Votes.of_leaves(forest, behind, targets, said, count, aggregate)


def _votes(call: Call, kind: str, count: int, aggregate: str, dtype: np.dtype) -> Votes:
    """Of operators whose weights are listed by tree and node.  dtype: of the features."""

    def make() -> Votes:
        ids, weights = call.attr_ints(f"{kind}_ids") or [], numbers(call, f"{kind}_weights")
        leaves = _leaves_of(call, kind)
        return Votes.of_leaves(_listed(call, dtype), leaves, ids, weights, count, aggregate)

    return call.kept(dtype, make)


def tree_regressor(call: Call) -> Sequence[Value]:
    """TreeEnsembleRegressor(X) -> Y [N, n_targets], f32."""
    count = call.attr_int("n_targets", 1)
    aggregate = call.choice("aggregate_function", "SUM", ("SUM", "AVERAGE", "MIN", "MAX"))
    x = _rows(call)
    total, spoken = _votes(call, "target", count, aggregate, x.dtype).of(x)
    base = numbers(call, "base_values")
    if base.size:  # of several targets, ONNX Runtime adds it where a leaf speaks of the target
        total = total + (base if count == 1 else np.where(spoken, base, 0))
    return [transformed(total.astype(np.float32), call.attr_str("post_transform", "NONE"))]


def tree_classifier(call: Call) -> Sequence[Value]:
    """TreeEnsembleClassifier(X) -> labels [N], scores [N, classes], f32.

    Where all weights speak of one of two classes their sum is its score, and the other one's is 1 less
    it, or where some weights are negative its negative.
    """
    x, post = _rows(call), call.attr_str("post_transform", "NONE")
    labels, only, positive = call.kept("classes", lambda: _classes(call))
    total, spoken = _votes(call, "class", len(labels), "SUM", x.dtype).of(x)
    base = numbers(call, "base_values")
    if only is not None:
        score = total[:, only]
        if base.size:
            score = score + base[-1]
        chosen = labels[(score > (0.5 if positive else 0.0)).astype(int)]
        return [chosen, binary_scores(score.astype(np.float32), post, complement=positive)]
    if base.size:
        total, spoken = total + base, np.ones_like(spoken)
    total = total.astype(np.float32)
    best = np.where(spoken, total, -np.inf).argmax(1)  # of classes that any leaf speaks of
    return [labels[best], transformed(total, post)]


def _classes(call: Call) -> tuple[np.ndarray, int | None, bool]:
    """(labels; the only one of two classes that weights speak of, or None; whether no weight is negative)."""
    names, ids = call.attr_strings("classlabels_strings"), {*(call.attr_ints("class_ids") or [])}
    numbered = np.array(call.attr_ints("classlabels_int64s") or [], np.int64)
    labels = np.array(names, object) if names else numbered
    positive = bool((numbers(call, "class_weights") >= 0).all())
    return labels, min(ids) if len(labels) == 2 and len(ids) == 1 else None, positive


def binary_scores(score: np.ndarray, post: str, *, complement: bool) -> np.ndarray:
    """Scores [N, 2] of two classes by that of the second, [N].  complement: they add up to 1."""
    both = np.stack([-score, score], 1)
    if post == "LOGISTIC":
        return transformed(both, post)
    return np.stack([1 - score, score], 1) if complement else both
