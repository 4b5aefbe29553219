"""What kernels of attention compute on narrow operands, in NumPy: where they round, and how."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from camshaft.ir.types import bf16
from camshaft.ops.attention import row_levels
from half_models import vcvtneps2bf16, vdpbf16ps

Scoring = Callable[[np.ndarray, slice], np.ndarray]
"""Products of queries and keys [S, T of a tile], and which keys: what they score."""


def product_of_pairs(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a [M, K] times b [K, N], bf16: pairs along K one after the other, as `vdpbf16ps` adds them."""
    left, right = (np.pad(x, p) for x, p in ((a, [(0, 0), (0, a.shape[1] % 2)]), (b, [(0, b.shape[0] % 2), (0, 0)])))  # fmt: skip
    total = np.zeros((a.shape[0], b.shape[1]), np.float32)
    for n in range(0, left.shape[1], 2):
        x, y = np.broadcast_arrays(left[:, None, n : n + 2], right[n : n + 2].T[None])
        total = vdpbf16ps(total, x, y)
    return total


def attention_of_pairs(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, score: Scoring, keys: int
) -> np.ndarray:
    """One head of bf16 [S, H], [T, H], [T, G], over tiles of `keys` keys: powers are rounded, and summed rounded;
    all else is f32."""
    rows = q.shape[0]
    top = np.full((rows, 1), -np.finfo(np.float32).max, np.float32)
    total = np.zeros((rows, 1), np.float32)
    y = np.zeros((rows, v.shape[1]), np.float32)
    for first in range(0, k.shape[0], keys):
        part = slice(first, first + keys)
        s = score(product_of_pairs(q, np.ascontiguousarray(k[part].T)), part)
        best = np.maximum(top, s.max(axis=1, keepdims=True))
        with np.errstate(under="ignore"):
            factor, powers = np.exp(top - best), vcvtneps2bf16(np.exp(s - best))
        total = total * factor + powers.astype(np.float32).sum(axis=1, keepdims=True)
        y = y * factor + product_of_pairs(powers, v[part])
        top = best
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(y * (1 / total))


def halves(a: np.ndarray) -> np.ndarray:
    """As bf16."""
    return a.astype(bf16.numpy)


def attention_of_bytes(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, score: Scoring, keys: int
) -> np.ndarray:
    """One head of f32 [S, H], [T, H], [T, G], over tiles of `keys` keys: sums of integers are exact; powers are
    4095ths, values of 1023 levels up to the largest of their channel in the tile."""
    (queries, by_query), (words, by_key) = row_levels(q), row_levels(k)
    rows = q.shape[0]
    top = np.full((rows, 1), -np.finfo(np.float32).max, np.float32)
    total = np.zeros((rows, 1), np.float32)
    y = np.zeros((rows, v.shape[1]), np.float32)
    for first in range(0, k.shape[0], keys):
        part = slice(first, first + keys)
        sums = queries.astype(np.int64) @ words[part].astype(np.int64).T
        s = score(sums.astype(np.float32) * by_query * by_key[part].T, part)
        best = np.maximum(top, s.max(axis=1, keepdims=True))
        with np.errstate(under="ignore"):
            factor, powers = np.exp(top - best), np.rint(np.exp(s - best).astype(np.float64) * 4095)
        levels, by_channel = (a.T for a in row_levels(v[part].T, 1023))
        total = total * factor + powers.sum(axis=1, keepdims=True).astype(np.float32)
        mixed = (powers.astype(np.int64) @ levels.astype(np.int64)).astype(np.float32)
        y = y * factor + mixed * by_channel
        top = best
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(y * (1 / total))
