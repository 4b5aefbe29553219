"""The model in a portable engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import ModelProto

from camshaft.errors import ConfigError
from camshaft.frontends.onnx.model import load_model

MODEL = "portable model"
"""What it is called among what is attached to an engine."""


def whole_model(model: Any) -> bytes:
    """The bytes of a model with all its weights.  ConfigError for one that is too large."""
    try:
        return bytes(load_model(model).SerializeToString(deterministic=True))
    except ValueError as error:
        raise ConfigError(
            f"portable=True puts the model into the engine, and this one is too large for that ({error}): leave it out"
        ) from error


def with_weights(model: bytes, weights: Mapping[str, np.ndarray]) -> bytes:
    """The model with other values of initializers, in their types."""
    proto = ModelProto.FromString(model)
    for tensor in proto.graph.initializer:
        if tensor.name in weights:
            name, kind = tensor.name, tensor.data_type
            tensor.Clear()
            tensor.name, tensor.data_type = name, kind
            tensor.dims.extend(weights[name].shape)
            tensor.raw_data = np.ascontiguousarray(weights[name]).tobytes()
    return bytes(proto.SerializeToString(deterministic=True))
