"""Other runtimes: the errors they raise, and the models they read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
from onnx import ModelProto

from camshaft.errors import CamshaftError, PeerError

KNOWN_IR = 10
"""The IR version that the oldest ONNX Runtime reads which camshaft's extra allows (1.20)."""


def peer_error(name: str, task: str, error: Exception) -> PeerError:
    """What the runtime `name` raised, in one line."""
    said = " ".join(str(error).split())  # their texts hold line breaks
    return PeerError(f"{name} cannot {task}: {type(error).__name__}: {said}", name)


@contextmanager
def peer_errors(name: str, task: str) -> Iterator[None]:
    """A context in which exceptions of the runtime `name` become PeerErrors; camshaft's errors
    pass."""
    try:
        yield
    except CamshaftError:
        raise
    except Exception as error:  # theirs share no base, and come from NumPy or pybind11 as well
        raise peer_error(name, task, error) from error


def read_by_all(proto: ModelProto) -> None:
    """Lower the IR version of a model, in place, to one that every ONNX Runtime in use reads; it
    refuses what is newer than itself, though newer versions only add types of weights."""
    proto.ir_version = min(proto.ir_version, KNOWN_IR)


def remark_on(model: Path) -> str:
    """How the model in a file is changed before ONNX Runtime gets it, in words; "" if it is not."""
    with peer_errors("onnxruntime", f"load {str(model)!r}"):
        version = onnx.load(str(model), load_external_data=False).ir_version
    if version <= KNOWN_IR:
        return ""
    return (
        f"{str(model)!r} has IR version {version}, which ONNX Runtime may refuse: it is given the "
        f"model as version {KNOWN_IR}, which changes nothing it computes"
    )
