"""How an engine's constants come of the model's weights: what its file holds for `Engine.refit`.

Steps are functions of weights, of other steps' results and of arrays that belong to the plan; each constant that
depends on weights is a result of one.  Recipes (`ir.recipe`) become steps once, however many constants
they lead to.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np

from camshaft.builder.refit.attrs import (
    attr_of_json,
    attr_to_json,
    symbols_of_json,
    symbols_to_json,
)
from camshaft.errors import EngineFileError
from camshaft.ir.attrs import symbolic_in
from camshaft.ir.extents.extent import symbols_of
from camshaft.ir.extents.sizes import fixed
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.op import Attr
from camshaft.ir.recipe import Known, Recipe, Source, called, function_named
from camshaft.ir.types import TensorType, dtype_named, type_of

RECORD, ARRAYS = PARTS = "refit", "refit arrays"
"""What a plan is called among what is attached to an engine."""
KEPT_BYTES = 1 << 16
"""Weights up to this size stay in the plan, so that larger ones can be exchanged without them."""

Ref = tuple[str, int, int]
"""("step", number, which result), ("weight", number, 0) or ("array", number, 0)."""


@dataclass(frozen=True)
class Step:
    """A call of a function ("module:name") with plain keyword arguments."""

    function: str
    params: tuple[tuple[str, Attr], ...]
    inputs: tuple[Ref, ...]


@dataclass(frozen=True)
class Weight:
    """A weight of the model.  reads: what looked at its values besides the steps, so that it cannot be exchanged."""

    name: str
    type: TensorType
    reads: tuple[str, ...] = ()


@dataclass(frozen=True)
class Question:
    """What the engine is right for alone: the first element of a result must be true.  words: what that says."""

    ref: Ref
    words: str


@dataclass
class RefitPlan:
    """The plan of one engine.

    constants: of which result each is, and its type.  questions: what must be true of weights.  arrays: constants of the steps.  kept: values of weights that are small
    or cannot be exchanged, by number of the weight.  symbols: those in parameters.
    """

    weights: list[Weight] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    constants: dict[str, tuple[Ref, TensorType]] = field(default_factory=dict)
    arrays: list[np.ndarray] = field(default_factory=list)
    kept: dict[int, np.ndarray] = field(default_factory=dict)
    symbols: dict[str, Symbol] = field(default_factory=dict)
    questions: list[Question] = field(default_factory=list)
    _needs: dict[int, frozenset[int]] = field(default_factory=dict, repr=False)
    _needed: frozenset[int] | None = field(default=None, repr=False)

    @property
    def small(self) -> frozenset[int]:
        """Numbers of the weights whose values the plan keeps so that larger ones can be exchanged without them."""
        return frozenset(
            n
            for n, w in enumerate(self.weights)
            if n in self.needed and not w.reads and _nbytes(w.type) <= KEPT_BYTES
        )

    @property
    def fixed(self) -> frozenset[int]:
        """Numbers of the weights that cannot be exchanged."""
        return frozenset(n for n, w in enumerate(self.weights) if n in self.needed and w.reads)

    @property
    def needed(self) -> frozenset[int]:
        """Numbers of the weights that constants come of."""
        if self._needed is None:
            refs = [ref for ref, _ in self.constants.values()]
            self._needed = frozenset[int]().union(*map(self.needs, refs))
        return self._needed

    def needs(self, ref: Ref) -> frozenset[int]:
        """Numbers of the weights that a result comes of."""
        kind, number, _ = ref
        if kind != "step":
            return frozenset((number,)) if kind == "weight" else frozenset()
        if number not in self._needs:  # steps stand behind those they read
            found = frozenset[int]()
            self._needs[number] = found.union(*(self.needs(r) for r in self.steps[number].inputs))
        return self._needs[number]

    def affected(self, changed: Iterable[int]) -> list[str]:
        """The constants that depend on any of these weights."""
        return [
            n for n, (ref, _) in self.constants.items() if not self.needs(ref).isdisjoint(changed)
        ]

    def asked(self, changed: Iterable[int]) -> list[Question]:
        """The questions whose answers depend on any of these weights."""
        return [q for q in self.questions if not self.needs(q.ref).isdisjoint(changed)]

    def results(
        self, weights: Mapping[int, np.ndarray], wanted: Iterable[Ref]
    ) -> Callable[[Ref], np.ndarray]:
        """What gives each of the results that are wanted, once, of these weights.  A step is done once, however many need
        it, and what it gave is kept no longer than they do: the steps of all weights would fill the caches and more."""
        left, done = self._uses(wanted), dict[int, tuple[np.ndarray, ...]]()

        def value(ref: Ref) -> np.ndarray:
            kind, number, result = ref
            if kind == "weight":
                return weights[number]
            if kind == "array":
                return self.arrays[number]
            if number not in done:
                step = self.steps[number]
                inputs = [value(r) for r in step.inputs]
                with np.errstate(all="ignore"):  # what is not finite is asked for
                    made = called(function_named(step.function), inputs, dict(step.params))
                done[number] = made
            left[number] -= 1
            found = done[number] if left[number] else done.pop(number)
            return np.asarray(found[result])

        return value

    def _uses(self, wanted: Iterable[Ref]) -> Counter[int]:
        """How often the results of each step are read for those that are wanted."""
        uses, todo = Counter[int](), [*wanted]
        while todo:
            kind, number, _ = todo.pop()
            if kind == "step":
                if number not in uses:
                    todo += self.steps[number].inputs
                uses[number] += 1
        return uses


class Planner:
    """Makes the plan of an engine of its constants' recipes."""

    def __init__(self, weights: Iterable[Source]) -> None:
        """weights: all that the model has, whether or not constants come of them."""
        self.plan = RefitPlan()
        self.values: dict[int, np.ndarray] = {}
        self._weights: dict[Source, int] = {}
        self._steps: dict[object, int] = {}
        self._arrays: dict[int, int] = {}
        for weight in weights:
            self.ref(weight)

    def add(self, name: str, ref: Ref, array: np.ndarray) -> None:
        """A constant of the engine: which result it is, and what it is now."""
        self.plan.constants[name] = ref, type_of(array)

    def finish(self) -> RefitPlan:
        """The plan, when all constants are in it."""
        plan = self.plan
        plan.weights = [Weight(s.name, s.type, tuple(s.reads)) for s in self._weights]
        plan.kept = {n: self.values[n] for n in sorted(plan.small | plan.fixed)}
        for condition in dict.fromkeys(c for s in self._weights for c in s.conditions.values()):
            ref = self.ref(condition.question)
            if plan.needs(ref) <= plan.needed and not plan.needs(ref) <= plan.fixed:
                plan.questions.append(Question(ref, condition.words))
        attrs = [value for step in plan.steps for _, value in step.params]
        plan.symbols |= {s.name: s for s in symbols_of(*(e for a in attrs for e in symbolic_in(a)))}
        return plan

    def ref(self, known: Known | np.ndarray) -> Ref:
        """Which result a recipe leads to; the same for equal ones."""
        if isinstance(known, Source):
            number = self._weights.setdefault(known, len(self._weights))
            self.values[number] = known.value
            return "weight", number, 0
        if isinstance(known, Recipe):
            inputs = tuple(self.ref(i) for i in known.inputs)
            key = known.function, known.params, inputs
            if key not in self._steps:
                self._steps[key] = len(self.plan.steps)
                self.plan.steps.append(Step(known.function, known.params, inputs))
            return "step", self._steps[key], known.result
        if id(known) not in self._arrays:
            self._arrays[id(known)] = len(self.plan.arrays)
            self.plan.arrays.append(known)
        return "array", self._arrays[id(known)], 0


