"""The operator that runs engines in graphs of TensorFlow: a Python call with a token of ours.

Its first input says which engine: a key of this process, or the path of an engine file, as assets of SavedModels have.  A SavedModel that
has the operator runs where camshaft.tensorflow was imported; elsewhere TensorFlow says that it has no callback of the token's name.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
from tensorflow.python.ops import script_ops

from camshaft.errors import CamshaftError, EngineFileError
from camshaft.runtime.engine import Engine
from camshaft.runtime.loading import load
from camshaft.tensorflow.assets import identity

TOKEN = "camshaft_engine (import camshaft.tensorflow first)"
_PREFIX = "camshaft:"

Source = Callable[[], Engine]

_sources: dict[str, Source] = {}
_files: dict[Hashable, Engine] = {}
_lock = threading.Lock()
_count = itertools.count()


def offered(source: Source) -> str:
    """A key by which the operator finds an engine in this process, until it is `withdrawn`."""
    key = f"{_PREFIX}{next(_count)}"
    _sources[key] = source
    return key


def withdrawn(key: str) -> None:
    """Forget an engine."""
    _sources.pop(key, None)


def failure() -> CamshaftError | None:
    """Why the operator failed last in this process, once."""
    error, _failures[:] = (_failures[-1] if _failures else None), []
    return error


_failures: list[CamshaftError] = []


def _engine(key: str) -> Engine:
    source = _sources.get(key)
    if source is not None:
        return source()
    try:
        known = identity(key)
    except OSError as error:
        raise EngineFileError(
            f"engine file {key!r} cannot be read: {error}; load the SavedModel from where it is"
        ) from error
    with _lock:
        if known not in _files:
            _files[known] = load(key)
        return _files[known]


def _run(key: Any, *arrays: np.ndarray) -> list[np.ndarray]:
    """What the operator computes."""
    text = np.asarray(key).item()
    try:
        engine = _engine(text.decode() if isinstance(text, bytes) else str(text))
        results = engine(dict(zip(engine.inputs, arrays, strict=True)))
    except CamshaftError as error:
        _failures.append(error)
        raise
    return list(results.values())


def register() -> None:
    """Tell TensorFlow what the token means."""
    script_ops._py_funcs._funcs[TOKEN] = _run
