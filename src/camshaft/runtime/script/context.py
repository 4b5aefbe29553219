"""The execution context of an engine with a script: one context for each graph, and the values of a call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter_ns
from typing import Any

import numpy as np

from camshaft.errors import BindingError, CamshaftError, ConfigError, ModelError, ShapeError
from camshaft.ir.extents.extent import symbols_of
from camshaft.ir.extents.sizes import evaluate
from camshaft.ir.script import End, Opaque, Script
from camshaft.program.program import Program
from camshaft.runtime.bindings import Bindings
from camshaft.runtime.context import ExecutionContext
from camshaft.runtime.script.given import checked, delivered
from camshaft.runtime.script.names import names_of_values
from camshaft.runtime.script.steps import Graph, Linker, Places, tidy
from camshaft.runtime.sizes import check_bytes, sizes_of
from camshaft.runtime.streams.async_runs import AsyncRuns

MakeContext = Callable[[], ExecutionContext]


class ScriptContext(AsyncRuns):
    """Made by `Engine.create_context`.  Closed by `close`, `with`, or when dropped."""

    def __init__(
        self,
        script: Script,
        inputs: Sequence[End],
        outputs: Sequence[End],
        face: Program,
        fixed: Mapping[str, np.ndarray],
        constants: Mapping[str, Any],
        makers: Sequence[tuple[MakeContext, tuple[str, ...], tuple[str, ...]]],
        threads: int,
        check_finite: bool,
    ) -> None:
        """observer: called with the number and the inputs of each graph that is run.

        face: see `ScriptManifest`.  fixed: inputs that the build fixed.  constants: values by name.
        makers: for each graph what makes its context, and the names of its inputs and outputs."""
        self.threads, self.check_finite = threads, check_finite
        self.observer: Callable[[int, Mapping[str, Any]], None] | None = None
        self._face = face
        self._bindings = Bindings("input", face.inputs, fixed)
        self._tensors = [e for e in inputs if not isinstance(e.type, Opaque)]
        self._opaque = [e for e in inputs if isinstance(e.type, Opaque)]
        self._outputs = tuple(outputs)
        self._made: list[ExecutionContext | None] = [None] * len(makers)
        self._makers = makers
        places = Places()
        graphs: list[Graph] = [
            (self._runner(i), names, results) for i, (_, names, results) in enumerate(makers)
        ]
        self._steps = Linker(places, graphs, names_of_values(script)).script(script)
        self._first = [(places.of(n), tidy(v)) for n, v in constants.items()]
        self._given = [places.of(e.value) for e in (*self._tensors, *self._opaque)]
        self._results = [places.of(e.value) for e in outputs]
        self._count = len(places.numbers)
        self._sizes: dict[str, int] = {}
        self._shapes: tuple[tuple[int, ...], ...] | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._timing = False
        self._times = np.zeros(len(self._steps), np.int64)

    def _runner(self, number: int) -> Callable[[Mapping[str, Any]], Mapping[str, np.ndarray]]:
        """Runs graph `number`, whose context is made when it is first needed."""

        def run(feeds: Mapping[str, Any]) -> Mapping[str, np.ndarray]:
            context = self._made[number]
            if context is None:
                context = self._made[number] = self._makers[number][0]()
            if self.observer is not None:
                self.observer(number, feeds)
            return context.run(feeds)

        return run

    # -- running -----------------------------------------------------------------------------

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Run on arrays of the declared types (lists of arrays for sequences, dictionaries for
        maps, None or a value for optionals, arrays of objects for strings); returns new values by output name.

        Errors as in `ExecutionContext.run`; ModelError names a node that fails.
        """
        if not self._lock.acquire(blocking=False):
            raise ConfigError(
                "the execution context is in use by another thread; create one context for each thread"
            )
        try:
            if self._closed:
                raise ConfigError("the execution context is closed; create another")
            return self._run(inputs)
        finally:
            self._lock.release()

    def _run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        given = self._arranged(inputs)
        values: list[Any] = [None] * self._count
        for i, value in self._first:
            values[i] = value
        for i, value in zip(self._given, given, strict=True):
            values[i] = value
        try:
            self._walk(values)
        except CamshaftError:
            raise
        except Exception as error:  # of a script that no build has made: a file was edited
            raise ModelError(f"the script failed: {type(error).__name__}: {error}") from error
        kept = {id(v) for _, v in self._first} | {id(v) for v in given}
        found: dict[str, Any] = {}
        for end, i in zip(self._outputs, self._results, strict=True):
            found[end.name] = _own(delivered(end, values[i]), kept)
        return found

    def _walk(self, values: list[Any]) -> None:
        """All steps in order."""
        if not self._timing:
            for step in self._steps:
                step(values)
            return
        for number, step in enumerate(self._steps):
            start = perf_counter_ns()
            step(values)
            self._times[number] = perf_counter_ns() - start

    def run_into(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        """Like `run`, but copies results into the caller's arrays, which must have their types and
        shapes."""
        found = self.run(inputs)
        wrong = {*outputs} ^ {*found}
        if wrong:
            raise BindingError(f"outputs {sorted(wrong)} are missing or unknown; give {[*found]}")
        for name, value in found.items():
            into = outputs[name]
            if not isinstance(value, np.ndarray) or not isinstance(into, np.ndarray):
                raise BindingError(f"output {name!r} is no tensor; take it from `run`")
            if into.shape != value.shape or into.dtype != value.dtype:
                raise ShapeError(
                    f"output {name!r} is {value.dtype}{value.shape} here, and the array given "
                    f"{into.dtype}{into.shape}"
                )
            into[...] = value

    def _arranged(self, inputs: Mapping[str, Any]) -> list[Any]:
        """The values of a call: tensors in order, then all others."""
        if not isinstance(inputs, Mapping):
            raise BindingError(
                f"the inputs come as {type(inputs).__name__}, must be a dictionary {{input name: value}}"
            )
        if (known := self._as_before(inputs)) is not None:
            return known
        rest = dict(inputs)
        self._check_names(rest)
        others = [checked(end, rest.pop(end.name, None)) for end in self._opaque]
        arrays = self._bindings.with_scalars(self._bindings.arrange(rest))
        self._bindings.check_kinds(arrays)
        arrays = self._bindings.laid_out(arrays)
        shapes = tuple(a.shape for a in arrays) + self._bindings.elements(arrays)
        if shapes != self._shapes:
            self._sizes = sizes_of(self._face, shapes)
            check_bytes(self._face, self._sizes)
            self._shapes = shapes
        self._bindings.check(arrays, self._sizes)
        if self.check_finite:
            self._bindings.check_finite(arrays)
        return [*arrays, *others]

    def _as_before(self, inputs: Mapping[str, Any]) -> list[Any] | None:
        """The values of a call whose inputs are all plain arrays of the last call's shapes; None of any other,
        which takes a closer look."""
        bindings = self._bindings
        if self._shapes is None or self._opaque or bindings.saying or self.check_finite:
            return None
        if len(inputs) != len(bindings.names):
            return None
        arrays = [inputs.get(name) for name in bindings.names]
        for array, shape, (_, dtype) in zip(arrays, self._shapes, bindings.specs, strict=True):
            if type(array) is not np.ndarray or array.shape != shape or array.dtype != dtype:
                return None
            flags = array.flags
            if not (flags.c_contiguous and flags.aligned):
                return None
        return arrays

    def _check_names(self, inputs: Mapping[str, Any]) -> None:
        """BindingError lists what is missing or unknown; optionals may be left out."""
        ends = {e.name: e.type for e in (*self._tensors, *self._opaque)}
        needed = [n for n, t in ends.items() if not isinstance(t, Opaque) or t.kind != "optional"]
        known = ends.keys() | self._bindings.fixed.keys()
        parts = [f"unknown input {n!r}" for n in inputs if n not in known]
        parts += [f"missing input {n!r}" for n in needed if n not in inputs]
        if parts:
            listed = ", ".join(f"{n} {t!r}" for n, t in ends.items())
            raise BindingError(f"{', '.join(parts)}; the engine's inputs are: {listed}")

    @property
    def sizes(self) -> dict[str, int]:
        """The sizes of the last call, by the engine's symbols; empty where all shapes are fixed."""
        return self._sizes

    def output_shapes(self, inputs: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """Shapes of the outputs for these arrays; ShapeError where only a run finds them."""
        self._arranged(inputs)
        return shapes_of(self._outputs, self._sizes)

    # -- timing ------------------------------------------------------------------------------

    def set_timing(self, on: bool) -> None:
        """Turn times of the script's steps on or off."""
        self._timing = on

    def step_times_ns(self) -> np.ndarray:
        """Nanoseconds that each step of the script took in the last timed run: int64 [steps]."""
        return self._times.copy()

    # -- end ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop all worker threads; running the context is an error from then on."""
        self._finish()
        with self._lock:
            self._closed = True
            for context in self._made:
                if context is not None:
                    context.close()


def shapes_of(outputs: Sequence[End], sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    """Shapes of outputs at these sizes; ShapeError names one that only a run finds."""
    shapes = {}
    for end in outputs:
        if isinstance(end.type, Opaque):
            raise ShapeError(f"output {end.name!r} is {end.type!r}: only a run finds its shape")
        symbols = {s.name for s in symbols_of(*end.type.shape)}
        if not symbols <= sizes.keys():
            raise ShapeError(f"the shape {end.type!r} of output {end.name!r} hangs on data; run it")
        shapes[end.name] = tuple(evaluate(e, sizes) for e in end.type.shape)
    return shapes


def _own(value: Any, kept: set[int]) -> Any:
    """A result that shares no memory with what the caller or the engine holds, which `kept` grows by."""
    if isinstance(value, list):
        return [_own(v, kept) for v in value]
    if isinstance(value, dict):
        return dict(value)
    if not isinstance(value, np.ndarray):
        return value
    if value.base is not None or id(value) in kept:
        return value.copy()
    kept.add(id(value))
    return value
