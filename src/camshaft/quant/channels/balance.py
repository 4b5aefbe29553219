"""Channels balanced between activations and weights: a family of tensors of which channels are multiplied by factors.

x * f is quantized in place of x, f float32 [C], and the weights that read it are divided by f.  Where channels have very different
magnitudes one scale serves the large ones alone; factors take from the weights' levels what they give to the activations'.  They are
part of the step that quantizes, whatever function stands before it, and cost no time.

Which factors: with X the largest magnitude of a channel and W that of its weights beside the largest of their filter,
f = W^(1-a) / X^a for several strengths a, of each channel, or of each tensor that is joined with others (a branch of small
values beside one of large).  Those with the least expected noise of the results are taken: the variance of rounding
activations times the squares of the weights that multiply it, and of rounding weights times the variance of what they multiply, which
counts more where all pixels of an image share it (`gptq.COHERENT`), since it does not average out behind the layer.

Sources: M. Nagel et al., Data-Free Quantization through Weight Equalization and Bias Correction, ICCV 2019, section 4.1 (a = 1/2
makes the ranges of both alike), where factors go into the layer before and so ask for a ReLU there; G. Xiao et al., SmoothQuant, ICML 2023,
section 4 (strengths).  Here factors go into the quantization, and a strength is chosen for each family.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from camshaft.ir.graph import Node
from camshaft.ir.types import u8
from camshaft.quant.channels.equalize import MOST, ROOM, Equalized
from camshaft.quant.channels.families import Family
from camshaft.quant.channels.shift import Run
from camshaft.quant.gptq import COHERENT
from camshaft.quant.scheme import SMALLEST_SCALE, QuantParams

STRENGTHS = (0.25, 0.5, 0.75, 0.9)
"""Of channels."""
OF_TENSORS = (0.5, 1.0)
"""Of whole tensors that are joined; 1 gives each all levels."""
GAIN = 0.8
"""Share of the expected noise that factors must bring it below."""
LEAST_WEIGHT = 1e-3
"""Weights of a channel count as at least this much of the largest of their filters."""


@dataclass
class Moments:
    """What the channels of a tensor are in data: extremes, mean and variance, which batches are added to."""

    least: np.ndarray | None = None
    most: np.ndarray | None = None
    rows: int = 0
    mean: np.ndarray = field(default_factory=lambda: np.zeros(0))
    squares: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def add(self, values: np.ndarray) -> None:
        """A batch [.., C]; float64 sums about its own mean, joined by the distance of means (see `gptq._Moments`)."""
        x = values.reshape(-1, values.shape[-1])
        if not len(x):
            return
        low, high, mean = x.min(axis=0), x.max(axis=0), x.mean(axis=0, dtype=np.float64)
        squares = x.var(axis=0, dtype=np.float64) * len(x)
        if self.least is None or self.most is None:
            self.least, self.most, self.mean, self.squares = low, high, mean, squares
        else:
            self.least, self.most = np.minimum(low, self.least), np.maximum(high, self.most)
            both, apart = self.rows + len(x), mean - self.mean
            self.squares = self.squares + squares + apart**2 * (self.rows * len(x) / both)
            self.mean = self.mean + apart * (len(x) / both)
        self.rows += len(x)

    @property
    def variance(self) -> np.ndarray:
        return self.squares / max(self.rows, 1)


@dataclass
class ChannelMoments:
    """Moments of the channels of a tensor [N, .., C] over all values, and of their means over each image."""

    values: Moments = field(default_factory=Moments)
    means: Moments = field(default_factory=Moments)

    def add(self, x: np.ndarray) -> None:
        self.values.add(x)
        if x.size:
            of_images = x.reshape(len(x), -1, x.shape[-1]).mean(axis=1, dtype=np.float64)
            self.means.add(of_images)

    def weight(self, of_rows: bool) -> np.ndarray:
        """What the square of a weight's error counts by: of images as in `gptq.Curvature`; rows have no neighbours that
        share it, and counting their means was measured to be worse."""
        return np.asarray(self.values.variance + (0 if of_rows else COHERENT) * self.means.variance)


def moments_of(
    batches: Iterable[Mapping[str, np.ndarray]], run: Run, names: Sequence[str]
) -> dict[str, ChannelMoments]:
    """Moments of these tensors over batches of the model's inputs.  run: computes the tensors of one batch."""
    found = {n: ChannelMoments() for n in names}
    for batch in batches if names else ():
        values = {**batch, **run(batch)}
        for name, moments in found.items():
            moments.add(values[name])
    return found


