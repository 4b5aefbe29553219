"""ATen operators that compare, choose, and convert."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from camshaft.frontends.torch.call import Call, handles
from camshaft.ir.graph import Tensor
from camshaft.ir.types import boolean, f32
from camshaft.ops import functional as F

_COMPARED: dict[str, Callable[..., Tensor]] = {
    "eq": F.eq,
    "ne": F.ne,
    "lt": F.lt,
    "le": F.le,
    "gt": F.gt,
    "ge": F.ge,
}


@handles(*_COMPARED)
def compared(c: Call) -> Tensor:
    dtype = c.common or c.tensor("self").type.dtype
    return _COMPARED[c.name.removeprefix("aten::")](c.builder, *c.operands(dtype, "self", "other"))


_LOGICAL: dict[str, Callable[..., Tensor]] = {
    "and": F.logical_and,
    "or": F.logical_or,
    "xor": F.logical_xor,
}


@handles(*(f"logical_{n}" for n in _LOGICAL), *(f"bitwise_{n}" for n in _LOGICAL))
@handles("__and__", "__or__", "__xor__")
def logical(c: Call) -> Tensor:
    if c.dtype != boolean:
        raise c.refuse("integers are not combined bit by bit")
    name = c.name.removeprefix("aten::").strip("_").rpartition("_")[2]
    left, right = (c.tensor(n, boolean) for n in ("self", "other"))
    return _LOGICAL[name](c.builder, left, right)


@handles("logical_not", "bitwise_not")
def logical_not(c: Call) -> Tensor:
    if c.dtype != boolean:
        raise c.refuse("integers are not inverted bit by bit")
    return F.logical_not(c.builder, c.tensor("self", boolean))


@handles("isnan")
def isnan(c: Call) -> Tensor:
    return F.isnan(c.builder, c.tensor("self"))


@handles("isinf")
def isinf(c: Call) -> Tensor:
    return F.isinf(c.builder, c.tensor("self"))


@handles("where")
def where(c: Call) -> Tensor:
    if "self" not in c.args:
        raise c.refuse("places that hang on data are not counted")
    chosen = c.operands(c.dtype, "self", "other")
    return F.where(c.builder, c.tensor("condition", boolean), *chosen)


@handles("masked_fill")
def masked_fill(c: Call) -> Tensor:
    value = c.operand("value", c.dtype)
    if isinstance(value, float | int):
        value = (
            float(np.clip(value, -c.dtype.largest, c.dtype.largest)) if _beyond(value, c) else value
        )
    return F.where(c.builder, c.tensor("mask", boolean), value, c.tensor("self"))


def _beyond(value: float, c: Call) -> bool:
    return c.dtype == f32 and math.isfinite(value) and abs(value) > c.dtype.largest


@handles("clamp", "clamp_min", "clamp_max", "clip")
def clamp(c: Call) -> Tensor:
    low = c.operand("min", c.dtype) if c.get("min") is not None else None
    high = c.operand("max", c.dtype) if c.get("max") is not None else None
    return F.clamp(c.builder, c.tensor("self", c.dtype), low, high)


@handles("nan_to_num")
def nan_to_num(c: Call) -> Tensor:
    b, x = c.builder, c.tensor("self")
    largest = c.dtype.largest
    low = float(c.get("neginf", -largest))
    high = float(c.get("posinf", largest))
    numbers = F.where(b, F.isnan(b, x), float(c.get("nan", 0.0)), x)
    below = F.where(b, F.isinf(b, x, positive=False), low, numbers)
    return F.where(b, F.isinf(b, x, negative=False), high, below)


# --- types, and what changes nothing --------------------------------------------------------------


@handles("_to_copy", "to", "type_as")
def converted(c: Call) -> Tensor:
    return F.cast(c.builder, c.tensor("self"), c.dtype)


@handles(
    "alias",
    "alias_copy",
    "clone",
    "contiguous",
    "detach",
    "detach_copy",
    "lift_fresh",
    "lift_fresh_copy",
    "view_as_real_copy",
)
def same(c: Call) -> Tensor:
    return c.tensor("self")


@handles("dropout", "native_dropout", "feature_dropout", "alpha_dropout")
def dropout(c: Call) -> Tensor:
    if c.get("train"):
        raise c.refuse("it is training: call model.eval() first")
    return c.tensor("input")


@handles("copy")
def copied(c: Call) -> Tensor:
    return F.broadcast_to(c.builder, c.tensor("src", c.dtype), c.shape)
