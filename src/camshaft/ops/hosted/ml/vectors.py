"""Classification by support vectors, as ai.onnx.ml and libsvm have it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ops.hosted.call import Call, Value
from camshaft.ops.hosted.ml.scores import transformed

Array = np.ndarray
_LEAST = 1e-7
"""Probabilities of pairs are held this far from 0 and 1."""
_ROUNDS = 100


def _floats(call: Call, name: str) -> Array:
    return np.array(call.attr_floats(name) or [], np.float64)


def _kernel(call: Call, x: Array, vectors: Array) -> Array:
    """How alike rows x [N, F] and vectors [S, F] are: [N, S]."""
    kind = call.choice("kernel_type", "LINEAR", ("LINEAR", "POLY", "RBF", "SIGMOID"))
    gamma, offset, degree = (*_floats(call, "kernel_params"), 0.0, 0.0, 0.0)[:3]
    if kind == "RBF":
        return np.asarray(np.exp(-gamma * ((x[:, None] - vectors) ** 2).sum(2)))
    products = x @ vectors.T
    if kind == "LINEAR":
        return np.asarray(products)
    inner = gamma * products + offset
    return np.asarray(inner**degree if kind == "POLY" else np.tanh(inner))


def _decisions(kernel: Array, weights: Array, counts: Sequence[int], rho: Array) -> Array:
    """For each pair of classes i < j what speaks for i: [N, pairs].  weights: [classes - 1, S]."""
    ends = np.cumsum(counts)
    own = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
    found = [
        kernel[:, own[i]] @ weights[j - 1, own[i]] + kernel[:, own[j]] @ weights[i, own[j]]
        for i, j in combinations(range(len(counts)), 2)
    ]
    return np.asarray(np.stack(found, 1) + rho)


def _votes(decisions: Array, count: int) -> Array:
    """How many pairs each class wins: [N, count]."""
    votes = np.zeros((len(decisions), count))
    for (i, j), won in zip(combinations(range(count), 2), decisions.T > 0, strict=True):
        votes[:, i] += won
        votes[:, j] += ~won
    return votes


def _probabilities(call: Call, decisions: Array, count: int) -> Array:
    """Of each class, coupled from those of pairs: [N, count] (Wu, Lin, Weng 2004, their second way)."""
    lifted = decisions * _floats(call, "prob_a") + _floats(call, "prob_b")
    pairs = np.clip(1 / (1 + np.exp(lifted)), _LEAST, 1 - _LEAST)
    r = np.zeros((len(decisions), count, count))
    for (i, j), p in zip(combinations(range(count), 2), pairs.T, strict=True):
        r[:, i, j], r[:, j, i] = p, 1 - p
    return np.stack([_coupled(matrix) for matrix in r])


def _coupled(r: Array) -> Array:
    """Probabilities p of classes from r[i, j], that of i among i and j."""
    count = len(r)
    q = -r.T * r
    np.fill_diagonal(q, (r**2).sum(0))
    p = np.full(count, 1 / count)
    for _ in range(max(_ROUNDS, count)):
        qp = q @ p
        total = p @ qp
        if np.abs(qp - total).max() < 0.005 / count:
            break
        for t in range(count):
            step = (total - qp[t]) / q[t, t]
            p[t] += step
            total = (total + step * (step * q[t, t] + 2 * qp[t])) / (1 + step) ** 2
            qp = (qp + step * q[t]) / (1 + step)
            p = p / (1 + step)
    return p


def svm_classifier(call: Call) -> Sequence[Value]:
    """SVMClassifier(X) -> labels [N], scores: of classes where these are probable or linear or two, else
    of pairs."""
    names = call.attr_strings("classlabels_strings")
    labels: Any = np.array(names, object) if names else np.array(
        call.attr_ints("classlabels_ints") or [], np.int64
    )  # fmt: skip
    x = np.atleast_2d(call.array(0)).astype(np.float64)
    weights, rho = _floats(call, "coefficients"), _floats(call, "rho")
    counts, count = call.attr_ints("vectors_per_class") or [], len(labels)
    probable = bool(len(_floats(call, "prob_a"))) and bool(counts)
    if counts and len(counts) != count:
        raise ModelError(f"vectors_per_class={counts} are not one for each of {count} labels")
    if counts:
        vectors = _floats(call, "support_vectors").reshape(sum(counts), -1)
        kernel = _kernel(call, x, vectors)
        scores = _decisions(kernel, weights.reshape(-1, sum(counts)), counts, rho)
        votes = _votes(scores, count)
        if probable:
            scores = _probabilities(call, scores, count)
    else:
        scores = votes = _kernel(call, x, weights.reshape(count, -1)) + rho[0]
    best = votes.argmax(1)
    if not counts and len(rho) == 1 and count == 2:  # as ONNX Runtime decides between two
        enough = votes.max(1) >= 0.5 if (weights >= 0).all() else votes.max(1) > 0
        best = np.where(enough, 1, best)
    return [
        labels[best],
        _finished(scores.astype(np.float32), call.attr_str("post_transform", "NONE")),
    ]


def _finished(scores: Array, post: str) -> Array:
    """Scores transformed; one of a pair is made one of each, as ONNX Runtime does."""
    if scores.shape[1] > 1:
        return transformed(scores, post)
    if post in ("SOFTMAX", "SOFTMAX_ZERO"):
        return np.concatenate([1 - scores, scores], 1)
    return transformed(np.concatenate([-scores, scores], 1), post)
