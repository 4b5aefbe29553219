"""Reductions: means that are pools, chains of reductions, expressions in front, log of softmax."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from camshaft.ir import expr as E
from camshaft.ir.attrs import expr_attr, ints_attr
from camshaft.ir.expr import Expr
from camshaft.ir.extents.extent import Extent, largest
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.types import TensorType, f32
from camshaft.ops import POINTWISE, POOL, REDUCE, RESHAPE, SOFTMAX
from camshaft.ops.functional.elementwise.arithmetic import reciprocal_of
from camshaft.passes.bodies import Body, body_of, compact, replaced
from camshaft.passes.fusions.pointwise import only_here
from camshaft.passes.rewrite import Rewrite, Rewriter


def reduced_axes(node: Node) -> tuple[int, ...]:
    """Axes of a reduction, counted from the front, ascending."""
    rank = node.args[0].type.rank
    return tuple(sorted(a % rank for a in ints_attr(node, "axes")))


def _only_reader(expr: Expr, part: Expr) -> Expr | None:
    """The one node of `expr` that reads `part`, or None if several do or `expr` is `part`."""
    readers = [x for x in E.nodes(expr) if part in x.args]
    return readers[0] if len(readers) == 1 else None


def _scale_of(reader: Expr) -> float | None:
    """c where `reader` is input 0 times c, or divided by 1/c, with a literal; else None."""
    values = [a.value for a in reader.args if a.op == "const"]
    if len(reader.args) != 2 or len(values) != 1 or E.inp(0) not in reader.args:
        return None
    c = float(values[0] or 0)
    if reader.op == "mul":
        return c
    if reader.op == "div" and reader.args[0] == E.inp(0) and c:
        return 1.0 / c
    return None


def _divides_by(reader: Expr, count: Extent) -> bool:
    """Whether `reader` is input 0 divided by `count`, or by 1 where there are none."""
    if isinstance(count, int):
        scale = _scale_of(reader)
        return scale is not None and abs(scale * count - 1.0) <= 1e-6
    return any(reader == E.mul(E.inp(0), reciprocal_of(e)) for e in (count, largest(1, count)))


class MeanToPool(Rewrite):
    """A mean over height and width (channels-last) is an average pool of the whole image."""

    name = "mean-to-pool"
    ops = (REDUCE,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        x = node.args[0]
        epilogue = expr_attr(node, "epilogue")
        if x.type.rank != 4 or x.type.dtype != f32 or reduced_axes(node) != (1, 2):
            return None
        if node.attrs["kind"] != "sum" or node.attrs["prologue"] != E.inp(0):
            return None
        mean = _only_reader(epilogue, E.inp(0))
        if mean is None or not _divides_by(mean, x.shape[1] * x.shape[2]):
            return None
        attrs: dict[str, Attr] = {
            "kind": "avg",
            "kernel": x.shape[1:3],
            "strides": (1, 1),
            "pads": (0, 0, 0, 0),
            "layout": "NHWC",
            "epilogue": replaced(epilogue, mean, E.inp(0)),
        }
        operands = [self._operand(t, node, r) for t in node.args[1:]]
        if node.attrs["keepdims"]:
            return [r.emit(POOL, [x, *operands], attrs, like=node)]
        label = f"{node.output.name}:pool"
        y = r.emit(POOL, [x, *operands], attrs, like=node, output=label)
        return [r.emit(RESHAPE, [y], {"shape": node.output.shape}, like=node)]

    @staticmethod
    def _operand(tensor: Tensor, node: Node, r: Rewriter) -> Tensor:
        if node.attrs["keepdims"] or tensor.type.rank < 2:
            return tensor
        n, c = tensor.shape
        label = f"{tensor.name}:wide"
        return r.emit(RESHAPE, [tensor], {"shape": (n, 1, 1, c)}, like=node, output=label)

    def example(self) -> Graph:
        b = GraphBuilder("mean")
        x = b.input("x", TensorType(f32, (2, 5, 7, 3)))
        mean = E.mul(E.inp(0), E.const(1.0 / 35.0))
        attrs: dict[str, Attr] = {
            "kind": "sum",
            "axes": (-3, -2),
            "keepdims": False,
            "epilogue": mean,
        }
        return b.graph({"y": b.emit(REDUCE, [x], attrs, name="mean")})


class MergeReductions(Rewrite):
    """A reduction of a reduction of the same kind (a mean over rows, then over columns) is one.

    The inner epilogue must be nothing or, for sums, a factor.
    """

    name = "merge-reductions"
    ops = (REDUCE,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        first = r.producer(node.args[0], REDUCE)
        if first is None or not only_here(node, node.args[0], r) or len(first.args) > 1:
            return None
        same = ("kind", "keepdims")
        if any(first.attrs[k] != node.attrs[k] for k in same) or node.attrs["prologue"] != E.inp(0):
            return None
        inner = expr_attr(first, "epilogue")
        head: Expr = E.inp(0)
        if inner != E.inp(0):
            scale = _scale_of(inner)
            if scale is None or node.attrs["kind"] != "sum":
                return None
            head = E.mul(head, E.const(scale))
        operands = [E.inp(i) for i in range(1, len(node.args))]
        attrs: dict[str, Attr] = {
            **first.attrs,
            "axes": self._axes(first, node),
            "epilogue": E.substitute(expr_attr(node, "epilogue"), [head, *operands]),
        }
        inputs = [first.args[0], *node.args[1:]]
        return [r.emit(REDUCE, inputs, attrs, like=[first, node])]

    @staticmethod
    def _axes(first: Node, node: Node) -> tuple[int, ...]:
        gone = reduced_axes(first)
        left = [
            a for a in range(first.args[0].type.rank) if a not in gone or first.attrs["keepdims"]
        ]
        return tuple(sorted({*gone, *(left[a] for a in reduced_axes(node))}))

    def example(self) -> Graph:
        b = GraphBuilder("mean-of-mean")
        x = b.input("x", TensorType(f32, (2, 5, 7, 3)))
        for axis, extent in ((2, 7), (1, 5)):
            attrs: dict[str, Attr] = {"kind": "sum", "axes": (axis,), "keepdims": False}
            attrs["epilogue"] = E.div(E.inp(0), E.const(float(extent)))
            x = b.emit(REDUCE, [x], attrs, name=f"mean{axis}")
        return b.graph({"y": x})


class PointwiseIntoReduce(Rewrite):
    """An expression of one tensor in front of a reduction is applied while reducing."""

    name = "pointwise-into-reduction"
    ops = (REDUCE,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        first = r.producer(node.args[0], POINTWISE)
        if first is None or len(first.args) != 1 or not only_here(node, node.args[0], r):
            return None
        prologue = E.substitute(expr_attr(node, "prologue"), [expr_attr(first, "expr")])
        inputs = [first.args[0], *node.args[1:]]
        return [r.emit(REDUCE, inputs, {**node.attrs, "prologue": prologue}, like=[first, node])]

    def example(self) -> Graph:
        b = GraphBuilder("norm")
        x = b.input("x", TensorType(f32, (2, 5)))
        square: dict[str, Attr] = {"expr": E.mul(E.inp(0), E.inp(0))}
        y = b.emit(POINTWISE, [x], square, name="square")
        attrs: dict[str, Attr] = {"kind": "sum", "axes": (1,)}
        attrs["epilogue"] = E.unary("sqrt", E.inp(0))
        return b.graph({"y": b.emit(REDUCE, [y], attrs, name="norm")})


class LogOfSoftmax(Rewrite):
    """log(softmax(x)) is the op's own logarithmic form, which cannot underflow."""

    name = "log-of-softmax"
    ops = (POINTWISE,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        body = body_of(node)
        for i, t in enumerate(node.args):
            softmax = r.producer(t, SOFTMAX)
            if softmax is None or softmax.attrs["log"] or not only_here(node, t, r):
                continue
            fresh = E.inp(len(node.args))
            expr = replaced(body.expr, E.unary("log", E.inp(i)), fresh)
            if expr == body.expr or i in E.used_inputs(expr):
                continue
            attrs: dict[str, Attr] = {**softmax.attrs, "log": True}
            label = f"{t.name}:log"
            logs = r.emit(SOFTMAX, softmax.inputs, attrs, like=[softmax, node], output=label)
            if expr == fresh:
                return [r.emit(SOFTMAX, softmax.inputs, attrs, like=[softmax, node])]
            new = compact(Body(expr, (*node.args, logs)))
            operands = [u for u in new.operands if u is not None]
            return [r.emit(POINTWISE, operands, {"expr": new.expr}, like=node)]
        return None

    def example(self) -> Graph:
        b = GraphBuilder("log-softmax")
        x = b.input("x", TensorType(f32, (2, 5)))
        y = b.emit(SOFTMAX, [x], {"axis": 1}, name="softmax")
        expr = E.unary("neg", E.unary("log", E.inp(0)))
        return b.graph({"y": b.emit(POINTWISE, [y], {"expr": expr}, name="loss")})


class ReduceNothing(Rewrite):
    """A reduction over axes of extent one only applies its expressions."""

    name = "reduce-nothing"
    ops = (REDUCE,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        x = node.args[0]
        extents = prod(x.shape[a] for a in reduced_axes(node))
        if extents != 1 or len(node.args) > 1 or x.type.dtype != node.output.type.dtype:
            return None
        expr = E.substitute(expr_attr(node, "epilogue"), [expr_attr(node, "prologue")])
        label = f"{node.output.name}:value"
        y = r.emit(POINTWISE, [x], {"expr": expr}, like=node, output=label)
        if y.shape == node.output.shape:
            return [y]
        return [r.emit(RESHAPE, [y], {"shape": node.output.shape}, like=node)]

    def example(self) -> Graph:
        b = GraphBuilder("reduce-nothing")
        x = b.input("x", TensorType(f32, (2, 1, 5)))
        attrs: dict[str, Attr] = {"kind": "sum", "axes": (1,), "keepdims": False}
        attrs["prologue"] = E.unary("abs", E.inp(0))
        return b.graph({"y": b.emit(REDUCE, [x], attrs, name="sum")})


REDUCE_FUSIONS: tuple[Rewrite, ...] = (
    ReduceNothing(),
    MergeReductions(),
    MeanToPool(),
    PointwiseIntoReduce(),
    LogOfSoftmax(),
)
