"""Attention whose heads were merged with the batch, as a batched product wants them: they get an axis of their own."""

from __future__ import annotations

from collections.abc import Sequence

from camshaft.ir import expr as E
from camshaft.ir.attrs import int_attr, ints_attr
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.types import Shape, TensorType, f32
from camshaft.ops import ATTENTION, BROADCAST, RESHAPE, TRANSPOSE
from camshaft.passes.canonical.shapes import reshaped
from camshaft.passes.rewrite import Rewrite, Rewriter


class SplitHeads(Rewrite):
    """Attention of [B * H, T, D] whose mask is [B, H, ., S] flattened, or was spread over the heads before: it is of
    [B, H, T, D] then, and the mask is read as it is."""

    name = "split-heads"
    ops = (ATTENTION,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        if node.output.type.rank != 3:
            return None
        count = 3 + int_attr(node, "operands")
        masks = {n: m for n in range(3, count) if (m := _mask(node.args[n], r)) is not None}
        leads = {shape for _, shape in masks.values()}
        if len(leads) != 1:
            return None
        (lead,) = leads
        inputs: list[Tensor] = []
        for n, t in enumerate(node.args):
            if n in masks:
                inputs.append(masks[n][0])
            elif t.type.rank < 3:
                inputs.append(t)
            else:
                inputs.append(_split(r, t, lead, node))
        y = r.emit(ATTENTION, inputs, node.attrs, like=node, output=f"{node.output.name}:heads")
        return [r.emit(RESHAPE, [y], {"shape": node.output.shape}, like=node)]

    def example(self) -> Graph:
        b = GraphBuilder("merged-heads")
        q, k, v = (b.input(n, TensorType(f32, (6, 5, 4))) for n in "qkv")
        mask = b.input("mask", TensorType(f32, (2, 1, 1, 5)))
        wide = b.emit(BROADCAST, [mask], {"shape": (2, 3, 1, 5)}, name="expand")
        flat = b.emit(RESHAPE, [wide], {"shape": (6, 1, 5)}, name="flatten")
        attrs: dict[str, Attr] = {"operands": 1, "score": E.add(E.inp(0), E.inp(1))}
        return b.graph({"y": b.emit(ATTENTION, [q, k, v, flat], attrs, name="attention")})


class TransposeSplitHeads(Rewrite):
    """A transpose of attention's results whose heads were merged with the batch: the merging comes last."""

    name = "transpose-split-heads"
    ops = (TRANSPOSE,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        flat = r.producer(node.args[0], RESHAPE)
        made = r.producer(flat.args[0], ATTENTION) if flat else None
        if flat is None or made is None:
            return None
        wide, lead = made.output, made.output.shape[:-2]
        if len(lead) != 2 or flat.output.shape != (lead[0] * lead[1], *wide.shape[-2:]):
            return None
        perm = tuple(p for axis in ints_attr(node, "perm") for p in ((0, 1), (2,), (3,))[axis])
        turned = r.emit(TRANSPOSE, [wide], {"perm": perm}, like=node, output=f"{wide.name}:turned")
        return [r.emit(RESHAPE, [turned], {"shape": node.output.shape}, like=[flat, node])]

    def example(self) -> Graph:
        b = GraphBuilder("merged-results")
        q, k, v = (b.input(n, TensorType(f32, (2, 3, 5, 4))) for n in "qkv")
        y = b.emit(ATTENTION, [q, k, v], name="attention")
        y = b.emit(RESHAPE, [y], {"shape": (6, 5, 4)}, name="flatten")
        return b.graph({"y": b.emit(TRANSPOSE, [y], {"perm": (1, 0, 2)}, name="turn")})


def _mask(t: Tensor, r: Rewriter) -> tuple[Tensor, Shape] | None:
    """[B, H, ., S] or what broadcasts to it, and (B, H), where `t` is that flattened: [B * H, ., S]."""
    flat = r.producer(t, RESHAPE)
    if flat is None or t.type.rank != 3:
        return None
    wide = flat.args[0]
    shape = wide.shape
    if len(shape) != 4 or (shape[0] * shape[1], *shape[2:]) != t.shape:
        return None
    spread = r.producer(wide, BROADCAST)
    return spread.args[0] if spread else wide, shape[:2]


def _split(r: Rewriter, t: Tensor, lead: Shape, like: Node) -> Tensor:
    """[B * H, ., .] as [B, H, ., .]: before it is transposed, where it is; [1, ., .] as it is."""
    if t.shape[0] == 1 and lead[0] * lead[1] != 1:
        return reshaped(r, t, (1, *t.shape), like, "heads")
    turn = r.producer(t, TRANSPOSE)
    if turn is None:
        return reshaped(r, t, (*lead, *t.shape[1:]), like, "heads")
    perm, x = ints_attr(turn, "perm"), turn.args[0]
    merged = perm[0]
    shape = (*x.shape[:merged], *lead, *x.shape[merged + 1 :])
    split = reshaped(r, x, shape, like, f"heads of {t.name}")
    first, *rest = (p + (p > merged) for p in perm)
    attrs: dict[str, Attr] = {"perm": (first, first + 1, *rest)}
    return r.emit(TRANSPOSE, [split], attrs, like=turn, output=f"{t.name}:heads")


HEAD_FUSIONS: tuple[Rewrite, ...] = (SplitHeads(), TransposeSplitHeads())
