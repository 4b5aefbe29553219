"""How camshaft and its peers are set up for transformers, by precision.

Each peer at the settings that its own documentation recommends: ONNX Runtime on the file that its transformer
optimizer has fused too, OpenVINO also on its own operator or on weights that NNCF has compressed, PyTorch eager
and compiled with frozen weights.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

import numpy as np

from benchmarks import zoo
from benchmarks.job import Job
from benchmarks.transformers.attention import ATTENTION_SIZE, HEADS
from camshaft.bench.runners import OnnxRuntimeRunner, Runner

Make = Callable[[Job], Runner]


class MultiHeadAttention:
    """ONNX Runtime's MultiHeadAttention: it takes [1, S, 12 x 64], which the arrays are brought to
    beforehand; its output is brought back when it is compared."""

    linger = OnnxRuntimeRunner.linger

    def __init__(self, job: Job, name: str) -> None:
        self.name = name
        feeds = {
            n: np.ascontiguousarray(a.transpose(0, 2, 1, 3).reshape(1, a.shape[2], -1))
            for n, a in job.feeds.items()
        }
        runner = OnnxRuntimeRunner(job.path(".mha"), feeds, job.threads, name)
        self._runner, self.run = runner, runner.run

    def outputs(self) -> list[np.ndarray]:
        (y,) = self._runner.outputs()
        return [y.reshape(1, y.shape[1], HEADS, ATTENTION_SIZE).transpose(0, 2, 1, 3)]


def _openvino(name: str, variant: str, precision: str = "f32") -> Make:
    """OpenVINO on a variant in its own form."""

    def make(job: Job) -> Runner:
        forms = importlib.import_module("benchmarks.transformers.openvino_forms").FORMS
        path = zoo.openvino_path_of(job.model.name, variant, forms[variant])
        return job.openvino(name, path, precision)

    return make


FP32: dict[str, Make] = {
    "onnxruntime-fused": lambda job: job.onnxruntime("onnxruntime-fused", ".fused"),
    "pytorch-compiled": lambda job: job.torch("pytorch-compiled", compiled=True),
}
FP32_BESIDE: dict[str, Make] = {
    "onnxruntime-fp32": lambda job: job.onnxruntime("onnxruntime-fp32"),
    "onnxruntime-fused-fp32": lambda job: job.onnxruntime("onnxruntime-fused-fp32", ".fused"),
    "openvino-fp32": lambda job: job.openvino("openvino-fp32"),
    "pytorch-compiled-fp32": lambda job: job.torch("pytorch-compiled-fp32", compiled=True),
}
"""FP32 peers in the measurements of other precisions: those may be slower."""

ATTENTION_FP32: dict[str, Make] = {
    "camshaft-op23": lambda job: job.camshaft("camshaft-op23", ".op23"),
    "onnxruntime-op23": lambda job: job.onnxruntime("onnxruntime-op23", ".op23"),
    "onnxruntime-mha": lambda job: MultiHeadAttention(job, "onnxruntime-mha"),
    "openvino-sdpa": _openvino("openvino-sdpa", "sdpa"),
}
"""Attention alone, beside what is measured of every transformer."""

BF16: dict[str, Make] = {
    "camshaft": lambda job: job.camshaft("camshaft", precision={"bf16"}),
    "openvino-bf16": lambda job: job.openvino("openvino-bf16", precision="bf16"),
    "pytorch-bf16": lambda job: job.torch("pytorch-bf16", dtype="bfloat16"),
    "pytorch-compiled-bf16": lambda job: job.torch(
        "pytorch-compiled-bf16", dtype="bfloat16", compiled=True
    ),
}
ATTENTION_BF16: dict[str, Make] = {
    "camshaft-op23": lambda job: job.camshaft("camshaft-op23", ".op23", precision={"bf16"}),
    "openvino-sdpa-bf16": _openvino("openvino-sdpa-bf16", "sdpa", "bf16"),
}

INT8_AT_RUN_TIME: dict[str, Make] = {
    "onnxruntime-dynamic": lambda job: job.onnxruntime("onnxruntime-dynamic", ".dynamic"),
    "onnxruntime-fused-dynamic": lambda job: job.onnxruntime(
        "onnxruntime-fused-dynamic", ".fused-dynamic"
    ),
    "openvino-int8-weights": _openvino("openvino-int8-weights", "int8-weights"),
    "pytorch-dynamic": lambda job: job.torch("pytorch-dynamic", dynamic_int8=True),
}
"""INT8 without calibration: activations quantized while the model runs."""

INT4: dict[str, Make] = {
    "camshaft": lambda job: job.camshaft("camshaft", weight_only="int4"),
    "camshaft-int8": lambda job: job.camshaft(
        "camshaft-int8", precision={"int8"}, weight_only="int4"
    ),
    "camshaft-nbits32": lambda job: job.camshaft("camshaft-nbits32", ".nbits32"),
    "camshaft-nbits128": lambda job: job.camshaft("camshaft-nbits128", ".nbits128"),
    "onnxruntime-nbits32": lambda job: job.onnxruntime("onnxruntime-nbits32", ".nbits32"),
    "onnxruntime-nbits128": lambda job: job.onnxruntime("onnxruntime-nbits128", ".nbits128"),
    "openvino-int4-weights": _openvino("openvino-int4-weights", "int4-weights"),
}
