"""Builds of models that decide while they run: what of the options is about which graph, calibration, and
the engine of all graphs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from camshaft.builder.engine_builder import Builder
from camshaft.builder.scripts import script_engine
from camshaft.config import BuildConfig
from camshaft.errors import BindingError, CalibrationError, ConfigError, ModelError
from camshaft.frontends.onnx import Imported
from camshaft.frontends.onnx.scripts.calls import REFUSED
from camshaft.ir.graph import Graph
from camshaft.ir.script import Call, Script
from camshaft.passes.pipeline import optimize
from camshaft.passes.qdq.lowering import is_quantized, lower_quantization
from camshaft.runtime.engine import Engine
from camshaft.runtime.file.manifest import Fingerprint
from camshaft.runtime.script.engine import ScriptEngine

MOST_RECORDED = 512
"""Calls of one graph of a script that calibration looks at."""
QUANTIZED = ("conv", "matmul")
"""Ops that INT8 is about."""

Batches = Iterable[Mapping[str, np.ndarray]] | None
Recorded = dict[int, list[dict[str, np.ndarray]]]
"""Number of a graph -> inputs that it was run on."""


def heavy(graphs: Sequence[Graph]) -> list[int]:
    """Numbers of the graphs with layers to quantize."""
    return [i for i, g in enumerate(graphs) if any(n.op.name in QUANTIZED for n in g.nodes)]


def assembled(
    whole: Imported, parts: Sequence[Engine], fingerprint: Fingerprint, threads: int
) -> ScriptEngine:
    """The engine of a model with a script, of the engines of its graphs."""
    assert whole.script is not None
    return script_engine(
        whole.script,
        whole.face,
        whole.inputs,
        whole.outputs,
        whole.constants,
        parts,
        fingerprint,
        threads,
    )


def refusals(script: Script | None) -> list[str]:
    """What of a script can only fail, a sentence each."""
    steps = () if script is None else script.walk()
    return [
        f"node {s.name!r} ({s.op}) {s.reason}"
        for s in steps
        if isinstance(s, Call) and s.executor == REFUSED
    ]


def part_options(
    config: BuildConfig,
    graph: Graph,
    calibration: Batches,
    feeds: Sequence[Mapping[str, np.ndarray]],
    *,
    as_it_is: bool,
) -> tuple[BuildConfig, Batches]:
    """What of `config` and of the calibration data is about one graph of a script.

    calibration: of the whole model; None for none.  feeds: what the graph was run on meanwhile.
    as_it_is: whether the options on precision are about it though they name none of its layers.
    CalibrationError if a layer must be INT8 that no batch ran.
    """
    names = {o for n in graph.nodes for o in n.origin}
    layers = {n: p for n, p in config.layer_precision.items() if n in names}
    ranges = {n: r for n, r in config.dynamic_ranges.items() if n in graph.tensors}
    config = replace(config, layer_precision=layers, dynamic_ranges=ranges)
    unseen = calibration is not None and not feeds
    demanded = [n for n, p in layers.items() if p == "int8"]
    if unseen and config.precision_constraints == "fastest":
        layers = {n: p for n, p in layers.items() if p != "int8"}
        config = replace(config, layer_precision=layers)
    elif unseen and demanded:
        raise CalibrationError(
            f"layer_precision asks for int8 of {', '.join(map(repr, demanded))}, which no calibration "
            "batch ran; add batches whose values lead there"
        )
    if not as_it_is and all(p == "fp32" for p in layers.values()):
        config = replace(config, precision=frozenset(), layer_precision={})
    elif unseen:
        config = replace(config, precision=config.precision - {"int8"})
    elif calibration is not None:
        return config, feeds
    else:
        return config, None
    return replace(config, dynamic_ranges={}, calibration_cache=None), None


def recorded(
    whole: Imported, quick: Builder, batches: Iterable[Mapping[str, np.ndarray]], threads: int
) -> Recorded:
    """What each graph is run on while calibration batches go through the model, in float.

    CalibrationError names a batch that cannot be run.
    """
    fingerprint = quick.backend.fingerprint
    engines = [
        quick.finish(quick.tune(_lowered(optimize(g, level=1))), fingerprint) for g in whole.graphs
    ]
    engine = assembled(whole, engines, fingerprint, threads)
    found: Recorded = {}
    with engine.create_context(threads) as context:
        context.observer = lambda i, feeds: (
            found.setdefault(i, []).append({n: a.copy() for n, a in feeds.items()})
            if len(found.get(i, ())) < MOST_RECORDED
            else None
        )
        for number, batch in enumerate(batches):
            try:
                context.run(batch)
            except (BindingError, ModelError) as error:
                raise CalibrationError(f"calibration batch {number}: {error}") from error
    return found


def _lowered(graph: Graph) -> Graph:
    return lower_quantization(graph, integer=False, level=1) if is_quantized(graph) else graph


def refuse_for_scripts(config: BuildConfig, *, demanded: bool) -> None:
    """ConfigError for what takes a model that is one graph.  demanded: whether accuracy is."""
    if demanded:
        raise ConfigError(
            "quantize needs a model that is one graph, and this one is several (a branch, a loop, or a shape that hangs "
            "on data); say what decides it (values=, shapes=), or use build"
        )
    if config.skip_padding:
        raise ConfigError(
            "skip_padding is True, but the model is several graphs (a branch, a loop, or a shape that hangs on "
            "data), in which padding is not skipped: leave it out"
        )
    if config.layer_output_type:
        raise ConfigError(
            f"layer_output_type names {min(config.layer_output_type)!r}, but the model is several graphs (a branch, a "
            "loop, or a shape that hangs on data): leave it out, or say what decides it (values=, shapes=)"
        )


def refuse_shared_cache(config: BuildConfig, heavy: int) -> None:
    """ConfigError if ranges of several graphs would go to one file."""
    if config.calibration_cache is not None and heavy > 1:
        raise ConfigError(
            f"calibration_cache holds the ranges of one graph, and this model, which decides while it "
            f"runs, has {heavy} with layers to quantize; leave it out"
        )
