"""Small models of TensorFlow for tests, and what they share."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
tf: Any = pytest.importorskip("tensorflow", reason="needs the extra tensorflow")
pytest.importorskip("tf2onnx", reason="needs the extra tensorflow")
keras: Any = pytest.importorskip("keras", reason="needs the extra tensorflow")

QUICK: dict[str, Any] = {"optimization_level": 1, "threads": 1}


def randomized(model: Any, seed: int = 0) -> Any:
    """A Keras model with weights that make all layers matter."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        shape, path = weight.shape, weight.path
        if "variance" in path or "gamma" in path:
            weight.assign(rng.uniform(0.5, 1.5, shape))
        elif "seed" in path or "count" in path:
            continue
        elif len(shape) > 1:
            weight.assign(rng.normal(0, 1, shape) * np.sqrt(1.5 / np.prod(shape[:-1])))
        else:
            weight.assign(rng.normal(0, 0.1, shape))
    return model


def images(count: int, side: int = 16, channels: int = 3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, side, side, channels)).astype(np.float32)


def small_net() -> Any:
    """Two convolutions with batch norm, a pool and a dense layer."""
    layers = keras.layers
    keras.utils.set_random_seed(0)
    made = keras.Sequential(
        [
            keras.Input((16, 16, 3), name="image"),
            layers.Conv2D(8, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.DepthwiseConv2D(3, strides=2),
            layers.Conv2D(16, 1, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(5),
        ]
    )
    return randomized(made)


def close(got: Any, want: Any, tolerance: float = 1e-5) -> None:
    """The same structure, and numbers within a part of the largest."""
    tf.nest.assert_same_structure(got, want)
    for a, b in zip(tf.nest.flatten(got), tf.nest.flatten(want), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1.0, np.abs(b).max()))
