"""Forests and support vectors of ai.onnx.ml: many rows at once against each row by itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from camshaft.errors import ModelError
from camshaft.ops.hosted.call import Call
from camshaft.ops.hosted.ml.forest import COMPARISONS, LEAF, MEMBER, Forest
from camshaft.ops.hosted.ml.trees import tree_regressor
from camshaft.ops.hosted.ml.vectors import svm_classifier


def grown(rng: np.random.Generator, trees: int, inner: int, modes: list[str]) -> Forest:
    """Random trees, some branches of which are long."""
    rows: list[tuple[Any, ...]] = []
    roots = []
    for _ in range(trees):
        roots.append(len(rows))
        open_ = [len(rows)]
        rows.append((LEAF, 0, 0))
        for _ in range(inner):
            node = open_.pop(int(rng.integers(max(len(open_) - 3, 0), len(open_))))
            rows[node] = (str(rng.choice(modes)), len(rows), len(rows) + 1)
            open_ += [len(rows), len(rows) + 1]
            rows += [(LEAF, i, i) for i in open_[-2:]]
    kinds, true, false = zip(*rows, strict=True)
    count = len(rows)
    return Forest(
        rng.integers(0, 4, count),
        np.round(rng.standard_normal(count), 1).astype(np.float32),
        np.array(kinds, object),
        np.array(true),
        np.array(false),
        rng.random(count) < 0.5,
        roots,
        {i: np.float32([0.1, -0.4]) for i, kind in enumerate(kinds) if kind == MEMBER},
    )


def walked(forest: Forest, row: np.ndarray, node: int) -> int:
    """The leaf of one row in one tree, by the specification."""
    while forest.modes[node] != LEAF:
        value, mode = row[forest.features[node]], forest.modes[node]
        if mode == MEMBER:
            holds = value in forest.members[node]
        else:
            holds = COMPARISONS[mode](value, forest.values[node])
        holds |= bool(np.isnan(value) and forest.missing[node])
        node = int(forest.true[node] if holds else forest.false[node])
    return node


@pytest.mark.parametrize("modes", [[m] for m in COMPARISONS] + [[*COMPARISONS, MEMBER]])
def test_rows_fall_as_one_row_does(modes: list[str]) -> None:
    rng = np.random.default_rng(len(modes[0]))
    forest = grown(rng, 3, 40, modes)
    x = np.round(rng.standard_normal((60, 4)), 1).astype(np.float32)
    x[rng.random(x.shape) < 0.1] = np.nan
    (found,) = (leaves for _, leaves in forest.descend(x))
    want = [[walked(forest, row, root) for row in x] for root in forest.roots]
    assert found.tolist() == want


def test_blocks_of_rows() -> None:
    """More rows than descend together, and a forest of leaves alone."""
    rng = np.random.default_rng(0)
    forest = grown(rng, 2, 5, ["BRANCH_LEQ"])
    x = rng.standard_normal((40000, 4)).astype(np.float32)
    parts = [*forest.descend(x)]
    assert len(parts) > 1
    whole = np.concatenate([leaves for _, leaves in parts], 1)
    for at in (0, 20000, 39999):
        assert whole[:, at].tolist() == [walked(forest, x[at], root) for root in forest.roots]
    (alone,) = (leaves for _, leaves in grown(rng, 2, 0, ["BRANCH_LT"]).descend(x[:3, :0]))
    assert alone.tolist() == [[0] * 3, [1] * 3]


def listed(children: list[int]) -> dict[str, Any]:
    """A tree whose first node has these children, and two leaves."""
    return {
        "nodes_treeids": [0] * 3,
        "nodes_nodeids": [0, 1, 2],
        "nodes_featureids": [1, 0, 0],
        "nodes_values": [0.5, 0.0, 0.0],
        "nodes_modes": ["BRANCH_LEQ", LEAF, LEAF],
        "nodes_truenodeids": [children[0], 0, 0],
        "nodes_falsenodeids": [children[1], 0, 0],
        "target_treeids": [0, 0],
        "target_nodeids": [1, 2],
        "target_ids": [0, 0],
        "target_weights": [1.0, 2.0],
    }


def test_what_is_no_forest() -> None:
    x = np.zeros((2, 2), np.float32)
    call = Call("TreeEnsembleRegressor", 1, listed([1, 2]), (x,), (True,))
    assert tree_regressor(call)[0].tolist() == [[1], [1]]  # type: ignore[union-attr]
    with pytest.raises(ModelError, match="feature 1 does not exist in rows of 1"):
        tree_regressor(Call("TreeEnsembleRegressor", 1, listed([1, 2]), (x[:, :1],), (True,)))
    loop = Forest(
        np.zeros(2, int),
        np.zeros(2, np.float32),
        np.array(["BRANCH_LEQ", LEAF], object),
        np.array([0, 1]),
        np.array([1, 1]),
        np.zeros(2, bool),
        [0],
        {},
    )
    with pytest.raises(ModelError, match="among those below it"):
        list(loop.descend(x))


@pytest.mark.parametrize("probable", [False, True])
def test_support_vectors_of_many_rows(probable: bool) -> None:
    """Also of rows with infinities, whose distances cannot be computed by a product."""
    rng = np.random.default_rng(1)
    attrs: dict[str, Any] = {
        "classlabels_ints": [4, 5, 6, 7],
        "vectors_per_class": [200, 1, 300, 50],
        "support_vectors": rng.standard_normal(551 * 4).tolist(),
        "coefficients": rng.standard_normal(551 * 3).tolist(),
        "kernel_params": [0.3, 0.0, 0.0],
        "kernel_type": "RBF",
        "rho": rng.standard_normal(6).tolist(),
    }
    if probable:
        attrs |= {"prob_a": [-1.0] * 6, "prob_b": [0.1] * 6}
    x = rng.standard_normal((500, 4)).astype(np.float32)
    x[7, 2] = np.inf
    with np.errstate(invalid="ignore"):
        labels, scores = svm_classifier(Call("SVMClassifier", 1, attrs, (x,), (True, True)))
    assert isinstance(scores, np.ndarray) and np.isfinite(scores).all()
    for at in (0, 7, 499):
        with np.errstate(invalid="ignore"):
            one = svm_classifier(Call("SVMClassifier", 1, attrs, (x[at],), (True, True)))
        assert one[0] == labels[at]  # type: ignore[index]
        np.testing.assert_allclose(one[1], scores[at : at + 1], rtol=1e-5)  # type: ignore[arg-type]
