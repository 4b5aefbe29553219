"""The precision of one optimized graph: what is permitted and required, tried and measured.

What options say of INT8, half floats and weights of few bits comes together here; the builder measures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

import numpy as np

from camshaft.accuracy.demand import Demand
from camshaft.accuracy.judged import Judged
from camshaft.accuracy.ranges import best_ranges, distributions
from camshaft.accuracy.repairs import Repairs
from camshaft.accuracy.search import FEW, AccuracySearch
from camshaft.builder.engine_builder import Builder, Tuned
from camshaft.builder.halves import HalfPrecision, with_half_precision
from camshaft.builder.precision import (
    Attempt,
    Decision,
    Quantize,
    announce_variants,
    choose_precision,
    fastest_float,
)
from camshaft.config import BuildConfig
from camshaft.errors import ConfigError
from camshaft.ir.graph import Graph
from camshaft.machine.backend import histogram_kernel
from camshaft.passes.half import HALF_PRECISIONS
from camshaft.passes.qdq.few_bits import with_bytes
from camshaft.passes.qdq.lowering import is_quantized, lower_quantization, quantizes_activations
from camshaft.passes.qdq.simulate import simulated
from camshaft.precision.calibrating import float_runs
from camshaft.precision.constraints import asked_of_layers, remarks
from camshaft.precision.few_bits import few_bits, refuse_rounding
from camshaft.precision.given import Given
from camshaft.precision.output_types import with_types_stored
from camshaft.precision.variants import float_variants
from camshaft.quant.apart.products import carried
from camshaft.quant.apart.sample import RowSample
from camshaft.quant.calibration.magnitudes import largest_activations
from camshaft.quant.calibration.record import CalibrationRecord
from camshaft.quant.deviation import Feeds, worst_deviation
from camshaft.quant.dynamic import DynamicQuantization
from camshaft.quant.implicit import ImplicitQuantization
from camshaft.quant.placement import impossible
from camshaft.quant.recurrent import with_recurrent_bytes

MUCH_FURTHER = 1.5
"""Of two ways to compute in INT8, one that is so much further off is not taken for its speed."""


@dataclass
class PrecisionSearch:
    """One search; `run` does it.

    calibration: batches, None without data.  demand: what is asked of accuracy.  judged: what was found of it.  stage: measures a part of the build.  quick: a builder for engines
    that calibration runs.  known: what an earlier build learned from calibration data, in place of these; record: what this one learned.
    quantized: the graph with its Q/DQ nodes before they were lowered; None where nothing is quantized so.
    reasons: source layer -> why it has its precision.  apart: source layer -> input channels that its INT8
    product leaves to floats.  summary: the decision in words.  remarks: what was preferred of layers and cannot be, and ranges that nothing takes.
    cache_unused: why a calibration cache that was named
    is neither read nor written, "" where it is or none was named.
    """

    config: BuildConfig
    builder: Builder
    calibration: Iterable[Mapping[str, np.ndarray]] | None
    stage: Callable[..., AbstractContextManager[None]]
    quick: Callable[[], Builder]
    demand: Demand | None = None
    known: CalibrationRecord | None = None
    record: CalibrationRecord = field(default_factory=CalibrationRecord, init=False)
    quantized: Graph | None = field(default=None, init=False)
    reasons: dict[str, str] = field(default_factory=dict, init=False)
    apart: Mapping[str, int] = field(default_factory=dict, init=False)
    summary: str = field(default="fp32", init=False)
    remarks: tuple[str, ...] = field(default=(), init=False)
    cache_unused: str = field(default="", init=False)
    _layers: Mapping[str, str] = field(default_factory=dict, init=False, repr=False)
    _samples: Mapping[str, RowSample] = field(default_factory=dict, init=False, repr=False)
    _magnitudes: Mapping[str, float] = field(default_factory=dict, init=False, repr=False)
    _seen: Sequence[Feeds] = field(default=(), init=False, repr=False)
    _noisy: dict[str, str] = field(default_factory=dict, init=False, repr=False)
    judged: Judged = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.judged = Judged(self.builder, self.quick, self.config.threads, self.demand)

    def run(self, graph: Graph) -> Tuned:
        """The fastest graph that is permitted and has what is required, with its kernels."""
        times = self.builder.times
        if self.config.strongly_typed:
            self._given.refuse_beside_types()
        asked = asked_of_layers(self.config, graph, self._given.ranges, times=times)
        self.config = replace(self.config, layer_precision=asked.layers)
        decision = self._decided(graph)
        half = self._half(graph)
        if half.permitted:
            halved = with_half_precision(self.builder, decision, half)
            if self.judged.holds(halved, graph, self._seen):
                decision = halved
        if self.config.strongly_typed or self.config.layer_output_type:
            decision = with_types_stored(self.builder, decision)
        self.quantized = decision.attempt.quantized
        self.reasons |= decision.attempt.reasons
        told = asked.told(decision.tuned.tasks)
        self.remarks += remarks(told)
        self.reasons |= {layer: f"{precision}: {why}" for layer, (precision, why) in told.items()}
        self.apart = decision.attempt.apart
        self.summary = decision.summary
        if self.config.strongly_typed:
            more = "" if decision.summary == "fp32" else f", {decision.summary}"
            self.summary = f"strongly typed{more}"
        return decision.tuned

    @property
    def _permits_int8(self) -> bool:
        return "int8" in self.config.precision

    @property
    def _given(self) -> Given:
        return Given(self.config, self.calibration is not None or self.known is not None)

    @property
    def _asked_int8(self) -> list[str]:
        """Layers that must be INT8, and are not by their weights of few bits."""
        return [n for n, p in self._layers.items() if p == "int8"]

    @property
    def _requires_int8(self) -> bool:
        return bool(self._asked_int8)

    def _half(self, graph: Graph) -> HalfPrecision:
        permitted = [p for p in HALF_PRECISIONS if p in self.config.precision]
        target = self.builder.backend.target
        has = {"bf16": target.has_bf16, "fp16": target.has_fp16}
        fast = [name for name in permitted if has[name]]
        magnitudes = self._largest(graph) if "fp16" in fast else {}
        return HalfPrecision(permitted, self.config.layer_precision, fast, magnitudes)

    def _largest(self, graph: Graph) -> Mapping[str, float]:
        """Largest magnitudes of activations in calibration data, if there are any."""
        if self.known is not None:
            return self.known.magnitudes
        if self._magnitudes or self.calibration is None:
            return self._magnitudes
        with self.stage("calibrating", report=False):
            found = largest_activations(
                graph,
                self.calibration,
                float_runs(graph, self.builder, self.quick(), self.stage),
                self._step,
                histogram_kernel(self.builder.backend.target),
            )
        self.record.magnitudes.update(found)
        return found

    def _step(self, done: int) -> None:
        if self.config.progress:
            self.config.progress("calibrating", done, 0)

    def _decided(self, graph: Graph) -> Decision:
        """The decision between FP32 and INT8."""
        if self.demand is not None:
            self._given.refuse_demand(graph)
        if is_quantized(graph):
            return self._explicit(graph)
        few = few_bits(self.config, graph, self._given.ranges)
        self.reasons, graph, self._layers = dict(few.reasons), few.graph, few.layers
        if not self._permits_int8 or few.alone:
            if not self._permits_int8:
                self._given.refuse_needless()
            variants = float_variants(graph, self.config.optimization_level)
            announce_variants(self.builder, [graph], variants)
            tuned = fastest_float(self.builder, self.builder.tune(graph), variants)
            return Decision(Attempt(tuned.graph, None, {}), tuned, few.summary or "fp32")
        dynamic = DynamicQuantization(graph, self._layers)
        given = self._given.ranges
        unable = impossible(graph, self._layers)
        by_rows_alone = unable and dynamic.can(self._asked_int8)
        if by_rows_alone or (not given and dynamic.needs_no_data):
            made = self._without_data(dynamic)
            said = ", without calibration"
            if given:
                why = f"ranges do not make {min(unable)!r} INT8"
                said = f"; {' and '.join(given)} not used, since {why}"
                if self.config.calibration_cache is not None:
                    self.cache_unused = f"{why}, whose rows are quantized as they run"
            return replace(made, summary=made.summary + said)
        for layer, why in unable.items():
            if self.config.optimization_level == 0 and dynamic.can([layer]):
                raise ConfigError(
                    f"layer_precision asks for int8 in {layer!r} and in layers that take ranges, but {why}; build "
                    "with optimization_level=1 or more, where products with constant weights have one"
                )
        if self.known is not None and self.known.by_rows:
            self.record = self.known
            return self._without_data(replace(dynamic, apart=self.known.row_apart))
        fixed = self._calibrated(graph)
        if not dynamic.applies or dynamic.unable() or not self._seen:
            return fixed
        account = self.judged.account
        of_fixed = account.chosen, account.score
        dynamic = replace(dynamic, apart=dynamic.apart_of(self._samples))
        taken = self._more_exact(graph, fixed, self._without_data(dynamic), self._seen[:FEW])
        if taken.attempt is fixed.attempt:
            account.chosen, account.score = of_fixed
        else:
            self.record = replace(
                self.record, by_rows=True, row_apart=dict(dynamic.apart), noisy=self._noisy
            )
        return taken

    def _more_exact(
        self, graph: Graph, fixed: Decision, by_row: Decision, batches: Sequence[Feeds]
    ) -> Decision:
        """Of INT8 with fixed ranges and with rows quantized as they run the faster, unless its outputs are much
        further off on calibration data.  Of equal ones rows, which clip nothing that the data lacked."""
        chosen = min((by_row, fixed), key=lambda d: d.tuned.time_us)
        if any(d.attempt.graph is graph for d in (fixed, by_row)):
            return chosen
        quick = self.quick()
        wanted = self._outputs(quick, graph, batches)
        off = [
            worst_deviation(wanted, self._outputs(quick, d.attempt.graph, batches))
            for d in (fixed, by_row)
        ]
        if off[0] > MUCH_FURTHER * off[1]:
            chosen = by_row
        elif off[1] > MUCH_FURTHER * off[0]:
            chosen = fixed
        said = f"off by {off[0]:.2%} of the range with fixed ranges, {off[1]:.2%} by rows"
        return replace(chosen, summary=f"{chosen.summary}; {said}")

    def _outputs(self, quick: Builder, graph: Graph, batches: Sequence[Feeds]) -> list[Feeds]:
        engine = quick.finish(quick.tune(graph), quick.backend.fingerprint)
        with engine.create_context(self.config.threads, check_finite=False) as context:
            return [{n: a.copy() for n, a in context.run(b).items()} for b in batches]

    def _explicit(self, graph: Graph) -> Decision:
        """A model that says itself what is quantized: where it quantizes activations, those that it leaves in floats stay so."""
        self._given.refuse_beside_qdq()
        refuse_rounding(self.config)
        integer = self._permits_int8 or self.config.strongly_typed
        lowered = lower_quantization(graph, integer=integer, level=self.config.optimization_level)
        bytes_too = integer and not quantizes_activations(graph)
        tuned = self.builder.tune(with_bytes(lowered) if bytes_too else lowered)
        summary = "explicit Q/DQ" if integer else "explicit Q/DQ, computed in fp32"
        return Decision(Attempt(tuned.graph, graph, {}), tuned, summary)

    def _calibrated(self, graph: Graph) -> Decision:
        """INT8 with ranges, of data or given."""
        self._given.require_ranges(graph, self._asked_int8, judged=self.demand is not None)
        self._prepare_judge(graph)
        quantization = ImplicitQuantization(
            graph,
            self._layers,
            self.config.noise_reduction,
            self.config.bias_correction,
            self.config.kernel_rounding,
        )
        with self.stage("calibrating", report=False):
            self._find_ranges(quantization)
        self.remarks += quantization.unused
        self._samples = quantization.samples
        self._magnitudes = quantization.magnitudes
        level = self.config.optimization_level
        noisy = self._noisy = dict(self.known.noisy) if self.known is not None else {}

        def quantize(keep_float: frozenset[str]) -> Attempt:
            kept = keep_float | noisy.keys()
            quantized, reasons = quantization.quantized(kept)
            lowered = lower_quantization(quantized, level=level)
            lowered, cells = with_recurrent_bytes(lowered, self._layers, kept)
            found = _with_noise({**cells, **reasons}, noisy)
            return Attempt(lowered, quantized, found, carried(graph, quantization.apart))

        def simulate(keep_float: frozenset[str]) -> Graph:
            kept = keep_float | noisy.keys()
            made = simulated(quantization.quantized(kept)[0])
            return with_recurrent_bytes(made, self._layers, kept)[0]

        as_float = Attempt(graph, None, quantization.plan(_layers(graph)).reasons)
        refines = not self.builder.times or self.builder.backend.target.has_vnni
        repairs = Repairs(quantization, self.config.calibrator != "auto", refines)
        made = self._accurate(as_float, quantize, simulate, noisy, repairs)
        if self.judged.demand is not None:
            self.judged.account.histograms = distributions(quantization)
        self.record = replace(quantization.record, noisy=noisy)
        corrects = (
            self.config.bias_correction and self.calibration is None and not quantization.means
        )
        if corrects and made.attempt.quantized is not None:
            summary = f"{made.summary}; biases not corrected, which takes calibration data"
            return replace(made, summary=summary)
        return made

    def _prepare_judge(self, graph: Graph) -> None:
        with self.stage("measuring accuracy", report=False):
            self.judged.prepare(graph)

    def _without_data(self, quantization: DynamicQuantization) -> Decision:
        """INT8 where rows are quantized as they are computed, which needs no ranges."""
        graph = quantization.graph
        self._prepare_judge(graph)
        noisy = self._noisy = dict(self.known.noisy) if self.known is not None else {}

        def quantize(keep_float: frozenset[str]) -> Attempt:
            made, reasons = quantization.quantized(keep_float | noisy.keys())
            return Attempt(
                made, None, _with_noise(reasons, noisy), carried(graph, quantization.apart)
            )

        required = self._requires_int8
        reasons = {} if required else quantization.quantized(_layers(graph))[1]
        decision = self._accurate(
            Attempt(graph, None, reasons), quantize, lambda kept: quantize(kept).graph, noisy
        )
        if not decision.attempt.has_int8:
            return decision
        return replace(decision, summary=f"{decision.summary}; rows are quantized as they run")

    def _accurate(
        self,
        as_float: Attempt,
        quantize: Quantize,
        simulate: Callable[[frozenset[str]], Graph],
        noisy: dict[str, str],
        repairs: Repairs | None = None,
    ) -> Decision:
        """The fastest of all choices of precision, less the layers whose noise dominates the outputs'.

        noisy: source layer -> why it stays float, which `quantize` and `simulate` heed; filled here.
        """

        def choose() -> Decision:
            return choose_precision(
                self.builder,
                as_float,
                quantize,
                float_variants(as_float.graph, self.config.optimization_level),
                int8_required=self._requires_int8,
            )

        made = choose()
        probe = self.judged.probe(as_float.graph, self._seen)
        account = self.judged.account
        search = AccuracySearch(probe, simulate, choose, noisy, account, self._step, repairs)
        with self.stage("measuring accuracy", report=False):
            if self.judged.demand is not None:
                judge, allowed = self.judged.judge(probe)
                least = choose if self._requires_int8 else lambda: self._float(as_float)
                return search.within(made, judge, allowed, least)
            if not self.builder.times or not self._seen:
                return made
            return search.without_loudest(made, self.builder.tune(as_float.graph, "tuning fp32"))

    def _float(self, as_float: Attempt) -> Decision:
        """The float graph, where no other is accurate enough."""
        graph = as_float.graph
        tuned = fastest_float(
            self.builder,
            self.builder.tune(graph),
            float_variants(graph, self.config.optimization_level),
        )
        return Decision(replace(as_float, graph=tuned.graph), tuned, "fp32")

    def _find_ranges(self, quantization: ImplicitQuantization) -> None:
        config = self.config
        quantization.set_by_hand(config.dynamic_ranges)
        cache = config.calibration_cache
        if self.known is not None:
            quantization.restore(self.known)
        elif self.calibration is not None:
            quantization.calibrate(
                self.calibration,
                float_runs(quantization.graph, self.builder, self.quick(), self.stage),
                config.calibrator,
                config.percentile,
                self._step,
                histogram_kernel(self.builder.backend.target),
                config.threads,
            )
            self._seen = quantization.seen.batches
            self._choose_ranges(quantization)
            if cache is not None:
                quantization.save(cache, config.calibrator)
        elif cache is not None:
            quantization.load(cache)

    def _choose_ranges(self, quantization: ImplicitQuantization) -> None:
        """Of the ways to choose ranges the one with the least noise, where the user leaves it open."""
        if self.config.calibrator != "auto" or not self.builder.times:
            return
        if not quantization.watches_images:
            return
        probe = self.judged.probe(quantization.graph, self._seen)
        self.judged.account.ranges = best_ranges(
            quantization,
            lambda: probe.noise(simulated(quantization.quantized()[0])),
            self.config.percentile,
        )


def _with_noise(reasons: Mapping[str, str], noisy: Mapping[str, str]) -> dict[str, str]:
    """Reasons of layers, where those that are float for their noise say so."""
    return {
        layer: noisy[layer] if layer in noisy and why.startswith("fp32") else why
        for layer, why in reasons.items()
    }


def _layers(graph: Graph) -> frozenset[str]:
    """Names of all source layers."""
    return frozenset(origin for node in graph.nodes for origin in node.origin)