# -- as bytes -----------------------------------------------------------------------------------------------


def plan_to_bytes(plan: RefitPlan, *, with_weights: bool) -> dict[str, bytes]:
    """What an engine's file holds of a plan, by name.  with_weights: whether the values of small weights are among it."""
    kept = {n: a for n, a in plan.kept.items() if with_weights or n in plan.fixed}
    arrays = _stored(plan, kept)
    record = {
        "symbols": symbols_to_json(plan.symbols),
        "weights": [[w.name, *_type(w.type), list(w.reads)] for w in plan.weights],
        "steps": [
            [s.function, [[n, attr_to_json(v)] for n, v in s.params], s.inputs] for s in plan.steps
        ],
        "questions": [[q.ref, q.words] for q in plan.questions],
        "constants": [[name, ref, *_type(type)] for name, (ref, type) in plan.constants.items()],
        "kept": list(kept),
        "arrays": [_type(type_of(a)) for a in arrays],
    }
    return {RECORD: json.dumps(record, separators=(",", ":")).encode(), ARRAYS: _bytes(arrays)}


def with_kept(
    plan: RefitPlan, parts: Mapping[str, bytes], kept: Mapping[int, np.ndarray]
) -> tuple[RefitPlan, dict[str, bytes]]:
    """The plan with these values of small weights, and what files hold of it.  parts: what they hold of `plan`."""
    other = replace(plan, kept=dict(kept))
    if kept.keys() != plan.kept.keys():
        return other, plan_to_bytes(other, with_weights=True)
    return other, {RECORD: parts[RECORD], ARRAYS: _bytes(_stored(other, other.kept))}