@dataclass(frozen=True)
class Balance:
    """A decision on one family.

    tensors: member -> how its channels are scaled.  strength: of the factors.  by_tensor: whether each source has one factor.
    before, after: noise expected, relative to the results, summed over readers.
    """

    tensors: Mapping[str, Equalized]
    strength: float
    by_tensor: bool
    before: float
    after: float


def balanced(
    family: Family,
    seen: Mapping[str, ChannelMoments],
    interval: tuple[float, float],
    apart: np.ndarray | None = None,
) -> Balance | None:
    """Factors for the channels of a family, None where little is gained.

    seen: of its sources.  interval: that its range represents without.  apart: channels that are in floats.
    """
    if any(seen[n].values.least is None for n in family.sources):
        return None
    channels = _Channels.of(family, seen, interval)
    readers = [_Reader.of(n, family.members[n.args[0].name]) for n in family.convs]
    if apart is not None:
        channels.leave_out(apart)
        readers = [r.without(apart) for r in readers]
    none = np.ones(family.channels)
    before = _noise(family, channels, readers, none, _params(channels, none, interval))
    found = [
        (_noise(family, channels, readers, f, _params(channels, f)), strength, by_tensor, f)
        for f, strength, by_tensor in _candidates(family, channels, _weights(family, readers))
    ]
    after, strength, by_tensor, factors = min(found, key=lambda c: c[0])
    if not after < GAIN * before:
        return None
    params, factors = _params(channels, factors), factors.astype(np.float32)
    made = {n: Equalized(factors[at], params) for n, at in family.members.items()}
    return Balance(made, strength, by_tensor, before, after)


@dataclass
class _Channels:
    """Of a family's channels: what they reach on either side with room, float64; what errors of weights count by
    (see `ChannelMoments.weight`); mean square."""

    low: np.ndarray
    high: np.ndarray
    weight: np.ndarray
    power: np.ndarray

    @staticmethod
    def of(
        family: Family, seen: Mapping[str, ChannelMoments], interval: tuple[float, float]
    ) -> _Channels:
        parts: list[tuple[np.ndarray, ...]] = []
        for name in family.sources:
            m = seen[name].values
            assert m.least is not None and m.most is not None
            low, high = (ROOM * v.astype(np.float64) for v in (m.least, m.most))
            kept = np.clip(low, interval[0], 0), np.clip(high, 0, interval[1])
            weight = seen[name].weight(family.of_rows)
            parts.append((*kept, weight, m.variance + m.mean**2))
        return _Channels(*(np.concatenate(p) for p in zip(*parts, strict=True)))

    def leave_out(self, apart: np.ndarray) -> None:
        """Channels that are not quantized, as if they were zero."""
        for values in (self.low, self.high, self.weight, self.power):
            values[apart] = 0

    @property
    def magnitude(self) -> np.ndarray:
        """Largest of each channel, of which the smallest are taken for larger than they are."""
        largest = np.maximum(-self.low, self.high)
        return np.asarray(np.maximum(largest, largest.max() / MOST**2))


