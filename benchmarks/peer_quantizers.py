"""Quantizers of other tools, each at several of its settings, so that its best can be taken.

Where the processor has no VNNI, products of u8 and s8 are added in pairs of 16 bits, which saturate; both tools have a
setting that leaves weights one bit less (ONNX Runtime's reduce_range, NNCF's overflow_fix), as their documentation
recommends there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from benchmarks import quantized
from camshaft.machine.description import describe

Feeds = Mapping[str, np.ndarray]
Run = Callable[[Feeds], list[np.ndarray]]
"""Inputs of a model by name; its outputs in order."""
Score = Callable[[Run], float]
"""What a run is worth, larger is better."""
Make = Callable[[Path, Sequence[Feeds], int, Path], Run]
"""A float model, calibration data, threads and a folder for files -> how it runs quantized."""


def saturates() -> bool:
    """Whether pairs of u8 x s8 products are added in 16 bits here."""
    features = describe()["features"]
    assert isinstance(features, list)
    return not {"avx512vnni", "amx-int8", "dotprod"} & set(features)


def onnxruntime_of(path: Path, threads: int) -> Run:
    """A model in ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda feeds: [np.asarray(a) for a in session.run(None, dict(feeds))]


def openvino_of(network: Any, threads: int) -> Run:
    """A model in OpenVINO: a path, or what NNCF made."""
    import openvino

    compiled = openvino.Core().compile_model(
        str(network) if isinstance(network, Path) else network,
        "CPU",
        {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "ENABLE_CPU_PINNING": False,
        },
    )
    return lambda feeds: [np.array(a) for a in compiled(dict(feeds)).values()]


def _static(method: str) -> Make:
    def make(path: Path, batches: Sequence[Feeds], threads: int, folder: Path) -> Run:
        made = folder / f"{path.stem}.{method}.onnx"
        variant = quantized.Variant(method=method, reduce_range=saturates())
        quantized.quantize(path, made, variant, batches)
        return onnxruntime_of(made, threads)

    return make


def _nncf(**options: Any) -> Make:
    def make(path: Path, batches: Sequence[Feeds], threads: int, folder: Path) -> Run:
        from benchmarks import quantized_nncf

        model = quantized_nncf.quantized(path, batches, saturates=saturates(), **options)
        return openvino_of(model, threads)

    return make


def accuracy_controlled(score: Score, max_drop: float) -> Make:
    """NNCF's search for layers to keep float, until at most `max_drop` of a score is lost."""

    def make(path: Path, batches: Sequence[Feeds], threads: int, folder: Path) -> Run:
        from benchmarks import quantized_nncf

        def of_model(compiled: Any) -> float:
            return score(lambda feeds: [np.array(a) for a in compiled(dict(feeds)).values()])

        model = quantized_nncf.controlled(path, batches, of_model, max_drop, saturates=saturates())
        return openvino_of(model, threads)

    return make


SETTINGS: Mapping[str, Mapping[str, Make]] = {
    "onnxruntime": {m: _static(m) for m in ("minmax", "entropy", "percentile")},
    "nncf": {
        "performance": _nncf(),
        "mixed, accurate bias": _nncf(mixed=True, fast_bias_correction=False),
    },
}
"""Tool -> setting -> how it quantizes.  Those of ONNX Runtime: Q/DQ, u8 activations, s8 weights by channel."""
FLOAT: Mapping[str, Callable[[Path, int], Run]] = {
    "onnxruntime": onnxruntime_of,
    "openvino": openvino_of,
}
