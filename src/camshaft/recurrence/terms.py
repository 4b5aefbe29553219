"""What the elements of a tensor are made of, looked at node by node: elementwise operations, products with constants, and
columns of tensors.

Slices of the last axis are seen through, so that a gate that is cut from a sum is a sum of what is cut from its addends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import permutations
from math import prod
from typing import Any

import numpy as np

from camshaft.ir.attrs import expr_attr, extents_attr, ints_attr
from camshaft.ir.expr import Expr
from camshaft.ir.extents.extent import Extent
from camshaft.ir.graph import Node, Tensor
from camshaft.ir.types import DType, f32
from camshaft.ops import CONCAT, MATMUL, POINTWISE, RESHAPE, SLICE


@dataclass(frozen=True)
class View:
    """Columns `start` to `start + size` of a tensor's last axis; one column stands for as many as others have, one row too."""

    tensor: Tensor
    start: int
    size: int


@dataclass(frozen=True)
class Product:
    """Rows of `rows` [..., K] by columns `start` to `start + size` of a constant, and its rows `above` to `above + K`."""

    rows: Tensor
    weights: Tensor
    start: int
    size: int
    above: int = 0

    @property
    def matrix(self) -> np.ndarray:
        """The weights [K, size]."""
        depth = self.rows.shape[-1]
        assert isinstance(depth, int)
        own = self.weights.array[self.above : self.above + depth]
        return own[:, self.start : self.start + self.size]


@dataclass(frozen=True)
class Made:
    """A scalar operation, as of `ir.expr.Expr`, on terms."""

    op: str
    args: tuple[Term, ...]
    value: Any = None
    dtype: DType | None = None


Term = View | Product | Made
MOST_ADDENDS = 64
"""Terms of a sum that are told apart."""
_ZERO = Made("const", (), 0.0, f32)


def rows_of(t: Tensor) -> Extent:
    """Elements of all axes but the last."""
    return prod(t.shape[:-1])


