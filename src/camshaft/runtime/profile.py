"""Per-layer times of an engine, measured in place, and what the plan says about each step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from time import perf_counter_ns
from typing import Any

import numpy as np

from camshaft.errors import ConfigError
from camshaft.runtime.context import ExecutionContext
from camshaft.runtime.plan import Plan, Ref


@dataclass(frozen=True)
class LayerTime:
    """One step's measured time.

    median_us, min_us: over all runs, in microseconds, waiting for the other workers included.
    share: of the sum of all steps' medians.  gmacs: 10^9 multiply-accumulates a second.
    gbytes: 10^9 bytes moved a second.
    """

    name: str
    op: str
    tactic: str
    precision: str
    median_us: float
    min_us: float
    share: float
    gmacs: float
    gbytes: float


@dataclass(frozen=True)
class Profile:
    """A layer profile.  total_us: median of whole calls, timed without stamps."""

    layers: tuple[LayerTime, ...]
    total_us: float
    threads: int
    runs: int

    def to_json(self) -> dict[str, Any]:
        """The profile as JSON types."""
        return asdict(self)


def profile_context(
    context: ExecutionContext, plan: Plan, inputs: Mapping[str, np.ndarray], runs: int
) -> Profile:
    """Run `inputs` over and over, half of the runs with time stamps between the steps.

    Stamped and plain runs alternate, so that both see the same machine.
    """
    if runs < 1:
        raise ConfigError(f"runs={runs}: profile at least one run")
    outputs = context.run(inputs)
    context.run_into(inputs, outputs)
    times = np.zeros((runs, len(plan.steps)), np.int64)
    totals = np.zeros(runs, np.int64)
    for i in range(runs):
        context.set_timing(True)
        try:
            context.run_into(inputs, outputs)
            times[i] = context.step_times_ns()
        finally:
            context.set_timing(False)
        start = perf_counter_ns()
        context.run_into(inputs, outputs)
        totals[i] = perf_counter_ns() - start
    return _summary(plan, times, totals, context.threads)


def _summary(plan: Plan, times: np.ndarray, totals: np.ndarray, threads: int) -> Profile:
    medians = np.median(times, axis=0) / 1e3
    least = times.min(axis=0) / 1e3
    whole = float(medians.sum()) or 1.0
    layers = []
    for step, median, best in zip(plan.steps, medians.tolist(), least.tolist(), strict=True):
        ns = median * 1e3
        layers.append(
            LayerTime(
                name=step.name,
                op=step.op,
                tactic="host" if step.host is not None else step.tactic,
                precision=step.precision,
                median_us=median,
                min_us=best,
                share=median / whole,
                gmacs=step.macs / ns if ns else 0.0,
                gbytes=step.bytes / ns if ns else 0.0,
            )
        )
    return Profile(tuple(layers), float(np.median(totals)) / 1e3, threads, len(totals))


def describe(plan: Plan) -> dict[str, Any]:
    """Everything the plan says, as JSON types, for `inspect`: the engine and each of its steps."""
    return {
        "fingerprint": asdict(plan.fingerprint),
        "inputs": {b.name: repr(b.type) for b in plan.inputs},
        "outputs": {b.name: repr(b.type) for b in plan.outputs},
        "arena_bytes": plan.arena_bytes,
        "lower_bound_bytes": plan.lower_bound_bytes,
        "expanded_bytes": sum(e.nbytes for e in plan.expanded),
        "max_threads": plan.max_threads,
        "steps": [_described(plan, i) for i in range(len(plan.steps))],
    }


def _described(plan: Plan, index: int) -> dict[str, Any]:
    step = plan.steps[index]
    refs: list[Ref] = list(step.args)
    phases = [] if step.host is not None else list(plan.kernels[step.kernel].phases)
    if step.host is not None:
        refs = [v.ref for v in (*step.host.inputs, *step.host.outputs) if v is not None]
    return {
        "index": index,
        "name": step.name,
        "op": step.op,
        "kind": "kernel" if step.host is None else "host",
        "origin": list(step.origin),
        "tactic": step.tactic,
        "params": dict(step.params),
        "precision": step.precision,
        "reason": step.reason,
        "time_us": step.time_us,
        "macs": step.macs,
        "bytes": step.bytes,
        "waits": step.waits,
        "items": [phase.items for phase in phases],
        "operands": [
            {"space": r.space, "name": r.name, "offset": r.offset, "bytes": r.nbytes} for r in refs
        ],
    }
