"""Host steps: operators without a kernel, run in Python between two stretches of generated code."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from camshaft.errors import CamshaftError, ModelError
from camshaft.ir.sizes import evaluate
from camshaft.program.program import HostCall
from camshaft.program.view import Buffer, View

Operator = Callable[[Sequence[np.ndarray | None]], Sequence[np.ndarray]]


class HostStep:
    """One host step of one context.  The operator is imported when the step first runs."""

    def __init__(
        self,
        call: HostCall,
        arena: np.ndarray,
        offsets: Mapping[Buffer, int],
        constants: Mapping[str, np.ndarray],
        numbers: Mapping[tuple[str, str], int],
    ) -> None:
        """arena: u8.  offsets: where buffers lie in it.  numbers: (space, name) -> position of
        that array in a call."""
        self._call = call
        self._payload = constants[call.payload]
        self._operator: Operator | None = None
        self._numbers = numbers

        def fixed(view: View | None) -> np.ndarray | None:
            if view is None or view.buffer.space in ("input", "output"):
                return None
            if view.buffer.space == "constant":
                return array_of(constants[view.buffer.name], view)
            return array_of(arena[offsets[view.buffer] :], view)

        self._inputs = [(view, fixed(view)) for view in call.inputs]
        self._outputs = [(view, fixed(view)) for view in call.outputs]

    def run(self, arrays: Sequence[np.ndarray]) -> None:
        """Run on a call's arrays.  ModelError names the step that failed."""
        inputs = [self._operand(v, a, arrays) for v, a in self._inputs]
        outputs = [self._operand(v, a, arrays) for v, a in self._outputs]
        try:
            if self._operator is None:
                self._operator = self._load()
            results = self._operator(inputs)
        except CamshaftError:
            raise
        except Exception as error:  # a reference written in Python may raise anything
            raise ModelError(
                f"host step {self._call.name} failed: {type(error).__name__}: {error}"
            ) from error
        self._store(results, outputs)

    def _load(self) -> Operator:
        module, function = self._call.executor.split(":")
        make = getattr(importlib.import_module(module), function)
        operator: Operator = make(self._payload.tobytes())
        return operator

    def _operand(
        self, view: View | None, fixed: np.ndarray | None, arrays: Sequence[np.ndarray]
    ) -> np.ndarray | None:
        if view is None or fixed is not None:
            return fixed
        return array_of(arrays[self._numbers[view.buffer.space, view.buffer.name]], view)

    def _store(self, results: Sequence[np.ndarray], outputs: Sequence[np.ndarray | None]) -> None:
        if len(results) < len(outputs):
            raise ModelError(
                f"host step {self._call.name} gave {len(results)} results, "
                f"{len(outputs)} are needed"
            )
        for result, output in zip(results, outputs, strict=False):
            if output is None:
                continue
            result = np.asarray(result)
            if result.shape != output.shape or result.dtype != output.dtype:
                raise ModelError(
                    f"host step {self._call.name} gave {result.dtype}{result.shape}, "
                    f"expected {output.dtype}{output.shape}"
                )
            output[...] = result


def array_of(memory: np.ndarray, view: View) -> np.ndarray:
    """The array that `view` describes, without a copy.

    memory: C-contiguous, of any type; it begins where the view's buffer begins.
    """
    dtype = np.dtype(view.dtype.numpy)
    shape = tuple(evaluate(d, {}) for d in view.shape)
    if 0 in shape:
        return np.empty(shape, dtype)
    first = evaluate(view.first_byte, {})
    piece = memory.reshape(-1).view(np.uint8)[first : first + evaluate(view.nbytes, {})]
    strides = tuple(evaluate(s, {}) * dtype.itemsize for s in view.strides)
    return np.lib.stride_tricks.as_strided(
        piece.view(dtype), shape, strides, writeable=memory.flags.writeable
    )
