"""Half floats in an import that obeys the model's types: what a node gives is rounded to them.

Inside the graph they stay f32 tensors, of which those between kernels are stored as halves in the end
(`passes.stored_halves`).
"""

from __future__ import annotations

from collections.abc import Sequence

from onnx import NodeProto, ValueInfoProto, helper

from camshaft.frontends.onnx.context import NodeContext
from camshaft.frontends.onnx.dtypes import boundary_dtype, is_half, is_held
from camshaft.frontends.onnx.scripts.scope import Value
from camshaft.ir.graph import Tensor
from camshaft.ir.types import f32
from camshaft.ops import functional as F


def rounded_results(ctx: NodeContext, results: Sequence[Value]) -> list[Value]:
    """What a node gives, in the values of its types.

    What `DequantizeLinear` gives stays exact: products that read it are of integers.
    """
    if ctx.proto.op_type == "DequantizeLinear":
        return list(results)
    made: list[Value] = []
    for name, t in zip(ctx.proto.output, results, strict=False):
        elem_type = ctx.narrow.get(name, 0)
        if isinstance(t, Tensor) and is_half(elem_type) and not _is_half_already(ctx, t, elem_type):
            dtype = boundary_dtype(elem_type)
            t = F.rounded(ctx.builder, t, dtype, output=f"{t.name}:rounded")
        made.append(t)
    return [*made, *results[len(made) :]]


def _is_half_already(ctx: NodeContext, t: Tensor, elem_type: int) -> bool:
    """Whether a node gives no float, or only moves elements of inputs that have the type."""
    if t.type.dtype != f32:
        return True
    given = {
        i.name: ctx.narrow.get(name)
        for name, i in zip(ctx.proto.input, ctx.inputs, strict=False)
        if i is not None
    }
    left = [t]
    while left:
        t = left.pop()
        if t.name in given:
            if given[t.name] != elem_type:
                return False
            continue
        made = ctx.builder.producer(t)
        if made is None or not made.op.moves:
            return False
        left += [i for i in made.args if i.type.dtype == f32]
    return True


def held_types(values: Sequence[ValueInfoProto]) -> dict[str, int]:
    """Names that are declared with types of at most 16 bits, which are held in others, and these types."""
    declared = {v.name: v.type.tensor_type.elem_type for v in values}
    return {name: t for name, t in declared.items() if t and is_held(t)}


def declared_of_control(node: NodeProto) -> dict[str, int]:
    """Such types of what branches and loops give, as their graphs declare them."""
    graphs = [helper.get_attribute_value(a) for a in node.attribute if a.HasField("g")]
    if not graphs:
        return {}
    outputs = list(graphs[0].output)[1 if node.op_type == "Loop" else 0 :]
    types = held_types(outputs)
    return {
        name: types[value.name]
        for name, value in zip(node.output, outputs, strict=False)
        if name and value.name in types
    }
