"""Largest magnitudes of activations in calibration data: what may be stored as FP16."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from camshaft.ir.graph import Graph
from camshaft.ir.types import f32
from camshaft.ops import CONV, MATMUL
from camshaft.quant.calibration.calibrate import Observers, Runs, observe
from camshaft.quant.calibration.observers import HistogramKernel, Observer, numpy_histogram


def largest_of(observers: Mapping[str, Observer]) -> dict[str, float]:
    """Tensor -> largest magnitude seen of it."""
    return {n: max(-seen.minimum, seen.maximum) for n, seen in observers.items() if seen.count}


def largest_activations(
    graph: Graph,
    batches: Iterable[Mapping[str, np.ndarray]],
    run: Runs,
    progress: Callable[[int], None] | None = None,
    histogram: HistogramKernel = numpy_histogram,
) -> dict[str, float]:
    """Largest magnitude of what layers multiply their weights by, in all batches.

    run: computes the graph with tallies.  CalibrationError where a batch does not fit.
    """
    inputs = [n.args[0] for n in graph.nodes if n.op in (CONV, MATMUL) and n.args[1].is_const]
    names = [t.name for t in inputs if t.type.dtype == f32 and not t.is_const]
    watched = Observers.of(dict.fromkeys(names), ())
    observe(graph, batches, watched, run, progress, histogram)
    return largest_of(watched.observers)
