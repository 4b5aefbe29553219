"""What the zoo knows of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.photos import Preprocess, calibration_photos

Feeds = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class ZooModel:
    """A model of the zoo.

    write: makes the ONNX file at a path.  input_name, shape: of its input, where it has one alone.
    preprocess: how photos become inputs; None where inputs are not photos.
    real_weights: trained weights, so that outputs mean something.
    module: "MODULE.FUNCTION" within benchmarks, and its arguments, that make the PyTorch module it
    came from.  draw: makes `count` feeds of a model that has several inputs, or one that is neither
    photos nor noise.  kind: which engines are measured on it (run.LISTS).
    transformer: model type, heads and width for ONNX Runtime's transformer optimizer, where its
    fusions of attention are to be tried.
    """

    name: str
    input_name: str
    shape: tuple[int, ...]
    write: Callable[[Path], None]
    preprocess: Preprocess | None = None
    real_weights: bool = False
    module: tuple[str, tuple[object, ...]] | None = None
    draw: Callable[[int], list[Feeds]] | None = None
    kind: str = "convolutional"
    transformer: tuple[str, int, int] | None = None

    def inputs(self, count: int) -> list[np.ndarray]:
        """`count` arrays of the only input: calibration photos, or seeded noise."""
        if self.preprocess is None:
            rng = np.random.default_rng(0)
            return [rng.standard_normal(self.shape, np.float32) for _ in range(count)]
        return [self.preprocess(photo) for photo in calibration_photos(count)]

    def feeds(self, count: int) -> list[Feeds]:
        """`count` feeds, the same in every process."""
        if self.draw is not None:
            return self.draw(count)
        return [{self.input_name: x} for x in self.inputs(count)]
