"""Scalar bodies: the expression part of a node, taken apart and put together by the fusions.

A pointwise node is a body over its inputs; an anchored node (convolution, pool, reduction, ...)
is an anchor followed by a body whose input 0 is the anchor's result.  Both are an `Expr` and the
tensors it reads, which is all that fusing, splitting and simplifying need to know.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir import expr as E
from camshaft.ir.attrs import expr_attr
from camshaft.ir.expr import Expr
from camshaft.ir.graph import Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.types import Shape, broadcast_shapes
from camshaft.ops import POINTWISE
from camshaft.passes.rewrite import Rewriter

MAX_COST = 48
"""Operations that a fused expression may have: beyond that a kernel only spills registers."""
MAX_OPERANDS = 12
"""Tensors that a fused expression may read."""
_LIGHT = frozenset(
    {"neg", "abs", "add", "sub", "mul", "min", "max", "cast", "select", "lt", "le", "eq"}
)


@dataclass(frozen=True)
class Body:
    """`expr` over `operands`; for an anchored node operand 0 is the anchor's result (None)."""

    expr: Expr
    operands: tuple[Tensor | None, ...]


def anchored(node: Node) -> bool:
    """Whether the node has an epilogue."""
    return bool(node.op.anchors)


def has_body(node: Node) -> bool:
    """Whether the node has an expression: is one, or has an epilogue."""
    return node.op.anchors is not None


def body_of(node: Node) -> Body:
    """The body of a pointwise or anchored node; ModelError for any other."""
    key, anchors = node.op.expression, node.op.own_inputs(node.attrs)
    if key is None or anchors is None:
        raise ModelError(f"node {node.name!r} ({node.op.name}) has no scalar body")
    lead = (None,) if anchors else ()
    return Body(expr_attr(node, key), (*lead, *node.args[anchors:]))


class Inliner:
    """Collects operands, each tensor once, while expressions are substituted into one another."""

    def __init__(self, result: bool) -> None:
        """result: whether input 0 is an anchor's result."""
        self.operands: list[Tensor | None] = [None] if result else []
        self._index: dict[str, int] = {}

    def leaf(self, tensor: Tensor | None) -> Expr:
        """The input that stands for `tensor` (None: the anchor's result)."""
        if tensor is None:
            return E.inp(0)
        if tensor.name not in self._index:
            self._index[tensor.name] = len(self.operands)
            self.operands.append(tensor)
        return E.inp(self._index[tensor.name])

    def inline(self, body: Body) -> Expr:
        """The body over this inliner's inputs."""
        return E.substitute(body.expr, [self.leaf(t) for t in body.operands])

    def body(self, expr: Expr) -> Body:
        """`expr` with operands that it does not read dropped."""
        return compact(Body(expr, tuple(self.operands)))


def compact(body: Body) -> Body:
    """Drop operands the expression does not read (never an anchor's result) and repeated ones."""
    used = set(E.used_inputs(body.expr))
    kept: list[Tensor | None] = []
    place: dict[int, Expr] = {}
    seen: dict[str, Expr] = {}
    for i, t in enumerate(body.operands):
        if t is None:
            place[i] = E.inp(len(kept))
            kept.append(None)
        elif i in used:
            if t.name not in seen:
                seen[t.name] = E.inp(len(kept))
                kept.append(t)
            place[i] = seen[t.name]
    if len(kept) == len(body.operands):
        return body
    filler = E.inp(0)
    new = E.substitute(body.expr, [place.get(i, filler) for i in range(len(body.operands))])
    return Body(new, tuple(kept))


def fits(body: Body) -> bool:
    """Whether the body is small enough to be one expression."""
    return len(body.operands) <= MAX_OPERANDS and E.cost(body.expr) <= MAX_COST


def is_light(expr: Expr) -> bool:
    """Whether evaluating the expression again costs next to nothing."""
    return E.cost(expr) <= 4 and all(x.op in _LIGHT for x in E.nodes(expr) if x.args)


def replaced(expr: Expr, old: Expr, new: Expr) -> Expr:
    """`expr` with every occurrence of the subexpression `old` replaced by `new`."""

    def change(x: Expr, args: tuple[Expr, ...]) -> Expr:
        if x == old:
            return new
        return x if args == x.args else Expr(x.op, args, x.value, x.dtype)

    return E.rebuilt(expr, change)


def emit_body(
    r: Rewriter, anchor: Node | None, body: Body, like: Sequence[Node], **attrs: Attr
) -> Tensor:
    """A pointwise node (anchor None), or the anchor node again with this body as epilogue.

    attrs: attributes of the anchor that change.
    """
    operands = [t for t in body.operands if t is not None]
    if anchor is None:
        return r.emit(POINTWISE, operands, {"expr": body.expr}, like=like)
    inputs = [*anchor.args[: anchor.op.own_inputs(anchor.attrs)], *operands]
    changed = {**anchor.attrs, **attrs, "epilogue": body.expr}
    return r.emit(anchor.op, inputs, changed, like=like)


def output_shape(operands: Iterable[Tensor]) -> Shape:
    """Shape of a pointwise result over these operands."""
    return broadcast_shapes(*(t.shape for t in operands))


def keeps_shape(body: Body, node: Node) -> bool:
    """Whether the node's result, computed by `body`, has the shape it has now.

    An anchor gives the result its shape; a pointwise result gets it from the operands, one of
    which may do nothing else (`x * ones`).
    """
    operands = [t for t in body.operands if t is not None]
    return anchored(node) or (bool(operands) and output_shape(operands) == node.output.shape)


def broadcasts_to(operand: Tensor, shape: Shape) -> bool:
    """Whether `operand` broadcasts to exactly `shape`, without enlarging it."""
    return len(operand.shape) <= len(shape) and all(
        d in (1, e) for d, e in zip(reversed(operand.shape), reversed(shape), strict=False)
    )


def scalar_const(tensor: Tensor | None) -> Expr | None:
    """The literal for a constant of one element (or of equal elements), else None."""
    if tensor is None or tensor.stored is None or tensor.changes or tensor.type.dtype.kind == "s":
        return None
    data = tensor.stored
    if data.size == 0:
        return None
    first = data.reshape(-1)[0]
    if data.size > 1 and not np.all(data == first):
        return None
    return E.const(first.item(), tensor.type.dtype)


def varying_axis(operand: Tensor, rank: int) -> int | None:
    """The axis (of a result of this rank) along which an operand varies; -1 if along none, None
    if along several."""
    lead = rank - len(operand.shape)
    axes = [lead + i for i, d in enumerate(operand.shape) if d != 1]
    return None if len(axes) > 1 else (axes[0] if axes else -1)
