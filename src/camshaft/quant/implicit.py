"""Implicit INT8: a float graph and ranges in, Q/DQ graphs for any choice of float layers out.

Collects once (from data, a cache, or by hand) and then answers the precision search, which asks
for graphs with different layers left in float.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from camshaft.errors import CalibrationError
from camshaft.ir.graph import Graph, Node, Tensor
from camshaft.passes.laid_out import of_model
from camshaft.quant.apart.choice import Apart, Quantizer, with_fixed_range
from camshaft.quant.apart.products import choices, is_carried, sampled
from camshaft.quant.apart.sample import RowSample
from camshaft.quant.calibration.cache import Range, dynamic_ranges, read_cache, write_cache
from camshaft.quant.calibration.calibrate import (
    FEW,
    Observers,
    Run,
    Runs,
    Whole,
    observe,
    quantization_params,
    solve_ranges,
)
from camshaft.quant.calibration.magnitudes import largest_of
from camshaft.quant.calibration.observers import HistogramKernel, Observer, numpy_histogram
from camshaft.quant.calibration.record import CalibrationRecord
from camshaft.quant.calibration.solvers import Solver, solvers_named
from camshaft.quant.channels.balance import Balance, ChannelMoments, balanced, moments_of
from camshaft.quant.channels.equalize import Equalized, equalized, is_channels_last
from camshaft.quant.channels.extremes import ChannelExtremes
from camshaft.quant.channels.families import Family, families
from camshaft.quant.channels.shift import rounding_shifts
from camshaft.quant.deviation import Seen
from camshaft.quant.gptq import Curvature, is_small, rounded
from camshaft.quant.insertion import WeightQuantizer, insert_qdq
from camshaft.quant.placement import (
    QuantizationPlan,
    activation_of,
    equalizable,
    plan_quantization,
)
from camshaft.quant.scheme import QuantParams, params_from_range
from camshaft.quant.weights import symmetric

Batches = Iterable[Mapping[str, np.ndarray]]


HELD_BACK = 4
"""Batches by which no weights are rounded, so that they tell whether that helped."""


@dataclass
class ImplicitQuantization:
    """Ranges of one fused float graph, and the Q/DQ graphs made with them.

    graph: channels-last and fused.  layer_precision, noise_reduction, bias_correction,
    kernel_rounding: as in BuildConfig.
    means: tensor -> mean of its channels, float64 [C].  shifts: tensor -> how far rounding shifts them.  samples: tensor -> rows that products multiply.
    apart: tensor -> what is carried apart of its rows.  equalized: tensor -> how its channels are scaled.
    fine: convolutions that read their input in two parts.
    seen: the first batches.  solvers: what ranges were found by, of images, of rows, and of groups of tensors.  From data only, a calibration cache holds none of these.
    """

    graph: Graph
    layer_precision: Mapping[str, str] = field(default_factory=dict)
    noise_reduction: bool = True
    bias_correction: bool = True
    kernel_rounding: bool = True
    ranges: dict[str, Range] = field(default_factory=dict, init=False)
    by_hand: dict[str, Range] = field(default_factory=dict, init=False)
    means: dict[str, np.ndarray] = field(default_factory=dict, init=False)
    shifts: dict[str, np.ndarray] = field(default_factory=dict, init=False)
    magnitudes: dict[str, float] = field(default_factory=dict, init=False)
    samples: Mapping[str, RowSample] = field(default_factory=dict, init=False)
    apart: dict[str, Apart] = field(default_factory=dict, init=False)
    equalized: dict[str, Equalized] = field(default_factory=dict, init=False)
    fine: dict[str, QuantParams] = field(default_factory=dict, init=False)
    seen: Seen = field(default_factory=Seen, init=False)
    solvers: tuple[Solver, Solver, dict[str, Solver]] | None = field(default=None, init=False)
    _weights: WeightQuantizer = field(init=False, repr=False)
    _given: tuple[str, ...] = field(default=(), init=False, repr=False)
    _watched: Observers | None = field(default=None, init=False, repr=False)
    _run: Run | None = field(default=None, init=False, repr=False)
    _moments: dict[str, ChannelMoments] = field(default_factory=dict, init=False, repr=False)
    _known_shifts: dict[object, np.ndarray] = field(default_factory=dict, init=False, repr=False)
    _readers: Mapping[str, Sequence[Node]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self._weights = WeightQuantizer(self.kernel_rounding)

    def plan(self, keep_float: frozenset[str] = frozenset()) -> QuantizationPlan:
        """What to quantize when `keep_float` layers stay float."""
        return plan_quantization(
            self.graph,
            keep_float,
            self.layer_precision,
            noise_reduction=self.noise_reduction,
            apart=self.apart,
            equalized=self.equalized,
            fine=self.fine,
        )

    def set_by_hand(self, given: Mapping[str, Range]) -> None:
        """Ranges that win over calibration; CalibrationError names a tensor that does not exist."""
        for name in given:
            if not self._standing_for(name):
                raise CalibrationError(
                    f"dynamic_ranges names {name!r}, which is no tensor of the optimized model (those within a fused layer are none); "
                    f"`camshaft inspect MODEL.onnx --graph after` lists them"
                )
        dynamic_ranges(given)
        self.by_hand = self._spread(given)
        self._given = tuple(given)

    def _spread(self, given: Mapping[str, Range]) -> dict[str, Range]:
        """Ranges also for tensors that have the elements of those given in another shape or order, and none of their own."""
        return {t: r for name, r in given.items() for t in self._standing_for(name)} | dict(given)

    def _standing_for(self, name: str) -> list[str]:
        """The graph's tensors with the elements of the model's tensor of that name, in whatever shape or order."""
        return self._laid_out.get(name, [name] if name in self.graph.tensors else [])

    @cached_property
    def _laid_out(self) -> Mapping[str, list[str]]:
        """Names of the graph's tensors by that of the model's with the same elements."""
        found: dict[str, list[str]] = {}
        for tensor in self.graph.tensors:
            found.setdefault(of_model(tensor), []).append(tensor)
        return found

    @property
    def unused(self) -> tuple[str, ...]:
        """A sentence for each range set by hand that nothing takes."""
        taken = self.plan(frozenset()).group
        return tuple(
            f"dynamic_ranges of {name!r} is not used: no layer that may be INT8 reads this tensor"
            for name in self._given
            if not any(t in taken for t in self._standing_for(name))
        )

    def calibrate(
        self,
        batches: Batches,
        run: Runs,
        calibrator: str,
        percentile: float,
        progress: Callable[[int], None] | None = None,
        histogram: HistogramKernel = numpy_histogram,
        threads: int = 1,
    ) -> None:
        """Ranges and means from data.

        run: computes graphs.  histogram: counts the values.  threads: how many count.
        """
        watched, readers = self.watched()
        observe(self.graph, batches, watched, run, progress, histogram, self.seen, threads)
        self.means = {name: seen.mean for name, seen in watched.means.items()}
        self.magnitudes = largest_of(watched.observers)
        self.samples = watched.rows
        self._watched, self._readers = watched, readers
        self._run = Whole(self.graph, watched.names, run)
        self.solve(*solvers_named(calibrator, percentile))

    def watched(self) -> tuple[Observers, Mapping[str, Sequence[Node]]]:
        """What calibration looks at, nothing seen yet, and what reads the rows among it."""
        plan = self.plan()
        convs = [n for n in self.graph.nodes if n.outputs[0].name in plan.convs]
        readers, scaled = sampled(convs), equalizable(self.graph, plan)
        return Observers.of(plan.observed, self._corrected(convs), readers, scaled), readers

    def solve(
        self, images: Solver, rows: Solver, others: Mapping[str, Solver] | None = None
    ) -> None:
        """Ranges, and what follows from them, by other solvers of the values seen: of images, and of the rows that
        products multiply.  others: group of tensors -> its solver, where it is neither."""
        assert self._watched is not None and self._run is not None
        self.solvers = images, rows, dict(others or {})
        self.apart, self.equalized, self.fine = {}, {}, {}
        plan, readers = self.plan(), self._readers
        by_group = {**{plan.group[name]: rows for name in readers}, **(others or {})}
        self.ranges = solve_ranges(self._watched.observers, plan, images, by_group)
        self.apart = self._apart(plan, readers)
        self.equalized = self._equalized(plan, self._watched.extremes)
        self.shifts = self._shifts(plan, self._watched.means, self._run)

    @property
    def watches_images(self) -> bool:
        """Whether data were seen of tensors that are no rows of products."""
        return (
            self._watched is not None and not self._readers.keys() >= self._watched.observers.keys()
        )

    def _apart(
        self, plan: QuantizationPlan, readers: Mapping[str, Sequence[Node]]
    ) -> dict[str, Apart]:
        """What to carry apart, of tensors that have no range by hand."""
        params = quantization_params(plan, self.ranges, self.by_hand)
        free = {n: nodes for n, nodes in readers.items() if self._is_free(plan, n)}

        def quantizer(name: str) -> tuple[Quantizer, tuple[float, float]]:
            low, high = params[plan.group[name]].interval
            interval = float(low), float(high)
            return with_fixed_range(self.samples[name], interval), interval

        return choices(free, self.samples, quantizer)

    def _equalized(
        self, plan: QuantizationPlan, seen: Mapping[str, ChannelExtremes]
    ) -> dict[str, Equalized]:
        """How channels are scaled, of tensors that have no range by hand."""
        params = quantization_params(plan, self.ranges, self.by_hand)
        free = {n: e for n, e in seen.items() if self._is_free(plan, n)}
        found = {n: equalized(*e.seen, params[plan.group[n]]) for n, e in free.items()}
        return {n: made for n, made in found.items() if made is not None}

    def _shifts(
        self, plan: QuantizationPlan, names: Iterable[str], run: Run
    ) -> dict[str, np.ndarray]:
        """How far rounding shifts the channels of these tensors, by the first batches."""
        params = quantization_params(plan, self.ranges, self.by_hand)
        wanted: dict[str, tuple[QuantParams, np.ndarray | None]] = {}
        for name in names:
            scaled = self.equalized.get(name)
            if scaled is not None:
                wanted[name] = scaled.params, scaled.factors
            elif name not in self.apart and name in plan.group:
                wanted[name] = params[plan.group[name]], None
        keys = {n: (n, p, None if f is None else f.tobytes()) for n, (p, f) in wanted.items()}
        new = {n: wanted[n] for n, key in keys.items() if key not in self._known_shifts}
        if new:
            found = rounding_shifts(self.seen.batches[:FEW], run, new)
            self._known_shifts |= {keys[n]: shift for n, shift in found.items()}
        return {n: self._known_shifts[key] for n, key in keys.items()}

    def families(self) -> list[Family]:
        """Families of tensors whose channels may be scaled, of those that data alone decide and that are not scaled yet."""
        plan, seen = self.plan(), self._watched.names if self._watched is not None else ()
        return [
            f
            for f in families(self.graph, plan)
            if all(n in seen and (n in self.apart or self._is_free(plan, n)) for n in f.sources)
            and self.equalized.keys().isdisjoint(f.members)
        ]

    def balance(self, wanted: Sequence[Family]) -> tuple[list[Balance], Callable[[], None]]:
        """Scale the channels of families where that is expected to help (see `quant.channels.balance`), until ranges
        are solved anew.  What was decided, and what undoes it.  CalibrationError without data."""
        if self._run is None or self._watched is None or not self.seen.batches:
            raise CalibrationError("channels are scaled by data: give calibration data")
        new = dict.fromkeys(n for f in wanted for n in f.sources if n not in self._moments)
        self._moments |= moments_of(self.seen.batches[:FEW], self._run, list(new))
        params = quantization_params(self.plan(), self.ranges, self.by_hand)
        found = []
        for f in wanted:
            apart = self.apart.get(f.group)
            low, high = (apart.low, apart.high) if apart else params[f.group].interval
            out = apart.channels if apart else None
            found.append(balanced(f, self._moments, (float(low), float(high)), out))
        made = [b for b in found if b is not None]
        before = self.equalized, self.shifts

        def undo() -> None:
            self.equalized, self.shifts = before

        self.equalized = self.equalized | {n: e for b in made for n, e in b.tensors.items()}
        self.shifts = self._shifts(self.plan(), self._watched.means, self._run)
        return made, undo

    def refine(self, layers: Iterable[str]) -> tuple[int, Callable[[], None]]:
        """Let the INT8 convolutions of these source layers read their input in two parts (see `quant.fine`), until ranges
        are solved anew.  How many there are, and what undoes it."""
        plan, wanted, before = self.plan(), set(layers), self.fine
        params = quantization_params(plan, self.ranges, self.by_hand)
        found: dict[str, QuantParams] = {}
        for n in self.graph.nodes:
            name = n.outputs[0].name
            if name not in plan.convs or name in before or wanted.isdisjoint(n.origin):
                continue
            x = n.args[activation_of(n)].name
            if is_channels_last(n):
                scaled, group = self.equalized.get(x), plan.group.get(x)
                apart = self.apart.get(x) if is_carried(n, self.apart) else None
                if scaled is not None:
                    found[name] = scaled.params
                elif apart is not None:
                    found[name] = params_from_range(apart.low, apart.high)
                elif group is not None:
                    found[name] = params[group]

        def undo() -> None:
            self.fine = before

        self.fine = before | found
        return len(found), undo

    def round_by_data(self) -> Callable[[], None]:
        """Round the weights of convolutions by what they read in the first batches (see `quant.gptq`).

        Weights that are exchanged later are rounded without data.  Returns what undoes it.  CalibrationError without data.
        """
        if self._run is None or not self.seen.batches:
            raise CalibrationError("weights are rounded by data: give calibration data")
        plan = self.plan()
        nodes = [n for n in self.graph.nodes if n.outputs[0].name in plan.convs and self._rounds(n)]
        batches = self.seen.batches[HELD_BACK:] or self.seen.batches
        seen = {
            n.output.name: Curvature(n, None if scaled is None else scaled.factors, len(batches))
            for n in nodes
            for scaled in [self.equalized.get(n.args[0].name)]
        }
        for batch in batches:
            values = self._run(batch)
            for n in nodes:
                seen[n.output.name].add(values[n.args[0].name])
        old: list[tuple[Tensor, Equalized | None, Tensor]] = []
        for n in nodes:
            w, scaled = n.args[1], self.equalized.get(n.args[0].name)
            scale, before = self._weights.quantized(w, scaled)
            floats, params = self._weights.floats(w, scaled).content, symmetric(scale.content, 0)
            levels = rounded(floats, params, before.content, seen[n.output.name])
            levels.flags.writeable = False
            made = replace(before, stored=levels)
            old.append((w, scaled, self._weights.replace(w, scaled, made)))

        def undo() -> None:
            for w, scaled, before in reversed(old):
                self._weights.replace(w, scaled, before)

        return undo

    def interval(self, group: str) -> tuple[float, float]:
        """Least and greatest value that a group of tensors can have as u8."""
        low, high = quantization_params(self.plan(), self.ranges, self.by_hand)[group].interval
        return float(low), float(high)

    def observed(self, name: str) -> Observer | None:
        """What calibration saw of a tensor; None where it did not look."""
        return None if self._watched is None else self._watched.observers.get(name)

    def groups_of(self, layers: Iterable[str]) -> list[str]:
        """Groups of tensors with one range that products of these source layers read, of those that data alone decide."""
        plan, wanted = self.plan(), set(layers)
        read = {
            n.args[activation_of(n)].name
            for n in self.graph.nodes
            if n.outputs[0].name in plan.convs and not wanted.isdisjoint(n.origin)
        }
        free = (n for n in read if n in plan.group and self._is_free(plan, n))
        return sorted({plan.group[n] for n in free if n not in self._readers})

    def _rounds(self, node: Node) -> bool:
        """Whether a node's weights are rounded by data: those of a convolution of images or rows that are not split."""
        form, name = node.op.int8, node.args[0].name
        watched = self._watched is not None and name in self._watched.names
        sums = form is not None and form.mean_shift is not None
        return sums and watched and name not in self.apart and is_small(node)

    def _is_free(self, plan: QuantizationPlan, name: str) -> bool:
        """Whether data alone say what the range of a tensor is."""
        return self.by_hand.keys().isdisjoint(plan.sources[plan.group[name]])

    def _corrected(self, convs: Sequence[Node]) -> list[str]:
        """Tensors whose channel means are wanted."""
        if not self.bias_correction:
            return []
        return list(dict.fromkeys(n.args[activation_of(n)].name for n in convs))

    def load(self, path: Path) -> None:
        """Ranges from a calibration cache.  One that another program wrote has the model's names; they hold for what
        stands for these tensors in another shape."""
        self.ranges = self._spread(read_cache(path).ranges)

    def save(self, path: Path, calibrator: str) -> None:
        """Keep the ranges for later builds, or for TensorRT."""
        write_cache(path, self.ranges, calibrator)

    @property
    def record(self) -> CalibrationRecord:
        """What was learned, for builds that have no data."""
        return CalibrationRecord(
            dict(self.ranges),
            dict(self.means),
            dict(self.shifts),
            dict(self.magnitudes),
            dict(self.apart),
            dict(self.equalized),
            dict(self.fine),
        )

    def restore(self, record: CalibrationRecord) -> None:
        """Take what another build of the same graph learned."""
        self.ranges, self.means = dict(record.ranges), dict(record.means)
        self.shifts, self.magnitudes = dict(record.shifts), dict(record.magnitudes)
        self.apart, self.equalized = dict(record.apart), dict(record.equalized)
        self.fine = dict(record.fine)

    def quantized(self, keep_float: frozenset[str] = frozenset()) -> tuple[Graph, dict[str, str]]:
        """The Q/DQ graph, and the reason for each layer's precision."""
        plan = self.plan(keep_float)
        params = quantization_params(plan, self.ranges, self.by_hand)
        graph = insert_qdq(self.graph, plan, params, self.means, self._weights, self.shifts)
        return graph, plan.reasons
