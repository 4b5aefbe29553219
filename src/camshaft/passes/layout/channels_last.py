"""Channels-last everywhere: spatial ops become NHWC and transposes cancel.

ONNX graphs keep images as NCHW; kernels want channels innermost, and a graph that goes back into a standard
ONNX file has them first again (`to_channels_first`).  One forward
sweep rebuilds the graph and remembers for every tensor in which axis orders it exists.  A *version*
of a tensor under the permutation p is `transpose(tensor, p)`; the first one is native, others are
made when they are needed.  So

- a spatial op reads its input in the wanted layout and writes its output so;
- a transpose makes nothing at all: it only renames the versions;
- an op that says how its axes may be reordered (`OpDef.reordering`) works in whichever order its
  inputs already have;
- a reshape works on a version in which the axes it merges or splits lie next to each other;
- everything else (matrix products, host ops, graph outputs) has the model's own order.

A transpose therefore appears only where the order truly matters, and where it would move nothing
but axes of extent one it is a reshape.  `shapes` holds the arithmetic of permutations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from camshaft.errors import ModelError
from camshaft.ir.attrs import ints_attr
from camshaft.ir.extents.sizes import typical
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.op import Attr, Perm, Reordering, Role
from camshaft.ir.types import Shape
from camshaft.ops import DEQUANTIZE, RESHAPE, TRANSPOSE
from camshaft.passes.layout.shapes import (
    CHANNELS_FIRST,
    CHANNELS_LAST,
    grouped_perms,
    identity,
    is_reshape,
    relative,
    renamed,
    reshaped_perm,
)


def to_channels_last(graph: Graph) -> Graph:
    """The same function with every spatial op in layout "NHWC".  Inputs and outputs keep theirs."""
    return _Layout(graph, _LAST).run()


def to_channels_first(graph: Graph) -> Graph:
    """The same function with every spatial op in layout "NCHW".  Inputs and outputs keep their axes."""
    return _Layout(graph, _FIRST).run()


@dataclass(frozen=True)
class _Images:
    """A layout of images.  order: in which their axes lie, seen from the other layout."""

    layout: str
    order: Perm


_LAST, _FIRST = _Images("NHWC", CHANNELS_LAST), _Images("NCHW", CHANNELS_FIRST)


class _Layout:
    def __init__(self, graph: Graph, images: _Images) -> None:
        self.graph, self.images = graph, images
        self.builder = GraphBuilder(
            graph.name,
            reserved=graph.tensors,
            constraints=graph.constraints,
            fixed=graph.fixed,
        )
        self.versions: dict[str, dict[Perm, Tensor]] = {}
        self.operands: dict[tuple[str, Perm], Tensor] = {}

    def run(self) -> Graph:
        for t in self.graph.inputs:
            made = self.builder.input(t.name, t.type, t.values)
            self.versions[t.name] = {identity(t.type.rank): made}
        for node in self.graph.nodes:
            self.rebuild(node)
        outs = zip(self.graph.output_names, self.graph.outputs, strict=True)
        return self.builder.graph({n: self.get(t, identity(t.type.rank)) for n, t in outs})

    def rebuild(self, node: Node) -> None:
        """Make the node on whichever versions of its inputs suit it."""
        how = node.op.reordering
        if node.op is TRANSPOSE:
            self.transpose(node)
        elif node.op is RESHAPE:
            self.reshape(node)
        elif how is None:
            self.in_own_order(node)
        elif how.of_images:
            self.image_op(node, how)
        else:
            self.reordered(node, how)

    # -- versions ----------------------------------------------------------------------------

    def known(self, tensor: Tensor) -> dict[Perm, Tensor]:
        """The versions of an old tensor, the native one first."""
        if tensor.name not in self.versions:
            made = self.builder.adopt(tensor)
            self.versions[tensor.name] = {identity(tensor.type.rank): made}
        return self.versions[tensor.name]

    def get(self, tensor: Tensor, perm: Perm) -> Tensor:
        """`transpose(tensor, perm)`, made if it does not exist yet."""
        versions = self.known(tensor)
        if perm not in versions:
            versions[perm] = self._reordered(tensor, versions, perm)
        return versions[perm]

    def _reordered(self, tensor: Tensor, versions: Mapping[Perm, Tensor], perm: Perm) -> Tensor:
        origin = self.graph.producers.get(tensor.name)
        like = () if origin is None else origin
        name = f"reorder {tensor.name}"
        label = f"{tensor.name}:{self.images.layout.lower() if perm == self.images.order else 'reordered'}"
        if origin is not None and origin.op in (TRANSPOSE, RESHAPE) and perm == tuple(sorted(perm)):
            name, label = origin.name, tensor.name  # the model's own transpose, needed after all
        if origin is not None and _is_dequantized_constant(origin):
            return self._weights(origin, perm, label)
        for have, source in versions.items():
            if is_reshape(source.shape, relative(have, perm)):
                shape = tuple(tensor.shape[a] for a in perm)
                attrs: dict[str, Attr] = {"shape": shape}
                return self.builder.emit(
                    RESHAPE, [source], attrs, like=like, name=name, output=label
                )
        have, source = next(iter(versions.items()))
        attrs = {"perm": relative(have, perm)}
        return self.builder.emit(TRANSPOSE, [source], attrs, like=like, name=name, output=label)

    def _weights(self, node: Node, perm: Perm, label: str) -> Tensor:
        """A dequantized constant in another order: the constant is reordered, so that it stays one."""
        how = node.op.reordering
        assert how is not None
        types = [t.type for t in node.args]
        inputs = [self._input(t, how.role(i), perm) for i, t in enumerate(node.args)]
        attrs = {**node.attrs, **how.attrs(perm, types, node.attrs)}
        return self.builder.emit(node.op, inputs, attrs, like=node, name=node.name, output=label)

    def cost(self, tensor: Tensor, perm: Perm) -> int:
        """Elements that must be moved to have `tensor` in this order, at typical sizes."""
        if tensor.is_const:
            return 0
        versions = self.known(tensor)
        free = any(is_reshape(s.shape, relative(have, perm)) for have, s in versions.items())
        return 0 if free else typical(tensor.type.size)

    def best(self, tensors: Sequence[Tensor], rank: int) -> Perm:
        """The order of `rank` axes in which the fewest elements must be moved."""
        full = [t for t in tensors if t.type.rank == rank and not t.is_const]
        orders = dict.fromkeys(p for t in full for p in self.known(t))
        if not orders:
            return identity(rank)
        costs = {p: sum(self.cost(t, p) for t in full) for p in orders}
        return min(orders, key=lambda p: (typical(costs[p]), p != self.images.order))

    def operand(self, tensor: Tensor, perm: Perm) -> Tensor:
        """An operand that broadcasts against tensors of order `perm`; it may have fewer axes."""
        rank = len(perm)
        if tensor.type.rank == 0:
            return self.get(tensor, ())
        if tensor.type.rank == rank and not tensor.is_const:
            return self.get(tensor, perm)
        key = (tensor.name, perm)
        if key not in self.operands:
            self.operands[key] = self._aligned(tensor, perm)
        return self.operands[key]

    def _aligned(self, tensor: Tensor, perm: Perm) -> Tensor:
        lead = len(perm) - tensor.type.rank
        base = self.get(tensor, identity(tensor.type.rank))
        padded: Shape = (1,) * lead + tensor.shape
        shape = tuple(padded[a] for a in perm)
        if not is_reshape(padded, perm):
            widened = self._shaped(base, padded, tensor)
            base = self.builder.emit(
                TRANSPOSE,
                [widened],
                {"perm": perm},
                name=f"reorder {tensor.name}",
                output=tensor.name,
            )
        while len(shape) > 1 and shape[0] == 1:
            shape = shape[1:]
        return self._shaped(base, shape, tensor)

    def _shaped(self, value: Tensor, shape: Shape, named: Tensor) -> Tensor:
        if value.shape == shape:
            return value
        attrs: dict[str, Attr] = {"shape": shape}
        name = f"reshape {named.name}"
        return self.builder.emit(RESHAPE, [value], attrs, name=name, output=named.name)

    def put(self, node: Node, perm: Perm, inputs: Sequence[Tensor], **attrs: Attr) -> None:
        """Emit the node on new inputs; its output lies in the order `perm`."""
        made = self.builder.emit(
            node.op, inputs, {**node.attrs, **attrs}, like=node, name=node.name
        )
        if made.shape != tuple(node.output.shape[a] for a in perm):
            raise ModelError(f"layout of node {node.name!r}: {made.type} is not order {perm}")
        self.versions[node.output.name] = {perm: made}

    # -- ops ---------------------------------------------------------------------------------

    def in_own_order(self, node: Node) -> None:
        """Matrix products, host ops, NHWC ops: everything in the order the node was made for."""
        inputs = [None if t is None else self.get(t, identity(t.type.rank)) for t in node.inputs]
        made = self.builder.add(node.op, inputs, node.attrs, like=node, name=node.name)
        for old, new in zip(node.outputs, made, strict=True):
            self.versions[old.name] = {identity(old.type.rank): new}

    def image_op(self, node: Node, how: Reordering) -> None:
        """An op on images takes the wanted layout."""
        images = self.images
        if node.attrs["layout"] == images.layout:
            self.in_own_order(node)
            return
        inputs = [self._input(t, how.role(i), images.order) for i, t in enumerate(node.args)]
        self.put(node, images.order, inputs, layout=images.layout)

    def reordered(self, node: Node, how: Reordering) -> None:
        """An op that works on axes in any order takes the one that costs least."""
        aligned = [t for i, t in enumerate(node.args) if how.role(i) is Role.ALIGNED]
        rank = aligned[0].type.rank if aligned else node.output.type.rank
        perm = self.best(aligned or node.args, rank)
        types = [t.type for t in node.args]
        out = how.output(perm, types, node.attrs)
        inputs = [
            self._input(t, how.role(i), perm if how.role(i) is Role.ALIGNED else out)
            for i, t in enumerate(node.args)
        ]
        if node.op.anchors == 0:
            self._keep_rank(node, inputs)
        self.put(node, out, inputs, **how.attrs(perm, types, node.attrs))

    def _keep_rank(self, node: Node, inputs: list[Tensor]) -> None:
        """Give one of the inputs that broadcast the result's rank, where only the leading 1s of a
        constant had it."""
        rank = node.output.type.rank
        if max(t.type.rank for t in inputs) < rank:
            i = next((i for i, t in enumerate(node.args) if not t.is_const), 0)
            lead: Shape = (1,) * (rank - inputs[i].type.rank)
            inputs[i] = self._shaped(inputs[i], (*lead, *inputs[i].shape), node.args[i])

    def _input(self, tensor: Tensor, role: Role, perm: Perm) -> Tensor:
        if role is Role.BROADCAST:
            return self.operand(tensor, perm)
        return self.get(tensor, identity(tensor.type.rank) if role is Role.OWN else perm)

    def transpose(self, node: Node) -> None:
        perm = ints_attr(node, "perm")
        versions = self.known(node.args[0])
        self.versions[node.output.name] = {renamed(p, perm): t for p, t in versions.items()}

    def reshape(self, node: Node) -> None:
        x, out = node.args[0], node.output
        orders = list(self.known(x))
        moved = grouped_perms(x.shape, out.shape, orders[0])
        usual = (self.images.order, identity(out.type.rank))

        def liked(have: Perm) -> int:
            perm = reshaped_perm(x.shape, out.shape, have)
            return usual.index(perm) if perm in usual else len(usual)

        for have in (*orders, *sorted(moved, key=liked)):
            perm = reshaped_perm(x.shape, out.shape, have)
            if perm is not None:
                shape = tuple(out.shape[a] for a in perm)
                self.put(node, perm, [self.get(x, have)], shape=shape)
                return
        self.in_own_order(node)


def _is_dequantized_constant(node: Node) -> bool:
    """Whether the node makes weights of constant integers whose scales run along one axis at most."""
    return node.op is DEQUANTIZE and not node.attrs["block"] and node.args[0].is_const
