"""A shipped model's engine, held against ONNX Runtime at feeds of several shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from camshaft.extras import require_package

TOLERANCE = 1e-4
"""Largest difference of a float model's outputs, relative to the output's range."""

MOVES = 5
"""How often inputs of a quantized model are moved."""

MOVED_FILES = 16
"""How often float constants of a quantized model are moved."""

LAST_BIT = float(np.finfo(np.float32).eps)
"""What an output's own rounding is, at most, relative to its range."""

SIZES = 8
"""Constants of so few numbers may be sizes or factors of sizes: they stay as they are, scales apart."""

QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")
"""Operators whose second input is a scale."""

Outputs = Mapping[str, np.ndarray]

Runs = Callable[[Outputs], Outputs]
"""An engine, called."""


@dataclass(frozen=True)
class Standing:
    """off: the largest difference relative to the output's range; allowed: how large it may be."""

    off: float
    allowed: float


class Peer:
    """ONNX Runtime on a file, by path or bytes, with all its optimizations or none of them."""

    def __init__(self, model: Path | bytes, *, optimized: bool) -> None:
        ort = require_package("onnxruntime", "onnxruntime")
        options = ort.SessionOptions()
        options.log_severity_level = 4
        if not optimized:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        file = model if isinstance(model, bytes) else str(model)
        self._session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])

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


def worst(engine: Runs, path: Path, feeds: Sequence[Outputs], *, quantized: bool) -> Standing:
    """How an engine of the file stands beside ONNX Runtime, at the feed where it stands worst.

    A float model is as far off as ONNX Runtime's optimized run is away, and TOLERANCE is allowed.

    In a quantized one a sum that rounds the other way moves a value by a whole quantum, and more where a
    later layer finds its scale from the data.  It is as far off as the nearer of ONNX Runtime's
    optimized and plain runs is away, and allowed is how far ONNX Runtime lies from itself: the
    two runs from each other; the optimized one from itself when the inputs are moved to neighbouring
    floats, the least of MOVES (of layers that find scales, both run the same code); when the
    file's float constants are moved so, the most of MOVED_FILES (inputs that are quantized at once lose
    what they are moved by, and both runs may round alike); and LAST_BIT.
    """
    optimized = Peer(path, optimized=True)
    if not quantized:
        found = [Standing(distance(engine(f), optimized(f)), TOLERANCE) for f in feeds]
    else:
        plain = Peer(path, optimized=False)
        moved = [Peer(moved_file(path, seed), optimized=True) for seed in range(MOVED_FILES)]
        found = [_quantized(engine, optimized, plain, moved, f) for f in feeds]
    return max(found, key=lambda s: s.off / s.allowed)


def _quantized(
    engine: Runs, optimized: Peer, plain: Peer, moved: Sequence[Peer], feeds: Outputs
) -> Standing:
    """How the engine of a quantized model stands at one feed."""
    got, want, other = engine(feeds), optimized(feeds), plain(feeds)
    inputs = min(distance(optimized(_moved(feeds, seed)), want) for seed in range(MOVES))
    constants = max(distance(peer(feeds), want) for peer in moved)
    off = min(distance(got, want), distance(got, other))
    allowed = max(distance(want, other), inputs, constants, LAST_BIT)
    if not np.isfinite(allowed):
        raise ValueError(
            "ONNX Runtime's outputs have another shape, or are finite elsewhere, when inputs or "
            f"constants are moved by their last bit: {allowed} would be allowed; raise SIZES"
        )
    return Standing(off, allowed)


def _moved(feeds: Outputs, seed: int) -> dict[str, np.ndarray]:
    """Each float moved to one of its two neighbours."""
    rng, made = np.random.default_rng(seed), dict(feeds)
    for name, array in feeds.items():
        if array.dtype.kind == "f":
            made[name] = _neighbours(array, rng)
    return made


def moved_file(path: Path, seed: int) -> bytes:
    """The file with each float of its initializers moved, but zeros and what may be sizes."""
    rng, model = np.random.default_rng(seed), onnx.load(str(path))
    scales = {n.input[1] for n in model.graph.node if n.op_type in QUANTIZERS}
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32 and (array.size > SIZES or tensor.name in scales):
            kept = (array == 0) | ~np.isfinite(array)
            moved = np.where(kept, array, _neighbours(array, rng))
            tensor.CopyFrom(numpy_helper.from_array(moved, tensor.name))
    return bytes(model.SerializeToString())


def _neighbours(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each number's neighbour above or below, as drawn."""
    towards = np.where(rng.random(array.shape) < 0.5, np.inf, -np.inf)
    return np.asarray(np.nextafter(array, towards.astype(array.dtype)))
