"""The calls that are timed."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from camshaft.tensorrt.enums.runtime import ExecutionContextAllocationStrategy
from camshaft.tensorrt.memory import STREAMS, Stream
from camshaft.tensorrt.running.context import IExecutionContext
from camshaft.tensorrt.running.engine import ICudaEngine
from camshaft.tensorrt.trtexec.bindings import Tensors, inputs_for, visible_ends
from camshaft.tensorrt.trtexec.building import Failed
from camshaft.tensorrt.trtexec.flags.values import MIB, every
from camshaft.tensorrt.trtexec.log import Log
from camshaft.tensorrt.trtexec.parsing import Options
from camshaft.tensorrt.trtexec.reports.profiler import LayerTimes
from camshaft.tensorrt.trtexec.shapes import said

_STRATEGIES = {"static": "STATIC", "profile": "ON_PROFILE_CHANGE", "runtime": "USER_MANAGED"}
_MS = 1e-6
"""Milliseconds in a nanosecond."""


@dataclass(frozen=True)
class Trace:
    """When one call did what, in milliseconds since the run began."""

    start_h2d: float
    end_h2d: float
    start_compute: float
    end_compute: float
    start_d2h: float
    end_d2h: float

    @property
    def h2d(self) -> float:
        """How long inputs were copied."""
        return self.end_h2d - self.start_h2d

    @property
    def compute(self) -> float:
        """How long the engine ran."""
        return self.end_compute - self.start_compute

    @property
    def d2h(self) -> float:
        """How long outputs were copied."""
        return self.end_d2h - self.start_d2h

    @property
    def latency(self) -> float:
        """All three together."""
        return self.h2d + self.compute + self.d2h


class Runner:
    """A context with its tensors and its stream."""

    def __init__(self, context: IExecutionContext, tensors: Tensors, *, transfers: bool) -> None:
        self.context, self.tensors = context, tensors
        self.layer_times: LayerTimes | None = None
        self._transfers = transfers
        self._stream = STREAMS.add(Stream())

    def profile(self) -> LayerTimes:
        """Time layers from now on."""
        self.layer_times = LayerTimes()
        self.context.profiler = self.layer_times
        return self.layer_times

    def call(self, zero: int) -> Trace:
        """Run once.  zero: when the run began, in nanoseconds.  Failed if the engine does not run; the log says why."""
        now = time.perf_counter_ns
        if self.layer_times is not None:
            self.layer_times.begin()
        begin = now()
        if self._transfers:
            self.tensors.send()
            sent = now()
        else:
            sent = begin
        done = self.context.execute_async_v3(self._stream)
        computed = now()
        if not done:
            raise Failed("Error occurred during inference")
        if self._transfers:
            self.tensors.fetch()
            fetched = now()
        else:
            fetched = computed
        return Trace(*((t - zero) * _MS for t in (begin, sent, sent, computed, computed, fetched)))


def runners_for(
    engine: ICudaEngine, options: Options, log: Log, *, transfers: bool
) -> list[Runner]:
    """A runner for each of --infStreams.  Failed, ValueError, OSError."""
    arrays = inputs_for(engine, options, log)
    strategy = every(
        ExecutionContextAllocationStrategy, _STRATEGIES[options["allocationStrategy"] or "static"]
    )
    found = []
    for _ in range(options["infStreams"]):
        context = engine.create_execution_context(strategy)
        if context is None:
            raise Failed("Inference set up failed")
        if not context.set_optimization_profile_async(options["useProfile"], 0):
            raise Failed("Inference set up failed")
        found.append(Runner(context, Tensors(context, arrays), transfers=transfers))
    size = engine._memory / MIB
    log.info(f"Created {len(found)} execution context(s), each with device memory of {size:g} MiB")
    for end in visible_ends(engine):
        if not end.is_input:
            shape = said(tuple(found[0].context.get_tensor_shape(end.name)))
            log.info(f"Output binding for {end.name} with dimensions {shape} is created.")
    return found


class Run(NamedTuple):
    """traces: of calls in the order in which they began, one at least.  warm_ups: how many calls came before them."""

    traces: list[Trace]
    warm_ups: int


def run(runners: Sequence[Runner], options: Options) -> Run:
    """Call until there are enough calls.  Failed as for `Runner.call`."""
    time.sleep(options["sleepTime"] / 1000)
    groups = [[r] for r in runners] if options["threads"] else [[*runners]]
    traces: list[Trace] = []
    faults: list[BaseException] = []
    stop = threading.Event()
    zero = time.perf_counter_ns()

    def work(group: Sequence[Runner]) -> None:
        try:
            traces.extend(_loop(group, options, zero, stop))
        except BaseException as error:  # noqa: BLE001 - raised below, in the thread that waits
            faults.append(error)
            stop.set()

    threads = [threading.Thread(target=work, args=(group,)) for group in groups[1:]]
    for thread in threads:
        thread.start()
    work(groups[0])
    for thread in threads:
        thread.join()
    for fault in faults:
        raise fault
    for runner in runners:
        runner.tensors.fetch()
    counted = [t for t in traces if t.start_compute >= options["warmUp"]]
    return Run(sorted(counted, key=lambda t: t.start_h2d), len(traces) - len(counted))


def _loop(
    runners: Sequence[Runner], options: Options, zero: int, stop: threading.Event
) -> list[Trace]:
    warm_up, idle = options["warmUp"], options["idleTime"] / 1000
    seconds = options["duration"]
    end = float("inf") if seconds < 0 else warm_up + 1000 * seconds
    least = max(options["iterations"], 1)
    traces: list[Trace] = []
    rounds, elapsed = 0, 0.0
    while (rounds < least or elapsed < end) and not stop.is_set():
        called = [runner.call(zero) for runner in runners]
        if seconds >= 0:  # A run without an end is never reported.
            traces += called
        elapsed = called[-1].end_d2h
        if called[0].start_compute >= warm_up:
            rounds += 1
            if idle:
                time.sleep(idle)
    return traces
