"""Layers of networks that are plugins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onnx import NodeProto

from camshaft.errors import ModelError
from camshaft.network.tensor import Tensor
from camshaft.tensorrt.enums.layer_types import LayerType
from camshaft.tensorrt.enums.plugins import PluginCapabilityType
from camshaft.tensorrt.errors import reported
from camshaft.tensorrt.network.call import Call
from camshaft.tensorrt.network.graph import Graph
from camshaft.tensorrt.network.layer import ILayer
from camshaft.tensorrt.network.tensor import ITensor
from camshaft.tensorrt.plugins.generations import part
from camshaft.tensorrt.plugins.native.base import Native
from camshaft.tensorrt.plugins.nodes import plugin_of_node
from camshaft.tensorrt.plugins.quick.calls import QuickCall, lowered
from camshaft.tensorrt.plugins.quick.definitions import QuickPlugin
from camshaft.tensorrt.plugins.running import PLUGIN, identity_of
from camshaft.tensorrt.plugins.v2 import IPluginV2
from camshaft.tensorrt.plugins.v3 import IPluginV3


def _made(call: Call, plugin: Any, shape_inputs: int = 0) -> Sequence[Tensor]:
    """A plugin's nodes."""
    inputs = [call.input(i) for i in range(len(call.inputs))]
    if isinstance(plugin, Native):
        return plugin._lowered(call, inputs)[: len(call.record.outputs)]
    first = len(inputs) - shape_inputs
    values = [_known(call, i) for i in range(first, len(inputs))]
    identity = identity_of(plugin, values)
    made = call.net.plugin(PLUGIN, *inputs, name=call.name, **identity._asdict())
    return made[: len(call.record.outputs)] if isinstance(made, tuple) else [made]


def _known(call: Call, index: int) -> list[int]:
    """The elements of an input that says a shape."""
    found = call.net.constant_value(call.input(index))
    if found is None:
        raise ModelError(f"shape input {index} must be a constant here; it is computed")
    return [int(v) for v in found.reshape(-1)]


class IPluginV2Layer(ILayer):
    """A plugin of the second generation."""

    _kind = LayerType.PLUGIN_V2
    _most = None

    @property
    def plugin(self) -> Any:
        """The plugin."""
        return self._record.param("plugin")

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        return _made(call, call["plugin"])


class IPluginV3Layer(ILayer):
    """A plugin of the third generation."""

    _kind = LayerType.PLUGIN_V3
    _most = None

    @property
    def plugin(self) -> Any:
        """The plugin."""
        return self._record.param("plugin")

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        plugin = call["plugin"]
        if isinstance(plugin, QuickPlugin):
            return lowered(plugin, call)
        return _made(call, plugin, call["shape_inputs"])


def plugin_layer(node: NodeProto) -> tuple[type[ILayer], dict[str, Any]]:
    """The class of a node's layer, and its parameters.  ModelError if the node's plugin cannot be made."""
    plugin = plugin_of_node(node)
    if isinstance(plugin, IPluginV2):
        return IPluginV2Layer, {"plugin": plugin}
    return IPluginV3Layer, {"plugin": plugin, "shape_inputs": 0}


def outputs_of(plugin: Any) -> int:
    """How many outputs a plugin has."""
    if isinstance(plugin, Native | IPluginV2):
        return int(plugin.num_outputs)
    return int(part(plugin, PluginCapabilityType.BUILD).num_outputs)


def _require(plugin: Any) -> None:
    if plugin is None:
        raise ModelError("plugin is None, so its creator made none of its fields; look at these")


@reported(None)
def add_plugin_v2(self: Graph, inputs: Sequence[ITensor], plugin: IPluginV2) -> IPluginV2Layer:
    """A plugin of the second generation.  TypeError for what is none."""
    _require(plugin)
    if not isinstance(plugin, IPluginV2):
        raise TypeError(f"plugin={plugin!r} is no IPluginV2")
    return self._add(IPluginV2Layer, inputs, outputs_of(plugin), plugin=plugin)


@reported(None)
def add_plugin_v3(
    self: Graph, inputs: Sequence[ITensor], shape_inputs: Sequence[ITensor], plugin: IPluginV3
) -> IPluginV3Layer:
    """A plugin of the third generation.  shape_inputs: tensors whose elements say shapes.  TypeError for what is none."""
    _require(plugin)
    if not isinstance(plugin, IPluginV3):
        raise TypeError(f"plugin={plugin!r} is no IPluginV3")
    said = len(shape_inputs)
    all_inputs = [*inputs, *shape_inputs]
    return self._add(
        IPluginV3Layer, all_inputs, outputs_of(plugin), plugin=plugin, shape_inputs=said
    )


@reported(None)
def add_plugin(self: Graph, func: QuickCall, aot: bool | None = None) -> IPluginV3Layer:
    """What `tensorrt.plugin.op.namespace.name(...)` gives.  ModelError, logged, for kernels compiled ahead: there is no GPU."""
    if not isinstance(func, QuickCall):
        raise TypeError(f"{func!r} is not what tensorrt.plugin.op.namespace.name(...) gives")
    if aot:
        raise ModelError(
            f"plugin {func._plugin._of.name!r}: aot=True asks for a CUDA kernel; leave it False"
        )
    return self._add(
        IPluginV3Layer, func._tensors, func._outputs(), plugin=func._plugin, shape_inputs=0
    )
