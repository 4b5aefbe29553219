"""A shipped model's engine, held against ONNX Runtime at feeds of several shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from camshaft.extras import require_package
from camshaft.runtime.engine import Engine

TOLERANCE = 1e-4
"""Largest difference of a float model's outputs, relative to the output's range."""

MOVES = 5
"""How often inputs of a quantized model are moved."""

Outputs = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Standing:
    """off: the largest difference relative to the output's range; allowed: how large it may be."""

    off: float
    allowed: float


class Peer:
    """ONNX Runtime on the file as it is, with all its optimizations or none of them."""

    def __init__(self, path: Path, *, optimized: bool) -> None:
        ort = require_package("onnxruntime", "onnxruntime")
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
    finite = np.isfinite(w)
    if not np.array_equal(g[~finite], w[~finite], equal_nan=True):
        return float("inf")
    if not finite.any():
        return 0.0
    g, w = g[finite], w[finite]
    error = float(np.abs(g - w).max())
    extent = float(max(w.max(), 0.0) - min(w.min(), 0.0))
    return error / extent if extent else error


def worst(engine: Engine, path: Path, feeds: Sequence[Outputs], *, quantized: bool) -> Standing:
    """How an engine of the file stands beside ONNX Runtime, at the feed where it stands worst.

    A float model is as far off as ONNX Runtime's optimized run is away, and TOLERANCE is allowed.

    In a quantized one a sum that rounds the other way moves a value by a whole quantum, and more where a
    later layer finds its scale from the data.  It is as far off as the nearer of ONNX Runtime's
    optimized and plain runs is away, and allowed is how far ONNX Runtime lies from itself: the
    two runs from each other, or (of layers that find scales, both run the same code) the optimized
    one from itself when the inputs are moved to neighbouring floats, the least of MOVES.
    """
    optimized = Peer(path, optimized=True)
    plain = Peer(path, optimized=False) if quantized else optimized
    found = []
    for f in feeds:
        got, want = engine(f), optimized(f)
        if not quantized:
            found.append(Standing(distance(got, want), TOLERANCE))
            continue
        other = plain(f)
        moved = min(distance(optimized(_moved(f, seed)), want) for seed in range(MOVES))
        off = min(distance(got, want), distance(got, other))
        found.append(Standing(off, max(distance(want, other), moved)))
    return max(found, key=lambda s: s.off / max(s.allowed, 1e-30))


def _moved(feeds: Outputs, seed: int) -> dict[str, np.ndarray]:
    """Each float moved to one of its two neighbours."""
    rng, made = np.random.default_rng(seed), dict(feeds)
    for name, array in feeds.items():
        if array.dtype.kind == "f":
            towards = np.where(rng.random(array.shape) < 0.5, np.inf, -np.inf)
            made[name] = np.nextafter(array, towards.astype(array.dtype))
    return made
