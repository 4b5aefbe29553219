"""Weights alone become integers of 4 or 8 bits: products of rows with constant matrices of a float graph.

A block of neighbours in a row of the transposed weights shares a scale, in f16 where its range
allows.  Scales are searched for the least squared error of the block's weights: the largest magnitude
(with zero points: the range) is cut off at several shares of itself, the best is kept, and once more
the scale that is best for the integers found.  llama.cpp's Q4_0 has the signed scale whose largest
magnitude becomes -8 from which the search starts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from camshaft.ir.few_bits import packed
from camshaft.ir.graph import Graph, Node
from camshaft.ops.functional.nbits import NbitsMatrix
from camshaft.passes.qdq.few_bits import with_few_bits

LEAST_WEIGHTS = 1 << 14
"""Weights of a layer below which it stays as it is: it would gain nothing."""
WEIGHT_BITS: Mapping[str, int] = {"int4": 4, "int8": 8}
_SHARES = (1.0, 0.97, 0.94, 0.9, 0.86, 0.82, 0.77)
_CHUNK = 1 << 20  # weights that are rounded at once
_SMALLEST_HALF = 2.0**-14
_LARGEST_HALF = 65504.0


@dataclass
class WeightOnly:
    """Rounds the weights of layers.

    kind: "int4" or "int8".  block: weights that share a scale.  zero_points: whether blocks have them.
    keep: source layers that stay floats.
    errors: source layers -> (bits, root mean square error of its weights over that of the weights).
    """

    kind: str
    block: int
    zero_points: bool = False
    keep: frozenset[str] = frozenset()
    errors: dict[tuple[str, ...], tuple[int, float]] = field(default_factory=dict, init=False)

    def applied(self, graph: Graph) -> Graph:
        """An optimized graph with the weights of its products of rows rounded.  Products that make an
        output (the head of a language model) get no fewer than 8 bits."""
        return with_few_bits(graph, self._matrix)

    def _matrix(self, node: Node, weights: np.ndarray, makes_output: bool) -> NbitsMatrix | None:
        if weights.size < LEAST_WEIGHTS or self.keep.intersection(node.origin):
            return None
        bits = 8 if makes_output else WEIGHT_BITS[self.kind]
        matrix, error = rounded_blocks(weights, bits, self.block, zero_points=self.zero_points)
        self.errors[node.origin] = bits, error
        return matrix

    @property
    def reasons(self) -> dict[str, str]:
        """Source layer -> what became of it, in words."""
        return {
            layer: f"weight_only: {bits}-bit weights, relative error {error:.2%}"
            for origin, (bits, error) in self.errors.items()
            for layer in origin
        }

    @property
    def summary(self) -> str:
        """All layers in words."""
        if not self.errors:
            return f"weight_only={self.kind}: no layer has {LEAST_WEIGHTS} weights"
        errors = [error for _, error in self.errors.values()]
        spread = (
            f"{min(errors):.2%} to {max(errors):.2%}" if len(errors) > 1 else f"{errors[0]:.2%}"
        )
        layers = "1 layer" if len(errors) == 1 else f"{len(errors)} layers"
        return f"weights of {layers} in {self.kind} (relative error {spread})"


def rounded_blocks(
    weights: np.ndarray, bits: int, block: int, *, zero_points: bool = False
) -> tuple[NbitsMatrix, float]:
    """Weights f32 [N, K] as integers, and their relative error: root mean square of the differences
    over that of the weights.

    zero_points: whether a block has one, else 2**(bits - 1) stands for 0.
    """
    n, k = weights.shape
    block = min(block, k)
    blocks = -(-k // block)
    magnitude = np.abs(weights).max(initial=0)
    half = bool(_SMALLEST_HALF * (1 << bits) <= magnitude <= _LARGEST_HALF)
    whole = np.empty((n, k), np.uint8)
    scale = np.empty((n, blocks), np.float32)
    zero = np.empty((n, blocks), np.float32)
    lost = total = 0.0
    rows = max(1, _CHUNK // k)
    for first in range(0, n, rows):
        part = np.zeros((min(rows, n - first), blocks * block), np.float32)
        part[:, :k] = weights[first : first + rows]
        view = part.reshape(len(part), blocks, block)
        best = _best(view, bits, zero_points, half)
        here = slice(first, first + len(part))
        whole[here] = best.whole.reshape(len(part), -1)[:, :k]
        scale[here], zero[here] = best.scale, best.zero
        lost += float(best.error.sum(dtype=np.float64))
        total += float(np.square(part, dtype=np.float64).sum())
    matrix = NbitsMatrix.of(
        packed(whole, bits), scale, zero if zero_points else None, k, bits=bits, block=block
    )
    return matrix, float(np.sqrt(lost / total)) if total else 0.0


@dataclass
class _Rounded:
    """Blocks [n, blocks, block] as integers, with scale, zero and squared error of each block."""

    whole: np.ndarray
    scale: np.ndarray
    zero: np.ndarray
    error: np.ndarray

    def improve(self, other: _Rounded) -> None:
        """Take those blocks of another rounding that are nearer."""
        better = other.error < self.error
        for name in ("whole", "scale", "zero", "error"):
            mine, theirs = getattr(self, name), getattr(other, name)
            mine[better] = theirs[better]


def _best(w: np.ndarray, bits: int, zero_points: bool, half: bool) -> _Rounded:
    """The rounding of blocks with the least squared error among those that are tried."""
    top, middle = (1 << bits) - 1, np.float32(1 << bits - 1)
    kept: Callable[[np.ndarray], np.ndarray] = _as_half if half else np.asarray
    low, high = w.min(axis=-1), w.max(axis=-1)
    if zero_points:
        low, high = np.minimum(low, 0), np.maximum(high, 0)

    def rounded(scale: np.ndarray, zero: np.ndarray) -> _Rounded:
        with np.errstate(all="ignore"):
            inverse = np.where(scale != 0, np.float32(1) / scale, np.float32(0))
        whole = np.rint(w * inverse[..., None])
        whole += zero[..., None]
        np.clip(whole, 0, top, out=whole)
        off = (whole - zero[..., None]) * scale[..., None] - w
        error = np.einsum("nbk,nbk->nb", off, off)
        return _Rounded(whole.astype(np.uint8), scale, np.array(zero), error)

    def cut(share: float) -> _Rounded:
        if zero_points:
            scale = kept((high - low) * np.float32(share / top))
            with np.errstate(all="ignore"):
                zero = np.where(scale != 0, np.rint(-low * np.float32(share) / scale), middle)
            return rounded(scale, np.clip(zero, 0, top).astype(np.float32))
        extreme = np.where(-low >= high, low, high)
        scale = kept(extreme * np.float32(-share) / middle)
        return rounded(scale, np.full(scale.shape, middle))

    best = cut(1.0)
    if bits < 8:
        for share in _SHARES[1:]:
            best.improve(cut(share))
    wide = best.whole.astype(np.float32) - best.zero[..., None]
    squares = np.einsum("nbk,nbk->nb", wide, wide)
    products = np.einsum("nbk,nbk->nb", wide, w)
    scale = kept(np.where(squares > 0, products / np.maximum(squares, 1), best.scale))
    best.improve(rounded(scale, best.zero))
    return best


def _as_half(scale: np.ndarray) -> np.ndarray:
    return scale.astype(np.float16).astype(np.float32)
