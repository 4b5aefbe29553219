"""Exchanging the weights of a built engine: `Engine.refit`, and engines whose files hold none.

The engine's plan (`builder.refit.plan`) says how each of its constants comes of the model's weights.  An exchange
computes those constants again that depend on what is given, with the functions of the build, and writes them where
they lie: code, memory and contexts stay.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from difflib import get_close_matches
from math import prod
from typing import Any

import numpy as np
from onnx import ModelProto

from camshaft.builder.refit.plan import (
    PARTS,
    Question,
    RefitPlan,
    plan_of_bytes,
    plan_to_bytes,
    with_kept,
)
from camshaft.config import BuildConfig
from camshaft.errors import ModelError, RefitError
from camshaft.frontends.onnx.dtypes import weight_of
from camshaft.frontends.onnx.model import load_model
from camshaft.frontends.torch.dtypes import array_of
from camshaft.ir.extents.sizes import fixed
from camshaft.ir.types import TensorType, type_of
from camshaft.portable.model import MODEL, with_weights
from camshaft.refitting.model_rest import PART, digest_of, model_rest, require_same_rest, rest_in
from camshaft.runtime.engine import Engine
from camshaft.runtime.file.engine_file import aligned


class _Plans:
    """The plans of an engine's parts; weights have the same numbers in all of them."""

    def __init__(self, engine: Engine) -> None:
        """RefitError if none of its weights can be exchanged."""
        self.engine = engine
        self.parts = [(p, _plan(p)) for p in engine.whole if PARTS[0] in p.attached]
        if not self.parts:
            raise RefitError(_why_none(engine))
        self.weights = self.parts[0][1].weights
        self.numbers = {w.name: n for n, w in enumerate(self.weights)}

    def may_change(self, number: int) -> bool:
        """Whether a weight can be exchanged: some constant comes of it, and no part was decided by it."""
        needed = any(number in plan.needed for _, plan in self.parts)
        return needed and not any(plan.weights[number].reads for _, plan in self.parts)

    def changed(self, given: Iterable[int], part: Engine) -> Iterable[int]:
        """The weights that are exchanged in a part."""
        return range(len(self.weights)) if part.awaits_weights else given

    def missing(self, given: Collection[int]) -> list[str]:
        """Names of weights that an exchange of these needs besides."""
        found = set[int]()
        for part, plan in self.parts:
            found |= _missing(plan, self.changed(given, part), given)
        return [self.weights[n].name for n in sorted(found)]

    def computed(
        self, part: Engine, plan: RefitPlan, given: Mapping[int, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """The constants of a part that change.  RefitError if the part is not right for these weights."""
        changed, known = self.changed(given, part), {**plan.kept, **given}
        questions, names = plan.asked(changed), plan.affected(changed)
        refs = [plan.constants[name][0] for name in names]
        results = plan.results(known, [*(q.ref for q in questions), *refs])
        for question in questions:
            if not results(question.ref):
                raise RefitError(_unfulfilled(plan, question, known))
        made = {name: results(ref) for name, ref in zip(names, refs, strict=True)}
        for name, array in made.items():
            if type_of(array) != plan.constants[name][1]:
                raise RefitError(
                    f"constant {name} would become {type_of(array)}: build the engine again"
                )
        return made


def refitted(engine: Engine, weights: Any, *, copy: bool) -> Engine:
    """As `Engine.refit`."""
    plans = _Plans(engine)
    given = _from_model(plans, weights) if _is_model(weights) else _checked(plans, weights)
    if missing := plans.missing(given):
        raise RefitError(_partners_wanted(engine, missing))
    made = [plans.computed(part, plan, given) for part, plan in plans.parts]
    targets: dict[int, Engine] = {}
    for (part, plan), constants in zip(plans.parts, made, strict=True):
        target = targets[id(part)] = (
            part.sharing(constants, plan.constants) if copy else part.exchange(constants)
        )
        kept = {**plan.kept, **{n: np.array(a) for n, a in given.items() if n in plan.small}}
        known, stored = with_kept(plan, part.attached, kept)
        target.attached.update(stored)
        target.notes_of_refit = _key(target), known
    whole = engine.with_parts([targets.get(id(p), p) for p in engine.whole]) if copy else engine
    if MODEL in whole.attached:
        by_name = {plans.weights[n].name: a for n, a in given.items()}
        whole.attached[MODEL] = with_weights(whole.attached[MODEL], by_name)
    return whole


def note_model(engine: Engine, model: Any, config: BuildConfig) -> tuple[str, ...]:
    """Attach to an engine that was built what a refit needs of its model.  A sentence for each weight that was named as one
    that can be exchanged, and cannot."""
    engine.attached |= model_rest(model, config)
    named = () if isinstance(config.refittable, bool) else config.refittable
    fixed = sorted(set(named) - exchangeable(engine).keys())
    return tuple(f"refittable names {name!r}, but {_decides(name)}" for name in fixed)


def exchangeable(engine: Engine) -> dict[str, TensorType]:
    """As `Engine.refittable`."""
    if not any(PARTS[0] in part.attached for part in engine.whole):
        return {}
    plans = _Plans(engine)
    return {w.name: w.type for n, w in enumerate(plans.weights) if plans.may_change(n)}


def exchanged(engine: Engine) -> frozenset[str]:
    """Names of the constants that come of weights."""
    return frozenset(_plan(engine).constants)


def partners(engine: Engine, names: Iterable[str]) -> tuple[str, ...]:
    """Weights that an exchange of those of these names needs besides, because they share constants with them."""
    plans = _Plans(engine)
    return tuple(plans.missing([plans.numbers[n] for n in names if n in plans.numbers]))


def filled(
    attached: Mapping[str, bytes], stored: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The constants of a file that holds a plan, in memory that can be written; 0 for those that the file leaves out."""
    plan, constants = plan_of_bytes(attached), dict(stored)
    for name, (_, type) in plan.constants.items():
        if name in stored:
            constants[name] = aligned(stored[name].copy())
        else:
            constants[name] = aligned(np.zeros(type.shape, type.dtype.numpy))  # type: ignore[arg-type]
    return constants


def stripped(engine: Engine) -> tuple[dict[str, bytes], frozenset[str]]:
    """What is attached to an engine without the values of weights, and the constants that come of weights."""
    plans = _Plans(engine)
    if MODEL in engine.attached:
        raise RefitError(
            "a portable engine carries its model with all weights, so that its file cannot leave them out: build it without "
            "portable=True"
        )
    bare = {id(part): plan_to_bytes(plan, with_weights=False) for part, plan in plans.parts}
    names = frozenset(n for _, plan in plans.parts for n in plan.constants)
    return engine.all_attached(bare), names


def stripped_bytes(engine: Engine) -> int:
    """Bytes of the constants that files of the engine without weights leave out."""
    if not any(PARTS[0] in part.attached for part in engine.whole):
        return 0
    types = [type for _, plan in _Plans(engine).parts for _, type in plan.constants.values()]
    return sum(prod(fixed(t.shape, "a constant")) * t.dtype.numpy.itemsize for t in types)


def _plan(part: Engine) -> RefitPlan:
    key, known = _key(part), part.notes_of_refit
    if known is None or known[0] != key:
        known = part.notes_of_refit = (key, plan_of_bytes(part.attached))
    plan: RefitPlan = known[1]
    return plan


def _key(part: Engine) -> tuple[bytes, ...]:
    """What the engine's file holds of its plan."""
    return tuple(part.attached[name] for name in PARTS)


def _why_none(engine: Engine) -> str:
    if PART in engine.attached:
        return (
            "none of the engine's weights can be exchanged: they decide what is computed, or are single numbers, whole "
            "numbers or Constant nodes; build it anew"
        )
    return "the engine's weights cannot be exchanged, because it was not built for that: build it with refittable=True"


def _is_model(weights: Any) -> bool:
    paths = (str, os.PathLike, bytes, bytearray, memoryview, ModelProto)
    return isinstance(weights, paths) or hasattr(weights, "to_onnx")


def _from_model(plans: _Plans, model: Any) -> dict[int, np.ndarray]:
    """The weights of a model, by number.  RefitError for one that lacks some."""
    proto, engine = load_model(model), plans.engine
    if PART in engine.attached:
        require_same_rest(rest_in(engine.attached), proto, exchangeable(engine))
    found = {t.name: t for t in proto.graph.initializer}
    wanted = [w.name for n, w in enumerate(plans.weights) if plans.may_change(n)]
    missing = sorted(set(wanted) - found.keys())
    if missing:
        raise RefitError(
            f"the model has no weight {_listed(missing)}, of which the engine was built: give the model it was built from, "
            "with other values"
        )
    return _checked(plans, {name: weight_of(found[name]) for name in wanted})


def _checked(plans: _Plans, weights: Any) -> dict[int, np.ndarray]:
    """The given arrays by number of the weight.  RefitError for one that is not, or is of another type."""
    if not isinstance(weights, Mapping):
        raise RefitError(
            f"weights is of type {type(weights).__name__}; give a dictionary name -> array, or the ONNX model"
        )
    rest, given = rest_in(plans.engine.attached), dict[int, np.ndarray]()
    for called, value in weights.items():
        if not isinstance(called, str):
            raise RefitError(f"names of weights are texts, and one is {called!r}")
        name = rest.aliases.get(called, called)
        number = plans.numbers.get(name)
        if number is not None and plans.may_change(number):
            array = _array(plans, number, value)
            if number in given and not np.array_equal(given[number], array):
                raise RefitError(
                    f"{called!r} is given other values than another name of the same weight; they were one when the engine was built"
                )
            given[number] = array
        elif name in rest.unread:
            continue
        elif name in rest.initializers or number is not None:
            if digest_of(_as_array(called, value)) != rest.initializers.get(name):
                raise RefitError(_decides(called))
        else:
            near = get_close_matches(name, plans.numbers, 3, 0.4)
            hint = f"did you mean {_listed(near)}" if near else "see engine.refittable"
            raise RefitError(f"no weight of the engine is called {name!r}: {hint}")
    return given


def _array(plans: _Plans, number: int, value: Any) -> np.ndarray:
    weight = plans.weights[number]
    array = _as_array(weight.name, value)
    if array.dtype != weight.type.dtype.numpy or array.shape != weight.type.shape:
        raise RefitError(
            f"weight {weight.name!r} is given as {array.dtype}{list(array.shape)}, and the engine was built with "
            f"{weight.type!r}: give it in that type and shape"
        )
    return array


def _as_array(name: str, value: Any) -> np.ndarray:
    """Of an array, or a tensor of PyTorch.  RefitError for what is none."""
    try:
        return array_of(value) if hasattr(value, "detach") else np.asarray(value)
    except (ValueError, TypeError, RuntimeError, ModelError) as error:
        raise RefitError(f"weight {name!r} is no array: {error!s:.200}") from error


def _decides(name: str) -> str:
    return (
        f"weight {name!r} cannot be exchanged: the engine is optimized by its values (whole and single numbers are part of "
        "the code, and so is what sizes and positions are made of), does not read it, or was not permitted to exchange it"
    )


def _missing(plan: RefitPlan, changed: Iterable[int], given: Collection[int]) -> set[int]:
    """Weights that an exchange of `changed` needs in a part besides those given."""
    refs = [plan.constants[n][0] for n in plan.affected(changed)]
    refs += [q.ref for q in plan.asked(changed)]
    return {n for ref in refs for n in plan.needs(ref)} - {*given, *plan.kept}


def _partners_wanted(engine: Engine, names: Sequence[str]) -> str:
    if engine.lacks_weights:
        return f"the engine was saved without weights and needs all of them: {_listed(names)} not given; give the ONNX model"
    return f"what was given is folded with other weights: give {_listed(names)} too (or the whole ONNX model)"


def _unfulfilled(plan: RefitPlan, question: Question, weights: Mapping[int, np.ndarray]) -> str:
    """That the engine's form is not right for other weights."""
    needed = sorted(plan.needs(question.ref))
    wild = [plan.weights[w].name for w in needed if not np.isfinite(weights[w]).all()]
    names = wild or [plan.weights[w].name for w in needed]
    return (
        f"the engine, as it was optimized, is right for weights of which {question.words}, and that is not true of "
        f"{_listed(names)}: build the engine again"
    )


def _listed(names: Any, most: int = 5) -> str:
    shown = [repr(n) for n in list(names)[:most]]
    rest = len(names) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest > 0 else "")
