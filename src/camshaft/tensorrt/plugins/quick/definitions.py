"""Decorators that make plugins of functions."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.tensorrt.plugins.fields import PluginFieldCollection, fields_of
from camshaft.tensorrt.plugins.interfaces import IPluginCreatorV3Quick
from camshaft.tensorrt.plugins.quick.tensors import TensorDesc
from camshaft.tensorrt.plugins.registry import REGISTRY
from camshaft.tensorrt.plugins.v3 import IPluginV3

_DEFINITIONS: dict[str, Definition] = {}
_LOCK = threading.Lock()


@dataclass
class Definition:
    """A plugin.  describe: gives its outputs.  inputs: names of the tensors.  attributes: annotated types by name."""

    name: str
    describe: Callable[..., Any]
    inputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    compute: Callable[..., Any] | None = None
    tune: Callable[..., Any] | None = None

    def complete(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Attributes as annotated.  ModelError names one that is unknown or missing."""
        unknown, missing = set(given) - set(self.attributes), set(self.attributes) - set(given)
        if unknown or missing:
            wrong = f"has no attribute {sorted(unknown)}" if unknown else f"needs {sorted(missing)}"
            raise ModelError(f"plugin {self.name!r} {wrong}")
        return {name: _as(value, self.attributes[name]) for name, value in given.items()}


def definition_named(name: str) -> Definition:
    """The plugin of that id.  ModelError says how to get it."""
    if name not in _DEFINITIONS:
        raise ModelError(
            f"plugin {name!r} is not registered: import the module that registers it (tensorrt.plugin.register) before"
        )
    return _DEFINITIONS[name]


def is_namespace(name: str) -> bool:
    """Whether a plugin's id begins so."""
    return any(key.startswith(f"{name}::") for key in _DEFINITIONS)


def _as(value: Any, annotation: Any) -> Any:
    """An attribute as its annotation says: a number, text, bytes, or an array."""
    if annotation in (int, float, bool):
        return _number(np.asarray(value).reshape(-1)[0], annotation)
    if annotation is str:
        return bytes(value).decode() if isinstance(value, bytes | np.ndarray) else str(value)
    if annotation is bytes:
        return bytes(value)
    of_array = getattr(annotation, "__args__", ())[
        -1:
    ]  # numpy.ndarray[shape, numpy.dtype[element]]
    element = next((a.__args__[0] for a in of_array if getattr(a, "__args__", None)), None)
    return np.asarray(value, element)


def _number(value: Any, annotation: type) -> Any:
    """ModelError for what is none, and for a fraction where a whole number is wanted."""
    try:
        made = annotation(value)
        if annotation is float or made == value:
            return made
    except (TypeError, ValueError):
        pass
    raise ModelError(
        f"an attribute is {value}, and a number of type {annotation.__name__} is wanted"
    )


def register(
    plugin_id: str, lazy_register: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator of a function that gives the outputs' descriptions.

    plugin_id: "namespace::name".  Its parameters are tensors (TensorDesc), then attributes, whose types are annotated.  ValueError for
    other signatures.
    """
    namespace, _, name = plugin_id.partition("::")
    if not namespace or not name:
        raise ValueError(f"{plugin_id!r} must be 'namespace::name'")

    def decorate(describe: Callable[..., Any]) -> Callable[..., Any]:
        inputs, attributes = _signature(describe)
        with _LOCK:
            _DEFINITIONS[plugin_id] = Definition(plugin_id, describe, inputs, attributes)
        creator = _Creator(namespace, name, attributes)
        REGISTRY.register_creator(creator, namespace)
        return describe

    return decorate


def _signature(describe: Callable[..., Any]) -> tuple[tuple[str, ...], dict[str, Any]]:
    inputs: list[str] = []
    attributes: dict[str, Any] = {}
    hints = inspect.get_annotations(describe, eval_str=True)
    for name in inspect.signature(describe).parameters:
        annotation = hints.get(name)
        if annotation is None:
            raise ValueError(f"parameter {name!r} of {describe.__name__} must be annotated")
        if isinstance(annotation, type) and issubclass(annotation, TensorDesc):
            if attributes:
                raise ValueError(f"{describe.__name__}: tensors come before attributes")
            inputs.append(name)
        else:
            attributes[name] = annotation
    return tuple(inputs), attributes


def impl(plugin_id: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator of the function that computes: it gets the tensors, attributes that it names, `outputs`, `stream`, and `tactic` if it
    names that."""

    def decorate(compute: Callable[..., Any]) -> Callable[..., Any]:
        definition_named(plugin_id).compute = compute
        return compute

    return decorate


def autotune(plugin_id: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator of a function that gives AutoTuneCombinations: it gets the tensors, attributes that it names, and `outputs`."""

    def decorate(tune: Callable[..., Any]) -> Callable[..., Any]:
        definition_named(plugin_id).tune = tune
        return tune

    return decorate


def aot_impl(plugin_id: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator of a function that compiles a CUDA kernel ahead.  It is not called: there is no GPU, `impl` computes."""

    def decorate(compile: Callable[..., Any]) -> Callable[..., Any]:
        definition_named(plugin_id)
        return compile

    return decorate


class _Creator(IPluginCreatorV3Quick):
    """Makes uses of a plugin of its fields."""

    def __init__(self, namespace: str, name: str, attributes: Mapping[str, Any]) -> None:
        super().__init__()
        self.name, self.plugin_version, self.plugin_namespace = name, "1", namespace
        self._attributes = attributes
        self.field_names = PluginFieldCollection()

    def create_plugin(
        self, name: str, namespace: str, field_collection: Any, phase: Any, quickPluginType: Any
    ) -> Any:
        """The plugin with its attributes."""
        given = {f.name: f.data for f in fields_of(field_collection) if f.name in self._attributes}
        found = definition_named(f"{self.plugin_namespace}::{self.name}")
        return QuickPlugin(found, found.complete(given))


class QuickPlugin(IPluginV3):
    """A plugin of functions.  values: its attributes, complete."""

    def __init__(self, of: Definition, values: dict[str, Any]) -> None:
        super().__init__()
        self._of, self._values = of, values

    def get_capability_interface(self, type: Any) -> Any:
        """The plugin."""
        return self

    def clone(self) -> QuickPlugin:
        """A copy."""
        return QuickPlugin(self._of, dict(self._values))
