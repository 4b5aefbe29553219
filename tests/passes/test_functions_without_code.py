"""Scalar functions without CPU code behind layers that have some: the layer keeps its kernel, and the
function alone is computed by its reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from camshaft.ir import expr as E
from camshaft.ir.extents.extent import extent_of
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.graph import Graph, GraphBuilder
from camshaft.ir.interpret import interpret
from camshaft.ir.types import DType, TensorType, f32, f64
from camshaft.ops import CONV, MATMUL, POINTWISE, REDUCE
from camshaft.passes.pipeline import optimize

RNG = np.random.default_rng(0)


def chain(op: Any, dtype: DType, function: str) -> Graph:
    """function(relu(op(x))), where the function reads its operand twice if it has two."""
    b = GraphBuilder("chain")
    n = extent_of(Symbol("n", 1, 3))
    if op is CONV:
        x = b.input("x", TensorType(dtype, (n, 4, 5, 5)))
        w = b.constant(RNG.standard_normal((4, 4, 1, 1)).astype(dtype.numpy), "w")
        y = b.emit(CONV, [x, w], {"layout": "NCHW"}, name="conv")
    elif op is MATMUL:
        x = b.input("x", TensorType(dtype, (n, 4)))
        w = b.constant(RNG.standard_normal((4, 6)).astype(dtype.numpy), "w")
        y = b.emit(MATMUL, [x, w], name="matmul")
    else:
        x = b.input("x", TensorType(dtype, (n, 4)))
        y = b.emit(REDUCE, [x], {"kind": "sum", "axes": (1,)}, name="sum")
    y = b.emit(POINTWISE, [y], {"expr": E.maximum(E.inp(0), E.const(0.5, dtype))}, name="relu")
    expr = E.Expr(function, (E.inp(0),) if function in E.UNARY else (E.inp(0), E.const(1.7, dtype)))
    y = b.emit(POINTWISE, [y], {"expr": expr}, name="function")
    return b.graph({"y": b.emit(POINTWISE, [y], {"expr": E.unary("neg", E.inp(0))}, name="neg")})


@pytest.mark.parametrize("op", [CONV, MATMUL, REDUCE], ids=lambda op: op.name)
@pytest.mark.parametrize(
    ("dtype", "function"),
    [(f32, "mod"), *((f64, f) for f in ("mod", "exp", "log", "tanh", "erf", "sin", "cos", "pow"))],
    ids=str,
)
def test_a_function_without_code_is_fused_to_nothing(op: Any, dtype: DType, function: str) -> None:
    graph = chain(op, dtype, function)
    optimized = optimize(graph)
    found = [n for n in optimized.nodes if "function" in n.origin]
    (alone,) = (n for n in found if n.op.expression)
    assert alone.origin == ("function",) and all(n.op.view for n in found if n is not alone)
    x = RNG.standard_normal([3 if not isinstance(d, int) else d for d in graph.inputs[0].shape])
    feeds = {"x": x.astype(dtype.numpy)}
    np.testing.assert_allclose(
        interpret(optimized, feeds)["y"], interpret(graph, feeds)["y"], rtol=1e-5
    )
