"""One build from model to engine, stage by stage.

This is the only module that knows the whole pipeline: import, optimize, calibrate, choose the
precision, tune, assemble.  It keeps the graphs and the reasons, so that a report can be made of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import numpy as np

from camshaft.accuracy.demand import Demand
from camshaft.accuracy.search import Account
from camshaft.build_files import check_files, model_hash, read_model, timings_of
from camshaft.builder.engine_builder import Builder, Tuned
from camshaft.builder.error_budget import within_budget
from camshaft.builder.states import states_of
from camshaft.builder.tuning.ranges import profile_points
from camshaft.builder.tuning.timing_cache import TimingCache
from camshaft.config import BuildConfig
from camshaft.errors import BuildError, ConfigError, ModelError
from camshaft.feeds import typical_feeds
from camshaft.frontends.onnx import Imported
from camshaft.ir.extents.sizes import is_static
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.graph import Graph
from camshaft.ir.script import Call, Run
from camshaft.machine.backend import cpu_backend, fingerprint_of
from camshaft.many_requests import (
    Sharing,
    chosen,
    feeds_of,
    measured,
    mixed_rows,
    require_no_states,
    sharings,
    told,
)
from camshaft.passes.half_states import with_half_states
from camshaft.passes.padding.pack import skip_padding
from camshaft.passes.pipeline import optimize
from camshaft.passes.qdq.lowering import is_quantized
from camshaft.portable.parts import carried, refuse_for_portable
from camshaft.precision.given import unused_cache
from camshaft.precision.output_types import with_output_types
from camshaft.precision.search import PrecisionSearch
from camshaft.program.state import StateSpec
from camshaft.quant.calibration.record import CalibrationRecord
from camshaft.quant.placement import check_layer_names_of
from camshaft.refitting.exchange import note_model
from camshaft.report.assumptions import assumed, moved
from camshaft.report.one_name import one_name
from camshaft.report.page.data import Drawing
from camshaft.report.page.gather.sketch import sketch
from camshaft.runtime.engine import Engine
from camshaft.runtime.file.manifest import Fingerprint
from camshaft.scripted import (
    Recorded,
    assembled,
    heavy,
    part_options,
    recorded,
    refusals,
    refuse_for_scripts,
    refuse_shared_cache,
)

NOTHING_TO_QUANTIZE = "no graph has layers to quantize, or calibration data ran none that has"

_RESULTS = (
    "imported", "whole", "final", "final_graphs", "quantized", "host_steps", "reasons", "apart", "precision_summary",
    "states", "timed_out", "account", "_cache_unused", "_unmet", "_holds_weights", "timings", "record",
)  # fmt: skip
"""What a session knows of its build."""


@dataclass
class BuildSession:
    """State of one build; `run` does it.  imported, final: the graph as imported, of which `run` leaves the inputs, and as built; final_graphs: those of all graphs of a script.  quantized: the optimized graph with its
    Q/DQ nodes, before they were lowered (None for a float build).  reasons: source layer -> why it has its precision.
    precision_summary: the whole-graph precision decision in words.  goal_summary: how streams share the threads, where the goal is throughput.
    seconds: stage -> wall-clock time, without the stages within it.  sketches: the graphs as imported, for a report, without weights.

    typical: input name -> a shape as it will be used, to tune for where `config` says nothing; it fixes nothing.
    typical_elements: the same of elements that say sizes.  demand: what is asked of accuracy; account: what was found of it, of a model that is one graph.
    known: what an earlier build learned from calibration data, in their place; record: what this one learned.  timings: of kernels, known before and found.
    """

    model: Any
    config: BuildConfig
    calibration: Iterable[Mapping[str, np.ndarray]] | None = None
    typical: Mapping[str, Sequence[int]] = field(default_factory=dict)
    typical_elements: Mapping[str, Sequence[int]] = field(default_factory=dict, init=False)
    demand: Demand | None = field(default=None, init=False)
    known: CalibrationRecord | None = field(default=None, init=False)
    record: CalibrationRecord | None = field(default=None, init=False)
    timings: TimingCache | None = field(default=None, init=False, repr=False)
    account: Account | None = field(default=None, init=False)
    imported: Graph | None = field(default=None, init=False)
    whole: Imported | None = field(default=None, init=False)
    final: Graph | None = field(default=None, init=False)
    final_graphs: tuple[Graph, ...] = field(default=(), init=False)
    sketches: tuple[Drawing, ...] = field(default=(), init=False)
    quantized: Graph | None = field(default=None, init=False)
    host_steps: list[str] = field(default_factory=list, init=False)
    reasons: dict[str, str] = field(default_factory=dict, init=False)
    apart: Mapping[str, int] = field(default_factory=dict, init=False)
    precision_summary: str = field(default="fp32", init=False)
    goal_summary: str = field(default="", init=False)
    states: tuple[StateSpec, ...] = field(default=(), init=False)
    seconds: dict[str, float] = field(default_factory=dict, init=False)
    timed_out: bool = field(default=False, init=False)
    _cache_unused: str = field(default="", init=False, repr=False)
    _unmet: tuple[str, ...] = field(default=(), init=False, repr=False)
    _holds_weights: bool = field(default=True, init=False, repr=False)
    _inner_seconds: float = field(default=0.0, init=False, repr=False)

    def __post_init__(self) -> None:
        if hasattr(self.model, "to_onnx"):  # a Network
            self.model = self.model.to_onnx()

    def import_model(self) -> Graph:
        """The model as a graph, read once, and again behind `run`, which begins with it.  Of a model with a script, a graph without
        nodes that has its inputs."""
        if self.imported is None or not self._holds_weights:
            with self._stage("importing"):
                self.whole = read_model(
                    self.model, self.config, self.typical, self.typical_elements
                )
            self.sketches = tuple(map(sketch, self.whole.graphs))
            has_script = self.whole.script is not None
            self.states = self._states(self.whole)
            self.imported = self.whole.face if has_script else self.whole.graphs[0]
            self._holds_weights = True
        return self.imported

    def _states(self, whole: Imported) -> tuple[StateSpec, ...]:
        """What contexts keep.  ConfigError where they cannot."""
        if not self.config.state:
            return ()
        if whole.script is not None:
            step = next(s.name for s in whole.script.walk() if not isinstance(s, Run))
            raise ConfigError(
                f"state= needs a model that is one graph, and node {step!r} is decided while the model runs; leave "
                "state= out, or say what decides it (values=)"
            )
        return states_of(whole.graphs[0], self.config.state)

    @property
    def imported_graphs(self) -> tuple[Graph, ...]:
        """The graphs of the model as imported: several of one with a script; before `run`."""
        return () if self.whole is None else self.whole.graphs

    def tune_for(self, arrays: Mapping[str, Any]) -> None:
        """Take the sizes of these inputs (by name) for typical where `config` says nothing; before
        `run`.  The model is read again where it has open extents."""
        self.typical = {name: np.shape(a) for name, a in arrays.items()}
        known = () if self.imported is None else self.imported.inputs
        self.typical_elements = {
            t.name: np.reshape(arrays[t.name], -1).tolist()
            for t in known
            if t.values and t.name in arrays
        }
        if not all(is_static(t.shape) and not t.values for t in known):
            self.imported = None

    @property
    def assumed(self) -> tuple[Symbol, ...]:
        """Open sizes of the imported model of which nothing was said, so that they are assumed."""
        if self.imported is None or self.typical:
            return ()
        return assumed(self.imported, self.config)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Sizes asked for that the imported model does not take, and branches that fail, a sentence each; behind `run`
        also precisions that are preferred and cannot be, and that a calibration cache was named for nothing."""
        if self.imported is None:
            return ()
        script = None if self.whole is None else self.whole.script
        calibrates = self.calibration is not None
        cache = unused_cache(self.config, self._cache_unused, calibrates=calibrates)
        sizes = moved(self.imported, self.config)
        return (*sizes, *refusals(script), *self._unmet, *cache)

    @property
    def hints(self) -> tuple[str, ...]:
        """What would make steps of the built engine faster, a sentence each; after `run`."""
        if self.imported is None:
            return ()
        return one_name(self.imported, self.final_graphs, self.host_steps)

    def run(self) -> Engine:
        """Build the engine; errors as in `camshaft.build`."""
        config, calibrates = self.config, self.calibration is not None
        refuse_for_portable(self.model, config, demanded=self.demand is not None)
        check_files(self.model, config, calibrates=calibrates)
        many = config.goal == "throughput"
        engine = self._for_many_requests() if many else self._for_one_request()
        if config.portable and self.timings is not None:
            ranged = calibrates or config.calibration_cache is not None or self.known is not None
            engine.attached |= carried(
                self.model, config, self.timings.used(), self.record, calibrated=ranged
            )
        return engine

    def _for_one_request(self) -> Engine:
        config = self.config
        imported = self.import_model()
        cache = self.timings = self.timings or timings_of(config)
        builder = self._builder(cache)
        hashed, summary = model_hash(self.model), config.summary()
        fingerprint = fingerprint_of(builder.backend.target, hashed, summary)
        if self.whole is None or self.whole.script is None:
            pairs = {s.name: s.output for s in self.states}
            typed = with_output_types(config, with_half_states(imported, pairs), {*pairs.values()})
            graph, self._unmet = self._without_padding(typed.graph), typed.remarks
            del imported, typed
            self._forget_weights()
            engine = self._built(builder, graph, fingerprint)
        else:
            engine = self._scripted(builder, self.whole, fingerprint)
        self._unmet += note_model(engine, self.model, config)
        self.timed_out = builder.timed_out
        if config.timing_cache is not None and not config.frozen_cache:
            cache.save(config.timing_cache)
        return engine

    def _for_many_requests(self) -> Engine:
        """The engine that answers most requests with all threads, and how streams share them."""
        imported = self.import_model()
        require_no_states(self.states)
        feeds = feeds_of(imported, self.whole)
        decides = self.whole is not None and self.whole.script is not None
        mixed = mixed_rows(imported, decides=decides)
        if self.calibration is not None and iter(self.calibration) is self.calibration:
            self.calibration = list(self.calibration)  # for several builds
        parts: dict[Sharing, BuildSession] = {}
        engines: dict[Sharing, Engine] = {}
        for sharing in sharings(self.config.threads):
            config = replace(self.config, goal="latency", threads=sharing.threads)
            part = parts[sharing] = BuildSession(self.model, config, self.calibration, self.typical)
            part.seconds, part.typical_elements = self.seconds, self.typical_elements
            part.demand, part.known, part.timings = self.demand, self.known, self.timings
            engines[sharing] = part.run()
        with self._stage("measuring"):
            rates = measured(engines, feeds, mixed)
        best = chosen(rates.found)
        for name in _RESULTS:
            setattr(self, name, getattr(parts[replace(best, batch=1)], name))
        self.goal_summary = told(rates, best)
        engine = engines[replace(best, batch=1)]
        return engine.for_streams(best.streams, best.batch, self.config.summary())

    def _forget_weights(self) -> None:
        """Let go of the graph as imported, whose weights the optimized one may have in another form."""
        if self.whole is not None and self.whole.script is None:
            self.imported = self.whole.face
            self.whole = replace(self.whole, graphs=())
            self._holds_weights = False

    def _built(
        self, builder: Builder, graph: Graph, fingerprint: Fingerprint, part: int = 0
    ) -> Engine:
        """The engine of one optimized graph, that of this number of the model."""
        with self._stage("tuning", report=False):
            tuned = self._tuned(builder, graph)
        if self.quantized is None and self.config.error_budget < math.inf:
            with self._stage("checking", report=False):
                feeds = typical_feeds(tuned.graph)
                tuned = within_budget(builder, tuned, feeds, self.config.error_budget)
        self.final, self.host_steps = tuned.graph, tuned.host_steps
        self.final_graphs = (tuned.graph,)
        with self._stage("assembling"):
            return builder.finish(tuned, fingerprint, self.reasons, self.apart, part)

    def _tuned(self, builder: Builder, graph: Graph) -> Tuned:
        """The graph in the precision that is chosen for it, with its kernels."""
        quick = self._calibration_builder
        search = PrecisionSearch(
            self.config, builder, self.calibration, self._stage, quick, self.demand, self.known
        )
        tuned = search.run(graph)
        self.account, self.record = search.judged.account, search.record
        self.quantized, self.reasons = search.quantized, search.reasons
        self.apart, self._cache_unused = search.apart, search.cache_unused
        self._unmet += search.remarks
        self.precision_summary = search.summary
        return tuned

    def _calibration_builder(self) -> Builder:
        """For engines that calibration runs: kernels are not timed."""
        return self._builder(TimingCache(), level=1)

    def _optimized(self, graph: Graph) -> Graph:
        with self._stage("optimizing"):
            return optimize(graph, level=self.config.optimization_level)

    def _without_padding(self, graph: Graph) -> Graph:
        """Optimized, with rows that are padding left out."""
        optimized = self._optimized(graph)
        level = self.config.optimization_level
        with self._stage("optimizing", report=False):
            return skip_padding(optimized, self.config.skip_padding, level=level)

    # -- models with a script ----------------------------------------------------------------

    def _scripted(self, builder: Builder, whole: Imported, fingerprint: Fingerprint) -> Engine:
        """The engine of a model with a script: each graph is built as a model of its own."""
        assert whole.script is not None
        refuse_for_scripts(self.config, demanded=self.demand is not None)
        graphs = [self._optimized(graph) for graph in whole.graphs]
        quantizable = heavy(graphs)
        explicit = any(map(is_quantized, graphs))
        if "int8" in self.config.precision and not explicit:
            refuse_shared_cache(self.config, len(quantizable))
        check_layer_names_of(graphs, self.config.layer_precision)
        feeds = self._recorded(whole)
        engines, built = [], []
        for i, graph in enumerate(graphs):
            as_it_is = is_quantized(graph) if explicit else i in quantizable
            config, calibration = part_options(
                self.config, graph, self.calibration, feeds.get(i, ()), as_it_is=as_it_is
            )
            part = BuildSession(self.model, config, calibration)
            part.imported, part.seconds, part.timings = graph, self.seconds, self.timings
            engines.append(part._built(builder, graph, fingerprint, i))
            built.append(part)
        self._summarize(built, quantizable)
        calls = [s for s in whole.script.walk() if isinstance(s, Call)]
        self.host_steps += [s.name for s in calls]
        with self._stage("assembling"):
            return assembled(whole, engines, fingerprint, self.config.threads)

    def _recorded(self, whole: Imported) -> Recorded:
        """What each graph is run on in calibration; nothing without calibration data."""
        if self.calibration is None:
            return {}
        quick = self._builder(TimingCache(), level=1)
        with self._stage("calibrating", report=False):
            return recorded(whole, quick, self.calibration, self.config.threads)

    def _summarize(self, parts: Sequence[BuildSession], quantizable: Sequence[int]) -> None:
        """Take over what the builds of the graphs say; the largest stands for all."""
        main = max(parts, key=lambda p: len(p.final.nodes) if p.final else 0, default=None)
        if main is None:
            return
        self.final, self.quantized = main.final, main.quantized
        self.final_graphs = tuple(g for p in parts for g in p.final_graphs)
        for part in parts:
            self.reasons.update(part.reasons)
            self.host_steps += part.host_steps
            self._unmet += part._unmet
        said = dict.fromkeys(parts[i].precision_summary for i in quantizable)
        self.precision_summary = "; ".join(said) or "fp32"
        with_cache = [p for p in parts if p.config.calibration_cache is not None]
        if self.config.calibration_cache is not None and all(p._cache_unused for p in with_cache):
            whys = dict.fromkeys(p._cache_unused for p in with_cache)
            self._cache_unused = "; ".join(whys) or NOTHING_TO_QUANTIZE

    def tapped(self, names: Sequence[str]) -> Engine:
        """An engine of the built graph whose outputs are its tensors `names`, as they are stored
        (channels last, quantized ones as integers); kernels are chosen as in the build.

        BuildError before `run`; ModelError for a name that is no computed tensor of `final`.
        """
        if self.final is None or self.timings is None:
            raise BuildError("tensors of the built graph can be tapped only after run()")
        tensors = {t.name: t for n in self.final.nodes for t in n.outputs}
        unknown = [n for n in names if n not in tensors]
        if unknown:
            raise ModelError(f"the built graph computes no tensor {', '.join(map(repr, unknown))}")
        graph = replace(
            self.final, outputs=tuple(tensors[n] for n in names), output_names=tuple(names)
        )
        builder = replace(self._builder(self.timings), frozen=False, states=())
        return builder.finish(builder.tune(graph, "tuning taps"), builder.backend.fingerprint)

    @contextmanager
    def _stage(self, name: str, *, report: bool = True) -> Iterator[None]:
        """Measure a stage, less the stages within it; report: also tell `progress` of both ends."""
        tell = self.config.progress if report else None
        if tell:
            tell(name, 0, 1)
        start, outer = perf_counter(), self._inner_seconds
        self._inner_seconds = 0.0
        yield
        spent = perf_counter() - start
        self.seconds[name] = self.seconds.get(name, 0.0) + spent - self._inner_seconds
        self._inner_seconds = outer + spent
        if tell:
            tell(name, 1, 1)

    def _builder(self, cache: TimingCache, level: int | None = None) -> Builder:
        config = self.config
        imported = self.import_model() if self.imported is None else self.imported
        return Builder(
            cpu_backend(config.target),
            cache,
            level=config.optimization_level if level is None else level,
            threads=config.threads,
            workspace_limit=config.workspace_limit,
            frozen=config.frozen_cache and level is None,
            time_budget=config.time_budget,
            memory=config.memory_budget,
            progress=config.progress if level is None else None,
            points=profile_points(imported.inputs, config.profiles),
            states=self.states if level is None else (),
            weights=self.whole.weights if self.whole and level is None else (),
            select=config.select_kernels if level is None else None,
        )
