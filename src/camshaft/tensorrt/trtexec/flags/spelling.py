"""What flags set of TensorRT's API, and messages that speak of that API with flags in its place."""

from __future__ import annotations

import re

from camshaft.tensorrt.trtexec.flags.values import FORMATS, TYPES

BUILDER_FLAGS = {
    "fp16": ("FP16",),
    "bf16": ("BF16",),
    "int8": ("INT8",),
    "fp8": ("FP8",),
    "int4": ("INT4",),
    "best": ("FP16", "BF16", "INT8"),
    "directIO": ("DIRECT_IO",),
    "refit": ("REFIT",),
    "stripWeights": ("STRIP_PLAN",),
    "stripAllWeights": ("REFIT", "STRIP_PLAN"),
    "versionCompatible": ("VERSION_COMPATIBLE",),
    "allowWeightStreaming": ("WEIGHT_STREAMING",),
    "allowGPUFallback": ("GPU_FALLBACK",),
    "heuristic": ("ENABLE_TACTIC_HEURISTIC",),
    "noBuilderCache": ("DISABLE_TIMING_CACHE",),
    "errorOnTimingCacheMiss": ("ERROR_ON_TIMING_CACHE_MISS",),
}
"""Members of BuilderFlag that a switch of trtexec sets, by name."""
CONSTRAINTS = {"prefer": "PREFER_PRECISION_CONSTRAINTS", "obey": "OBEY_PRECISION_CONSTRAINTS"}
"""Member of BuilderFlag for a value of --precisionConstraints."""

_FLAGS = {
    **{f"BuilderFlag.{m[0]}": f"--{f}" for f, m in BUILDER_FLAGS.items() if len(m) == 1},
    **{f"BuilderFlag.{m}": f"--precisionConstraints={word}" for word, m in CONSTRAINTS.items()},
    **{str(kind): word for word, kind in TYPES.items()},
    **{str(form): word for word, form in FORMATS.items()},
    "NetworkDefinitionCreationFlag.STRONGLY_TYPED": "--stronglyTyped",
    "MemoryPoolType.WORKSPACE": "--memPoolSize=workspace",
    "ILayer.precision": "--layerPrecisions",
    "ILayer.set_output_type": "--layerOutputTypes",
    "ITensor.dynamic_range": "the INT8 range",
    "give a calibrator, whose cache names it, or ITensor.dynamic_range": "give a --calib that names it",
    "the calibrator's cache": "--calib",
    "CacheCalibrator.get_batch gave no batch; give some, then None (or make a new object)": "there are no ranges but those of --calib",
    "the timing cache": "--timingCacheFile",
    "builder_optimization_level": "--builderOptimizationLevel",
    "call network.mark_debug": "give --markDebug",
    "call profile.set_shape and config.add_optimization_profile": "give --optShapes",
}
_SAID = re.compile("|".join(rf"{re.escape(said)}(?!\w)" for said in sorted(_FLAGS, reverse=True)))


def as_flags(message: str) -> str:
    """The message with flags where it names what they set."""
    return _SAID.sub(lambda found: _FLAGS[found[0]], message)
