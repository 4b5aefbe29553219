"""Calibration: run batches, watch tensors, turn what was seen into quantization parameters.

Ranges come from three places; the later one wins: data (or the cache of an earlier run), then
what was set by hand.  Data also give the channel means for bias correction (`quant.channels.bias`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice

import numpy as np

from camshaft.errors import BindingError, CalibrationError, ModelError
from camshaft.ir.graph import Graph
from camshaft.ir.interpret import sizes_of
from camshaft.ir.types import Shape
from camshaft.quant.apart.sample import RowSample
from camshaft.quant.calibration.cache import Range, amax_of
from camshaft.quant.calibration.observers import HistogramKernel, Observer, numpy_histogram
from camshaft.quant.calibration.solvers import Solver
from camshaft.quant.calibration.tally import Channels, Tallies, images_of, with_tallies
from camshaft.quant.channels.bias import ChannelMeans
from camshaft.quant.channels.extremes import ChannelExtremes
from camshaft.quant.deviation import MOST_BYTES, MOST_KEPT, Seen
from camshaft.quant.placement import QuantizationPlan
from camshaft.quant.scheme import QuantParams, params_from_range

Run = Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]]
"""One batch in; outputs of a graph out, by name, which the next call may overwrite."""
Runs = Callable[[Graph], Run]
"""A graph -> what computes it."""
FEW = 16
"""Batches that are looked at tensor by tensor: rows of products, and how far rounding shifts means."""


def check_batch(graph: Graph, batch: object, number: int) -> dict[str, np.ndarray]:
    """A batch as contiguous arrays; CalibrationError names what does not fit the model."""
    where = f"calibration batch {number}"
    if not isinstance(batch, Mapping):
        raise CalibrationError(
            f"{where} is {_described(batch)}, must be a dictionary {{input name: array}}"
        )
    expected = {t.name: t.type for t in graph.inputs}
    for t in graph.fixed:
        if t.name in batch and not np.array_equal(np.asarray(batch[t.name]), t.array):
            raise CalibrationError(
                f"{where}: {t.name!r} differs from {t.array.tolist()!r:.80}, which values= fixed it to"
            )
    batch = {
        name: array for name, array in batch.items() if name not in {t.name for t in graph.fixed}
    }
    unknown, missing = set(batch) - set(expected), set(expected) - set(batch)
    if unknown or missing:
        raise CalibrationError(
            f"{where} has inputs {sorted(map(str, batch))}; the model has {sorted(expected)}"
        )
    arrays = {}
    for name, want in expected.items():
        if not isinstance(batch[name], np.ndarray):
            raise CalibrationError(
                f"{where}: {name!r} is {_described(batch[name])}, not a numpy array; convert it "
                f"with numpy.asarray(..., numpy.{want.dtype.numpy.name})"
            )
        array = np.asarray(batch[name], order="C")
        if array.dtype != want.dtype.numpy or not _may_be(array.shape, want.shape):
            raise CalibrationError(
                f"{where}: {name!r} is {array.dtype}{list(array.shape)}, the model takes {want}; "
                "prepare calibration data exactly as the inputs of a call"
            )
        if want.dtype.is_float and not np.isfinite(array).all():
            raise CalibrationError(
                f"{where}: {name!r} holds NaN or infinity; leave the batch out or clean it"
            )
        arrays[name] = array
    try:
        sizes_of(graph, arrays)
    except (BindingError, ModelError) as error:
        raise CalibrationError(f"{where}: {error}") from None
    return arrays


def _may_be(given: tuple[int, ...], shape: Shape) -> bool:
    """Whether an array of shape `given` may be passed where `shape` is wanted, at some sizes."""
    return len(given) == len(shape) and all(
        e == d for d, e in zip(given, shape, strict=True) if isinstance(e, int)
    )


def _described(value: object) -> str:
    """What was given in place of something else, in few words."""
    return f"{value!r:.40}" if isinstance(value, str) else f"of type {type(value).__name__}"


@dataclass(frozen=True)
class Observers:
    """What calibration looks at: tensor -> its observer, means and extremes of its channels, and rows of it.

    A tensor may be in any of them.
    """

    observers: dict[str, Observer]
    means: Mapping[str, ChannelMeans]
    rows: Mapping[str, RowSample] = field(default_factory=dict)
    extremes: Mapping[str, ChannelExtremes] = field(default_factory=dict)

    @staticmethod
    def of(
        ranges: Iterable[str],
        means: Iterable[str],
        rows: Iterable[str] = (),
        extremes: Iterable[str] = (),
    ) -> Observers:
        """Nothing seen yet of the tensors `ranges`, `means`, `rows` and `extremes`."""
        return Observers(
            {n: Observer(n) for n in ranges},
            {n: ChannelMeans(n) for n in means},
            {n: RowSample(n) for n in rows},
            {n: ChannelExtremes(n) for n in extremes},
        )

    @property
    def names(self) -> tuple[str, ...]:
        """All tensors, in a fixed order."""
        return tuple(dict.fromkeys((*self.observers, *self.means, *self.rows, *self.extremes)))

    def take(self, found: Mapping[str, Channels]) -> None:
        """Take in what was found of channels."""
        for name, channels in found.items():
            if name in self.means:
                self.means[name].add(channels.sums, channels.vectors)
            if name in self.extremes:
                self.extremes[name].add(channels.least, channels.most)
            if name in self.rows:
                self.rows[name].widen(channels.least, channels.most)


def observe(
    graph: Graph,
    batches: Iterable[Mapping[str, np.ndarray]],
    watched: Observers,
    run: Runs,
    progress: Callable[[int], None] | None = None,
    histogram: HistogramKernel = numpy_histogram,
    kept: Seen | None = None,
    threads: int = 1,
) -> None:
    """Show all batches to `watched`, and to `kept`.

    The first batches are read before they are run, so that it is known whether there are few.
    run: computes graphs: one with tallies, and on the first batches one of rows.  threads: how many count.
    CalibrationError when there is no batch, or one does not fit.
    """
    if isinstance(batches, Mapping | str | bytes | np.ndarray) or not isinstance(batches, Iterable):
        raise CalibrationError(
            f"calibration is {_described(batches)}, must be an iterable of batches, each a "
            "dictionary {input name: array}; put a single batch into a list"
        )
    checked = (check_batch(graph, batch, number) for number, batch in enumerate(batches))
    first = Seen() if kept is None else kept
    beyond = list(islice((arrays for arrays in checked if not first.add(arrays)), 1))
    if not first.batches:
        raise CalibrationError("calibration got no batch: the iterable is empty (or used up)")
    images = sum(images_of(graph, arrays) for arrays in first.batches)
    few = not beyond and images <= MOST_KEPT and first.nbytes <= MOST_BYTES
    counting = Counting(graph, watched, run, histogram, threads, images if few else None)
    rows = Whole(graph, tuple(watched.rows), run)
    for number, arrays in enumerate(chain(first.batches, beyond, checked), 1):
        counting.add(arrays)
        if number <= FEW and watched.rows:
            values = rows(arrays)
            for name, sample in watched.rows.items():
                sample.update(values[name])
        if progress:
            progress(number)
    counting.finish()


class Counting:
    """The pass over all batches: runs the graph with tallies."""

    def __init__(
        self,
        graph: Graph,
        watched: Observers,
        run: Runs,
        histogram: HistogramKernel = numpy_histogram,
        threads: int = 1,
        images: int | None = None,
    ) -> None:
        """run: computes graphs.  threads: how many count.  images: how many all batches hold, None for many."""
        self._graph, self._watched, self._make = graph, watched, run
        self._tallied, counted = with_tallies(graph, watched.names, watched.observers, images)
        wanted = {*watched.means, *watched.extremes, *watched.rows}
        self._tallies = Tallies(counted, watched.observers, wanted, histogram, threads)
        self._counts = bool(counted)
        self._run: Run | None = None

    def add(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Take in one batch.  CalibrationError where a tensor is not finite, in it or in one before."""
        if not self._counts:
            return
        if self._run is None:
            self._run = self._make(self._tallied)
        self._tallies.add(self._run(arrays), sizes_of(self._graph, arrays))

    def finish(self) -> None:
        """Let `watched` know all.  Errors as `add`."""
        self._tallies.finish()
        self._watched.take(self._tallies.channels)