def _stored(plan: RefitPlan, kept: Mapping[int, np.ndarray]) -> list[np.ndarray]:
    """All arrays of a file, in order."""
    return [*plan.arrays, *kept.values()]


def _bytes(arrays: Iterable[np.ndarray]) -> bytes:
    return b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)


def plan_of_bytes(parts: Mapping[str, bytes]) -> RefitPlan:
    """Inverse of `plan_to_bytes`.  EngineFileError where the plan is malformed."""
    try:
        record = json.loads(parts[RECORD])
        symbols = symbols_of_json(record["symbols"])
        arrays, at = [], 0
        for name, shape in record["arrays"]:
            dtype = dtype_named(name)
            size = int(np.prod(shape, dtype=np.int64)) * dtype.numpy.itemsize
            flat = np.frombuffer(parts[ARRAYS][at : at + size], dtype.numpy)
            arrays.append(flat.reshape(shape))
            at += size
        kept = dict(zip(record["kept"], arrays[len(arrays) - len(record["kept"]) :], strict=True))
        return RefitPlan(
            [Weight(n, _type_of(d, s), tuple(reads)) for n, d, s, reads in record["weights"]],
            [
                Step(f, tuple((n, attr_of_json(v, symbols)) for n, v in params), _refs(inputs))
                for f, params, inputs in record["steps"]
            ],
            {n: (_refs([ref])[0], _type_of(d, s)) for n, ref, d, s in record["constants"]},
            arrays[: len(arrays) - len(kept)],
            kept,
            symbols,
            [Question(_refs([ref])[0], words) for ref, words in record["questions"]],
        )
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise EngineFileError(
            f"what the engine says of its weights is malformed ({error!s:.80}); build it again"
        ) from error


def _nbytes(type: TensorType) -> int:
    return prod(fixed(type.shape, "a weight")) * type.dtype.numpy.itemsize


def _type(type: TensorType) -> tuple[str, Sequence[Any]]:
    return type.dtype.name, type.shape


def _type_of(dtype: str, shape: Sequence[int]) -> TensorType:
    return TensorType(dtype_named(dtype), tuple(shape))


def _refs(data: Sequence[Sequence[Any]]) -> tuple[Ref, ...]:
    return tuple((kind, number, result) for kind, number, result in data)