@dataclass
class _Reader:
    """A convolution that reads a member.

    w: its weights, float64 [K, R S, C/g].  at: the family's channel of each, [K, C/g].
    """

    w: np.ndarray
    at: np.ndarray

    @staticmethod
    def of(node: Node, channels: np.ndarray) -> _Reader:
        w = node.args[1].content.astype(np.float64)  # any factors are right for any weights
        k, _, _, inputs = w.shape
        groups = len(channels) // inputs
        at = np.repeat(channels.reshape(groups, inputs), k // groups, axis=0)
        return _Reader(w.reshape(k, -1, inputs), at)

    def without(self, apart: np.ndarray) -> _Reader:
        return _Reader(np.where(np.isin(self.at, apart)[:, None], 0, self.w), self.at)

    def noise(self, factors: np.ndarray, scale: float, channels: _Channels) -> float:
        """Expected noise of its results over their power, with factors and one scale of activations."""
        squares = (self.w**2).sum(axis=1)
        power = float((squares * channels.power[self.at]).sum())
        scaled = self.w / factors[self.at][:, None]
        steps = np.abs(scaled).max(axis=(1, 2)) / 127
        of_weights = (factors**2 * channels.weight)[self.at].sum(axis=1) * self.w.shape[1]
        of_inputs = (scaled**2).sum(axis=(1, 2)) * scale**2
        noise = float((of_inputs + of_weights * steps**2).sum()) / 12
        return noise / power if power else 0.0


def _noise(
    family: Family,
    channels: _Channels,
    readers: Sequence[_Reader],
    factors: np.ndarray,
    params: QuantParams,
) -> float:
    """Expected noise of all that read a family."""
    scale = float(params.scale)
    total = sum(r.noise(factors, scale, channels) for r in readers)
    for name in family.plain:
        at = family.members[name]
        power = float(channels.power[at].sum())
        total += float((scale**2 / factors[at] ** 2).sum()) / 12 / power if power else 0.0
    return total


def _weights(family: Family, readers: Sequence[_Reader]) -> np.ndarray:
    """Largest weight of each channel over the largest of its filter, [channels]."""
    found = np.full(family.channels, LEAST_WEIGHT)
    for r in readers:
        of_filter = np.abs(r.w).max(axis=(1, 2), keepdims=True)
        share = np.abs(r.w).max(axis=1) / np.maximum(of_filter[:, :, 0], 1e-300)
        np.maximum.at(found, r.at, share)
    return found


def _candidates(
    family: Family, channels: _Channels, weights: np.ndarray
) -> Iterator[tuple[np.ndarray, float, bool]]:
    """Factors, at least 1; their strength; whether they are of tensors."""
    magnitude = channels.magnitude
    for strength in STRENGTHS:
        yield _factors(magnitude, weights, strength), strength, False
    if family.joins:
        x, w = (_largest_of_sources(family, v) for v in (magnitude, weights))
        for strength in OF_TENSORS:
            yield _factors(x, w, strength), strength, True


def _factors(magnitude: np.ndarray, weights: np.ndarray, strength: float) -> np.ndarray:
    if not magnitude.max():
        return np.ones_like(magnitude)
    found = weights ** (1 - strength) / magnitude**strength
    return np.asarray(np.minimum(found / found.min(), MOST**2))


def _largest_of_sources(family: Family, values: np.ndarray) -> np.ndarray:
    found = np.empty_like(values)
    for at in family.sources.values():
        found[at] = values[at].max()
    return found


def _params(
    channels: _Channels, factors: np.ndarray, interval: tuple[float, float] | None = None
) -> QuantParams:
    """The finest levels that represent all channels times their factors; interval: instead of what they reach."""
    low, high = (float((factors * v).min()) for v in (channels.low, -channels.high))
    low, high = (low, -high) if interval is None else interval
    zero = round(255 * -low / (high - low)) if high > low else 0
    scale = max(
        high / (255 - zero) if zero < 255 else 0, -low / zero if zero else 0, SMALLEST_SCALE
    )
    return QuantParams(np.asarray(scale, np.float32), np.asarray(zero, np.uint8), u8)
