"""Per-layer times of an engine, measured in place, and what its manifest says of each step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from time import perf_counter_ns
from typing import Any

import numpy as np

from camshaft.errors import ConfigError
from camshaft.ir.extents.sizes import evaluate, typical
from camshaft.program.program import HostCall, Launch, Note, Program
from camshaft.program.state import StateSpec
from camshaft.program.view import PLACED, View
from camshaft.runtime.context import ExecutionContext
from camshaft.runtime.file.manifest import Manifest


@dataclass(frozen=True)
class LayerTime:
    """One step's measured time.

    index: of the instruction.  median_us, min_us: over all runs, in microseconds, waiting for the other workers included.
    share: of the sum of all steps' medians.  macs, bytes: multiply-accumulates and bytes moved, at the
    sizes measured.  gmacs, gbytes: 10^9 of them a second.
    """

    index: int
    name: str
    op: str
    tactic: str
    precision: str
    median_us: float
    min_us: float
    share: float
    macs: int
    bytes: int
    gmacs: float
    gbytes: float


@dataclass(frozen=True)
class Profile:
    """A layer profile.

    layers: the steps that ran.  total_us: median of whole calls, timed without stamps.  sizes: of the
    engine's symbols in these calls.
    """

    layers: tuple[LayerTime, ...]
    total_us: float
    threads: int
    runs: int
    sizes: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The profile as JSON types."""
        return asdict(self)


def profile_context(
    context: ExecutionContext, manifest: Manifest, inputs: Mapping[str, np.ndarray], runs: int
) -> Profile:
    """Run `inputs` over and over, half of the runs with time stamps between the steps.

    Stamped and plain runs alternate, so that both see the same machine.  States among the inputs, or else empty
    ones, are what every run finds.
    """
    if runs < 1:
        raise ConfigError(f"runs={runs}: profile at least one run")
    states = context.states
    inputs = states.take(inputs)
    found = states.lengths

    def run(outputs: dict[str, np.ndarray]) -> None:
        if found:
            states.truncate(found)
        context.run_into(inputs, outputs)

    outputs = context.run(inputs)
    run(outputs)
    times = np.zeros((runs, len(manifest.notes)), np.int64)
    totals = np.zeros(runs, np.int64)
    for i in range(runs):
        context.set_timing(True)
        try:
            run(outputs)
            times[i] = context.step_times_ns()
        finally:
            context.set_timing(False)
        if found:
            states.truncate(found)
        start = perf_counter_ns()
        context.run_into(inputs, outputs)
        totals[i] = perf_counter_ns() - start
    return _summary(manifest, context.sizes, times, totals, context.threads)


def _summary(
    manifest: Manifest,
    sizes: Mapping[str, int],
    times: np.ndarray,
    totals: np.ndarray,
    threads: int,
) -> Profile:
    """sizes: those of the runs, symbol name -> size.  times: nanoseconds [runs, instructions]."""
    ran = manifest.program.active(sizes)
    medians = np.median(times, axis=0) / 1e3
    least = times.min(axis=0) / 1e3
    whole = float(medians.sum()) or 1.0
    layers = []
    steps = zip(
        manifest.program.instructions, manifest.notes, ran, medians.tolist(), least.tolist(),
        strict=True,
    )  # fmt: skip
    for i, (step, note, has_run, median, best) in enumerate(steps):
        if not has_run:
            continue
        ns = median * 1e3
        macs, nbytes = evaluate(note.macs, sizes), evaluate(note.bytes, sizes)
        layers.append(
            LayerTime(
                index=i,
                name=note.name,
                op=note.op,
                tactic="host" if isinstance(step, HostCall) else note.tactic,
                precision=note.precision,
                median_us=median,
                min_us=best,
                share=median / whole,
                macs=macs,
                bytes=nbytes,
                gmacs=macs / ns if ns else 0.0,
                gbytes=nbytes / ns if ns else 0.0,
            )
        )
    return Profile(tuple(layers), float(np.median(totals)) / 1e3, threads, len(totals), sizes)


def describe(manifest: Manifest) -> dict[str, Any]:
    """Everything the manifest says, as JSON types, for `inspect`: the engine and its steps.

    Work items, bytes and offsets are those at typical sizes.  A step's "where" says at which sizes it
    runs ("": at all), "typical" whether that includes typical sizes.  "time_us", "macs" and "bytes" of one
    for other sizes are those at the sizes "at".
    """
    program = manifest.program
    active = program.active(program.typical)
    return {
        "fingerprint": asdict(manifest.fingerprint),
        "inputs": {b.name: repr(b.type) for b in program.inputs},
        "outputs": {b.name: repr(b.type) for b in program.outputs},
        "states": {s.name: _state(program, s) for s in program.states},
        "symbols": [
            {"name": s.name, "least": s.low, "typical": s.typical, "most": s.high}
            for s in program.symbols
        ],
        "arena_bytes": program.arena.nbytes,
        "arena": _arena(program),
        "lower_bound_bytes": program.arena.lower_bound,
        "expanded_bytes": sum(e.nbytes for e in program.expanded),
        "max_threads": program.max_threads,
        "steps": [
            {**_described(program, i, note), "typical": active[i]}
            for i, note in enumerate(manifest.notes)
        ],
    }


def _state(program: Program, state: StateSpec) -> dict[str, Any]:
    """What contexts keep in place of an input; bytes at full capacity and otherwise typical sizes."""
    return {
        "output": state.output,
        "type": repr(state.type),
        "axis": state.axis,
        "capacity": None if state.axis is None else state.capacity,
        "in_place": state.in_place,
        "bytes": typical(state.nbytes),
    }


def _arena(program: Program) -> dict[str, int | None]:
    """Bytes of the arena at least, typical and most sizes; None where those have no bound."""
    symbols = program.symbols
    most = {s.name: s.high for s in symbols if s.high is not None}
    return {
        "least": program.arena_bytes({s.name: s.low for s in symbols}),
        "typical": program.arena.nbytes,
        "most": program.arena_bytes(most) if len(most) == len(symbols) else None,
    }


def _described(program: Program, index: int, note: Note) -> dict[str, Any]:
    step = program.instructions[index]
    sizes = {**program.typical, **dict(note.at)}
    items, where = [], ""
    if isinstance(step, Launch):
        where = "" if step.when is None else str(step.when)
        items = [typical(phase.items) for phase in program.kernels[step.kernel].phases]
    return {
        "index": index,
        "name": note.name,
        "op": note.op,
        "kind": "host" if isinstance(step, HostCall) else "kernel",
        "origin": list(note.origin),
        "tactic": note.tactic,
        "params": dict(note.params),
        "precision": note.precision,
        "reason": note.reason,
        "apart": note.apart,
        "where": where,
        "time_us": note.time_us,
        "macs": evaluate(note.macs, sizes),
        "bytes": evaluate(note.bytes, sizes),
        "at": dict(note.at),
        "waits": isinstance(step, HostCall) or step.waits,
        "items": items,
        "operands": [_operand(program, view) for view in step.views if view is not None],
    }


def _operand(program: Program, view: View) -> dict[str, Any]:
    """Where an operand lies: bytes from the start of the arena, or of its own memory."""
    first = typical(view.first_byte)
    if view.buffer.space in PLACED:
        first += program.offsets[view.buffer]
    return {
        "space": view.buffer.space,
        "name": view.buffer.name,
        "type": repr(view.type),
        "offset": first,
        "bytes": typical(view.nbytes),
    }