class Terms:
    """Those of a graph, finished or not."""

    def __init__(self, maker: Callable[[Tensor], Node | None]) -> None:
        """maker: the node that makes a tensor; None of inputs and constants."""
        self.maker = maker
        self._contents: dict[str, bytes] = {}

    def whole(self, t: Tensor) -> View:
        """All columns of a tensor whose last extent is known."""
        size = t.shape[-1] if t.shape else 1
        assert isinstance(size, int)
        return View(t, 0, size)

    def root(self, t: Tensor) -> Tensor:
        """The tensor of which `t` is another shape with rows of the same length."""
        while (node := self.maker(t)) is not None and node.op is RESHAPE and _keeps_rows(node):
            t = node.args[0]
        return t

    def content(self, t: Tensor) -> bytes:
        """What is equal for equal constants."""
        if t.name not in self._contents:
            digest = hashlib.sha1(t.array.tobytes(), usedforsecurity=False).digest()
            self._contents[t.name] = digest + repr((t.shape, t.type.dtype.name)).encode()
        return self._contents[t.name]

    def constant(self, term: Term) -> np.ndarray | None:
        """The columns [1 or N, C or 1] of a constant, one row where all are equal; None: it is none."""
        if isinstance(term, Made) and term.op == "const":
            return np.full((1, 1), term.value, np.float32)
        if not isinstance(term, View) or not term.tensor.is_const:
            return None
        array = term.tensor.array
        array = array.reshape(-1, array.shape[-1] if array.ndim else 1)
        own = array[:, term.start : term.start + term.size]
        return own[:1] if len(own) and (own == own[:1]).all() else own

    def opened(self, term: Term) -> Term:
        """A view as what its tensor is made of; other terms as they are."""
        while isinstance(term, View):
            node = self.maker(term.tensor)
            deeper = None if node is None else self._opened(node, term)
            if deeper is None:
                return term
            term = deeper
        return term

    def _opened(self, node: Node, view: View) -> Term | None:
        last = node.outputs[0].shape[-1:]
        if not last or not isinstance(last[0], int) or node.outputs[0].type.dtype != f32:
            return None
        if node.op is RESHAPE and _keeps_rows(node):
            return View(node.args[0], view.start, view.size)
        if node.op is SLICE and _cuts_columns(node):
            start = extents_attr(node, "starts")[-1]
            return View(node.args[0], start + view.start, view.size)  # type: ignore[arg-type]
        if node.op is POINTWISE and (views := self._operands(node, view, 0)) is not None:
            return _made(expr_attr(node, "expr"), views)
        if node.op is MATMUL and _is_plain(node):
            views = self._operands(node, view, 2)
            if views is not None:
                product = self._products(node.args[0], node.args[1], view)
                return _made(expr_attr(node, "epilogue"), [product, *views])
        return None

    def _products(self, rows: Tensor, weights: Tensor, view: View) -> Term:
        """A product; of rows that are joined of several, the sum of theirs."""
        joined = self.maker(rows)
        parts = [rows]
        if (
            joined is not None
            and joined.op is CONCAT
            and joined.attrs["axis"] == rows.type.rank - 1
        ):
            parts = list(joined.args)
        above, products = 0, list[Term]()
        for part in parts:
            if not part.is_const or part.array.any():  # states begin with zeros
                products.append(Product(part, weights, view.start, view.size, above))
            assert isinstance(part.shape[-1], int)
            above += part.shape[-1]
        return reduce(lambda a, b: Made("add", (a, b)), products or [_ZERO])

    def _operands(self, node: Node, view: View, first: int) -> list[Term] | None:
        """The columns of a node's operands of which those of its result are made."""
        out, found = node.outputs[0], list[Term]()
        for t in node.args[first:]:
            if t.type.dtype != f32 or (t.shape and rows_of(t) not in (1, rows_of(out))):
                return None
            if not t.shape or t.shape[-1] == 1:
                found.append(View(t, 0, 1))
            elif t.shape[-1] == out.shape[-1]:
                found.append(View(t, view.start, view.size))
            else:
                return None
        return found

    # -- shapes of terms ---------------------------------------------------------------------------

    def addends(self, term: Term) -> list[Term]:
        """The terms of a sum, however it is nested; a sum of very many is one term."""
        found, left = list[Term](), [term]
        while left:
            if len(found) + len(left) > MOST_ADDENDS:
                return [term]
            outer = left.pop()
            inner = self.opened(outer)
            if isinstance(inner, Made) and inner.op == "add":
                left += inner.args[::-1]
            else:
                found.append(outer if isinstance(inner, Made) else inner)
        return found

    def pairs(self, term: Term, op: str) -> Iterator[tuple[Term, Term]]:
        """Both orders of the operands of `op`, if the term is one."""
        inner = self.opened(term)
        if isinstance(inner, Made) and inner.op == op:
            yield from permutations(inner.args, 2)

    def each(self, term: Term, op: str) -> Iterator[tuple[Term, ...]]:
        """The operands of `op` in their order, if the term is one."""
        inner = self.opened(term)
        if isinstance(inner, Made) and inner.op == op:
            yield inner.args

    def is_number(self, term: Term, value: float) -> bool:
        """Whether it is that number everywhere."""
        inner = self.opened(term)
        if isinstance(inner, View):
            return inner.tensor.is_const and bool((inner.tensor.array == value).all())
        return isinstance(inner, Made) and inner.op == "const" and inner.value == value

    def sigmoid(self, term: Term) -> Term | None:
        """x of 1 / (1 + exp(-x))."""
        for (below,) in self.each(term, "reciprocal"):
            for power, one in self.pairs(below, "add"):
                if self.is_number(one, 1.0):
                    for (negative,) in self.each(power, "exp"):
                        for (x,) in self.each(negative, "neg"):
                            return x
        return None

    def tanh(self, term: Term) -> Term | None:
        """x of tanh(x)."""
        return next((x for (x,) in self.each(term, "tanh")), None)


def _made(expr: Expr, operands: list[Term]) -> Term:
    if expr.op == "input":
        return operands[int(expr.value)]
    args = tuple(_made(a, operands) for a in expr.args)
    return Made(expr.op, args, expr.value, expr.dtype)


def _keeps_rows(node: Node) -> bool:
    x, y = node.args[0].shape, node.outputs[0].shape
    return bool(x and y) and x[-1] == y[-1] and isinstance(y[-1], int)


def _cuts_columns(node: Node) -> bool:
    """Whether a slice leaves all axes but the last whole."""
    starts, sizes = extents_attr(node, "starts"), extents_attr(node, "sizes")
    others = zip(starts[:-1], sizes[:-1], node.args[0].shape[:-1], strict=True)
    known = isinstance(starts[-1], int) and isinstance(node.args[0].shape[-1], int)
    whole = all(a == 0 and n == d for a, n, d in others)
    return known and whole and all(s == 1 for s in ints_attr(node, "steps"))


def _is_plain(node: Node) -> bool:
    """Whether it multiplies float rows with a constant matrix."""
    x, w = node.args[:2]
    known = all(isinstance(d, int) for d in x.shape[-1:])
    floats = known and x.type.dtype == f32 and w.type.dtype == f32
    return floats and w.is_const and len(w.shape) == 2 and x.type.rank >= 2


def tensors_of(terms: Sequence[Term]) -> Iterator[Tensor]:
    """The tensors that terms read."""
    for term in terms:
        if isinstance(term, Product):
            yield term.rows
        elif isinstance(term, View):
            yield term.tensor
        else:
            yield from tensors_of(term.args)
