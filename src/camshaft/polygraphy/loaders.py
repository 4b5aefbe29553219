"""Loaders: callables without arguments that give engines, and that Polygraphy chains."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto
from polygraphy import util
from polygraphy.backend.base import BaseLoader
from polygraphy.common import TensorMetadata
from polygraphy.datatype import DataType

from camshaft.api import build
from camshaft.runtime.engine import Engine
from camshaft.runtime.loading import load

Shapes = Mapping[str, Sequence[Sequence[int]]]
"""Input -> least, typical and most shape, as Polygraphy's `Profile` has them."""


class EngineFromOnnx(BaseLoader):
    """Builds an engine from an ONNX model."""

    def __init__(
        self,
        model: str | bytes | ModelProto | Callable[[], Any],
        profiles: Sequence[Shapes] | None = None,
        calibration: Any = None,
        **options: Any,
    ) -> None:
        """model: path, bytes, ModelProto, or a loader of one.

        profiles: ranges of the inputs' shapes; what they say of inputs without open sizes is left out.
        calibration: batches for INT8, each {input: array}; a Polygraphy `DataLoader` is told of the model's inputs.  Where the file of
            the option `calibration_cache` exists, its ranges are taken instead, as Polygraphy's own calibrator does.
        options: of `camshaft.build`; None is as left out.
        """
        self._model = model
        self._profiles = profiles or ()
        self._calibration = calibration
        self._options = {name: value for name, value in options.items() if value is not None}

    def call_impl(self) -> Engine:
        """The engine.  Errors as in `camshaft.build`."""
        model, _ = util.invoke_if_callable(self._model)
        if not self._profiles and self._calibration is None:
            return build(model, **self._options)
        proto = _proto(model)
        inputs = _inputs(proto)
        options = self._options | _ranges(self._profiles, inputs)
        cache = options.get("calibration_cache")
        given = None if cache is not None and os.path.exists(cache) else self._calibration
        return build(proto, calibration=_batches(given, inputs), **options)


class EngineFromFile(BaseLoader):
    """Loads an engine that camshaft has saved."""

    def __init__(self, path: str | Callable[[], Any], threads: int | None = None) -> None:
        """path: of the file, or what gives the path or the file's bytes.  threads: as in `camshaft.load`."""
        self._path, self._threads = path, threads

    def call_impl(self) -> Engine:
        """The engine.  Errors as in `camshaft.load`."""
        path, _ = util.invoke_if_callable(self._path)
        return load(path, self._threads)


class SaveEngine(BaseLoader):
    """Saves the engine that another loader gives."""

    def __init__(self, engine: Engine | Callable[[], Engine], path: str) -> None:
        """path: of the file to write."""
        self._engine, self._path = engine, path

    def call_impl(self) -> Engine:
        """The engine, which the file then holds as well."""
        engine: Engine
        engine = self._engine if isinstance(self._engine, Engine) else self._engine()
        engine.save(self._path)
        return engine


def _proto(model: Any) -> ModelProto:
    if isinstance(model, ModelProto):
        return model
    return onnx.load_model_from_string(model) if isinstance(model, bytes) else onnx.load(os.fspath(model))  # fmt: skip


def _inputs(model: ModelProto) -> TensorMetadata:
    """Inputs that calls bring, -1 for open extents."""
    held = {tensor.name for tensor in model.graph.initializer}
    found = TensorMetadata()
    for value in model.graph.input:
        if value.name not in held:
            tensor = value.type.tensor_type
            shape = [d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim]
            found.add(value.name, DataType.from_dtype(tensor.elem_type, "onnx"), shape)
    return found


def _ranges(profiles: Sequence[Shapes], inputs: TensorMetadata) -> dict[str, Any]:
    """The option `profiles`, of open inputs."""
    opened = {name for name, said in inputs.items() if -1 in said.shape}
    found = [
        {name: tuple(map(tuple, triple)) for name, triple in profile.items() if name in opened}
        for profile in profiles
    ]
    return {"profiles": found} if any(found) else {}


def _batches(given: Any, inputs: TensorMetadata) -> Iterable[Mapping[str, np.ndarray]] | None:
    """Batches for `camshaft.build`; None if none are given."""
    if given is None:
        return None
    if hasattr(given, "input_metadata"):
        given.input_metadata = inputs
    return ({name: util.array.to_numpy(x) for name, x in batch.items()} for batch in given)
