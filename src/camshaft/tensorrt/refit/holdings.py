"""The weights of an engine that can be exchanged, by the names that refits use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

import numpy as np
from onnx import helper

from camshaft.errors import RefitError
from camshaft.ir.extents.sizes import fixed
from camshaft.ir.types import TensorType
from camshaft.refitting.exchange import partners
from camshaft.runtime.engine import Engine
from camshaft.tensorrt.enums.data import DataType, WeightsRole, type_of
from camshaft.tensorrt.network.call import array_of
from camshaft.tensorrt.network.element_types import ONNX_TYPES
from camshaft.tensorrt.plan import Held, Plan
from camshaft.tensorrt.weights import Weights

_CONSTANT = WeightsRole.CONSTANT
Place = tuple[str, WeightsRole]
"""A layer, and what it uses weights for."""


class Holdings:
    """Names and places of the weights of one engine.

    Several layers may hold weights of one name, and one initializer of the model may be the weights of several layers.
    """

    def __init__(self, engine: Engine, plan: Plan) -> None:
        """plan: of an engine that TensorRT's API has not made it says nothing, and initializers are constants."""
        self._engine = engine
        self._types: dict[str, TensorType] = engine.refittable
        held = plan.held or [_constant(name, t) for name, t in self._types.items()]
        self._held = [h for h in held if h.initializer in self._types]
        self._by_name: dict[str, list[Held]] = {}
        for each in self._held:
            self._by_name.setdefault(each.name, []).append(each)

    @property
    def names(self) -> list[str]:
        """The names of all weights, in the order of their layers."""
        return list(self._by_name)

    def places(self, names: Iterable[str]) -> list[Place]:
        """Where the weights of these names are."""
        wanted = set(names)
        found = [(h.layer, WeightsRole(h.role)) for h in self._held if h.name in wanted]
        return list(dict.fromkeys(found))

    def name_at(self, layer: str, role: WeightsRole) -> str:
        """The name of a layer's weights.  RefitError if there are none that can be exchanged."""
        for held in self._held:
            if held.layer == layer and held.role == int(role):
                return held.name
        raise RefitError(
            f"layer {layer!r} has no {role.name} weights that can be exchanged; get_all tells which have"
        )

    def prototype(self, name: str) -> Weights:
        """Type and count.  RefitError for a name that is none."""
        held = self._of(name)[0]
        return Weights._prototype(DataType(held.kind), held.count)

    def check(self, name: str, weights: Weights) -> None:
        """RefitError for weights that are not of the type and count of those of this name."""
        for held in self._of(name):
            if weights.size != held.count or int(weights.dtype) != held.kind:
                raise RefitError(
                    f"weights {name!r} are given as {weights.size} of {weights.dtype}, and the engine has {held.count} of "
                    f"{DataType(held.kind)}"
                )

    def missing(self, given: Mapping[str, Any]) -> list[str]:
        """The names of weights that an exchange of these needs besides."""
        initializers = {h.initializer: None for name in given for h in self._by_name[name]}
        lacking = set(partners(self._engine, initializers)) if self._types else set()
        return [
            n for n, held in self._by_name.items() if any(h.initializer in lacking for h in held)
        ]

    def arrays(self, name: str, weights: Weights) -> dict[str, np.ndarray[Any, Any]]:
        """The weights of a name as `Engine.refit` takes them."""
        found: dict[str, np.ndarray[Any, Any]] = {}
        for held in self._by_name[name]:
            type = self._types[held.initializer]
            array = array_of(weights).reshape(fixed(type.shape, name))
            rounded = array.astype(helper.tensor_dtype_to_np_dtype(held.stored))
            found[held.initializer] = rounded.astype(type.dtype.numpy)
        return found

    def _of(self, name: str) -> list[Held]:
        if name not in self._by_name:
            raise RefitError(
                f"no weights that can be exchanged are called {name!r}; get_all_weights tells which are"
            )
        return self._by_name[name]


def _constant(name: str, type: TensorType) -> Held:
    """An initializer of an engine whose layers are not known."""
    kind = type_of(np.dtype(type.dtype.numpy))
    if kind is None:
        raise RefitError(
            f"weights {name!r} are of {type.dtype}, which TensorRT's API has no name for"
        )
    count = prod(fixed(type.shape, name))
    return Held(name, name, name, int(_CONSTANT), int(kind), int(ONNX_TYPES[kind]), count)
