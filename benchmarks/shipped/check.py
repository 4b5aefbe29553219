"""A shipped model's engine, held against ONNX Runtime at three shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from camshaft.bench.peers import peer_module
from camshaft.runtime.engine import Engine

TOLERANCE = 1e-4
"""Largest difference of a float model's outputs, relative to the output's range."""

Outputs = Mapping[str, np.ndarray]


class Peer:
    """ONNX Runtime on the file as it is, with all its optimizations or none of them."""

    def __init__(self, path: Path, *, optimized: bool) -> None:
        ort = peer_module("onnxruntime", "onnxruntime")
        options = ort.SessionOptions()
        options.log_severity_level = 4
        if not optimized:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def __call__(self, feeds: Outputs) -> dict[str, np.ndarray]:
        names = [o.name for o in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, dict(feeds)), strict=True))


def distance(got: Outputs, want: Outputs) -> float:
    """The largest difference of any output, relative to its range, zero included.

    Infinite where shapes or types differ, or where one is finite and the other is not.
    """
    return max(_distance(got[name], array) for name, array in want.items())


def _distance(got: np.ndarray, want: np.ndarray) -> float:
    if got.shape != want.shape or got.dtype != want.dtype:
        return float("inf")
    if not want.size:
        return 0.0
    g, w = got.astype(np.float64), want.astype(np.float64)
    if not np.array_equal(np.isfinite(g), np.isfinite(w)):
        return float("inf")
    error = float(np.nanmax(np.abs(np.where(g == w, 0.0, g - w))))
    extent = float(max(w.max(), 0.0) - min(w.min(), 0.0))
    return error / extent if extent else error


def distances(engine: Engine, peer: Peer, feeds: Sequence[Outputs]) -> list[float]:
    """How far the engine lies from the peer at each feed."""
    return [distance(engine(f), peer(f)) for f in feeds]
