"""One use of a plugin of functions in a network."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from camshaft.errors import ModelError
from camshaft.ir.plugins.values import to_text
from camshaft.network.tensor import Tensor
from camshaft.tensorrt.plugins.quick.definitions import (
    Definition,
    QuickPlugin,
    definition_named,
    is_namespace,
)
from camshaft.tensorrt.plugins.quick.running import QUICK
from camshaft.tensorrt.plugins.quick.tensors import TensorDesc

if TYPE_CHECKING:
    from camshaft.tensorrt.network.call import Call


class QuickCall:
    """What `tensorrt.plugin.op.namespace.name(...)` gives: a plugin, and its tensors.  ModelError for those that do not fit."""

    def __init__(
        self, of: Definition, tensors: Sequence[Any], attributes: Mapping[str, Any]
    ) -> None:
        by_name = [attributes[n] for n in of.inputs[len(tensors) :] if n in attributes]
        self._tensors = [*tensors, *by_name]
        if len(self._tensors) != len(of.inputs):
            raise ModelError(
                f"plugin {of.name!r} takes {len(of.inputs)} tensors, not {len(self._tensors)}"
            )
        values = of.complete({k: v for k, v in attributes.items() if k not in of.inputs})
        self._plugin = QuickPlugin(of, values)

    def _outputs(self) -> int:
        """How many outputs there are; that does not hang on the inputs' sizes."""
        plugin = self._plugin
        described = [_like(len(t.shape)) for t in self._tensors]
        made = plugin._of.describe(*described, **plugin._values)
        return len(made) if isinstance(made, tuple | list) else 1


def lowered(plugin: QuickPlugin, call: Call) -> Sequence[Tensor]:
    """A plugin's node."""
    inputs = [call.input(i) for i in range(len(call.inputs))]
    values = to_text(plugin._values)
    made = call.net.plugin(QUICK, *inputs, name=call.name, id=plugin._of.name, values=values)
    return made if isinstance(made, tuple) else [made]


def _like(rank: int) -> TensorDesc:
    made = TensorDesc()
    made.shape_expr = type(made.shape_expr)(rank)
    return made


class _Namespace(types.ModuleType):
    """The plugins of a namespace: `namespace.name(tensor, attribute=...)` is a use of one."""

    def __init__(self, namespace: str) -> None:
        super().__init__(f"tensorrt.plugin.op.{namespace}")
        self._namespace = namespace

    def __getattr__(self, name: str) -> Any:
        try:
            found = definition_named(f"{self._namespace}::{name}")
        except ModelError as error:
            raise AttributeError(str(error)) from error
        return lambda *tensors, **attributes: QuickCall(found, tensors, attributes)


class _Op(types.ModuleType):
    """The namespaces."""

    def __getattr__(self, name: str) -> _Namespace:
        if not is_namespace(name):
            raise AttributeError(f"no plugin of namespace {name!r} is registered")
        return _Namespace(name)


op = _Op("tensorrt.plugin.op")
