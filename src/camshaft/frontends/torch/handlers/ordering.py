"""ATen operators that sort and sum along an axis: steps of NumPy, each an ONNX operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import helper

from camshaft.frontends.torch.call import Call, handles
from camshaft.ir.graph import Tensor
from camshaft.ir.types import TensorType, i64
from camshaft.ops import HOST
from camshaft.ops import functional as F
from camshaft.ops.host import output_attrs

_OPSET = 21


def _step(
    c: Call, op_type: str, inputs: Sequence[Tensor], types: Sequence[TensorType], **attrs: Any
) -> list[Tensor]:
    """One ONNX operator, run by NumPy."""
    names = [c.builder.local(f"{op_type}_{n}") for n in range(len(types))]
    node = helper.make_node(op_type, [f"i{n}" for n in range(len(inputs))], names, **attrs)
    held = {
        "op_type": op_type,
        "proto": node.SerializeToString(deterministic=True),
        "opset": _OPSET,
        **output_attrs(types),
    }
    return list(c.builder.add(HOST, inputs, held, outputs=names))


def _number(c: Call, value: int, *, vector: bool = False) -> Tensor:
    return c.builder.constant(
        np.asarray([value] if vector else value, np.int64), c.builder.local("n")
    )


@handles("cumsum", "cumprod")
def cumulated(c: Call) -> Tensor:
    x = c.tensor("self", c.dtype)
    if not x.type.rank:
        return x
    op_type = "CumSum" if c.name == "aten::cumsum" else "CumProd"
    (y,) = _step(c, op_type, [x, _number(c, c.axis())], [x.type])
    return y


@handles("topk")
def topk(c: Call) -> list[Tensor]:
    """The k largest or smallest, sorted; of equal ones the first."""
    count = c["k"]
    if not isinstance(count, int):
        raise c.refuse("k is open")
    return _ranked(c, count, largest=bool(c["largest"]))


@handles("sort", "argsort")
def sort(c: Call) -> list[Tensor] | Tensor:
    count = c.tensor("self").shape[c.axis()] if c.tensor("self").type.rank else 1
    if not isinstance(count, int):
        raise c.refuse("what is sorted is open")
    made = _ranked(c, count, largest=bool(c.get("descending", False)))
    return made if len(c.results) > 1 else made[1]


def _ranked(c: Call, count: int, *, largest: bool) -> list[Tensor]:
    x = c.tensor("self")
    if not x.type.rank:
        return [x, F.full(c.builder, (), 0, dtype=i64)]
    axis = c.axis()
    shape = tuple(count if n == axis else d for n, d in enumerate(x.shape))
    types = [TensorType(x.type.dtype, shape), TensorType(i64, shape)]
    return _step(
        c, "TopK", [x, _number(c, count, vector=True)], types, axis=axis, largest=int(largest)
    )
