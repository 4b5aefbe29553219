"""Which way to choose ranges suits a network: measured, where the user leaves it open.

A percentile clips little of long tails, which detectors need; least squares cut further where values are many, which serves
classifiers.  Which is better cannot be told from one tensor, so both are tried, and the noise at the outputs decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from camshaft.accuracy.noise import decibels
from camshaft.quant.calibration.solvers import Solver, solver_named, solvers_named
from camshaft.quant.implicit import ImplicitQuantization

WAYS = ("percentile", "mse")
"""Tried for images where the calibrator is "auto"; the first is taken unless another is better by `GAIN`."""
BINS = 80
"""Of a histogram that is shown."""
GAIN = 0.9
"""Share of the noise that another way must stay below."""


@dataclass(frozen=True)
class Distribution:
    """The values of a tensor in calibration data, and the range chosen for it: counts between edges."""

    tensor: str
    counts: tuple[float, ...]
    edges: tuple[float, ...]
    low: float
    high: float


def best_ranges(
    quantization: ImplicitQuantization, noise: Callable[[], float], percentile: float
) -> str:
    """Leave the ranges of `WAYS` that have the least noise; what was tried, in words.

    quantization: calibrated by the first way.  noise: of all layers in INT8, noise over signal.
    """
    rows: Solver = solvers_named("auto", percentile)[1]
    found = {WAYS[0]: noise()}
    for way in WAYS[1:]:
        quantization.solve(solver_named(way, percentile), rows)
        found[way] = noise()
    best = min(found, key=lambda way: found[way] * (GAIN if way == WAYS[0] else 1))
    if best != WAYS[-1]:
        quantization.solve(solver_named(best, percentile), rows)
    figures = ", ".join(f"{way} {decibels(value):.1f} dB" for way, value in found.items())
    return f"ranges by {best} ({figures})"


def distributions(quantization: ImplicitQuantization) -> tuple[Distribution, ...]:
    """What calibration saw of tensors that are quantized, and the ranges chosen."""
    plan = quantization.plan()
    found = []
    for group, sources in plan.sources.items():
        low, high = quantization.interval(group)
        for name in sources:
            seen = quantization.observed(name)
            if seen is not None and seen.count:
                counts, edges = seen.coarse(BINS)
                found.append(
                    Distribution(name, tuple(counts.tolist()), tuple(edges.tolist()), low, high)
                )
    return tuple(found)
