"""Elementwise work: one op, `pointwise`, whose attribute is the scalar expression.

`functional.elementwise`, `comparison` and `activation` spell the functions that are made of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.extents import known
from camshaft.ir.op import Attribute, Int8Form, OpDef, Reordering, Role, Types
from camshaft.ir.types import DType, TensorType, broadcast_shapes, f32

Attrs = Mapping[str, Any]


def _infer(types: Sequence[TensorType], attrs: Attrs) -> list[TensorType]:
    dtype = E.result_dtype(attrs["expr"], [t.dtype for t in types])
    return [TensorType(dtype, broadcast_shapes(*(t.shape for t in types)))]


def _reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> list[np.ndarray]:
    shape = np.broadcast_shapes(*(a.shape for a in arrays))
    value = E.evaluate(attrs["expr"], arrays)
    return [np.asarray(np.broadcast_to(value, shape), order="C")]


def _images(types: Types, output: TensorType, attrs: Attrs) -> list[int]:
    """Inputs that may be bytes: images of the result's shape with more than one pixel."""
    return [
        i
        for i, t in enumerate(types)
        if t.shape == output.shape and t.rank == 4 and t.size != t.shape[-1]
    ]


POINTWISE = OpDef(
    "pointwise",
    "A scalar expression of the inputs, which broadcast together as in NumPy.",
    _infer,
    _reference,
    {"expr": Attribute("the expression; i0, i1, ... are the inputs")},
    "pointwise",
    anchors=0,
    reordering=Reordering((Role.BROADCAST,)),
    int8=Int8Form(_images),
    symbolic=lambda arrays, attrs: [known.pointwise(attrs["expr"], arrays)],
)


def retyped(expr: Expr, dtype: DType) -> Expr:
    """`expr` with its f32 literals as literals of `dtype`; ModelError if one has no such value."""
    if dtype in (f32,) or dtype.kind == "s":
        return expr
    done: dict[Expr, Expr] = {}

    def walk(x: Expr) -> Expr:
        if x.op == "const" and x.dtype is f32 and dtype.kind != "b":
            value = float(x.value or 0)
            if dtype.is_int and not value.is_integer():
                raise ModelError(f"works on floats, not on {dtype.name}")
            return E.const(value, dtype)
        if not x.args:
            return x
        if x not in done:
            done[x] = Expr(x.op, tuple(walk(a) for a in x.args), x.value, x.dtype)
        return done[x]

    return walk(expr)


def converted(x: Expr, source: DType, target: DType) -> Expr:
    """x, of type `source`, in another type: floats truncate toward zero on their way to integers.

    A bool is whether x is not zero.
    """
    if source == target:
        return x
    if target.kind == "b":
        return E.unary("not", E.binary("eq", x, E.const(0, source)))
    if source.is_float and target.is_int:
        zero = E.const(0.0, source)
        truncated = E.select(E.binary("lt", x, zero), E.unary("ceil", x), E.unary("floor", x))
        return E.cast(truncated, target)
    return E.cast(x, target)


OPS = (POINTWISE,)
