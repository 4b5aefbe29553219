"""A script in this process: each step as a function of the values of a call.

Names of values are unique in a whole script, so all of them, those of inner scripts included, lie in
one list; a loop's body writes to the same places in every iteration.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from camshaft.errors import CamshaftError, ModelError, ShapeError
from camshaft.ir.extents.extent import Extent, symbols_of
from camshaft.ir.extents.sizes import evaluate
from camshaft.ir.script import Call, If, Loop, Opaque, Run, Scan, Script, Size, Step, ValueType
from camshaft.runtime.bindings import laid_out
from camshaft.runtime.script.names import named_again

Values = list[Any]
Act = Callable[[Values], None]
RunGraph = Callable[[Mapping[str, Any]], Mapping[str, np.ndarray]]

Graph = tuple[RunGraph, tuple[str, ...], tuple[str, ...]]
"""How a graph is run, and the names of its inputs and outputs in order."""


class Places:
    """The place of each value in the list."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def of(self, name: str) -> int:
        """The place of a value, made if need be."""
        return self.numbers.setdefault(name, len(self.numbers))

    def all(self, names: Sequence[str]) -> list[int]:
        """Those of several."""
        return [self.of(n) for n in names]


class Linker:
    """Makes functions of steps.  graphs: by number.  called: see `names_of_values`."""

    def __init__(self, places: Places, graphs: Sequence[Graph], called: Mapping[str, str]) -> None:
        self.places, self.graphs, self.called = places, graphs, called

    def script(self, script: Script) -> list[Act]:
        """The steps of a script in order."""
        return [self.step(s) for s in script.steps]

    def step(self, step: Step) -> Act:
        """One step."""
        if isinstance(step, Run):
            return self._run(step)
        if isinstance(step, Call):
            return self._call(step)
        if isinstance(step, If):
            return self._if(step)
        return self._loop(step) if isinstance(step, Loop) else self._scan(step)

    def _run(self, step: Run) -> Act:
        run, names, results = self.graphs[step.graph]
        own = names[: len(names) - bool(step.sizes)]
        given = list(zip(own, self.places.all(step.inputs), strict=True))
        made = list(zip(results, self.places.all(step.outputs), strict=True))
        sizes = [(self.places.of(s.name), s) for s in step.sizes]

        def act(values: Values) -> None:
            feeds = {name: values[i] for name, i in given}
            if sizes:
                feeds[names[-1]] = np.array([_size(values[i], s) for i, s in sizes], np.int64)
            try:
                found = run(feeds)
            except ShapeError as error:
                raise named_again(error, names, step, self.called) from error
            for name, i in made:
                values[i] = found[name]

        return act

    def _call(self, step: Call) -> Act:
        given = [-1 if n is None else self.places.of(n) for n in step.inputs]
        made = [(i, self.places.of(n)) for i, n in enumerate(step.outputs) if n is not None]
        where = f"node {step.name!r} ({step.op})"
        operator: Callable[[Sequence[Any]], Sequence[Any]] | None = None

        def act(values: Values) -> None:
            nonlocal operator
            try:
                if operator is None:
                    operator = _loaded(step)
                results = operator([None if i < 0 else values[i] for i in given])
            except CamshaftError as error:
                raise ModelError(f"{where}: {error}") from error
            except Exception as error:  # an operator written in Python may raise anything
                raise ModelError(f"{where} failed: {type(error).__name__}: {error}") from error
            for number, i in made:
                values[i] = tidy(results[number])

        return act

    def _if(self, step: If) -> Act:
        condition = self.places.of(step.condition)
        then, otherwise = self.script(step.then), self.script(step.otherwise)
        outputs = self.places.all(step.outputs)
        yes, no = self.places.all(step.then.outputs), self.places.all(step.otherwise.outputs)

        def act(values: Values) -> None:
            holds = _one(values[condition], f"node {step.name!r} (If): its condition")
            for inner in then if holds else otherwise:
                inner(values)
            for to, at in zip(outputs, yes if holds else no, strict=True):
                values[to] = values[at]

        return act

    def _loop(self, step: Loop) -> Act:
        places = self.places
        body = self.script(step.body)
        count = None if step.count is None else places.of(step.count)
        condition = None if step.condition is None else places.of(step.condition)
        first = places.all(step.carried)
        counter, _, *given = places.all(step.body.inputs)
        going, *after = places.all(step.body.outputs)
        carried, scans = after[: len(first)], after[len(first) :]
        outputs = places.all(step.outputs)
        where, sizes = f"node {step.name!r} (Loop)", self._sizes(step)

        def act(values: Values) -> None:
            most = None if count is None else _number(values[count], f"{where}: its trip count")
            alive = condition is None or _one(values[condition], f"{where}: its condition")
            state = [values[i] for i in first]
            found: list[list[Any]] = [[] for _ in scans]
            number = 0
            while alive and (most is None or number < most):
                values[counter] = np.array(number, np.int64)
                for i, value in zip(given, state, strict=True):
                    values[i] = value
                for inner in body:
                    inner(values)
                alive = _one(values[going], f"{where}: what its body says of going on")
                state = [values[i] for i in carried]
                for parts, i in zip(found, scans, strict=True):
                    parts.append(values[i])
                number += 1
            made = [
                _stacked(parts, 0, type, where, sizes(values))
                for parts, type in zip(found, step.collected, strict=True)
            ]
            for i, value in zip(outputs, [*state, *made], strict=True):
                values[i] = value

        return act

    def _scan(self, step: Scan) -> Act:
        places = self.places
        body = self.script(step.body)
        first, sequences = places.all(step.carried), places.all(step.sequences)
        inputs, after = places.all(step.body.inputs), places.all(step.body.outputs)
        outputs = places.all(step.outputs)
        lengths = None if step.lengths is None else places.of(step.lengths)
        where, sizes = f"node {step.name!r} (Scan)", self._sizes(step)

        def scan(values: Values, state: list[Any], parts: list[Any], most: int | None) -> list[Any]:
            """All of one sequence (of each kind): the last states, and what was collected."""
            found: list[list[Any]] = [[] for _ in after[len(first) :]]
            extents = {p.shape[a] for p, a in zip(parts, step.axes, strict=True)}
            if len(extents) != 1:
                raise ShapeError(f"{where}: sequences of lengths {sorted(extents)} go together")
            whole = extents.pop()
            length = whole if most is None else most
            if not 0 <= length <= whole:
                raise ShapeError(f"{where}: {length} steps of sequences of {whole}")
            for number in range(length):
                elements = [
                    p.take(length - 1 - number if back else number, axis)
                    for p, axis, back in zip(parts, step.axes, step.backward, strict=True)
                ]
                for i, value in zip(inputs, [*state, *elements], strict=True):
                    values[i] = tidy(value)
                for inner in body:
                    inner(values)
                state = [values[i] for i in after[: len(first)]]
                for collected, i in zip(found, after[len(first) :], strict=True):
                    collected.append(values[i])
            shape = zip(found, step.output_axes, step.output_backward, step.collected, strict=True)
            return state + [
                _padded(
                    _stacked(f[::-1] if back else f, axis, type, where, sizes(values)), axis, whole
                )
                for f, axis, back, type in shape
            ]

        def act(values: Values) -> None:
            state, parts = [values[i] for i in first], [values[i] for i in sequences]
            if not step.batched:
                results = scan(values, state, parts, None)
            else:
                batch = (state or parts)[0].shape[0]
                most = (
                    [None] * batch if lengths is None else np.reshape(values[lengths], -1).tolist()
                )
                rows = [
                    scan(values, [tidy(s[b]) for s in state], [p[b] for p in parts], most[b])
                    for b in range(batch)
                ]
                results = [np.stack(column) for column in zip(*rows, strict=True)]
            for i, value in zip(outputs, results, strict=True):
                values[i] = tidy(value)

        return act

    def _sizes(self, step: Loop | Scan) -> Callable[[Values], dict[str, int]]:
        """Reads the sizes that a step knows of what it collects."""
        found = [(self.places.of(s.name), s) for s in step.sizes]
        return lambda values: {s.symbol: _size(values[i], s) for i, s in found}


