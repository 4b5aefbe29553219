"""The engines that calibration runs: float ones of graphs that are made of the one to quantize."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

import numpy as np

from camshaft.builder.engine_builder import Builder, Tuned
from camshaft.ir.graph import Graph
from camshaft.quant.calibration.calibrate import Run, Runs
from camshaft.runtime.engine import Engine


def float_runs(
    graph: Graph,
    builder: Builder,
    quick: Builder,
    stage: Callable[..., AbstractContextManager[None]],
) -> Runs:
    """Compiled engines of what is made of `graph`; open extents may have any size.

    builder: tunes `graph` anyway, and layers have the kernels that it chooses, since most of calibration is inference; not where it times
    nothing, or its time is limited.  quick: chooses the others, and times nothing.  stage: measures a part of the build.
    """
    known: list[Tuned] = []

    def runs(made: Graph) -> Run:
        if not known and builder.times and builder.time_budget is None:
            with stage("tuning", report=False):
                known.append(builder.tune(graph, "tuning fp32"))
        tuned = quick.tune(made)
        for other in known:
            tuned = tuned.with_kernels_of(other)
        return into_same_arrays(quick.finish(tuned, quick.backend.fingerprint), builder.threads)

    return runs


def into_same_arrays(engine: Engine, threads: int) -> Run:
    """Calls of an engine that write the same arrays again and again; new ones where extents are open."""
    context = engine.create_context(threads, check_finite=False)
    if engine.symbols:
        return context.run
    outputs = {n: np.empty(t.static, t.dtype.numpy) for n, t in engine.outputs.items()}

    def run(feeds: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        context.run_into(feeds, outputs)
        return outputs

    return run
