"""Constants of a graph under construction, and how they come of weights that may change."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from camshaft.ir.op import Attr, Attrs, OpDef
from camshaft.ir.recipe import Known, Recipe, Source, called, name_of
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

    def constant(self, array: np.ndarray | np.generic, name: str = "const") -> Tensor:
        """A constant tensor; the array is made read-only (copied if it was writable)."""
        array = np.asarray(array)
        if array.flags.writeable or not array.flags.c_contiguous:
            array = np.array(array, order="C")
            array.flags.writeable = False
        return self._register(Tensor(self.fresh(name), type_of(array), array))

    def source(self, weight: Source, name: str) -> Tensor:
        """The constant that is a weight of the model, which may be exchanged later."""
        return self._of_recipe(weight.value, name, weight)

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
        if not any(t.changes for t in inputs):
            return tuple(self.constant(_given(a), n) for a, n in zip(made, names, strict=True))
        known = tuple(t.recipe or t.content for t in inputs)
        settings = tuple(sorted(params.items()))
        return tuple(
            self._of_recipe(_given(a), n, Recipe(name_of(function), known, settings, i))
            for i, (a, n) in enumerate(zip(made, names, strict=True))
        )

    def _of_recipe(self, array: np.ndarray, name: str, recipe: Known) -> Tensor:
        if array.flags.writeable or not array.flags.c_contiguous:
            array = _given(np.array(array, order="C"))
        return self._register(Tensor(self.fresh(name), type_of(array), array, recipe=recipe))

    def _folded(
        self, op: OpDef, inputs: Sequence[Tensor], attrs: Attrs, outputs: Sequence[str]
    ) -> tuple[Tensor, ...]:
        """The op's results, computed now."""
        made = op.reference([t.content for t in inputs], attrs)
        arrays = [_given(np.asarray(a)) for a in made]
        if not any(t.changes for t in inputs):
            return tuple(self.constant(a, n) for a, n in zip(arrays, outputs, strict=True))
        known = tuple(t.recipe or t.content for t in inputs)
        settings = (("op", op.name), *sorted(attrs.items()))
        return tuple(
            self._of_recipe(a, n, Recipe(FOLDED, known, settings, i))
            for i, (a, n) in enumerate(zip(arrays, outputs, strict=True))
        )


def _given(array: np.ndarray | np.generic) -> np.ndarray:
    """The array, read-only: nobody else holds it, so it needs no copy to become a constant."""
    array = np.asarray(array)
    array.flags.writeable = False
    return array
