"""ONNX files for parsers, and what is wrong with them as errors of parsers."""

from __future__ import annotations

import ctypes
import operator
import os
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import ModelProto

from camshaft.tensorrt.enums.reports import ErrorCode
from camshaft.tensorrt.errors import Reports
from camshaft.tensorrt.parser_error import ParserError

_UNREADABLE = ErrorCode.MODEL_DESERIALIZE_FAILED
_STATE = ErrorCode.INVALID_VALUE


class ModelReader:
    """Reads models; errors are logged, and kept."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        self.errors: list[ParserError] = []
        self.loaded: ModelProto | None = None

    def say(self, error: ParserError) -> None:
        """Keep an error, and log it."""
        self.errors.append(error)
        self._reports.error(str(error))

    def warn(self, message: str) -> None:
        """Log what is no error."""
        self._reports.warning(message)

    def error(self, index: int) -> ParserError | None:
        """An error; None: there is none of this index."""
        return self.errors[index] if 0 <= index < len(self.errors) else None

    def file(self, path: Any) -> bytes | None:
        """What a file holds; None, and an error, if it cannot be read."""
        try:
            with open(path, "rb") as file:
                return file.read()
        except (OSError, ValueError) as error:
            self.say(ParserError._made(_UNREADABLE, f"cannot read {path!r}: {error}"))
            return None

    def read(self, model: Any, path: Any = None, complete: bool = True) -> ModelProto | None:
        """The model; None, and an error, if it cannot be read.

        model: the file's bytes.  path: of the file, beside which external weights lie.  complete: whether these are read too.
        """
        try:
            proto: ModelProto = ModelProto.FromString(bytes(memoryview(model)))
            if complete and path is not None:
                onnx.load_external_data_for_model(proto, os.path.dirname(os.fspath(path)) or ".")
        except DecodeError:
            text = "the bytes are no ONNX model, or it is truncated or damaged"
        except (OSError, ValueError, RuntimeError, onnx.checker.ValidationError) as error:
            text = f"the model's external weights cannot be read: {' '.join(str(error).split())}"
        else:
            if proto.HasField("graph"):
                return proto
            text = "the bytes are no ONNX model: they hold no graph"
        self.say(ParserError._made(_UNREADABLE, text))
        return None

    def load(self, model: Any, path: Any = None) -> bool:
        """Read a model without external weights, which `fill` gives."""
        self.loaded = self.read(model, path, complete=False)
        return self.loaded is not None

    def fill(self, name: str, data: Any, size: Any) -> bool:
        """The elements of an initializer of the loaded model: `size` bytes at address `data`, that are copied."""
        graph = None if self.loaded is None else self.loaded.graph
        found = [] if graph is None else [t for t in graph.initializer if t.name == name]
        if not found:
            self.say(ParserError._made(_STATE, f"no loaded model has an initializer {name!r}"))
            return False
        found[0].ClearField("external_data")
        found[0].data_location = onnx.TensorProto.DEFAULT
        found[0].raw_data = ctypes.string_at(int(data), operator.index(size))
        return True

    def whole(self) -> ModelProto | None:
        """The loaded model; None, and an error, if none is."""
        if self.loaded is None:
            self.say(ParserError._made(_STATE, "no model is loaded; call load_model_proto"))
        return self.loaded
