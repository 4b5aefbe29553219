"""Reshapes, transposes and broadcasts: merged, dropped, or turned into cheaper ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camshaft.ir import expr as E
from camshaft.ir.attrs import axis_attr, ints_attr
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.types import Shape, TensorType, f32
from camshaft.ops import BROADCAST, CONCAT, INTERLEAVE, PAD, POINTWISE, RESHAPE, SLICE, TRANSPOSE
from camshaft.passes.bodies import has_body, output_shape
from camshaft.passes.constants import in_shape
from camshaft.passes.layout.shapes import is_reshape, reshaped_perm
from camshaft.passes.rewrite import Rewrite, Rewriter


def axis_of(node: Node) -> int:
    """The attribute "axis", counted from the front of the output."""
    return axis_attr(node, len(node.output.shape))


def reshaped(r: Rewriter, tensor: Tensor, shape: Shape, like: Node, suffix: str) -> Tensor:
    """The tensor in another shape, named after it with a suffix; itself where it has that shape."""
    if tensor.shape == shape:
        return tensor
    output = f"{tensor.name}:{suffix}"
    return r.emit(RESHAPE, [tensor], {"shape": shape}, like=like, output=output)


class DropIdentity(Rewrite):
    """Movement ops and expressions that hand their input on unchanged."""

    name = "drop-identity"
    ops = (RESHAPE, TRANSPOSE, BROADCAST, SLICE, PAD, CONCAT, INTERLEAVE, POINTWISE)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        x = node.args[0]
        if len(node.args) > 1 or x.type != node.output.type:
            return None
        if node.op is TRANSPOSE and ints_attr(node, "perm") != tuple(range(x.type.rank)):
            return None
        if node.op is SLICE and any(s != 1 for s in ints_attr(node, "steps")):
            return None
        if node.op is POINTWISE and node.attrs["expr"] != E.inp(0):
            return None
        return [x]

    def example(self) -> Graph:
        b = GraphBuilder("identity")
        x = b.input("x", TensorType(f32, (2, 3)))
        y = b.emit(TRANSPOSE, [x], {"perm": (0, 1)}, name="transpose")
        return b.graph({"y": b.emit(RESHAPE, [y], {"shape": (2, 3)}, name="reshape")})


class MergeReshapes(Rewrite):
    """reshape > reshape: only the last one counts."""

    name = "merge-reshapes"
    ops = (RESHAPE,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        first = r.producer(node.args[0], RESHAPE)
        if first is None:
            return None
        return [r.emit(RESHAPE, first.inputs, node.attrs, like=[first, node])]

    def example(self) -> Graph:
        b = GraphBuilder("reshape-twice")
        x = b.input("x", TensorType(f32, (2, 6)))
        y = b.emit(RESHAPE, [x], {"shape": (12,)}, name="flatten")
        return b.graph({"y": b.emit(RESHAPE, [y], {"shape": (3, 4)}, name="reshape")})


class MergeTransposes(Rewrite):
    """transpose > transpose: one permutation."""

    name = "merge-transposes"
    ops = (TRANSPOSE,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        first = r.producer(node.args[0], TRANSPOSE)
        if first is None:
            return None
        inner = ints_attr(first, "perm")
        perm = tuple(inner[p] for p in ints_attr(node, "perm"))
        return [r.emit(TRANSPOSE, first.inputs, {"perm": perm}, like=[first, node])]

    def example(self) -> Graph:
        b = GraphBuilder("transpose-twice")
        x = b.input("x", TensorType(f32, (2, 3, 4)))
        y = b.emit(TRANSPOSE, [x], {"perm": (1, 2, 0)}, name="first")
        return b.graph({"y": b.emit(TRANSPOSE, [y], {"perm": (0, 2, 1)}, name="second")})


class TransposeToReshape(Rewrite):
    """A transpose that only moves axes of extent one is a reshape."""

    name = "transpose-to-reshape"
    ops = (TRANSPOSE,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        if not is_reshape(node.args[0].shape, ints_attr(node, "perm")):
            return None
        return [r.emit(RESHAPE, node.inputs, {"shape": node.output.shape}, like=node)]

    def example(self) -> Graph:
        b = GraphBuilder("unit-axes")
        x = b.input("x", TensorType(f32, (2, 1, 1, 5)))
        return b.graph({"y": b.emit(TRANSPOSE, [x], {"perm": (0, 3, 1, 2)}, name="transpose")})


class TransposesAroundReshape(Rewrite):
    """transpose > reshape > transpose is one reshape where the second undoes the first.

    The reshape in the middle may merge or split axes that lie side by side on both ends.
    """

    name = "transposes-around-reshape"
    ops = (TRANSPOSE,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        middle = r.producer(node.args[0], RESHAPE)
        first = r.producer(middle.args[0], TRANSPOSE) if middle else None
        if middle is None or first is None:
            return None
        x = first.args[0]
        perm = ints_attr(first, "perm")
        turned = tuple(perm.index(a) for a in range(len(perm)))  # x as a version of first's output
        order = reshaped_perm(first.output.shape, middle.output.shape, turned)
        if order is None:
            return None
        shape = tuple(middle.output.shape[a] for a in order)
        total = tuple(order.index(a) for a in ints_attr(node, "perm"))
        if not is_reshape(shape, total):
            return None
        return [r.emit(RESHAPE, [x], {"shape": node.output.shape}, like=[first, middle, node])]

    def example(self) -> Graph:
        b = GraphBuilder("there-and-back")
        x = b.input("x", TensorType(f32, (2, 3, 4, 5)))
        y = b.emit(TRANSPOSE, [x], {"perm": (0, 3, 1, 2)}, name="to-nchw")
        y = b.emit(RESHAPE, [y], {"shape": (2, 5, 12)}, name="reshape")
        return b.graph({"y": b.emit(TRANSPOSE, [y], {"perm": (0, 2, 1)}, name="back")})


class MergeBroadcasts(Rewrite):
    """broadcast > broadcast, and a broadcast whose reader broadcasts anyway."""

    name = "skip-broadcast"

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        if node.op is BROADCAST:
            first = r.producer(node.args[0], BROADCAST)
            if first is None:
                return None
            return [r.emit(BROADCAST, first.inputs, node.attrs, like=[first, node])]
        if not has_body(node):
            return None
        start = node.op.own_inputs(node.attrs) or 0
        inputs = [self._source(t, r) if i >= start else t for i, t in enumerate(node.args)]
        if all(a is b for a, b in zip(inputs, node.args, strict=True)):
            return None
        if node.op is POINTWISE and output_shape(inputs) != node.output.shape:
            return None
        return [r.emit(node.op, inputs, node.attrs, like=node)]

    @staticmethod
    def _source(tensor: Tensor, r: Rewriter) -> Tensor:
        producer = r.producer(tensor, BROADCAST)
        return producer.args[0] if producer else tensor

    def example(self) -> Graph:
        b = GraphBuilder("broadcast-add")
        x = b.input("x", TensorType(f32, (4, 3)))
        y = b.input("y", TensorType(f32, (1, 3)))
        wide = b.emit(BROADCAST, [y], {"shape": (4, 3)}, name="expand")
        total = {"expr": E.add(E.inp(0), E.inp(1))}
        return b.graph({"z": b.emit(POINTWISE, [x, wide], total, name="add")})


def shrunk(array: np.ndarray) -> np.ndarray:
    """The array with every axis along which it is constant reduced to extent one, leading unit
    axes dropped (rank at least one unless it was zero)."""
    for axis, extent in enumerate(array.shape):
        if extent > 1:
            first = array.take([0], axis)
            if np.array_equal(array, np.broadcast_to(first, array.shape)):
                array = first
    while array.ndim > 1 and array.shape[0] == 1:
        array = array[0]
    return array


class ShrinkConstantOperand(Rewrite):
    """A constant operand that repeats itself along an axis is stored once and broadcast."""

    name = "shrink-constant-operand"

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        if not has_body(node):
            return None
        start = node.op.own_inputs(node.attrs) or 0
        inputs = [self._small(t, r) if i >= start else t for i, t in enumerate(node.args)]
        if all(a is b for a, b in zip(inputs, node.args, strict=True)):
            return None
        if node.op is POINTWISE and self._shape(inputs) != node.output.shape:
            return None
        return [r.emit(node.op, inputs, node.attrs, like=node)]

    @staticmethod
    def _shape(inputs: Sequence[Tensor]) -> Shape:
        return output_shape(inputs)

    @staticmethod
    def _small(tensor: Tensor, r: Rewriter) -> Tensor:
        if tensor.stored is None:
            return tensor
        if tensor.changes:  # neighbours that are equal may differ later
            lead = next(
                (i for i, d in enumerate(tensor.stored.shape) if d != 1), tensor.type.rank - 1
            )
            kept = tensor.stored.shape[max(lead, 0) :]
            if kept == tensor.stored.shape:
                return tensor
            return r.builder.derived(in_shape, [tensor], tensor.name, shape=kept)
        if tensor.stored.dtype == object or tensor.stored.size == 0:
            return tensor
        small = shrunk(tensor.stored)
        if small.shape == tensor.shape:
            return tensor
        return r.builder.constant(np.ascontiguousarray(small), tensor.name)

    def example(self) -> Graph:
        b = GraphBuilder("wide-constant")
        x = b.input("x", TensorType(f32, (4, 3)))
        c = b.constant(np.tile(np.arange(3, dtype=np.float32), (4, 1)), "c")
        total: dict[str, Attr] = {"expr": E.add(E.inp(0), E.inp(1))}
        return b.graph({"z": b.emit(POINTWISE, [x, c], total, name="add")})


SHAPE_RULES: tuple[Rewrite, ...] = (
    DropIdentity(),
    MergeReshapes(),
    MergeTransposes(),
    TransposeToReshape(),
    TransposesAroundReshape(),
    MergeBroadcasts(),
    ShrinkConstantOperand(),
)
