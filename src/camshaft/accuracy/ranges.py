"""Which way to choose ranges suits a network: measured, where the user leaves it open.

A percentile clips little of long tails, which detectors need; least squares cut further where values are many, which serves
classifiers.  Which is better cannot be told from one tensor, so both are tried, and the noise at the outputs decides.
"""

from __future__ import annotations

from collections.abc import Callable

from camshaft.accuracy.noise import decibels
from camshaft.quant.calibration.solvers import Solver, solver_named, solvers_named
from camshaft.quant.implicit import ImplicitQuantization

WAYS = ("percentile", "mse")
"""Tried for images where the calibrator is "auto"; the first is taken unless another is better by `GAIN`."""
GAIN = 0.9
"""Share of the noise that another way must stay below."""


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
