"""Build options as TensorRT's API names them, in messages that speak of camshaft's."""

from __future__ import annotations

import re
from collections.abc import Mapping

OPTIONS: Mapping[str, str] = {
    "workspace_limit": "MemoryPoolType.WORKSPACE",
    "layer_precision": "ILayer.precision",
    "layer_output_type": "ILayer.set_output_type",
    "strongly_typed": "NetworkDefinitionCreationFlag.STRONGLY_TYPED",
    "precision_constraints": "BuilderFlag.OBEY_PRECISION_CONSTRAINTS",
    "dynamic_ranges": "ITensor.dynamic_range",
    "frozen_cache": "BuilderFlag.ERROR_ON_TIMING_CACHE_MISS",
    "timing_cache": "the timing cache",
    "calibration_cache": "the calibrator's cache",
    "optimization_level": "builder_optimization_level",
}
"""Argument of `camshaft.build` -> what says so here."""
_PHRASES = {
    "refittable names ": "mark_weights_refittable names ",
    "calibration data (calibration=), a calibration_cache file that exists": "a calibrator",
    "give calibration data, a calibration cache that names it,": "give a calibrator, whose cache names it,",
}
_NAMED = re.compile(rf"(?<![\w'\"/:.-])({'|'.join(OPTIONS)})(?![\w'\"/.-])")


def as_in_tensorrt(message: str) -> str:
    """The message with build options as TensorRT's API names them."""
    for said, here in _PHRASES.items():
        message = message.replace(said, here)
    return _NAMED.sub(lambda found: OPTIONS[found[1]], message)
