"""Counting inside the engine: the graph with a tally behind each tensor that calibration looks at, and what is made of the tallies.

No tensor leaves the engine, so its memory is that of inference, and each is looked at while it lies in cache.  Extremes and sums are of
all values.  Of a large image the histogram counts every n-th value alone: to count one takes as long as to compute some, and a range
hangs on the share of values beyond it, which a million of them say well enough.  Which values these are hangs on their place within their
image alone, and on whether there are few images, so that what is counted does not depend on how images are split into batches, or on their order.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import gcd, prod

import numpy as np

from camshaft.ir.extents.extent import Extent, ceil_div
from camshaft.ir.extents.sizes import evaluate, typical
from camshaft.ir.graph import Graph, Tensor
from camshaft.ir.rebuild import Rebuild
from camshaft.ir.types import Shape
from camshaft.ops import CONCAT, RESHAPE, TALLY
from camshaft.quant.calibration.observers import HistogramKernel, Observer, numpy_histogram

SAMPLED, TOTAL = 4096, 1 << 20
"""Values that the histogram of a tensor counts of an image, all of one that has no more, at typical sizes; and of all images, where they are few."""
PIECE = 1 << 16
"""Values of which a piece of a tally is made, about: they fit L2, and are enough work for a worker."""
MOST_BYTES, MOST_CALLS = 16 << 20, 16
"""Samples, in bytes and in calls, that are kept until they are counted together."""
RESULTS = ("least", "most", "sums", "sample")
"""Outputs of a graph with tallies: those of all of them behind each other."""


@dataclass(frozen=True)
class Counted:
    """A tensor with a tally.  shape: of it, with at least two axes.  rows, every: as the op has them."""

    name: str
    shape: Shape
    rows: int
    every: int

    def pieces(self, sizes: Mapping[str, int]) -> int:
        """Pieces of all images."""
        rows = prod(self.shape[1:-1])
        return evaluate(self.shape[0] * ceil_div(rows, self.rows), sizes)

    def channels(self, sizes: Mapping[str, int]) -> int:
        """Channels."""
        return evaluate(self.shape[-1], sizes)

    def vectors(self, sizes: Mapping[str, int]) -> int:
        """Values of each channel."""
        return evaluate(prod(self.shape[:-1]), sizes)

    def sampled(self, sizes: Mapping[str, int]) -> int:
        """Values that are sampled of all images."""
        return evaluate(self.shape[0] * ceil_div(prod(self.shape[1:]), self.every), sizes)


def with_tallies(
    graph: Graph, names: Collection[str], histograms: Collection[str], images: int | None = None
) -> tuple[Graph, tuple[Counted, ...]]:
    """The graph whose outputs are tallies of its tensors `names`, and what they are of, in order; the graph itself where it has none.

    histograms: those of whose values a sample is wanted.  images: of how many; None for many.
    """
    most = SAMPLED if images is None else max(SAMPLED, TOTAL // max(1, images))
    rebuild = Rebuild(graph)
    wanted, counts = set(names), set(histograms)
    batch = _batch(graph)
    counted: list[Counted] = []
    parts: list[tuple[Tensor, ...]] = []

    def tally(made: Sequence[Tensor]) -> None:
        for t in made:
            if t.name not in wanted:
                continue
            shape = t.shape if t.type.rank > 1 else (1, t.type.size)
            found = _counted(t.name, shape, batch, most if t.name in counts else 0)
            b, name = rebuild.builder, f"tally {t.name}"
            x = rebuild.get(t)
            if shape != t.shape:
                x = b.emit(RESHAPE, [x], {"shape": shape}, name=name)
            attrs = {"rows": found.rows, "every": found.every}
            parts.append(b.add(TALLY, [x], attrs, name=name))
            counted.append(found)

    tally(graph.inputs)
    for node in graph.nodes:
        rebuild.replace(node, rebuild.carry(rebuild.present(node)))
        tally(node.outputs)
    if not parts:
        return graph, ()
    b = rebuild.builder
    outputs = [
        one[0] if len(one) == 1 else b.emit(CONCAT, one, {"axis": 0}, name=name)
        for name, one in zip(RESULTS, zip(*parts, strict=True), strict=True)
    ]
    return b.graph(dict(zip(RESULTS, outputs, strict=True))), tuple(counted)


def _batch(graph: Graph) -> Extent | None:
    """With how many images all inputs begin; None where they do not agree."""
    first = {t.shape[0] if t.shape else 1 for t in graph.inputs}
    return first.pop() if len(first) == 1 else None


def images_of(graph: Graph, feeds: Mapping[str, np.ndarray]) -> int:
    """How many images a batch holds; 1 where inputs do not agree."""
    first = {feeds[t.name].shape[0] if t.shape else 1 for t in graph.inputs}
    return first.pop() if _batch(graph) is not None and len(first) == 1 else 1


def _counted(name: str, shape: Shape, batch: Extent | None, most: int) -> Counted:
    """most: values of an image that are sampled, about; 0: none is wanted."""
    image = [typical(d) for d in shape[1:]]
    rows, size = max(1, PIECE // max(1, image[-1])), prod(image)
    apart = batch is not None and (batch == 1 or batch == shape[0])
    every = 1 if not apart else max(1, -(-size // most)) if most else max(1, size)
    while most and every > 1 and gcd(every, size) > 1:  # no channel, and no column, is left out
        every += 1
    return Counted(name, shape, rows, every)


def _room(size: int) -> int:
    """Of how many calls that sample `size` values samples are kept."""
    return min(MOST_CALLS, max(1, MOST_BYTES // max(1, 4 * size)))


def waiting_bytes(size: int) -> int:
    """Bytes of samples that are kept of calls that sample `size` values."""
    return 4 * size * _room(size)


@dataclass
class Channels:
    """What was found of each channel of a tensor: extremes, float32 [C], sum, float64 [C], and of how many values each."""

    least: np.ndarray
    most: np.ndarray
    sums: np.ndarray
    vectors: int

    def merge(self, other: Channels) -> None:
        """Take in what was found in other data."""
        np.minimum(self.least, other.least, out=self.least)
        np.maximum(self.most, other.most, out=self.most)
        self.sums += other.sums
        self.vectors += other.vectors


class _Run:
    """Tallies of calls at the same sizes.

    counted: the tensors that have values at these sizes.  bounds: where the pieces of each begin and end in what the engine returns;
    places: where their samples do.  calls: how many there were.  samples: of the last `waiting` calls, at most `room`, which are not
    counted yet, a row each.
    """

    def __init__(self, counted: Sequence[Counted], sizes: Mapping[str, int]) -> None:
        self.sizes, self.calls, self.waiting = dict(sizes), 0, 0
        self.counted = [c for c in counted if c.sampled(sizes)]
        pieces = [c.pieces(sizes) * c.channels(sizes) for c in self.counted]
        self.places = np.cumsum([0, *(c.sampled(sizes) for c in self.counted)])
        self.bounds = np.cumsum([0, *pieces])
        total = int(self.bounds[-1])
        self.least = np.full(total, np.inf, np.float32)
        self.most = np.full(total, -np.inf, np.float32)
        self.sums = np.zeros(total)
        size = int(self.places[-1])
        self.room = _room(size)
        self.samples = np.empty((self.room, size), np.float32)

    def add(self, found: Mapping[str, np.ndarray]) -> None:
        """Take in one call."""
        np.minimum(self.least, found["least"], out=self.least)
        np.maximum(self.most, found["most"], out=self.most)
        self.sums += found["sums"]
        self.samples[self.waiting] = found["sample"]
        self.calls, self.waiting = self.calls + 1, self.waiting + 1

    def sampled(self, index: int) -> np.ndarray:
        """What waits of a tensor, one dimension."""
        start, stop = self.places[index : index + 2]
        return self.samples[: self.waiting, start:stop].reshape(-1)

    def extremes(self) -> tuple[list[float], list[float]]:
        """Of each tensor; NaN if a value of it is."""
        starts = self.bounds[:-1]
        lows = np.minimum.reduceat(self.least, starts)
        return lows.tolist(), np.maximum.reduceat(self.most, starts).tolist()

    def channels(self, index: int) -> Channels:
        """What was found of a tensor's channels."""
        c, part = self.counted[index], slice(self.bounds[index], self.bounds[index + 1])
        shape = -1, c.channels(self.sizes)
        least, most, sums = (a[part].reshape(shape) for a in (self.least, self.most, self.sums))
        vectors = self.calls * c.vectors(self.sizes)
        return Channels(least.min(axis=0), most.max(axis=0), sums.sum(axis=0), vectors)


