"""What kernels of attention compute on narrow operands, in NumPy: where they round, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from camshaft.backends.base import KernelSpec, Operand
from camshaft.backends.cpu.attention.tactic import Attention
from camshaft.backends.cpu.target import CpuTarget
from camshaft.builder.tuning.reference import references
from camshaft.ir.extents.extent import Extent
from camshaft.ir.types import DType, f32
from camshaft.ops import ATTENTION
from camshaft.ops.attention import row_levels
from half_models import vcvtneps2bf16, vdpbf16ps
from kernel_harness import SymbolicKernel, at_sizes

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


Powers = Callable[[np.ndarray], np.ndarray]
"""Exponentials of f32, as they are stored."""
Mixed = Callable[[np.ndarray, slice], np.ndarray]
"""Powers of a tile, and which keys: their products with the values, f32."""


def _over_tiles(
    scores: Callable[[slice], np.ndarray],
    powers_of: Powers,
    mixed: Mixed,
    extents: tuple[int, int, int],
    keys: int,
) -> np.ndarray:
    """Softmax of scores times values, over tiles of `keys` keys.  extents: of queries, of keys and of a value."""
    rows, count, width = extents
    top = np.full((rows, 1), -np.finfo(np.float32).max, np.float32)
    total = np.zeros((rows, 1), np.float32)
    y = np.zeros((rows, width), np.float32)
    for first in range(0, count, keys):
        part = slice(first, first + keys)
        s = scores(part)
        best = np.maximum(top, s.max(axis=1, keepdims=True))
        with np.errstate(under="ignore"):
            factor, powers = np.exp(top - best), powers_of(np.exp(s - best))
        total = total * factor + powers.astype(np.float32).sum(axis=1, keepdims=True)
        y = y * factor + mixed(powers, part)
        top = best
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(y * (1 / total))


def attention_of_pairs(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, score: Scoring, keys: int
) -> np.ndarray:
    """One head of bf16 [S, H], [T, H], [T, G], over tiles of `keys` keys: powers are rounded, and summed rounded;
    all else is f32."""

    def scores(part: slice) -> np.ndarray:
        return score(product_of_pairs(q, np.ascontiguousarray(k[part].T)), part)

    def mixed(powers: np.ndarray, part: slice) -> np.ndarray:
        return product_of_pairs(powers, v[part])

    return _over_tiles(scores, vcvtneps2bf16, mixed, (len(q), len(k), v.shape[1]), keys)


def attention_of_bytes(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, score: Scoring, keys: int
) -> np.ndarray:
    """One head of f32 [S, H], [T, H], [T, G], over tiles of `keys` keys: sums of integers are exact; powers are
    4095ths, values of 1023 levels up to the largest of their channel in the tile."""
    (queries, by_query), (words, by_key) = row_levels(q), row_levels(k)

    def scores(part: slice) -> np.ndarray:
        sums = queries.astype(np.int64) @ words[part].astype(np.int64).T
        return score(sums.astype(np.float32) * by_query * by_key[part].T, part)

    def powers_of(exponentials: np.ndarray) -> np.ndarray:
        return np.asarray(np.rint(exponentials.astype(np.float64) * 4095))

    def mixed(powers: np.ndarray, part: slice) -> np.ndarray:
        levels, by_channel = (a.T for a in row_levels(v[part].T, 1023))
        whole = powers.astype(np.int64) @ levels.astype(np.int64)
        return np.asarray(whole.astype(np.float32) * by_channel)

    return _over_tiles(scores, powers_of, mixed, (len(q), len(k), v.shape[1]), keys)


def agrees_at_open_lengths(
    target: CpuTarget, lengths: tuple[Extent, Extent], dtype: DType, attrs: Mapping[str, Any]
) -> None:
    """Kernels of open numbers of queries and keys (`lengths`) give what the build wants at random ones of their
    sizes, least and most among them, packed by a phase or not."""
    tactic, (queries, keys) = Attention(), lengths
    full = ATTENTION.complete(attrs)
    inputs = [Operand.dense(dtype, (2, e, h)) for e, h in ((queries, 9), (keys, 9), (keys, 11))]
    out = Operand.dense(f32, (2, queries, 11))
    spec = KernelSpec("attention", tuple(inputs), (out,), tuple(full.items()))
    rng = np.random.default_rng(0)
    candidate = tactic.plan(spec, target, 2)[0]
    for packed in (False, True):
        params = {**candidate.params, "packed": packed}
        kernel = SymbolicKernel(type(candidate)(spec, target, candidate.problem, params), target)
        for number in range(8):
            sizes = {s.name: int(rng.integers(s.low, (s.high or 99) + 1)) for s in spec.symbols}
            if number < 2:
                sizes = {s.name: (s.low, s.high or 99)[number] for s in spec.symbols}
            fixed = at_sizes(spec, sizes)
            arrays = [rng.standard_normal(o.shape).astype(dtype.numpy) for o in fixed.inputs]
            laid_out = kernel.laid_out(sizes, arrays, [], threads=1 + number % 2)
            laid_out.run()
            laid_out.check_guards()
            (wanted,) = references(fixed, arrays)
            assert wanted.check(laid_out.outputs()[0]) == "", sizes
