"""Other runtimes as guests: how they are imported, and what they raise."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from camshaft.errors import CamshaftError, ConfigError, ModelError


def peer_module(name: str, purpose: str, otherwise: str = "") -> Any:
    """The package `name`; ConfigError, with what it is needed for, where it cannot be imported."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{purpose} needs the package {name}, which cannot be imported ({error}); "
            f"install it with: pip install 'camshaft[{name}]'{otherwise}"
        ) from None


@contextmanager
def peer_errors(name: str, task: str) -> Iterator[None]:
    """Within, what the runtime `name` finds wrong with a model becomes a ModelError."""
    try:
        yield
    except CamshaftError:
        raise
    except _errors_of(name) as error:
        raise ModelError(
            f"{name} cannot {task}: {type(error).__name__}: {str(error).strip()}"
        ) from error


def _errors_of(name: str) -> tuple[type[Exception], ...]:
    known: tuple[type[Exception], ...] = (RuntimeError, ValueError, OSError, DecodeError)
    if name == "onnxruntime":  # its own share no base but Exception
        state = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
        own = (v for v in vars(state).values() if isinstance(v, type) and issubclass(v, Exception))
        known += tuple(own)
    return known
