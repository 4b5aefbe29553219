"""Times of calls as text: the lines that other programs read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean, median, pstdev

from camshaft.tensorrt.trtexec.inference import Run, Trace
from camshaft.tensorrt.trtexec.log import Log
from camshaft.tensorrt.trtexec.parsing import Options

_SHOWN = 200
"""Averages that are printed from the begin, and from the end, of a long run."""
_UNSTABLE = 2.5
"""Percent of the mean that the times of calls may deviate from it without a warning."""
_METRICS: dict[str, Callable[[Trace], float]] = {
    "Latency": lambda trace: trace.latency,
    "Enqueue Time": lambda trace: trace.compute,
    "H2D Latency": lambda trace: trace.h2d,
    "GPU Compute Time": lambda trace: trace.compute,
    "D2H Latency": lambda trace: trace.d2h,
}
_EXPLANATIONS = """
=== Explanations of the performance metrics ===
Total Host Walltime: the time from the first call's begin, behind the warm-up, to the last one's end.
GPU Compute Time: how long the engine runs for a call; here on the CPU.
Total GPU Compute Time: the sum of all calls' GPU Compute Time.
Throughput: calls divided by Total Host Walltime.
Enqueue Time: how long the caller is kept, which is GPU Compute Time, since calls are done when they return.
H2D Latency: how long inputs are copied.
D2H Latency: how long outputs are copied.
Latency: the sum of H2D Latency, GPU Compute Time and D2H Latency."""


def report(done: Run, options: Options, log: Log) -> None:
    """Print averages and the summary."""
    traces = done.traces
    wall = traces[-1].end_d2h - traces[0].start_h2d
    log.info(f"Warmup completed {done.warm_ups} queries over {options['warmUp']:g} ms")
    log.info(f"Timing trace has {len(traces)} queries over {wall / 1000:g} s")
    _averages(traces, options["avgRuns"], log)
    log.info()
    log.info("=== Performance summary ===")
    log.info(f"Throughput: {1000 * len(traces) / wall:g} qps")
    for name, metric in _METRICS.items():
        log.info(f"{name}: {_statistics([metric(t) for t in traces], options['percentile'])}")
    computed = [t.compute for t in traces]
    log.info(f"Total Host Walltime: {wall / 1000:g} s")
    log.info(f"Total GPU Compute Time: {sum(computed) / 1000:g} s")
    _warn(traces, options, log)
    log.info("Explanations of the performance metrics are printed in the verbose logs.")
    log.detail(_EXPLANATIONS)
    log.info()


def percentile(ascending: Sequence[float], percentage: float) -> float:
    """The time that this percentage of calls do not exceed, as trtexec counts them."""
    left_out = int((1 - percentage / 100) * len(ascending))
    return ascending[max(len(ascending) - 1 - left_out, 0)]


def _statistics(times: Sequence[float], percentages: Sequence[float]) -> str:
    ascending = sorted(times)
    parts = [
        f"min = {ascending[0]:g} ms",
        f"max = {ascending[-1]:g} ms",
        f"mean = {fmean(times):g} ms",
        f"median = {median(times):g} ms",
        *(f"percentile({p:g}%) = {percentile(ascending, p):g} ms" for p in percentages),
    ]
    return ", ".join(parts)


def _averages(traces: Sequence[Trace], runs: int, log: Log) -> None:
    log.info()
    log.info("=== Trace details ===")
    log.info(f"Trace averages of {runs} runs:")
    starts = range(0, len(traces) - runs + 1, runs)
    for number, start in enumerate(starts):
        if _SHOWN <= number < len(starts) - _SHOWN:
            if number == _SHOWN:
                log.info(f"... Omitting {len(starts) - 2 * _SHOWN} lines")
            continue
        group = traces[start : start + runs]
        compute, latency = fmean(t.compute for t in group), fmean(t.latency for t in group)
        log.info(
            f"Average on {runs} runs - GPU latency: {compute:g} ms - Host latency: {latency:g} ms (enqueue {compute:g} ms)"
        )


def _warn(traces: Sequence[Trace], options: Options, log: Log) -> None:
    computed = [t.compute for t in traces]
    for side, times in (
        ("host-to-device transfers for the inputs", [t.h2d for t in traces]),
        ("device-to-host transfers for the outputs", [t.d2h for t in traces]),
    ):
        if median(times) >= median(computed):
            log.warning(f"* Throughput may be bound by {side} rather than by the engine.")
            log.warning("  Add --noDataTransfers flag to disable data transfers.")
    spread = 100 * pstdev(computed) / fmean(computed)
    if spread > _UNSTABLE:
        log.warning(f"* GPU compute time is unstable, with coefficient of variance = {spread:g}%.")
        log.warning("  Other work on the same cores makes it so; a longer --warmUp may help.")
    if options["infStreams"] > 1:
        log.warning(
            "* Multiple inference streams are used. Latencies may not be accurate since inferences may run in parallel. "
            'Please use "Throughput" as the performance metric instead.'
        )
