"""Cheaper requantization: 1/scale and zero point folded into the constants before them.

The exact expression of a quantized layer divides by the output scale, rounds, adds the zero point
and saturates.  Where only bias, multiplication by constants, ReLU and clips stand before it, all of
it becomes one multiply-add, a rounding conversion and a saturating pack.  Ties may round the
other way: results stay within one quantum of the Q/DQ graph.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from camshaft.ir import expr as E
from camshaft.ir.attrs import expr_attr
from camshaft.ir.expr import Expr
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.types import TensorType, f32, i8, i32, u8
from camshaft.ops import POINTWISE
from camshaft.passes.rewrite import Rewrite, Rewriter

_SCALES = (1e-30, 1e30)
"""Least and largest scale that is folded."""


@dataclass
class _Affine:
    """Pushes c*e + d into expressions; constant operands absorb it where they are used once.

    constants: expression input -> its type.  changed: input -> (factor, shift) to apply to it.
    """

    constants: Mapping[int, TensorType]
    uses: Counter[Expr] = field(default_factory=Counter)
    changed: dict[int, tuple[float, float]] = field(default_factory=dict)

    def push(self, e: Expr, c: float, d: float) -> Expr:
        """An expression for c*e + d (c > 0)."""
        if c == 1.0 and d == 0.0:
            return e
        if e.op == "const":
            return E.const(float(e.value or 0) * c + d)
        if self._absorbs(e):
            self.changed[int(e.value or 0)] = (c, d)
            return e
        shared = self.uses[e] > 1
        if not shared and e.op in ("add", "sub"):
            a, b = e.args
            if self._constant(b):
                shift = d if e.op == "add" else -d
                return E.binary(e.op, self.push(a, c, 0.0), self.push(b, c, shift))
            return E.binary(e.op, self.push(a, c, d), self.push(b, c, 0.0))
        if (
            not shared
            and e.op == "mul"
            and (self._constant(e.args[0]) or self._constant(e.args[1]))
        ):
            a, b = e.args if self._constant(e.args[1]) else e.args[::-1]
            return E.add(E.mul(a, self.push(b, c, 0.0)), E.const(d))
        if not shared and e.op in ("max", "min"):
            return E.binary(e.op, self.push(e.args[0], c, d), self.push(e.args[1], c, d))
        return E.add(E.mul(e, E.const(c)), E.const(d))

    def _constant(self, e: Expr) -> bool:
        return e.op == "const" or self._absorbs(e)

    def _absorbs(self, e: Expr) -> bool:
        """Whether e is a float constant operand that is used once and not yet changed."""
        if e.op != "input":
            return False
        index = int(e.value or 0)
        type = self.constants.get(index)
        free = index not in self.changed and self.uses[e] == 1
        return free and type is not None and type.dtype == f32


def _uses(e: Expr) -> Counter[Expr]:
    counts: Counter[Expr] = Counter([e])
    for x in E.nodes(e):
        counts.update(x.args)
    return counts


def _quantization(e: Expr) -> tuple[Expr, float, float] | None:
    """(x, scale, zero point) where e is a cast of round(x / scale) + zero point, else None.

    Only scales whose reciprocal is a positive float32: 1/scale is pushed through max and min.
    """
    if e.op != "cast" or e.dtype not in (u8, i8):
        return None
    inner, zero = e.args[0], 0.0
    if inner.op == "add" and inner.args[1].op == "const":
        inner, zero = inner.args[0], float(inner.args[1].value or 0)
    if inner.op != "round" or inner.args[0].op != "div" or inner.args[0].args[1].op != "const":
        return None
    x, scale = inner.args[0].args
    value = float(scale.value or 0)
    return (x, value, zero) if _SCALES[0] <= value <= _SCALES[1] else None


def _saturated(e: Expr, low: int, high: int) -> Expr:
    """`e` without outer clips that the saturating cast to low..high makes anyway."""
    while e.op in ("max", "min"):
        kept = [a for a in e.args if a.op != "const"]
        limit = [float(a.value or 0) for a in e.args if a.op == "const"]
        if len(kept) != 1 or not (limit[0] <= low if e.op == "max" else limit[0] >= high):
            return e
        e = kept[0]
    return e


def fold_requantization(
    e: Expr, constants: Mapping[int, TensorType]
) -> tuple[Expr, Mapping[int, tuple[float, float]]] | None:
    """The cheaper expression, and the constant operands that change with it as their factors and summands, or None.

    constants: expression input -> type, for inputs that are constants.  The outermost
    quantization is folded last, so that inner ones (of an addition's operands) are folded too.
    """
    affine = _Affine(constants, _uses(e))
    fired = False

    def change(x: Expr, args: tuple[Expr, ...]) -> Expr:
        nonlocal fired
        new = x if args == x.args else Expr(x.op, args, x.value, x.dtype)
        affine.uses[new] = affine.uses[x]
        found = _quantization(new)
        if found is None or new.dtype is None:
            return new
        source, scale, zero = found
        for a in E.nodes(source):
            affine.uses.setdefault(a, 1)
        pushed = affine.push(source, 1.0 / scale, zero)
        fired = True
        return E.cast(_saturated(pushed, *new.dtype.range), new.dtype)

    folded = E.rebuilt(e, change)
    if not fired:
        return None
    return folded, affine.changed


def scaled(array: np.ndarray, factor: float, summand: float) -> np.ndarray:
    """A constant operand that changes, f32."""
    return np.asarray(array.astype(np.float64) * factor + summand, np.float32)


class FoldRequantize(Rewrite):
    """Quantization at the end of an epilogue or pointwise expression, made cheap."""

    name = "fold-requantization"

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        key, anchors = node.op.expression, node.op.own_inputs(node.attrs)
        if key is None or anchors is None:
            return None
        # Input i of the expression is node input i + first; input 0 of an epilogue is the anchor.
        first, lead = (anchors - 1, 1) if anchors else (0, 0)
        e = expr_attr(node, key)
        operands = {
            i - first: t for i, t in enumerate(node.args) if i - first >= lead and t.is_const
        }
        folded = fold_requantization(e, {i: t.type for i, t in operands.items()})
        if folded is None:
            return None
        expr, changed = folded
        inputs = list(node.args)
        for i, (c, d) in changed.items():
            t = operands[i]
            inputs[i + first] = r.builder.derived(scaled, [t], t.name, factor=c, summand=d)
        attrs: dict[str, Attr] = {**node.attrs, key: expr}
        return [r.emit(node.op, inputs, attrs, like=node, name=node.name)]

    def example(self) -> Graph:
        b = GraphBuilder("fold requantization")
        x = b.input("x", TensorType(i32, (1, 2, 2, 4)))
        rng = np.random.default_rng(0)
        scale = b.constant(rng.uniform(0.01, 0.02, 4).astype(np.float32), "scale")
        bias = b.constant(rng.standard_normal(4).astype(np.float32), "bias")
        real = E.add(E.mul(E.cast(E.inp(0), f32), E.inp(1)), E.inp(2))
        expr = E.quantize(E.maximum(real, E.const(0.0)), E.const(0.05), 3, u8)
        return b.graph({"y": b.emit(POINTWISE, [x, scale, bias], {"expr": expr}, name="q")})


REQUANTIZE_RULES: tuple[Rewrite, ...] = (FoldRequantize(),)
