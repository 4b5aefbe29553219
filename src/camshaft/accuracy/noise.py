"""Quantization noise: its power at the outputs, and the layers that it comes from.

Layers are quantized in groups, with all others in float, and the noise of each group is measured at the outputs.  Noise of
several layers adds up nearly (they are independent, and small beside the signal), so that a group is at least as loud as each
of its members: the loudest group is halved again and again until single layers are left.  A few loud layers of N are found with
about 2 log2(N) engines for each, where trying each layer alone takes N.

Sources: the ranking of layers by what each costs alone is NNCF's accuracy-aware training and others'; additivity is that of
D. Lin, S. Talathi, S. Annapureddy, Fixed Point Quantization of Deep Convolutional Networks, ICML 2016, section 3.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np

from camshaft.ir.types import dtype_of

Outputs = Mapping[str, Any]
Unit = tuple[str, ...]
"""Source layers that one node was made of: what is INT8 or float together."""


def decibels(ratio: float) -> float:
    """Signal to noise, dB, of noise to signal as powers; infinite without noise."""
    return math.inf if ratio <= 0 else -10 * math.log10(ratio)


def noise_ratio(wanted: Sequence[Outputs], got: Sequence[Outputs]) -> float:
    """Power of the error over the power of the values, of the float output that is worst; one whose shape differs counts 1.

    Where no output is a float array, the share of elements that differ: else integers, as classes chosen by scores, say
    nothing that the floats do not, and one that changes is no noise of its size.

    wanted, got: outputs by name, batch by batch.
    """
    pairs = list(zip(wanted, got, strict=True))
    names = list(wanted[0]) if wanted else []
    floats = [
        n for n in names if isinstance(wanted[0][n], np.ndarray) and dtype_of(wanted[0][n]).is_float
    ]
    return max((_ratio([(w[n], g[n]) for w, g in pairs]) for n in floats or names), default=0.0)


def _ratio(pairs: Sequence[tuple[Any, Any]]) -> float:
    if not all(isinstance(w, np.ndarray) and isinstance(g, np.ndarray) for w, g in pairs):
        return 0.0 if all(_equal(w, g) for w, g in pairs) else 1.0
    if any(w.shape != g.shape for w, g in pairs):
        return 1.0
    elements: int = sum(w.size for w, _ in pairs)
    if not elements:
        return 0.0
    if not dtype_of(pairs[0][0]).is_float:
        return sum(int(np.count_nonzero(w != g)) for w, g in pairs) / elements
    signal = noise = 0.0
    for w, g in pairs:
        want, have = w.astype(np.float64), g.astype(np.float64)
        numbers = np.isfinite(want)
        if not np.array_equal(want[~numbers], have[~numbers], equal_nan=True):
            return math.inf
        signal += float(np.square(want[numbers]).sum())
        noise += float(np.square(have[numbers] - want[numbers]).sum())
    if not math.isfinite(noise):
        return math.inf
    if signal:
        return noise / signal
    return math.inf if noise else 0.0


def _equal(a: Any, b: Any) -> bool:
    """Whether two values that are not both arrays (sequences, maps, strings) are the same."""
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_equal(v, b[k]) for k, v in a.items())
    return bool(np.array_equal(a, b))


@dataclass(order=True)
class _Group:
    """Ordered by noise, the loudest first; then as found."""

    quiet: float
    number: int
    units: tuple[Unit, ...] = field(compare=False)

    @property
    def noise(self) -> float:
        return -self.quiet


@dataclass
class Ranking:
    """The loudest layers of a graph, found one after the other.

    units: all that may be quantized, in the graph's order.
    measure: noise over signal where these units alone are quantized.
    known: single units and their noise, loudest first as far as `next` was asked.
    evaluations: engines that were measured.
    """

    units: Sequence[Unit]
    measure: Callable[[Sequence[Unit]], float]
    known: dict[Unit, float] = field(default_factory=dict, init=False)
    evaluations: int = field(default=0, init=False)
    _heap: list[_Group] = field(default_factory=list, init=False, repr=False)
    _numbers: Any = field(default_factory=count, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.units:
            self._add(tuple(self.units), math.inf)

    def _add(self, units: tuple[Unit, ...], noise: float) -> None:
        heapq.heappush(self._heap, _Group(-noise, next(self._numbers), units))

    def next(self, *, least: float = 0.0, most: int | None = None) -> Unit | None:
        """The loudest unit that was not given yet; None where there is none of at least `least`, or `most` evaluations
        in all do not find it."""
        while self._heap:
            group = self._heap[0]
            if group.noise < least:
                return None
            if len(group.units) == 1:
                heapq.heappop(self._heap)
                if group.noise == math.inf and group.units[0] not in self.known:
                    group = _Group(-self._measured(group.units), group.number, group.units)
                self.known[group.units[0]] = group.noise
                return group.units[0]
            if most is not None and self.evaluations + 2 > most:
                return None
            heapq.heappop(self._heap)
            middle = len(group.units) // 2
            for half in (group.units[:middle], group.units[middle:]):
                self._add(half, self._measured(half))
        return None

    def restart(self, changed: Iterable[Unit]) -> None:
        """Give the units anew, from the loudest, though others had been asked for.  changed: units whose noise is to be
        measured again; that of others stays as it was."""
        known, self.known = self.known, {}
        for unit in changed:
            known[unit] = self._measured((unit,))
        for unit, noise in known.items():
            self._add((unit,), noise)

    def _measured(self, units: tuple[Unit, ...]) -> float:
        self.evaluations += 1
        return self.measure(units)
