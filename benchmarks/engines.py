"""What is timed for one model: camshaft and its peers, by precision.

A precision's peers are what a user may choose who permits it: those of FP32 included where the model is a
transformer.  The reference that outputs are checked against is ONNX Runtime in FP32 on the float model.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks import zoo
from benchmarks.job import Job
from benchmarks.transformers import peers
from benchmarks.zoo_model import ZooModel
from camshaft.bench.runners import OnnxRuntimeRunner, Runner

Make = Callable[[Job], Runner]

FP32: dict[str, Make] = {
    "camshaft": lambda job: job.camshaft("camshaft"),
    "onnxruntime": lambda job: job.onnxruntime("onnxruntime"),
    "openvino": lambda job: job.openvino("openvino"),
    "pytorch": lambda job: job.torch("pytorch"),
}
INT8: dict[str, Make] = {
    "camshaft": lambda job: job.camshaft(
        "camshaft", precision={"int8"}, calibration=job.calibration()
    ),
    "camshaft-qdq": lambda job: job.camshaft("camshaft-qdq", ".qdq", precision={"int8"}),
    "onnxruntime-qdq": lambda job: job.onnxruntime("onnxruntime-qdq", ".qdq"),
    "openvino-qdq": lambda job: job.openvino("openvino-qdq", job.path(".qdq")),
    "openvino-nncf": lambda job: job.openvino("openvino-nncf", zoo.nncf_path_of(job.model.name)),
    "pytorch-fp32": lambda job: job.torch("pytorch-fp32"),
}
UNCALIBRATED: dict[str, Make] = {
    "camshaft": lambda job: job.camshaft("camshaft", precision={"int8"}),
}
ENGINES: dict[str, dict[str, Make]] = {
    "fp32": FP32 | peers.FP32 | peers.ATTENTION_FP32,
    "bf16": peers.BF16 | peers.ATTENTION_BF16 | peers.FP32_BESIDE,
    "int8": INT8 | peers.INT8_AT_RUN_TIME | peers.FP32_BESIDE,
    "int8-dynamic": UNCALIBRATED | peers.INT8_AT_RUN_TIME | peers.FP32_BESIDE,
    "int4": peers.INT4,
}
"""Precision -> engine name -> how to make its runner."""

_BF16_BESIDE = (*peers.BF16, *peers.FP32_BESIDE)
_UNCALIBRATED = (*UNCALIBRATED, *peers.INT8_AT_RUN_TIME, *peers.FP32_BESIDE)
_QUANTIZED = ("onnxruntime-qdq", "openvino-qdq", "openvino-nncf")

LISTS: dict[str, dict[str, tuple[str, ...]]] = {
    "convolutional": {
        "fp32": tuple(FP32),
        "bf16": _BF16_BESIDE,
        "int8": ("camshaft", "camshaft-qdq", *_QUANTIZED, "pytorch-fp32"),
    },
    "transformer": {
        "fp32": (*FP32, *peers.FP32),
        "bf16": _BF16_BESIDE,
        "int8": ("camshaft", *_QUANTIZED, *_UNCALIBRATED[1:]),
        "int8-dynamic": _UNCALIBRATED,
    },
    "attention": {
        "fp32": (*FP32, *peers.FP32, *peers.ATTENTION_FP32),
        "bf16": (*peers.BF16, *peers.ATTENTION_BF16, *peers.FP32_BESIDE),
    },
    "decoder": {
        "fp32": (*FP32, *peers.FP32),
        "bf16": _BF16_BESIDE,
        "int8-dynamic": _UNCALIBRATED,
        "int4": tuple(peers.INT4),
    },
}
"""Kind of model -> precision -> the engines that are measured."""


def engines_for(model: ZooModel, precision: str) -> list[str]:
    """The engines of a precision that there are for a model; none where the precision is not measured."""
    names = LISTS[model.kind].get(precision, ())
    if model.module is None:
        names = tuple(n for n in names if not n.startswith("pytorch"))
    if model.transformer is None:
        names = tuple(n for n in names if "-fused" not in n)
    return list(names)


def reference(job: Job) -> list[np.ndarray]:
    """The model's outputs in ONNX Runtime, FP32."""
    runner = OnnxRuntimeRunner(job.path(), job.feeds, job.threads)
    runner.run()
    return runner.outputs()


def deviation(outputs: list[np.ndarray], wanted: list[np.ndarray]) -> dict[str, float]:
    """Worst output's largest error over its largest value ("max"), and root mean squares ("rms").

    ValueError if the outputs differ in number or shape, or hold anything not finite.
    """
    worst = {"max": 0.0, "rms": 0.0}
    for i, (got, want) in enumerate(zip(outputs, wanted, strict=True)):
        if got.shape != want.shape:
            raise ValueError(f"output {i} has shape {got.shape} where {want.shape} was expected")
        if not np.isfinite(got).all():
            raise ValueError(f"output {i} holds NaN or infinity")
        error = np.abs(got.astype(np.float64) - want)
        scale = max(float(np.abs(want).max()), 1e-30)
        power = max(float(np.sqrt(np.square(want, dtype=np.float64).mean())), 1e-30)
        worst["max"] = max(worst["max"], float(error.max()) / scale)
        worst["rms"] = max(worst["rms"], float(np.sqrt(np.square(error).mean())) / power)
    return worst
