"""INT8 weights rounded by what a layer reads: each weight's error is made up for by those that are still to be rounded.

For one output channel with weights w and inputs x, the error of the result is (w - q)' H (w - q) with H = E[x x'].  Weights are rounded
one after the other; the error of each is spread over those that follow such that the sum changes least.  Rounding to the
nearest ignores that inputs hang together, as neighbouring pixels and channels do.  Here H is a covariance (see `Curvature`), since the error of the mean is taken off the bias.

Source: E. Frantar et al., GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers, ICLR 2023,
algorithm 1 without the order by size; here for convolutions and groups, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from camshaft.ir.attrs import int_attr, ints_attr
from camshaft.ir.graph import Node
from camshaft.quant.scheme import QuantParams

DAMPING = 0.01
"""Share of the mean of H's diagonal that is added to it."""
BLOCK = 128
"""Columns after which errors are spread over all that follow."""
MOST_COLUMNS = 4608
"""Terms of a sum beyond which H would be too large."""
PATCHES = 2048
"""Patches that H is taken of, twice as many as there are terms if these are more."""
LEAST_EXPONENT = -100
LEAST_PART = 256
"""Vectors that are taken into a covariance together, at least."""
COHERENT = 10.0
"""How many times as much as a pixel's error one counts that all pixels of an image share; 0 and 100 were measured to be worse."""


