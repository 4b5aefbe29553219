"""A channel shuffle next to a dense convolution is only another order of its weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from camshaft.ir import expr as E
from camshaft.ir.attrs import ints_attr
from camshaft.ir.extents.sizes import fixed
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.types import TensorType, f32
from camshaft.ops import CONV, RESHAPE, TRANSPOSE
from camshaft.passes.bodies import Body, body_of, emit_body
from camshaft.passes.constants import ordered
from camshaft.passes.fusions.pointwise import only_here
from camshaft.passes.rewrite import Rewrite, Rewriter


@dataclass(frozen=True)
class Shuffle:
    """out[..., j] = source[..., order[j]], done by the three `nodes`."""

    source: Tensor
    order: np.ndarray
    nodes: tuple[Node, Node, Node]


def shuffle_behind(last: Node | None, r: Rewriter) -> Shuffle | None:
    """The shuffle of the last axis that ends in the reshape `last`, or None."""
    if last is None or last.op is not RESHAPE:
        return None
    turn = r.producer(last.args[0], TRANSPOSE)
    first = r.producer(turn.args[0], RESHAPE) if turn else None
    if turn is None or first is None:
        return None
    source = first.args[0]
    lead, split = source.shape[:-1], first.output.shape[len(source.shape) - 1 :]
    perm = ints_attr(turn, "perm")
    kept = len(lead)
    if first.output.shape[:kept] != lead or last.output.shape != source.shape:
        return None
    if prod(split) != source.shape[-1] or perm[:kept] != tuple(range(kept)):
        return None
    split = fixed(split, "channels that are shuffled")
    channels = np.arange(prod(split)).reshape(split)
    order = channels.transpose([p - kept for p in perm[kept:]]).reshape(-1)
    return Shuffle(source, order, (first, turn, last))


def _dense(conv: Node | None) -> Tensor | None:
    """Constant weights of a channels-last convolution in one group."""
    if conv is None or conv.attrs["groups"] != 1 or conv.attrs["layout"] != "NHWC":
        return None
    return conv.args[1] if conv.args[1].is_const else None


class ShuffleIntoNextConv(Rewrite):
    """shuffle > conv: the filters' input channels are permuted instead."""

    name = "shuffle-into-next-conv"
    ops = (CONV,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        weights = _dense(node)
        found = shuffle_behind(r.producer(node.args[0]), r)
        if weights is None or found is None:
            return None
        back = tuple(np.argsort(found.order).tolist())
        w = r.builder.derived(ordered, [weights], weights.name, axis=-1, order=back)
        inputs = [found.source, w, *node.args[2:]]
        return [r.emit(CONV, inputs, node.attrs, like=[*found.nodes, node])]

    def example(self) -> Graph:
        b = GraphBuilder("shuffle-conv")
        x = b.input("x", TensorType(f32, (1, 2, 2, 6)))
        w = b.constant(np.random.default_rng(0).standard_normal((4, 1, 1, 6), np.float32), "w")
        return b.graph({"y": b.emit(CONV, [_shuffled(b, x), w], {"layout": "NHWC"}, name="conv")})


class ShuffleIntoConv(Rewrite):
    """conv > shuffle: the filters themselves are permuted instead, and what is per channel."""

    name = "shuffle-into-conv"
    ops = (RESHAPE,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        found = shuffle_behind(node, r)
        if found is None:
            return None
        conv = r.producer(found.source, CONV)
        weights = _dense(conv)
        chain = zip(found.nodes, (found.source, *(n.output for n in found.nodes)), strict=False)
        if conv is None or weights is None or not all(only_here(n, t, r) for n, t in chain):
            return None
        body = body_of(conv)
        channels, order = len(found.order), tuple(found.order.tolist())
        operands: list[Tensor | None] = [None]
        for t in body.operands[1:]:
            if t is None or t.shape[-1:] in ((), (1,)):
                operands.append(t)
            elif t.is_const and t.shape[-1] == channels == t.type.size:
                operands.append(r.builder.derived(ordered, [t], t.name, axis=-1, order=order))
            else:
                return None
        w = r.builder.derived(ordered, [weights], weights.name, axis=0, order=order)
        moved = Node(CONV, (conv.args[0], w), conv.outputs, conv.attrs, conv.name, conv.origin)
        return [emit_body(r, moved, Body(body.expr, tuple(operands)), [conv, *found.nodes])]

    def example(self) -> Graph:
        b = GraphBuilder("conv-shuffle")
        rng = np.random.default_rng(0)
        x = b.input("x", TensorType(f32, (1, 2, 2, 3)))
        w = b.constant(rng.standard_normal((6, 1, 1, 3), np.float32), "w")
        bias = b.constant(rng.standard_normal(6, np.float32), "bias")
        attrs: dict[str, Attr] = {"layout": "NHWC", "epilogue": E.add(E.inp(0), E.inp(1))}
        return b.graph({"y": _shuffled(b, b.emit(CONV, [x, w, bias], attrs, name="conv"))})


def _shuffled(b: GraphBuilder, x: Tensor) -> Tensor:
    *lead, c = x.shape
    y = b.emit(RESHAPE, [x], {"shape": (*lead, 2, c // 2)}, name="split")
    axes = len(lead)
    perm = (*range(axes), axes + 1, axes)
    y = b.emit(TRANSPOSE, [y], {"perm": perm}, name="swap")
    return b.emit(RESHAPE, [y], {"shape": x.shape}, name="join")


SHUFFLE_FUSIONS: tuple[Rewrite, ...] = (ShuffleIntoNextConv(), ShuffleIntoConv())
