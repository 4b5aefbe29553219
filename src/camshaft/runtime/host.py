"""Host steps: operators without a kernel, run in Python between two stretches of generated code."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from camshaft.errors import CamshaftError, ModelError
from camshaft.ir.extents.sizes import evaluate
from camshaft.program.program import HostCall
from camshaft.program.view import Buffer, View

Operator = Callable[[Sequence[np.ndarray | None], Sequence[int]], Sequence[np.ndarray]]


class Layout(NamedTuple):
    """A view at known sizes.  first: the byte of the buffer where it begins.  strides: in bytes."""

    dtype: np.dtype
    shape: tuple[int, ...]
    first: int
    strides: tuple[int, ...]

    def on(self, memory: np.ndarray) -> np.ndarray:
        """The array that it describes, without a copy.

        memory: C-contiguous, of any type; it begins where the view's buffer begins.
        """
        if 0 in self.shape:
            return np.empty(self.shape, self.dtype)
        data = memory.reshape(-1).view(np.uint8)
        return np.ndarray(self.shape, self.dtype, data, self.first, self.strides)


class Operand(NamedTuple):
    """One operand of a step: an array that stays (None for an absent operand), or the array of
    this number in a call, to be seen through `layout`."""

    fixed: np.ndarray | None
    layout: Layout | None = None
    number: int = -1

    def array(self, arrays: Sequence[np.ndarray]) -> np.ndarray | None:
        """The operand in a call on these arrays."""
        return self.fixed if self.layout is None else self.layout.on(arrays[self.number])


def operator_of(call: HostCall, constants: Mapping[str, np.ndarray]) -> Operator:
    """The callable of a step, whose module is imported now; CamshaftError names the step."""
    module, function = call.executor.split(":")
    make = getattr(importlib.import_module(module), function)
    operator: Operator = make(constants[call.payload].tobytes())
    return operator


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
        self._operator: Operator | None = None
        self._numbers = numbers
        self._inputs: list[Operand] = []
        self._outputs: list[Operand] = []
        self._dims: tuple[int, ...] = ()

    def place(
        self,
        arena: np.ndarray,
        offsets: Mapping[Buffer, int],
        sizes: Mapping[str, int],
        states: Mapping[str, np.ndarray],
    ) -> None:
        """Find the operands that do not change from call to call.

        arena: u8.  offsets: where buffers lie in it.  sizes: of the program's symbols.  states: their
        memory, u8, by name.
        """
        self._dims = tuple(evaluate(d, sizes) for d in self._call.dims)

        def operand(view: View | None) -> Operand:
            if view is None:
                return Operand(None)
            layout, buffer = layout_of(view, sizes), view.buffer
            if buffer.space in ("input", "output"):
                return Operand(None, layout, self._numbers[buffer.space, buffer.name])
            if buffer.space == "constant":
                return Operand(layout.on(self._constants[buffer.name]))
            if buffer.space == "state":
                return Operand(layout.on(states[buffer.name]))
            return Operand(layout.on(arena[offsets[buffer] :]))

        self._inputs = [operand(view) for view in self._call.inputs]
        self._outputs = [operand(view) for view in self._call.outputs]

    def run(self, arrays: Sequence[np.ndarray]) -> None:
        """Run on a call's arrays.  ModelError names the step that failed."""
        inputs = [operand.array(arrays) for operand in self._inputs]
        outputs = [operand.array(arrays) for operand in self._outputs]
        try:
            if self._operator is None:
                self._operator = operator_of(self._call, self._constants)
            results = self._operator(inputs, self._dims)
        except CamshaftError as error:
            raise ModelError(f"host step {self._call.name}: {error}") from error
        except Exception as error:  # a reference written in Python may raise anything
            raise ModelError(
                f"host step {self._call.name} failed: {type(error).__name__}: {error}"
            ) from error
        self._store(results, outputs)

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


def layout_of(view: View, sizes: Mapping[str, int]) -> Layout:
    """The view at these sizes of the program's symbols."""
    dtype = np.dtype(view.dtype.numpy)
    return Layout(
        dtype,
        tuple(evaluate(d, sizes) for d in view.shape),
        evaluate(view.offset, sizes) * view.buffer.dtype.bytes,
        tuple(evaluate(s, sizes) * dtype.itemsize for s in view.strides),
    )