class Whole:
    """Computes whole tensors of a graph, among them inputs; for few batches, since they leave the engine.

    The engine is made when it is first asked for.
    """

    def __init__(self, graph: Graph, names: Sequence[str], run: Runs) -> None:
        self._graph, self._names, self._make = graph, names, run
        self._run: Run | None = None

    def __call__(self, feeds: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """The tensors of one batch, with its inputs; the next call may overwrite them."""
        if self._run is None:
            given = {t.name for t in self._graph.inputs}
            names = tuple(n for n in self._names if n not in given)
            outputs = tuple(self._graph.tensors[n] for n in names)
            tapped = replace(self._graph, outputs=outputs, output_names=names)
            self._run = self._make(tapped) if names else lambda feeds: {}
        return {**feeds, **self._run(feeds)}


def solve_ranges(
    observers: Mapping[str, Observer],
    plan: QuantizationPlan,
    solver: Solver,
    others: Mapping[str, Solver] | None = None,
) -> dict[str, Range]:
    """Source tensor -> interval; tensors of one group share the interval of all that they saw.

    others: group -> its solver, where it is not `solver`.
    """
    ranges: dict[str, Range] = {}
    for group, sources in plan.sources.items():
        seen = Observer.merged(group, [observers[s] for s in sources])
        interval = (others or {}).get(group, solver).affine(seen)
        ranges.update((s, interval) for s in sources)
    return ranges


def quantization_params(
    plan: QuantizationPlan, ranges: Mapping[str, Range], by_hand: Mapping[str, Range]
) -> dict[str, QuantParams]:
    """Group -> u8 parameters.  CalibrationError names a tensor without a range.

    A range given as one number is symmetric.  by_hand: as TensorRT takes them, (min, max) becomes
    +-max(|min|, |max|).
    """
    params = {}
    for group, sources in plan.sources.items():
        lows, highs = [], []
        for name in sources:
            if name in by_hand:
                amax = amax_of(name, by_hand[name])
                low, high = -amax, amax
            elif name in ranges:
                value = ranges[name]
                low, high = value if isinstance(value, tuple) else (-value, value)
            else:
                raise CalibrationError(
                    f"tensor {name!r} has no range: give calibration data, a calibration cache "
                    "that names it, or dynamic_ranges"
                )
            lows.append(low)
            highs.append(high)
        params[group] = params_from_range(min(lows), max(highs))
    return params
