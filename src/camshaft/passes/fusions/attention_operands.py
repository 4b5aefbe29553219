"""What attention reads of its queries, keys and values: not what a kernel does as well by the way."""

from __future__ import annotations

from collections.abc import Sequence

from camshaft.ir import expr as E
from camshaft.ir.attrs import expr_attr, int_attr
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.types import HALVES, TensorType, f16, f32
from camshaft.ops import ATTENTION, POINTWISE, RESHAPE, TRANSPOSE
from camshaft.passes.rewrite import Rewrite, Rewriter


class ScaleInScore(Rewrite):
    """Queries or keys times a number: the scores are multiplied instead, as they are stored."""

    name = "scale-in-score"
    ops = (ATTENTION,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        for i, t in enumerate(node.args[:2]):
            moves, made = _behind_moves(t, r)
            factor = _factor(made) if made is not None and made.op is POINTWISE else None
            if made is None or factor is None or made.args[0].type != made.output.type:
                continue
            inputs = list(node.args)
            inputs[i] = _moved(made.args[0], moves, "unscaled", r)
            operands = [E.inp(n + 1) for n in range(int_attr(node, "operands"))]
            product = E.mul(E.inp(0), E.const(factor))
            score = E.substitute(expr_attr(node, "score"), [product, *operands])
            attrs: dict[str, Attr] = {**node.attrs, "score": score}
            return [r.emit(ATTENTION, inputs, attrs, like=[made, node])]
        return None

    def example(self) -> Graph:
        b = GraphBuilder("scaled-queries")
        q, k, v = (b.input(n, TensorType(f32, (2, 3, 4))) for n in "qkv")
        half: dict[str, Attr] = {"expr": E.mul(E.inp(0), E.const(0.5))}
        scaled = b.emit(POINTWISE, [q], half, name="scale")
        return b.graph({"y": b.emit(ATTENTION, [scaled, k, v], name="attention")})


class ReadHalves(Rewrite):
    """Keys or values that are widened halves: the kernel reads the halves, which are half as many bytes."""

    name = "read-halves"
    ops = (ATTENTION,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        inputs = list(node.args)
        for i in (1, 2):
            moves, made = _behind_moves(inputs[i], r)
            if made is None or made.op is not POINTWISE or len(made.args) != 1:
                continue
            half = made.args[0]
            if half.type.dtype in HALVES and expr_attr(made, "expr") == E.cast(E.inp(0), f32):
                inputs[i] = _moved(half, moves, "halves", r)
        if all(a is b for a, b in zip(inputs, node.args, strict=True)):
            return None
        return [r.emit(ATTENTION, inputs, node.attrs, like=node)]

    def example(self) -> Graph:
        b = GraphBuilder("half-cache")
        q = b.input("q", TensorType(f32, (2, 3, 4)))
        k, v = (b.input(n, TensorType(f16, (3, 2, 4))) for n in "kv")
        wide = [b.emit(POINTWISE, [t], {"expr": E.cast(E.inp(0), f32)}, name=f"widen {t.name}") for t in (k, v)]  # fmt: skip
        keys, values = (
            b.emit(TRANSPOSE, [t], {"perm": (1, 0, 2)}, name=f"turn {t.name}") for t in wide
        )
        return b.graph({"y": b.emit(ATTENTION, [q, keys, values], name="attention")})


def _behind_moves(t: Tensor, r: Rewriter) -> tuple[list[Node], Node | None]:
    """The reshapes and transposes that end in `t`, the last one first, and what makes the first one's input."""
    moves: list[Node] = []
    made = r.producer(t)
    while made is not None and made.op in (RESHAPE, TRANSPOSE):
        moves.append(made)
        made = r.producer(made.args[0])
    return moves, made


def _moved(t: Tensor, moves: Sequence[Node], label: str, r: Rewriter) -> Tensor:
    """Another tensor moved likewise."""
    for move in reversed(moves):
        t = r.emit(move.op, [t], move.attrs, like=move, output=f"{move.output.name}:{label}")
    return t


def _factor(node: Node) -> float | None:
    """c where the node computes its only operand times c."""
    expr = expr_attr(node, "expr")
    if len(node.args) != 1 or expr.op != "mul":
        return None
    numbers = [float(a.value or 0) for a in expr.args if a.op == "const"]
    return numbers[0] if len(numbers) == 1 and E.inp(0) in expr.args else None


OPERAND_FUSIONS: tuple[Rewrite, ...] = (ScaleInScore(), ReadHalves())