def tidy(value: Any) -> Any:
    """A value as graphs take it: arrays laid out for kernels, NumPy's scalars as arrays."""
    if isinstance(value, np.ndarray):
        return laid_out(value) if type(value) is np.ndarray else np.array(value, order="C")
    return np.asarray(value) if isinstance(value, np.generic) else value


def _loaded(step: Call) -> Callable[[Sequence[Any]], Sequence[Any]]:
    module, function = step.executor.split(":")
    made: Callable[[Sequence[Any]], Sequence[Any]] = getattr(
        importlib.import_module(module), function
    )(step.payload)
    return made


def _size(value: Any, size: Size) -> int:
    return int(value.reshape(-1)[size.at] if size.of_elements else value.shape[size.at])


def _number(value: Any, what: str) -> int:
    if value.size != 1 or value.dtype.kind not in "iu":
        raise ShapeError(f"{what} is {value.dtype}{list(value.shape)}, and must be one integer")
    return int(value.item())


def _one(value: Any, what: str) -> bool:
    if value.size != 1:
        raise ShapeError(f"{what} has the shape {value.shape}, and must be one bool")
    return bool(value.item())


def _stacked(
    parts: Sequence[Any], axis: int, type: ValueType, where: str, sizes: Mapping[str, int]
) -> np.ndarray:
    """What was collected along a new axis; with nothing collected, as the type says."""
    if parts:
        shapes = {np.shape(p) for p in parts}
        if len(shapes) > 1:
            raise ShapeError(f"{where}: what it collects has the shapes {sorted(shapes)}")
        return np.stack(parts, axis)
    shape = [] if isinstance(type, Opaque) else [_extent(d, sizes) for d in type.shape]
    shape.insert(axis if axis >= 0 else axis + len(shape) + 1, 0)
    return np.empty(shape, type.dtype.numpy)


def _extent(extent: Extent, sizes: Mapping[str, int]) -> int:
    """An extent of what was never made: 0 where only making it would say."""
    known = all(s.name in sizes for s in symbols_of(extent))
    return evaluate(extent, sizes) if known else 0


def _padded(array: np.ndarray, axis: int, length: int) -> np.ndarray:
    """Zeros behind what a short sequence of a batch has given."""
    missing = length - array.shape[axis]
    if not missing:
        return array
    pads = [(0, 0)] * array.ndim
    pads[axis] = (0, missing)
    return np.pad(array, pads)
