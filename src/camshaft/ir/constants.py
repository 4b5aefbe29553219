"""Constants of a graph under construction, and how they come of weights that may change."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from camshaft.ir.op import Attr, Attrs, OpDef
from camshaft.ir.recipe import Condition, Known, Recipe, Source, called, recipe_of
from camshaft.ir.tensor import Tensor
from camshaft.ir.types import type_of

FOLDED = "camshaft.ops.execute:folded"
"""The function of recipes that are an op's."""


class Constants(ABC):
    """What builders of graphs make constants with."""

    @abstractmethod
    def fresh(self, base: str) -> str:
        """`base` if no tensor has that name yet, else `base` with a number."""

    @abstractmethod
    def _register(self, tensor: Tensor) -> Tensor:
        """The tensor, whose name is taken from now on."""

    def constant(
        self, array: np.ndarray | np.generic, name: str = "const", recipe: Known | None = None
    ) -> Tensor:
        """A constant tensor; the array is made read-only (copied if it was writable).

        recipe: how it comes of weights that may change, for arrays that were made before (else see `derived`).
        """
        array = np.asarray(array)
        if array.flags.writeable or not array.flags.c_contiguous:
            array = np.array(array, order="C")
            array.flags.writeable = False
        return self._register(Tensor(self.fresh(name), type_of(array), array, recipe=recipe))

    def source(self, weight: Source, name: str) -> Tensor:
        """The constant that is a weight of the model, which may be exchanged later."""
        return self.constant(weight.value, name, weight)

    def derived(
        self, function: Callable[..., Any], inputs: Sequence[Tensor], name: str, **params: Attr
    ) -> Tensor:
        """The constant that a function of a module makes of constants, so that it can be made again of others.

        function: takes the arrays of `inputs` and `params`, gives an array, and does nothing else.
        """
        return self.all_derived(function, inputs, [name], **params)[0]

    def all_derived(
        self,
        function: Callable[..., Any],
        inputs: Sequence[Tensor],
        names: Sequence[str],
        **params: Attr,
    ) -> tuple[Tensor, ...]:
        """As `derived`, of a function that gives several arrays."""
        made = called(function, [t.content for t in inputs], params)
        known = [t.known for t in inputs]
        return tuple(
            self.constant(_given(a), n, recipe_of(function, known, params, i))
            for i, (a, n) in enumerate(zip(made, names, strict=True))
        )

    def _folded(
        self, op: OpDef, inputs: Sequence[Tensor], attrs: Attrs, outputs: Sequence[str]
    ) -> tuple[Tensor, ...]:
        """The op's results, computed now."""
        made = op.reference([t.content for t in inputs], attrs)
        arrays = [_given(np.asarray(a)) for a in made]
        known = tuple(t.known for t in inputs)
        changes = any(t.changes for t in inputs)
        settings = (("op", op.name), *sorted(attrs.items()))
        return tuple(
            self.constant(a, n, Recipe(FOLDED, known, settings, i) if changes else None)
            for i, (a, n) in enumerate(zip(arrays, outputs, strict=True))
        )


def loose(
    function: Callable[..., Any], inputs: Sequence[Tensor], name: str, **params: Attr
) -> Tensor:
    """As `GraphBuilder.derived`, a constant that is of no graph yet."""
    array = _given(called(function, [t.content for t in inputs], params)[0])
    recipe = recipe_of(function, [t.known for t in inputs], params)
    return Tensor(name, type_of(array), array, recipe=recipe)


def holds(
    function: Callable[..., Any], inputs: Sequence[Tensor], words: str, **params: Attr
) -> bool:
    """Whether a function of a module is true of constants, where the build's result is right only if it is.

    words: what is true then.  Of weights that may change later a true answer is written down: others are taken only if
    it is true of them too.
    """
    if not function(*(t.content for t in inputs), **params):
        return False
    question = recipe_of(function, [t.known for t in inputs], params)
    if question is not None:
        key = question.function, question.params, tuple(id(i) for i in question.inputs)
        for source in question.sources:
            source.conditions.setdefault(key, Condition(question, words))
    return True


def loose_constant(array: np.ndarray, name: str) -> Tensor:
    """A constant that is of no graph yet."""
    return Tensor(name, type_of(array), array)


def _given(array: np.ndarray | np.generic) -> np.ndarray:
    """The array, read-only: nobody else holds it, so it needs no copy to become a constant."""
    array = np.asarray(array)
    array.flags.writeable = False
    return array
