"""Resize whose sizes or scales only a run finds: a step makes tables, and a graph resamples by them.

The step computes an index and weights for each row and column of the result, whose numbers are its height and
width; the images themselves pass by in generated code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from onnx import NodeProto, helper

from camshaft.frontends.onnx.context import domain_of
from camshaft.frontends.onnx.dtypes import tensor_proto
from camshaft.frontends.onnx.handlers.resize import unresized
from camshaft.frontends.onnx.scripts.calls import add_operator
from camshaft.frontends.onnx.scripts.scope import HostValue, Value
from camshaft.frontends.onnx.walk.here import Here
from camshaft.ir.extents.extent import Extent
from camshaft.ir.types import TensorType, f32, i32
from camshaft.ops import functional as F

_TAPS = {"linear": 2, "bilinear": 2, "cubic": 4}


def resampled(here: Here, reason: str) -> Sequence[Value] | None:
    """The step and the node behind it that stand for a Resize or Upsample; None where the whole node must be
    a step: nearest, antialiased or cropping, of other ranks than 4, of open channels or of other types than f32.
    """
    node = here.node
    x = here.values[0] if here.values else None
    if node.op_type not in ("Resize", "Upsample") or domain_of(node.domain) or x is None:
        return None
    attrs = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    taps = _TAPS.get(attrs.get("mode", b"").decode())
    crops = attrs.get("coordinate_transformation_mode") == b"tf_crop_and_resize"
    if taps is None or crops or attrs.get("antialias") or not _is_image(x):
        return None
    batch, channels = unresized(x.shape)
    if {a % 4 for a in attrs.get("axes", ())} & {batch, channels}:
        return None
    images = [a for a in range(4) if a not in (batch, channels)]
    extents: list[Extent] = [here.fresh(node.output[0])(a, x.shape[a]) for a in images]
    tables = _tables_step(here, reason, images, extents, taps)
    level = here.scope.level(tables[0])
    ctx = replace(here, values=(x,)).context(level)
    operands = [here.scope.tensor(t, level) for t in tables]
    with ctx.builder.scope(here.name):
        y = F.resampled(ctx.builder, ctx.arg(0), images, operands, output=ctx.output)
    here.scope.own(y, level)
    return [y]


def _is_image(x: Value) -> bool:
    """Whether the kernels resample it: of rank 4, with known channels."""
    if not isinstance(x.type, TensorType) or x.type.rank != 4:
        return False
    return x.type.dtype == f32 and isinstance(x.type.shape[unresized(x.type.shape)[1]], int)


def _tables_step(
    here: Here, reason: str, images: Sequence[int], extents: Sequence[Extent], taps: int
) -> list[HostValue]:
    """A step that makes the tables of two axes, of these extents: index, weight, index, weight."""
    made: list[HostValue] = []
    for what, extent in zip(("rows", "columns"), extents, strict=True):
        for part, dtype in (("index", i32), ("weight", f32)):
            type = TensorType(dtype, (extent, taps))
            made.append(HostValue(here.claim(f"{what} {part}"), type, tensor_proto(type)))
    node = NodeProto()
    node.CopyFrom(here.node)
    node.op_type, node.domain = "ResizeTables", "camshaft"
    node.attribute.append(helper.make_attribute("images", list(images)))
    node.output[:] = [t.name for t in made]
    proto = node.SerializeToString(deterministic=True)
    op = here.node.op_type
    add_operator(here.scope, here.name, op, proto, here.opset, here.values, made, reason)
    return made
