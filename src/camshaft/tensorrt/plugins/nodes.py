"""ONNX nodes that are plugins: found by their type, version and namespace, with their attributes as fields."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import AttributeProto, NodeProto, numpy_helper

from camshaft.errors import ModelError
from camshaft.tensorrt.enums.plugins import (
    PluginFieldType,
    QuickPluginCreationRequest,
    TensorRTPhase,
)
from camshaft.tensorrt.plugins.fields import PluginField, PluginFieldCollection
from camshaft.tensorrt.plugins.interfaces import (
    IPluginCreator,
    IPluginCreatorV3One,
    IPluginCreatorV3Quick,
)
from camshaft.tensorrt.plugins.registry import creator_named

PLUGINS = "trt.plugins"
"""The domain of nodes that are plugins, as NVIDIA's exporters call it."""
_OF_ARRAYS = {
    np.dtype(np.float16): PluginFieldType.FLOAT16,
    np.dtype(np.float32): PluginFieldType.FLOAT32,
    np.dtype(np.float64): PluginFieldType.FLOAT64,
    np.dtype(np.int8): PluginFieldType.INT8,
    np.dtype(np.int16): PluginFieldType.INT16,
    np.dtype(np.int32): PluginFieldType.INT32,
    np.dtype(np.int64): PluginFieldType.INT64,
}
_FLOATS = (AttributeProto.FLOAT, AttributeProto.FLOATS)
_INTS = (AttributeProto.INT, AttributeProto.INTS)


def creator_of(node: NodeProto) -> Any:
    """The registry's creator of a node, of the version 1 where the node says none; None: there is none."""
    said = {a.name: a.s.decode("utf-8", "replace") for a in node.attribute if a.HasField("s")}
    version = said.get("plugin_version", "1")
    return creator_named(node.op_type, version, said.get("plugin_namespace", ""))


def plugin_of_node(node: NodeProto) -> Any:
    """The plugin that a node's creator makes.  ModelError if it makes none."""
    creator = creator_of(node)
    if creator is None:
        raise ModelError(f"the registry has no creator of {node.op_type!r} any more")
    fields = PluginFieldCollection([_field(a) for a in node.attribute])
    name = node.name or node.op_type
    made: Any = None
    if isinstance(creator, IPluginCreatorV3One):
        made = creator.create_plugin(name, fields, TensorRTPhase.BUILD)
    elif isinstance(creator, IPluginCreatorV3Quick):
        namespace, wish = creator.plugin_namespace, QuickPluginCreationRequest.UNKNOWN
        made = creator.create_plugin(name, namespace, fields, TensorRTPhase.BUILD, wish)
    elif isinstance(creator, IPluginCreator):
        made = creator.create_plugin(name, fields)
    if made is None:
        raise ModelError(
            f"the creator of plugin {node.op_type!r} makes none of the node's attributes"
        )
    return made


def _field(attribute: AttributeProto) -> PluginField:
    """An attribute as a field: whole numbers as INT32, texts as CHAR."""
    name, kind = attribute.name, attribute.type
    if kind in _FLOATS:
        floats = [attribute.f] if kind == AttributeProto.FLOAT else list(attribute.floats)
        return PluginField(name, np.array(floats, np.float32), PluginFieldType.FLOAT32)
    if kind in _INTS:
        ints = [attribute.i] if kind == AttributeProto.INT else list(attribute.ints)
        return PluginField(name, np.array(ints, np.int64).astype(np.int32), PluginFieldType.INT32)
    if kind == AttributeProto.STRING:
        return PluginField(name, attribute.s, PluginFieldType.CHAR)
    if kind == AttributeProto.TENSOR:
        array = np.ascontiguousarray(numpy_helper.to_array(attribute.t)).reshape(-1)
        found = _OF_ARRAYS.get(array.dtype)
        if found is not None:
            return PluginField(name, array, found)
    raise ModelError(f"attribute {name!r} is of a kind that plugins' fields have not")