class Curvature:
    """Covariance of what a convolution [K, R, S, C/g] reads, [groups, n, n] with n = R S C/g.

    It is that of patches, so that errors of pixels count, and `COHERENT` times that of the mean patches of images: an error that all
    pixels of an image share does not average out in what follows, as others do.  What all images share is taken off the bias
    and does not count.
    factors: float32 [C], what the channels are multiplied by before they are quantized, or None.
    images: how many batches there will be.
    """

    def __init__(self, node: Node, factors: np.ndarray | None, images: int) -> None:
        self.node, self.factors = node, factors
        self._taps = tuple(int(str(d)) for d in node.args[1].shape[1:3])
        self.groups, self.columns = int_attr(node, "groups"), columns_of(node)
        self._patches = _Moments(self.groups, self.columns)
        self._means = _Moments(self.groups, self.columns)
        self._wanted = -(-max(PATCHES, 2 * self.columns) // max(images, 1))
        self._random = np.random.default_rng(0)

    def add(self, x: np.ndarray) -> None:
        """A batch [N, H, W, C]."""
        if not x.size:
            return
        (r, s), (h, w) = self._taps, x.shape[1:3]
        (sh, sw), (dh, dw) = ints_attr(self.node, "strides"), ints_attr(self.node, "dilations")
        top, left, bottom, right = ints_attr(self.node, "pads")
        high = (h + top + bottom - dh * (r - 1) - 1) // sh + 1
        wide = (w + left + right - dw * (s - 1) - 1) // sw + 1
        rows = [_Steps(i * dh - top, sh, high, h) for i in range(r)]
        columns = [_Steps(j * dw - left, sw, wide, w) for j in range(s)]
        places = len(x) * high * wide
        chosen = self._random.choice(places, min(self._wanted, places), replace=False)
        image, row, column = np.unravel_index(chosen, (len(x), high, wide))
        sums = [x[:, :, c.inside].sum(axis=2) for c in columns]
        down, across = [a.at(row) for a in rows], [a.at(column) for a in columns]
        patches, means = [], []
        for i, j in np.ndindex(r, s):
            (y, above), (z, beside) = down[i], across[j]
            patches.append(np.where((above | beside)[:, None], np.float32(0), x[image, y, z]))
            means.append(sums[j][:, rows[i].inside].sum(axis=1) / (high * wide))
        self._patches.add(self._by_group(patches))
        self._means.add(self._by_group(means))

    def _by_group(self, taps: Sequence[np.ndarray]) -> np.ndarray:
        """Values [rows, C] of each tap as float32 [groups, rows, n]."""
        values = np.stack(taps, 1)
        if self.factors is not None:
            values = values * self.factors
        rows = values.reshape(len(taps[0]), len(taps), self.groups, -1)
        flat = rows.transpose(2, 0, 1, 3).reshape(self.groups, len(taps[0]), -1)
        return np.ascontiguousarray(flat, np.float32)

    @property
    def covariance(self) -> np.ndarray:
        """float64 [groups, n, n]."""
        return self._patches.covariance + COHERENT * self._means.covariance


@dataclass(frozen=True)
class _Steps:
    """Where one tap reads along one axis: at first, first + step, ... (count of them); outside 0 to size - 1 is padding."""

    first: int
    step: int
    count: int
    size: int

    def at(self, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places of these steps, some place where that is padding; whether it is."""
        place = self.first + self.step * number
        inside = np.minimum(np.maximum(place, 0), self.size - 1)
        return inside, inside != place

    @property
    def inside(self) -> slice:
        """The places that are no padding."""
        skipped = max(0, -(self.first // self.step))
        start = self.first + self.step * skipped
        stop = min(self.size, self.first + self.step * (self.count - 1) + 1)
        return slice(start, max(start, stop), self.step)


class _Moments:
    """Covariance of vectors that come in parts.

    Each part is taken about its own mean, and parts are joined by the distance of their means, so that nothing cancels
    where values are large beside how they vary (T. Chan, G. Golub, R. LeVeque, Updating Formulae and a Pairwise Algorithm
    for Computing Sample Variances, 1979).  Vectors wait until there are enough for a part: all of the covariance is
    written for each.  `_unit` keeps squares within float32: a power of 2 near the first values.
    """

    def __init__(self, groups: int, columns: int) -> None:
        self._products = np.zeros((groups, columns, columns), np.float32)
        self._mean = np.zeros((groups, columns))
        self._unit = 0.0
        self._rows = 0
        self._part = max(LEAST_PART, columns // 4)
        self._waiting: list[np.ndarray] = []

    def add(self, vectors: np.ndarray) -> None:
        """float32 [groups, rows, n]."""
        self._waiting.append(vectors)
        if sum(v.shape[1] for v in self._waiting) >= self._part:
            self._join()

    def _join(self) -> None:
        """Take in the vectors that wait."""
        if not self._waiting:
            return
        vectors = np.concatenate(self._waiting, axis=1)
        self._waiting = []
        rows = vectors.shape[1]
        mean = vectors.mean(axis=1, dtype=np.float64)
        distance, all_rows = mean - self._mean, self._rows + rows
        parts = np.empty((len(mean), rows + 1, mean.shape[1]), np.float32)
        np.subtract(vectors, mean[:, None].astype(np.float32), out=parts[:, :rows])
        parts[:, rows] = distance * np.sqrt(self._rows * rows / all_rows)
        self._unit = self._unit or _power_of_two(float(np.abs(parts).max()))
        parts *= np.float32(1 / (self._unit or 1.0))
        self._products += np.matmul(parts.transpose(0, 2, 1), parts)
        self._mean += distance * (rows / all_rows)
        self._rows = all_rows

    @property
    def covariance(self) -> np.ndarray:
        self._join()
        square = self._products.astype(np.float64) / max(self._rows, 1)
        return np.asarray(square * self._unit**2)


def _power_of_two(value: float) -> float:
    """The power of two next to a value, 0 for 0; none whose inverse float32 cannot hold."""
    return float(np.exp2(max(np.frexp(value)[1], LEAST_EXPONENT))) if value else 0.0


def columns_of(node: Node) -> int:
    """Terms of each sum of a convolution."""
    return int(np.prod([int(str(d)) for d in node.args[1].shape[1:]]))


def is_small(node: Node) -> bool:
    """Whether the covariance of what a convolution reads is small enough."""
    return columns_of(node) <= MOST_COLUMNS


def rounded(
    weight: np.ndarray, params: QuantParams, before: np.ndarray, seen: Curvature
) -> np.ndarray:
    """INT8 weights [K, R, S, C/g] for what the layer reads; channels that would be no better so stay as `before`.

    weight: float32; params: symmetric, a scale for each output channel.
    """
    k, groups, n = len(weight), seen.groups, seen.columns
    h = seen.covariance
    diagonal = np.einsum("gnn->gn", h)
    damping = DAMPING * diagonal.mean(axis=1, keepdims=True)
    diagonal += np.where(damping > 0, damping, 1.0)
    scale = params.scale.astype(np.float64).reshape(groups, -1, 1)
    exact = weight.astype(np.float64).reshape(groups, k // groups, n) / scale
    upper = np.linalg.cholesky(np.linalg.inv(h)).transpose(0, 2, 1)
    levels = _spread(exact.copy(), upper)

    def error(q: np.ndarray) -> np.ndarray:
        off = exact - q
        return np.asarray(np.einsum("gkn,gkn->gk", np.matmul(off, h), off))

    old = before.astype(np.float64).reshape(levels.shape)
    better = error(levels) < error(old)
    chosen = np.where(better[..., None], levels, old)
    return np.asarray(chosen.reshape(weight.shape), np.int8)


def _spread(w: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Levels of weights [groups, K, n] in levels, errors spread by the upper Cholesky factor of the inverse of H."""
    levels = np.empty_like(w)
    n = w.shape[2]
    for first in range(0, n, BLOCK):
        last = min(first + BLOCK, n)
        errors = np.empty((*w.shape[:2], last - first))
        for i in range(first, last):
            levels[:, :, i] = np.clip(np.rint(w[:, :, i]), -127, 127)
            errors[:, :, i - first] = (w[:, :, i] - levels[:, :, i]) / upper[:, None, i, i]
            w[:, :, i:last] -= errors[:, :, i - first, None] * upper[:, None, i, i:last]
        w[:, :, last:] -= np.matmul(errors, upper[:, first:last, last:])
    return levels
