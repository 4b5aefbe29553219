"""Host steps: operators without a kernel, run in Python between two stretches of generated code."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from camshaft.errors import CamshaftError, ModelError
from camshaft.ir.extents.sizes import evaluate
from camshaft.program.program import HostCall
from camshaft.program.view import Buffer, View

Operands = list[tuple[View | None, np.ndarray | None]]
Operator = Callable[[Sequence[np.ndarray | None], Sequence[int]], Sequence[np.ndarray]]


class HostStep:
    """One host step of one context.  The operator is imported when the step first runs."""

    def __init__(
        self,
        call: HostCall,
        constants: Mapping[str, np.ndarray],
        numbers: Mapping[tuple[str, str], int],
    ) -> None:
        """numbers: (space, name) -> position of that array in a call.  `place` comes before `run`."""
        self._call = call
        self._constants = constants
        self._payload = constants[call.payload]
        self._operator: Operator | None = None
        self._numbers = numbers
        self._inputs: Operands = []
        self._outputs: Operands = []
        self._sizes: Mapping[str, int] = {}
        self._dims: tuple[int, ...] = ()

    def place(
        self, arena: np.ndarray, offsets: Mapping[Buffer, int], sizes: Mapping[str, int]
    ) -> None:
        """Find the operands that do not change from call to call.

        arena: u8.  offsets: where buffers lie in it.  sizes: of the program's symbols.
        """
        self._sizes = sizes
        self._dims = tuple(evaluate(d, sizes) for d in self._call.dims)

        def fixed(view: View | None) -> np.ndarray | None:
            if view is None or view.buffer.space in ("input", "output"):
                return None
            if view.buffer.space == "constant":
                return array_of(self._constants[view.buffer.name], view, sizes)
            return array_of(arena[offsets[view.buffer] :], view, sizes)

        self._inputs = [(view, fixed(view)) for view in self._call.inputs]
        self._outputs = [(view, fixed(view)) for view in self._call.outputs]

    def run(self, arrays: Sequence[np.ndarray]) -> None:
        """Run on a call's arrays.  ModelError names the step that failed."""
        inputs = [self._operand(v, a, arrays) for v, a in self._inputs]
        outputs = [self._operand(v, a, arrays) for v, a in self._outputs]
        try:
            if self._operator is None:
                self._operator = self._load()
            results = self._operator(inputs, self._dims)
        except CamshaftError as error:
            raise ModelError(f"host step {self._call.name}: {error}") from error
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
        array = arrays[self._numbers[view.buffer.space, view.buffer.name]]
        return array_of(array, view, self._sizes)

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


def array_of(memory: np.ndarray, view: View, sizes: Mapping[str, int]) -> np.ndarray:
    """The array that `view` describes, without a copy.

    memory: C-contiguous, of any type; it begins where the view's buffer begins.  sizes: of the
    program's symbols.
    """
    dtype = np.dtype(view.dtype.numpy)
    shape = tuple(evaluate(d, sizes) for d in view.shape)
    if 0 in shape:
        return np.empty(shape, dtype)
    first = evaluate(view.first_byte, sizes)
    piece = memory.reshape(-1).view(np.uint8)[first : first + evaluate(view.nbytes, sizes)]
    strides = tuple(evaluate(s, sizes) * dtype.itemsize for s in view.strides)
    return np.lib.stride_tricks.as_strided(
        piece.view(dtype), shape, strides, writeable=memory.flags.writeable
    )
