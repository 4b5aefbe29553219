"""From a bufferized graph to tasks: one kernel spec (or host call) with the views it touches.

A task is everything the tuner and the builder need to know about a step; nothing after this
module looks at graph nodes again.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from camshaft.backends.base import KernelSpec, Operand
from camshaft.builder.bufferize import Bufferized, Copy
from camshaft.builder.spec_attrs import attrs_of_spec
from camshaft.ir import expr as E
from camshaft.ir.extents.extent import Extent
from camshaft.ir.graph import Node, Tensor
from camshaft.ir.types import HALVES, f32, i8
from camshaft.ops import POINTWISE
from camshaft.program.view import View


@dataclass(frozen=True)
class Task:
    """What becomes one instruction: what it computes, where its operands lie, its source layers.

    inputs[i] is the view of spec.inputs[i] / the host node's i-th input, or the constant tensor.
    macs: multiply-accumulates.
    """

    name: str
    op: str
    origin: tuple[str, ...]
    spec: KernelSpec | None
    node: Node | None
    inputs: tuple[View | Tensor, ...]
    outputs: tuple[View, ...]
    macs: Extent

    @property
    def constants(self) -> tuple[Tensor, ...]:
        """Constant operands in order."""
        return tuple(t for t in self.inputs if isinstance(t, Tensor))

    @property
    def bytes(self) -> Extent:
        """Bytes read and written once each, the least any kernel must move."""
        moved: Extent = sum(t.content.nbytes for t in self.constants)
        for p in (*self.inputs, *self.outputs):
            if isinstance(p, View):
                touched = (d for d, s in zip(p.shape, p.strides, strict=True) if s != 0)
                moved += prod(touched) * p.dtype.bytes
        return moved

    @property
    def is_int8(self) -> bool:
        """Whether it multiplies 8-bit integers."""
        return self.macs != 0 and self.precision in ("u8", "i8", "f32, weights i8")

    @property
    def precision(self) -> str:
        """Element type of the arithmetic: that of the anchor's first operand, or of a host step's, if no attribute says
        otherwise; of f32 with weights that are halves, bytes or of few bits both."""
        if self.spec is None:
            first = next(iter(self.inputs), None)
            return "f32" if first is None else _operand(first).dtype.name
        if not self.spec.inputs:
            return "f32"
        x, attrs = self.spec.inputs[0].dtype, dict(self.spec.attrs)
        if attrs.get("products", "f32") != "f32":
            return str(attrs["products"])
        if "bits" in attrs:
            return f"{'i8' if attrs['int8'] else x}, weights u{attrs['bits']!r}"
        narrow = (*HALVES, i8)
        weights = [o.dtype for o in self.spec.inputs[1:2] if o.const and o.dtype in narrow]
        if self.macs != 0 and x == f32 and weights:
            return f"f32, weights {weights[0]}"
        return x.name


def tasks_of(bufferized: Bufferized) -> list[Task]:
    """One task for every piece of work, in execution order."""
    return [
        _copy_task(w) if isinstance(w, Copy) else _node_task(w, bufferized) for w in bufferized.work
    ]


def _operand(view: View | Tensor) -> Operand:
    if isinstance(view, Tensor):
        return Operand.dense(view.type.dtype, view.shape, const=True)
    return Operand(view.dtype, view.shape, view.strides)


def _without_lead(operand: Operand) -> Operand:
    """An epilogue operand without leading unit axes (they broadcast away)."""
    lead = 0
    while lead < len(operand.shape) and operand.shape[lead] == 1:
        lead += 1
    return Operand(operand.dtype, operand.shape[lead:], operand.strides[lead:], operand.const)


def _copy_task(copy: Copy) -> Task:
    if copy.tensor.is_const:
        source: View | Tensor = copy.tensor
    else:
        source = copy.source
    spec = KernelSpec(
        POINTWISE.name, (_operand(source),), (_operand(copy.target),), (("expr", E.inp(0)),)
    )
    name = f"copy {copy.tensor.name}"
    return Task(name, "copy", copy.origin, spec, None, (source,), (copy.target,), 0)


def _node_task(node: Node, bufferized: Bufferized) -> Task:
    inputs = tuple(t if t.is_const else bufferized.views[t.name] for t in node.args)
    outputs = tuple(bufferized.views[t.name] for t in node.outputs)
    if node.op.hosted:
        title = node.op.title(node.attrs)
        return Task(node.name, title, node.origin, None, node, inputs, outputs, 0)
    anchors = node.op.own_inputs(node.attrs)
    operands = [_operand(p) for p in inputs]
    if anchors:
        operands[anchors:] = [_without_lead(o) for o in operands[anchors:]]
    attrs = attrs_of_spec(node.attrs)
    spec = KernelSpec(node.op.name, tuple(operands), tuple(_operand(p) for p in outputs), attrs)
    macs = node.op.macs([t.type for t in node.args], node.outputs[0].type, node.attrs)
    return Task(node.name, node.op.name, node.origin, spec, node, inputs, outputs, macs)
