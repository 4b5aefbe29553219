"""Tensors that must have a half type: rounded to it where they are made, and stored so.

`ops.functional.rounded` gives a tensor of an imported graph the values of such a type.  The passes fuse that like
any elementwise work, so that inside one kernel it is a rounding in registers.  What is left between kernels is stored as
halves by `with_stored_halves`, after them: products whose operands are all halves read these, elementwise work widens
them as it reads, and before everything else there is a step that widens.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from camshaft.ir import expr as E
from camshaft.ir.attrs import expr_attr
from camshaft.ir.expr import Expr
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.rebuild import Rebuild
from camshaft.ir.types import HALVES, TensorType, bf16, f16, f32
from camshaft.ops import CONCAT, CONV, MATMUL, POINTWISE, RESHAPE, SLICE, TRANSPOSE
from camshaft.passes.bodies import has_body
from camshaft.passes.cse import merge_equal
from camshaft.passes.fusions.attention_operands import ReadHalves
from camshaft.passes.fusions.pointwise import PullWidening
from camshaft.passes.half import are_halves, as_halves
from camshaft.passes.manager import Pass, run_passes
from camshaft.passes.rewrite import Rewrite, Rewriter, rewrite

_WIDE = E.cast(E.inp(0), f32)


def with_stored_halves(graph: Graph, *, level: int = 1, check: bool = False) -> Graph:
    """An optimized graph, with tensors between kernels that are rounded to halves stored as these."""
    return run_passes(graph, _PASSES, level=level, check=check)


def _narrow(e: Expr) -> Expr | None:
    """What an expression is that rounds to halves, without the widening behind that; None for another."""
    if e.op != "cast" or e.dtype != f32:
        return None
    inner = e.args[0]
    return inner if inner.op == "cast" and inner.dtype in HALVES else None


def _split(graph: Graph) -> Graph:
    """Each node whose result is rounded gives halves, with a node behind it that widens them."""
    outputs = {t.name for t in graph.outputs}
    rebuild, found = Rebuild(graph), False
    for old in graph.nodes:
        node = rebuild.present(old)
        key = old.op.expression if has_body(old) else None
        narrow = _narrow(expr_attr(old, key)) if key is not None else None
        if key is None or narrow is None or old.outputs[0].name in outputs:
            rebuild.replace(old, rebuild.carry(node))
            continue
        found, b, name = True, rebuild.builder, old.output.name
        attrs: dict[str, Attr] = {**node.attrs, key: narrow}
        (half,) = b.add(
            node.op, node.inputs, attrs, like=node, name=node.name, outputs=[f"{name}:{narrow.dtype}"]
        )  # fmt: skip
        (wide,) = b.add(POINTWISE, [half], {"expr": _WIDE}, like=old, name=f"widen {old.name}")
        rebuild.put(old.output, wide)
    return rebuild.finish() if found else graph


def _half_of(t: Tensor, r: Rewriter) -> Tensor | None:
    """The halves that a tensor is the widening of."""
    made = r.producer(t, POINTWISE)
    if made is None or expr_attr(made, "expr") != _WIDE or made.args[0].type.dtype not in HALVES:
        return None
    return made.args[0]


class MoveHalves(Rewrite):
    """What moves widened halves moves halves: move(f32(x)) -> f32(move(x))."""

    name = "move-halves"
    ops = (RESHAPE, TRANSPOSE, SLICE, CONCAT)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        halves = [half for t in node.args if (half := _half_of(t, r)) is not None]
        if len(halves) < len(node.args) or len({t.type.dtype for t in halves}) != 1:
            return None
        name = f"{node.output.name}:{halves[0].type.dtype}"
        moved = r.emit(node.op, halves, node.attrs, like=node, name=node.name, output=name)
        return [r.emit(POINTWISE, [moved], {"expr": _WIDE}, like=node, name=f"widen {node.name}")]

    def example(self) -> Graph:
        b = GraphBuilder("flat-halves")
        x = b.input("x", TensorType(f16, (2, 3, 4)))
        wide = b.emit(POINTWISE, [x], {"expr": _WIDE}, name="widen")
        return b.graph({"y": b.emit(RESHAPE, [wide], {"shape": (2, 12)}, name="flat")})


class MultiplyHalves(Rewrite):
    """A product of widened halves of one type, or of these and constants of its values, reads the halves."""

    name = "multiply-halves"
    ops = (CONV, MATMUL)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        x, w, *operands = node.args
        halves = [_half_of(t, r) for t in (x, w)]
        dtype = next((t.type.dtype for t in halves if t is not None), None)
        if dtype is None:
            return None
        read: list[Tensor] = []
        for t, half in zip((x, w), halves, strict=True):
            if half is not None and half.type.dtype == dtype:
                read.append(half)
            elif half is None and t.is_const and t.type.dtype == dtype:
                read.append(t)
            elif half is None and t.is_const and t.type.dtype == f32 and are_halves(t, dtype):
                read.append(as_halves(r.builder, t, dtype))
            else:
                return None
        return [r.emit(node.op, [*read, *operands], node.attrs, like=node, name=node.name)]

    def example(self) -> Graph:
        b = GraphBuilder("product-of-halves")
        x = b.input("x", TensorType(bf16, (2, 4)))
        wide = b.emit(POINTWISE, [x], {"expr": _WIDE}, name="widen")
        w = b.constant(np.eye(4, dtype=np.float32), "w")
        return b.graph({"y": b.emit(MATMUL, [wide, w], name="product")})


class PullHalves(PullWidening):
    """Elementwise work and epilogues widen halves as they read them."""

    name = "pull-halves"

    def inlined(self, tensor: Tensor, reader: Node, r: Rewriter) -> Node | None:
        return super().inlined(tensor, reader, r) if _half_of(tensor, r) is not None else None

    def example(self) -> Graph:
        b = GraphBuilder("widening-halves")
        x = b.input("x", TensorType(f16, (2, 3)))
        wide = b.emit(POINTWISE, [x], {"expr": _WIDE}, name="widen")
        expr = E.add(E.inp(0), E.const(1.0))
        return b.graph({"y": b.emit(POINTWISE, [wide], {"expr": expr}, name="add")})


HALF_RULES: tuple[Rewrite, ...] = (MoveHalves(), MultiplyHalves(), PullHalves())
_PASSES: tuple[Pass, ...] = (
    Pass("split-rounding", _split),
    Pass("move-halves", partial(rewrite, rules=(MoveHalves(), MultiplyHalves()))),
    Pass("read-halves", partial(rewrite, rules=(*HALF_RULES, ReadHalves())), level=1),
    Pass("merge-equal", merge_equal, level=1),
)
