"""A pytest plugin for onnx-tensorrt's tests (`-p onnx_tensorrt_fast`): kernels are not timed, since only results are looked at."""

import tensorrt as trt  # camshaft's stand-in

_made = trt.Builder.create_builder_config


def _fast(self: trt.Builder) -> trt.IBuilderConfig:
    config = _made(self)
    config.builder_optimization_level = 0
    return config


trt.Builder.create_builder_config = _fast
