"""ONNX nodes that are plugins of users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx
from onnx import NodeProto, TypeProto

from camshaft.errors import ModelError
from camshaft.frontends.onnx.context import DataDependent, Handler, NodeContext, Results, domain_of
from camshaft.frontends.onnx.dtypes import onnx_dtype
from camshaft.frontends.onnx.scripts.scope import Value
from camshaft.ir.extents.symbol import UndecidedExtent
from camshaft.ir.plugins.plugin import Plugin
from camshaft.ir.plugins.registry import found, joined
from camshaft.ir.types import TensorType
from camshaft.ops.host import attribute_value
from camshaft.ops.plugin import add_plugin


def plugin_of(domain: str, op_type: str) -> Plugin | None:
    """The plugin that an operator is, None where there is none."""
    return found(joined(domain_of(domain), op_type))


def require_own_name(plugin: Plugin, opset: int, ours: bool) -> None:
    """ModelError if a plugin has the name of an operator of ONNX.  opset: of its domain, 0 where the model imports none.
    ours: whether camshaft has the operator itself."""
    domain, op_type = plugin.domain, plugin.op_type
    standard = onnx.defs.has(op_type, opset, domain)
    if standard or ours:
        of = "ONNX" if standard else "camshaft's own"
        raise ModelError(
            f"plugin {plugin.name!r} has the name of an operator of {of}; give it a domain of its own, as 'mine::{op_type}'"
        )


def plugin_handler(domain: str, op_type: str) -> Handler | None:
    """What imports nodes of an operator that is a plugin, None where it is none."""
    return _imported if plugin_of(domain, op_type) is not None else None


def values_of(node: NodeProto) -> dict[str, Any]:
    """The attributes by name."""
    return {a.name: attribute_value(onnx, a) for a in node.attribute}


def _imported(ctx: NodeContext) -> Results:
    plugin = plugin_of(ctx.domain, ctx.proto.op_type)
    assert plugin is not None
    inputs, named = list(ctx.inputs), [i for i, o in enumerate(ctx.proto.output) if o]
    names = [
        ctx.output_name(i) if i in named else f"{ctx.name}:{i}"
        for i in range(max(named, default=0) + 1)
    ]
    try:
        made = add_plugin(ctx.builder, plugin, inputs, values_of(ctx.proto), names, ctx.name)
    except UndecidedExtent as error:
        raise DataDependent(str(error)) from error
    return made[: len(ctx.proto.output)]


def step_types(node: NodeProto, values: Sequence[Value | None]) -> Mapping[str, TypeProto] | None:
    """The types of a node's results where it runs between graphs, by name, as far as they are known; None where the
    node is no plugin."""
    plugin = plugin_of(node.domain, node.op_type)
    if plugin is None:
        return None
    types = [None if v is None else v.type for v in values]
    if not all(t is None or isinstance(t, TensorType) for t in types):
        return {}
    made = plugin.loosely_inferred(types, plugin.complete(values_of(node)))  # type: ignore[arg-type]
    protos = {}
    for name, (dtype, shape) in zip(node.output, made, strict=False):
        dims = [None if d is None else d if isinstance(d, int) else str(d) for d in shape]
        protos[name] = onnx.helper.make_tensor_type_proto(onnx_dtype(dtype), dims)
    return protos
