"""Host steps: operators without a kernel, run in Python between two stretches of generated code."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from camshaft.errors import CamshaftError, ModelError
from camshaft.runtime.plan import Step, View

Operator = Callable[[Sequence[np.ndarray | None]], Sequence[np.ndarray]]


class HostStep:
    """One host step of one context.  The operator is imported when the step first runs."""

    def __init__(
        self,
        step: Step,
        arena: np.ndarray,
        constants: Mapping[str, np.ndarray],
        numbers: Mapping[tuple[str, str], int],
    ) -> None:
        """arena: u8.  numbers: (space, name) -> position of that array in a call."""
        assert step.host is not None
        self._name, self._op, self._host = step.name, step.op, step.host
        self._payload = constants[step.host.payload]
        self._operator: Operator | None = None
        self._numbers = numbers

        def fixed(view: View | None) -> np.ndarray | None:
            if view is None or view.ref.space in ("input", "output"):
                return None
            memory = arena if view.ref.space == "arena" else constants[view.ref.name]
            return view_of(memory, view)

        self._inputs = [(view, fixed(view)) for view in step.host.inputs]
        self._outputs = [(view, fixed(view)) for view in step.host.outputs]

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
                f"host step {self._name!r} ({self._op}) failed: {type(error).__name__}: {error}"
            ) from error
        self._store(results, outputs)

    def _load(self) -> Operator:
        module, function = self._host.executor.split(":")
        make = getattr(importlib.import_module(module), function)
        operator: Operator = make(self._payload.tobytes())
        return operator

    def _operand(
        self, view: View | None, fixed: np.ndarray | None, arrays: Sequence[np.ndarray]
    ) -> np.ndarray | None:
        if view is None or fixed is not None:
            return fixed
        return view_of(arrays[self._numbers[view.ref.space, view.ref.name]], view)

    def _store(self, results: Sequence[np.ndarray], outputs: Sequence[np.ndarray | None]) -> None:
        if len(results) < len(outputs):
            raise ModelError(
                f"host step {self._name!r} ({self._op}) gave {len(results)} results, "
                f"{len(outputs)} are needed"
            )
        for result, output in zip(results, outputs, strict=False):
            if output is None:
                continue
            result = np.asarray(result)
            if result.shape != output.shape or result.dtype != output.dtype:
                raise ModelError(
                    f"host step {self._name!r} ({self._op}) gave {result.dtype}{result.shape}, "
                    f"expected {output.dtype}{output.shape}"
                )
            output[...] = result


def view_of(memory: np.ndarray, view: View) -> np.ndarray:
    """The array that `view` describes within C-contiguous `memory`, without a copy."""
    dtype = np.dtype(view.type.dtype.numpy)
    end = view.ref.offset + view.ref.nbytes
    piece = memory.reshape(-1).view(np.uint8)[view.ref.offset : end]
    if view.type.size == 0:
        return np.empty(view.type.shape, dtype)
    usable = piece[: piece.size - piece.size % dtype.itemsize].view(dtype)
    strides = tuple(s * dtype.itemsize for s in view.strides)
    return np.lib.stride_tricks.as_strided(
        usable, view.type.shape, strides, writeable=memory.flags.writeable
    )
