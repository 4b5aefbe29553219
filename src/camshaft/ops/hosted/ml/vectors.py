"""Classification by support vectors, as ai.onnx.ml and libsvm have it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from camshaft.errors import ModelError
from camshaft.ops.hosted.call import Call, Value
from camshaft.ops.hosted.ml.coupling import coupled
from camshaft.ops.hosted.ml.scores import transformed

Array = np.ndarray
_LEAST = 1e-7
"""Probabilities of pairs are held this far from 0 and 1."""
_PRODUCT = 2**18
"""Multiplications of a product of matrices up to which OpenBLAS computes it on one thread."""


@dataclass(frozen=True)
class _Machine:
    """A classifier's attributes.

    kernel: its type.  params: gamma, coef0, degree.  counts: vectors of each class, empty for a linear machine.
    vectors: [S, F].  weights: [classes - 1, S].  Both are [classes, F] of a linear one.  rho, prob_a, prob_b: of pairs
    of classes i < j, in order; `first` and `second` are the i and j.
    """

    labels: Array
    kernel: str
    params: tuple[float, float, float]
    counts: tuple[int, ...]
    vectors: Array
    weights: Array
    rho: Array
    prob_a: Array
    prob_b: Array

    @classmethod
    def of(cls, call: Call) -> _Machine:
        names = call.attr_strings("classlabels_strings")
        numbered = np.array(call.attr_ints("classlabels_ints") or [], np.int64)
        labels = np.array(names, object) if names else numbered
        counts = tuple(call.attr_ints("vectors_per_class") or ())
        if counts and len(counts) != len(labels):
            raise ModelError(
                f"vectors_per_class={list(counts)} are not one for each of {len(labels)} labels"
            )
        gamma, offset, degree = (*_floats(call, "kernel_params"), 0.0, 0.0, 0.0)[:3]
        stored, weights = _floats(call, "support_vectors"), _floats(call, "coefficients")
        vectors = stored.reshape(sum(counts), -1) if counts else weights.reshape(len(labels), -1)
        return cls(
            labels,
            call.choice("kernel_type", "LINEAR", ("LINEAR", "POLY", "RBF", "SIGMOID")),
            (gamma, offset, degree),
            counts,
            vectors,
            weights.reshape(-1, sum(counts)) if counts else vectors,
            *(_floats(call, name) for name in ("rho", "prob_a", "prob_b")),
        )

    @cached_property
    def pairs(self) -> tuple[Array, Array]:
        """(i, j) of all pairs of classes i < j."""
        i, j = np.triu_indices(len(self.labels), 1)
        return i, j

    @cached_property
    def ballots(self) -> tuple[Array, Array]:
        """What winning a pair changes of the votes, [pairs, classes], and the votes if all second ones win."""
        i, j = self.pairs
        classes = np.eye(len(self.labels))
        return classes[i] - classes[j], classes[j].sum(0)

    @cached_property
    def centred(self) -> tuple[Array, Array, Array]:
        """(mean of the vectors, their distances from it, the squares of these)."""
        mean = self.vectors.mean(0)
        apart = self.vectors - mean
        return mean, apart, (apart**2).sum(1)

    def alike(self, x: Array) -> Array:
        """How alike rows x [N, F] and vectors are by the kernel: [N, S], or [N, classes] of a linear machine."""
        gamma, offset, degree = self.params
        # exp and tanh in f32, as in ONNX Runtime: NumPy computes them ten times faster than in f64
        if self.kernel == "RBF":
            near = np.exp((-gamma * self._distances(x)).astype(np.float32))
            return np.asarray(near.astype(np.float64))
        products = x @ self.vectors.T
        if self.kernel == "LINEAR":
            return np.asarray(products)
        inner = gamma * products + offset
        if self.kernel == "POLY":
            return np.asarray(inner**degree)
        return np.asarray(np.tanh(inner.astype(np.float32)).astype(np.float64))

    def _distances(self, x: Array) -> Array:
        """Squares of the distances of rows from the vectors, by one product of matrices."""
        mean, vectors, squares = self.centred
        apart = x - mean
        found = (apart**2).sum(1, keepdims=True) + squares - 2 * (apart @ vectors.T)
        found = np.maximum(found, 0)
        odd = ~np.isfinite(found).all(1)
        if odd.any():  # infinities cancel above
            found[odd] = ((apart[odd, None] - vectors) ** 2).sum(2)
        return np.asarray(found)

    def decisions(self, x: Array) -> Array:
        """For each pair of classes i < j what speaks for i: [N, pairs].

        Of a few rows at a time: these stay in cache, and are too few for NumPy's products to start threads,
        which wait for each other on a busy machine."""
        size = max(_PRODUCT // max(self.vectors.size, 1), 8)
        parts = [self._decided(self.alike(x[i : i + size])) for i in range(0, len(x), size)]
        return np.concatenate([np.zeros((0, len(self.pairs[0]))), *parts])

    def _decided(self, kernel: Array) -> Array:
        """`decisions` by the kernel, [N, S]."""
        ends = np.cumsum(self.counts)
        spoken = np.stack(
            [
                kernel[:, end - count : end] @ self.weights[:, end - count : end].T
                for end, count in zip(ends, self.counts, strict=True)
            ]
        )
        i, j = self.pairs
        return np.asarray((spoken[i, :, j - 1] + spoken[j, :, i]).T + self.rho)

    def votes(self, decisions: Array) -> Array:
        """How many pairs each class wins: [N, classes]."""
        change, least = self.ballots
        return np.asarray((decisions > 0) @ change + least)

    def probabilities(self, decisions: Array) -> Array:
        """Of each class, coupled from those of pairs: [N, classes]."""
        count, (i, j) = len(self.labels), self.pairs
        lifted = decisions * self.prob_a + self.prob_b
        pairs = np.clip(1 / (1 + np.exp(lifted)), _LEAST, 1 - _LEAST)
        r = np.zeros((len(decisions), count, count))
        r[:, i, j], r[:, j, i] = pairs, 1 - pairs
        return coupled(r)


def _floats(call: Call, name: str) -> Array:
    return np.array(call.attr_floats(name) or [], np.float64)


def svm_classifier(call: Call) -> Sequence[Value]:
    """SVMClassifier(X) -> labels [N], scores: of classes where these are probable or linear or two, else
    of pairs."""
    m = call.kept("machine", lambda: _Machine.of(call))
    x = np.atleast_2d(call.array(0)).astype(np.float64)
    if m.counts:
        scores = m.decisions(x)
        votes = m.votes(scores)
        if len(m.prob_a):
            scores = m.probabilities(scores)
    else:
        scores = votes = m.alike(x) + m.rho[0]
    best = votes.argmax(1)
    if not m.counts and len(m.rho) == 1 and len(m.labels) == 2:  # as ONNX Runtime decides
        enough = votes.max(1) >= 0.5 if (m.weights >= 0).all() else votes.max(1) > 0
        best = np.where(enough, 1, best)
    return [
        m.labels[best],
        _finished(scores.astype(np.float32), call.attr_str("post_transform", "NONE")),
    ]


def _finished(scores: Array, post: str) -> Array:
    """Scores transformed; one of a pair is made one of each, as ONNX Runtime does."""
    if scores.shape[1] > 1:
        return transformed(scores, post)
    if post in ("SOFTMAX", "SOFTMAX_ZERO"):
        return np.concatenate([1 - scores, scores], 1)
    return transformed(np.concatenate([-scores, scores], 1), post)