class Tallies:
    """What is made of the tallies of many batches: histograms, in observers, and `channels`, of those tensors that they are wanted of.

    threads: how many count.
    """

    def __init__(
        self,
        counted: Sequence[Counted],
        observers: Mapping[str, Observer],
        channels: Collection[str],
        histogram: HistogramKernel = numpy_histogram,
        threads: int = 1,
    ) -> None:
        self._counted, self._observers, self._wanted = counted, observers, frozenset(channels)
        self._histogram = histogram
        self._threads = threads
        self._run: _Run | None = None
        self.channels: dict[str, Channels] = {}
        for c in counted:
            if c.name in observers:
                observers[c.name].weight = c.every

    def add(self, found: Mapping[str, np.ndarray], sizes: Mapping[str, int]) -> None:
        """Take in what the graph with tallies returns of one batch, which is read before this returns.

        CalibrationError names a tensor that holds NaN or infinity in this batch, or in one that was still to be counted.
        """
        if self._run is None or self._run.sizes != sizes:
            self.finish()
            self._run = _Run(self._counted, sizes)
        self._run.add(found)
        if self._run.waiting == self._run.room:
            self._count(self._run)

    def finish(self) -> None:
        """Count what is left.  Errors as `add`."""
        run, self._run = self._run, None
        if run is None:
            return
        self._count(run)
        for index, c in enumerate(run.counted):
            if c.name in self._wanted:
                found = run.channels(index)
                if c.name in self.channels:
                    self.channels[c.name].merge(found)
                else:
                    self.channels[c.name] = found

    def _count(self, run: _Run) -> None:
        """Show observers the samples that wait."""
        if not run.waiting or not run.counted:
            return
        lows, highs = run.extremes()

        def show(index: int) -> None:
            seen = self._observers.get(run.counted[index].name)
            if seen is not None:
                seen.take(lows[index], highs[index], run.sampled(index), self._histogram)

        def show_some(first: int) -> None:
            for index in range(first, len(run.counted), self._threads):
                show(index)

        if self._threads == 1:
            show_some(0)
        else:  # one task a thread: to hand one over takes as long as to count a tensor
            with ThreadPoolExecutor(self._threads) as pool:
                for _ in pool.map(show_some, range(self._threads)):  # so that errors are raised
                    pass
        run.waiting = 0
