"""`OnnxParserRefitter`: the weights of ONNX files into a Refitter."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from onnx import ModelProto, numpy_helper

from camshaft.errors import CamshaftError
from camshaft.refitting.model_rest import changed_initializers, rest_in
from camshaft.tensorrt.enums.data import TensorLocation
from camshaft.tensorrt.enums.reports import ErrorCode
from camshaft.tensorrt.errors import Reports
from camshaft.tensorrt.logger import ILogger
from camshaft.tensorrt.network.files.reading import ModelReader
from camshaft.tensorrt.objects import Closed
from camshaft.tensorrt.parser_error import ParserError
from camshaft.tensorrt.refit.refitter import Refitter
from camshaft.tensorrt.weights import Weights

_HOST = TensorLocation.HOST
_FAILED = ErrorCode.REFIT_FAILED
_SHOWN = 5


class OnnxParserRefitter(Closed):
    """Sets weights of a Refitter from files; `Refitter.refit_cuda_engine` then exchanges them."""

    def __init__(self, refitter: Refitter, logger: ILogger) -> None:
        """TypeError if either is of another class."""
        if not isinstance(refitter, Refitter):
            raise TypeError(f"refitter={refitter!r} is no Refitter")
        self._refitter, self._reader = refitter, ModelReader(Reports(logger))

    def refit_from_bytes(self, model: Any, path: str | None = None) -> bool:
        """Set all weights of the refitter from a model; False, and an error, if one is not there or of another type or count.

        model: the file's bytes.  path: of the file, beside which external weights lie.
        """
        proto = self._reader.read(model, path)
        return proto is not None and self._set(proto)

    def refit_from_file(self, model: str) -> bool:
        """`refit_from_bytes` of a file."""
        data = self._reader.file(model)
        return data is not None and self.refit_from_bytes(data, os.fspath(model))

    def load_model_proto(self, model: Any, path: str | None = None) -> bool:
        """Read a model for `refit_model_proto`; weights may follow with `load_initializer`."""
        return self._reader.load(model, path)

    def load_initializer(self, name: str, data: int, size: int) -> bool:
        """The elements of an initializer of the loaded model: `size` bytes at address `data`, that are copied."""
        return self._reader.fill(name, data, size)

    def refit_model_proto(self) -> bool:
        """Set all weights of the refitter from the loaded model."""
        proto = self._reader.whole()
        return proto is not None and self._set(proto)

    @property
    def num_errors(self) -> int:
        """How many errors there are."""
        return len(self._reader.errors)

    def get_error(self, index: int) -> ParserError | None:
        """An error; None: there is none of this index."""
        return self._reader.error(index)

    def clear_errors(self) -> None:
        """Forget all errors."""
        self._reader.errors.clear()

    def _set(self, proto: ModelProto) -> bool:
        found = {tensor.name: tensor for tensor in proto.graph.initializer}
        faults, engine = 0, self._refitter._engine
        rest = rest_in(engine.attached)
        for name in changed_initializers(rest, found.values(), engine.refittable):
            self._reader.warn(f"initializer {name!r} differs from the engine's, which keeps its own: it cannot be exchanged")  # fmt: skip
        names = self._refitter._holdings.names
        if missing := [name for name in names if name not in found]:
            faults += 1
            self._reader.say(ParserError._made(_FAILED, f"the model has no initializers for weights {_some(missing)} of the engine"))  # fmt: skip
        for name in names:
            if name not in found:
                continue
            try:
                elements = np.ascontiguousarray(numpy_helper.to_array(found[name]))
                self._refitter._set(name, Weights(elements), _HOST)
            except (ValueError, CamshaftError) as error:
                faults += 1
                self._reader.say(ParserError._made(_FAILED, f"weights {name!r}: {error}"))
        return not faults


def _some(names: list[str]) -> str:
    """The first names, and how many there are besides."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more
