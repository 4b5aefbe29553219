"""Operators of ai.onnx.ml beside ONNX Runtime: linear models, trees, support vectors, tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from camshaft.errors import ModelError
from foreign_models import check_foreign, foreign, runtime_results
from onnx_models import imported

pytest.importorskip("onnxruntime", reason="operators are compared with ONNX Runtime")
pytestmark = [pytest.mark.peers, pytest.mark.codegen]  # strings take a script, and that an engine

DOMAIN = "ai.onnx.ml"
INT64, STRING, FLOAT = TensorProto.INT64, TensorProto.STRING, TensorProto.FLOAT
LABELS: dict[str, tuple[list[Any], int]] = {
    "classlabels_ints": ([5, 7, 9], INT64),
    "classlabels_strings": (["a", "b", "c"], STRING),
}
POST = ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"]
each_post = pytest.mark.parametrize("post", POST)
LABELLED = [*(("classlabels_ints", post) for post in POST), ("classlabels_strings", "NONE")]
each_labelled = pytest.mark.parametrize(("names", "post"), LABELLED)
BOTH = ("label", "scores")


def rng_of(*seed: object) -> np.random.Generator:
    return np.random.default_rng([ord(c) for c in repr(seed)])


def some(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(np.float32)


def listed(rng: np.random.Generator, count: int) -> list[float]:
    return [float(v) for v in some(rng, count)]


def strings(*words: str) -> np.ndarray:
    return np.array(words, object)


def ask(op_type: str, *inputs: np.ndarray, version: int = 1, **more: Any) -> None:
    """One operator, with as many rows as there are and with any number."""
    dims = {i: " ".join(["n", *map(str, x.shape[1:])]) for i, x in enumerate(inputs) if x.ndim == 2}
    static = STRING in more.get("types", ()) or any(x.dtype == object for x in inputs)
    open_ = None if static else dims  # an engine each takes its time
    check_foreign(op_type, inputs, domain=DOMAIN, version=version, dims=open_, **more)


# --- arithmetic -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.int32])
def test_scaler(dtype: Any) -> None:
    x = (some(rng_of(dtype), 4, 3) * 5).astype(dtype)
    ask("Scaler", x, offset=[1.0, 2.0, 3.0], scale=[0.5, 2.0, 0.1])
    ask("Scaler", x, offset=[1.0], scale=[0.5])


@pytest.mark.parametrize("norm", ["MAX", "L1", "L2"])
def test_normalizer(norm: str) -> None:
    x = some(rng_of(norm), 4, 3)
    x[1] = 0
    ask("Normalizer", x, norm=norm)
    ask("Normalizer", x[0], norm=norm)
    ask("Normalizer", (x * 9).astype(np.int64), norm=norm)


def test_imputer() -> None:
    x = some(rng_of(), 4, 3)
    x[0, 0], x[2, 1] = np.nan, 7.0
    nan = float("nan")
    ask("Imputer", x, imputed_value_floats=[1.0, 2.0, 3.0], replaced_value_float=nan)
    ask("Imputer", x, imputed_value_floats=[1.5], replaced_value_float=7.0)
    whole = np.arange(12).reshape(4, 3) % 5
    ask("Imputer", whole, imputed_value_int64s=[9], replaced_value_int64=2, types=[INT64])


def test_features() -> None:
    x, y = some(rng_of(1), 4, 5), some(rng_of(2), 4, 3)
    ask("Binarizer", x, threshold=0.3)
    ask("ArrayFeatureExtractor", x, np.array([0, 3, 3]))
    ask("ArrayFeatureExtractor", x[0], np.array([[1, 2]]))
    ask("FeatureVectorizer", x, y, inputdimensions=[5, 3])
    ask("FeatureVectorizer", x, y, inputdimensions=[6, 2])


@each_post
def test_linear_regressor(post: str) -> None:
    rng = rng_of(post)
    attrs = {"coefficients": listed(rng, 6), "intercepts": [0.1, 0.2], "targets": 2}
    ask("LinearRegressor", some(rng, 4, 3), post_transform=post, **attrs)
    ask("LinearRegressor", some(rng, 4, 3), coefficients=listed(rng, 3))


def test_probit() -> None:
    x = np.linspace(0.05, 0.95, 8, dtype=np.float32).reshape(-1, 1)
    ask("LinearRegressor", x, coefficients=[1.0], intercepts=[0.0], post_transform="PROBIT")
    attrs: dict[str, Any] = {"classlabels_ints": [0, 1], "post_transform": "PROBIT"}
    more = {"coefficients": [1.0], "intercepts": [0.0], "domain": DOMAIN, "outputs": BOTH}
    with pytest.raises(ModelError, match="PROBIT of two classes"):
        imported(foreign("LinearClassifier", [x], **attrs, **more)[0])


@each_labelled
@pytest.mark.parametrize("count", [2, 3])
def test_linear_classifier(count: int, names: str, post: str) -> None:
    """Of two classes one row of coefficients is enough."""
    rng, (labels, kind) = rng_of(count, names, post), LABELS[names]
    rows = 1 if count == 2 else 3
    attrs = {"coefficients": listed(rng, 3 * rows), "intercepts": listed(rng, rows)}
    more = {names: labels[:count], "post_transform": post, "outputs": BOTH, "types": [kind]}
    ask("LinearClassifier", some(rng, 6, 3), host=kind == STRING, **attrs, **more)


# --- trees ----------------------------------------------------------------------------------


def forest(rng: np.random.Generator, features: int) -> tuple[dict[str, Any], list[tuple[int, int]]]:
    """Attributes of three random trees, and (tree, node) of their leaves."""
    modes = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]
    made: dict[str, list[Any]] = {
        f"nodes_{n}": []
        for n in [
            "treeids",
            "nodeids",
            "featureids",
            "values",
            "modes",
            "truenodeids",
            "falsenodeids",
            "missing_value_tracks_true",
        ]
    }
    leaves = []
    for tree in range(3):
        inner, count = int(rng.integers(1, 4)), 0
        open_, next_id = [0], 1
        while open_:
            node = open_.pop(0)
            leaf = count >= inner
            count += not leaf
            children = (0, 0) if leaf else (next_id, next_id + 1)
            if leaf:
                leaves.append((tree, node))
            else:
                open_ += children
                next_id += 2
            row = [tree, node, int(rng.integers(features)), round(float(rng.normal()), 1)]
            row += ["LEAF" if leaf else str(rng.choice(modes)), *children, int(rng.integers(2))]
            for values, value in zip(made.values(), row, strict=True):
                values.append(value)
    return made, leaves


def rows(rng: np.random.Generator, dtype: Any = np.float32) -> np.ndarray:
    """Rows whose values stand at thresholds now and then, and are missing."""
    x = np.round(rng.standard_normal((20, 3)), 1).astype(dtype)
    x[0, 0] = np.nan
    return x


@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE", "MIN", "MAX"])
@pytest.mark.parametrize("version", [1, 3])
@pytest.mark.parametrize("number", range(3))
def test_tree_regressor(number: int, version: int, aggregate: str) -> None:
    rng = rng_of(number, version, aggregate)
    nodes, leaves = forest(rng, 3)
    count = number + 1
    attrs = {
        "target_treeids": [tree for tree, _ in leaves],
        "target_nodeids": [node for _, node in leaves],
        "target_ids": [int(rng.integers(count)) for _ in leaves],
        "target_weights": listed(rng, len(leaves)),
        "n_targets": count,
        "aggregate_function": aggregate,
        "post_transform": POST[number],
    }
    if number and aggregate == "SUM":
        attrs["base_values"] = listed(rng, count)
    x = rows(rng, np.float64 if version == 3 and number == 1 else np.float32)
    ask("TreeEnsembleRegressor", x, version=version, host=True, **nodes, **attrs)


@pytest.mark.parametrize("post", ["LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"])
def test_one_target_is_transformed(post: str) -> None:
    """By the specification post_transform "indicates the transform to apply to the score"; with one target ONNX
    Runtime heeds only PROBIT, and gives the sum as it is."""
    rng = rng_of(post)
    nodes, leaves = forest(rng, 3)
    attrs: dict[str, Any] = {
        "target_treeids": [tree for tree, _ in leaves],
        "target_nodeids": [node for _, node in leaves],
        "target_ids": [0] * len(leaves),
        "target_weights": listed(rng, len(leaves)),
        "n_targets": 1,
        **nodes,
    }
    x = rows(rng)
    (plain,) = runtime_results(*foreign("TreeEnsembleRegressor", [x], domain=DOMAIN, **attrs))
    want = 1 / (1 + np.exp(-plain)) if post == "LOGISTIC" else np.ones_like(plain)
    ask("TreeEnsembleRegressor", x, host=True, want=[want], post_transform=post, **attrs)


@each_post
@pytest.mark.parametrize("version", [1, 3])
@pytest.mark.parametrize("kind", ["three", "strings", "one of two", "one of two, positive"])
def test_tree_classifier(kind: str, version: int, post: str) -> None:
    """Where leaves speak of both of two classes ONNX Runtime gives 1 or 0, whatever the labels are, by
    the sign of the second score; here the label is that of the larger one, as of more classes."""
    rng = rng_of(kind, version, post)
    nodes, leaves = forest(rng, 3)
    count = 2 if "two" in kind else 3
    names = "classlabels_strings" if kind == "strings" else "classlabels_int64s"
    labels, label = LABELS["classlabels_strings" if kind == "strings" else "classlabels_ints"]
    classes = [0 if "one" in kind else i % count for i, _ in enumerate(leaves)]
    weights = listed(rng, len(leaves))
    attrs: dict[str, Any] = {
        "class_treeids": [tree for tree, _ in leaves],
        "class_nodeids": [node for _, node in leaves],
        "class_ids": classes,
        "class_weights": [abs(w) for w in weights] if "positive" in kind else [-1.0, *weights[1:]],
        names: labels[:count],
        "post_transform": post,
    }
    more = {"outputs": BOTH, "types": [label], "host": True}
    ask("TreeEnsembleClassifier", rows(rng), version=version, **more, **nodes, **attrs)


@pytest.mark.parametrize("aggregate", range(4))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("member", [False, True])
def test_tree_ensemble(member: bool, dtype: Any, aggregate: int) -> None:
    """Opset 5: two trees.  By the specification post_transform 1 is SOFTMAX and 2 LOGISTIC; ONNX Runtime
    takes them the other way round."""
    rng = rng_of(member, dtype, aggregate)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))

    def tensor(values: list[float], elem: int = kind) -> TensorProto:
        return helper.make_tensor("t", elem, [len(values)], values)

    attrs: dict[str, Any] = {
        "tree_roots": [0, 2],
        "nodes_featureids": [0, 1, 2],
        "nodes_splits": tensor([0.1, 0.0 if member else -0.2, 0.3]),
        "nodes_modes": tensor([0, 6 if member else 1, 2], TensorProto.UINT8),
        "nodes_truenodeids": [1, 0, 1],
        "nodes_trueleafs": [0, 1, 1],
        "nodes_falsenodeids": [2, 3, 4],
        "nodes_falseleafs": [1, 1, 1],
        "nodes_missing_value_tracks_true": [1, 0, 0],
        "leaf_targetids": [0, 1, 0, 1, 0],
        "leaf_weights": tensor([0.5, 0.25, 0.75, 0.3, 0.6]),
        "n_targets": 2,
        "aggregate_function": aggregate,
        "domain": DOMAIN,
        "version": 5,
        "model_opset": 21,
        "types": [kind],
    }
    if member:
        attrs["membership_values"] = tensor([-1.0, 0.0, 2.0, float("nan")])
    x = rows(rng, dtype)
    x[:, 1] = np.round(x[:, 1] * (2 if member else 1), 0 if member else 1)
    for post in (0, 3):
        check_foreign("TreeEnsemble", [x], post_transform=post, host=True, **attrs)
    (plain,) = runtime_results(*foreign("TreeEnsemble", [x], **attrs))
    softmax = np.exp(plain) / np.exp(plain).sum(1, keepdims=True)
    for post, want in ((1, softmax), (2, 1 / (1 + np.exp(-plain)))):
        check_foreign("TreeEnsemble", [x], post_transform=post, want=[want], host=True, **attrs)


# --- support vectors ------------------------------------------------------------------------

KERNELS = ["LINEAR", "POLY", "RBF", "SIGMOID"]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("one_class", [0, 1])
def test_svm_regressor(one_class: int, kernel: str) -> None:
    rng = rng_of(one_class, kernel)
    attrs = {
        "coefficients": listed(rng, 4),
        "support_vectors": listed(rng, 12),
        "kernel_params": [0.3, 0.1, 2.0],
        "n_supports": 4,
        "rho": [0.2],
    }
    ask("SVMRegressor", some(rng, 5, 3), kernel_type=kernel, one_class=one_class, **attrs)


def test_linear_support_vector_machines() -> None:
    rng = rng_of()
    attrs: dict[str, Any] = {
        "kernel_params": [0.0, 0.0, 0.0],
        "kernel_type": "LINEAR",
        "rho": [0.2],
    }
    ask("SVMRegressor", some(rng, 5, 3), coefficients=listed(rng, 3), **attrs)
    for count in (2, 3):
        attrs |= {"coefficients": listed(rng, 3 * count), "classlabels_ints": [3, 8, 9][:count]}
        more = {"outputs": BOTH, "types": [INT64], "host": True}
        ask("SVMClassifier", some(rng, 9, 3), **attrs, **more)


@each_labelled
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("counts", [[2, 3], [1, 2, 2]])
def test_svm_classifier(counts: list[int], kernel: str, names: str, post: str) -> None:
    rng, (labels, kind) = rng_of(counts, kernel, names, post), LABELS[names]
    classes, vectors = len(counts), sum(counts)
    pairs = classes * (classes - 1) // 2
    attrs: dict[str, Any] = {
        "coefficients": listed(rng, (classes - 1) * vectors),
        "support_vectors": listed(rng, vectors * 3),
        "vectors_per_class": counts,
        "kernel_params": [0.3, 0.1, 2.0],
        "rho": listed(rng, pairs),
        names: labels[:classes],
    }
    more = {"outputs": BOTH, "types": [kind], "host": True}
    x = some(rng, 6, 3)
    ask("SVMClassifier", x, kernel_type=kernel, post_transform=post, **attrs, **more)
    attrs |= {"prob_a": [-1.0] * pairs, "prob_b": [0.1] * pairs}
    if post == "NONE":
        ask("SVMClassifier", x, kernel_type=kernel, **attrs, **more)


# --- tables ---------------------------------------------------------------------------------


def test_label_encoder() -> None:
    words, places = strings("a", "b", "zz"), np.array([[0, 1, 5]])
    more: dict[str, Any] = {"host": True}
    ask("LabelEncoder", words, classes_strings=["a", "b"], types=[INT64], **more)
    ask(
        "LabelEncoder",
        places,
        classes_strings=["a", "b"],
        default_string="?",
        types=[STRING],
        **more,
    )
    more["version"] = 2
    keys = {"keys_strings": ["a", "b"], "values_int64s": [3, 4], "default_int64": -7}
    ask("LabelEncoder", words, types=[INT64], **keys, **more)
    ask("LabelEncoder", places, types=[STRING], keys_int64s=[1], values_strings=["one"], **more)
    ask("LabelEncoder", places, keys_int64s=[1], values_floats=[1.5], **more)
    nan = np.array([1, np.nan, 2], np.float32)
    floats = {"keys_floats": [1.0, float("nan")], "values_floats": [5.0, 6.0]}
    ask("LabelEncoder", nan, **floats, **more)
    more["version"] = 4
    ask("LabelEncoder", nan, **floats, **more)
    tensors = {
        f"{side}_tensor": helper.make_tensor(side, INT64, [len(v)], v)
        for side, v in (("keys", [1, 5]), ("values", [10, 50]), ("default", [-1]))
    }
    ask("LabelEncoder", places, types=[INT64], **tensors, **more)


def test_category_mapper_and_one_hot_encoder() -> None:
    attrs: dict[str, Any] = {"cats_int64s": [1, 2], "cats_strings": ["a", "b"], "host": True}
    ask("CategoryMapper", strings("a", "q"), default_int64=-3, types=[INT64], **attrs)
    ask("CategoryMapper", np.array([1, 7]), default_string="?", types=[STRING], **attrs)
    ask("OneHotEncoder", np.array([[1, 3], [4, 1]]), cats_int64s=[1, 2, 4], host=True)
    ask("OneHotEncoder", strings("a", "x"), cats_strings=["a", "b"], host=True)
