"""ATen operators that reduce axes."""

from __future__ import annotations

import math
from collections.abc import Callable

from camshaft.frontends.torch.call import Call, handles
from camshaft.ir.graph import Tensor
from camshaft.ir.types import boolean, u8
from camshaft.ops import functional as F


def _keeps(c: Call) -> bool:
    return bool(c.get("keepdim", False))


@handles("sum", "nansum")
def total(c: Call) -> Tensor:
    if c.name.endswith("nansum"):
        raise c.refuse("NaN is not left out")
    x = c.tensor("self", c.dtype)
    return F.sum(c.builder, x, c.axes(), keepdims=_keeps(c))


@handles("mean")
def mean(c: Call) -> Tensor:
    x, axes = c.tensor("self", c.dtype), c.axes()
    over = x.shape if axes is None else [x.shape[a] for a in axes]
    if any(isinstance(d, int) and d == 0 for d in over):
        return F.full(c.builder, c.shape, math.nan, c.dtype)
    return F.mean(c.builder, x, axes, keepdims=_keeps(c))


@handles("prod")
def product(c: Call) -> Tensor:
    return F.prod(c.builder, c.tensor("self", c.dtype), c.axes(), keepdims=_keeps(c))


@handles("amax", "amin")
def extreme(c: Call) -> Tensor:
    reduce = F.amax if c.name == "aten::amax" else F.amin
    return reduce(c.builder, c.tensor("self"), c.axes(), keepdims=_keeps(c))


@handles("max", "min")
def extreme_with_place(c: Call) -> Tensor | list[Tensor]:
    largest = c.name == "aten::max"
    if "other" in c.args:
        pair = c.operands(c.dtype, "self", "other")
        return (F.maximum if largest else F.minimum)(c.builder, *pair)
    reduce, place = (F.amax, F.argmax) if largest else (F.amin, F.argmin)
    b, x = c.builder, c.tensor("self")
    if c.get("dim") is None:
        return reduce(b, x)
    axis = c.axis()
    return [
        reduce(b, x, axis, keepdims=_keeps(c)),
        place(b, x, axis, keepdims=_keeps(c)),
    ]


@handles("argmax", "argmin")
def place_of_extreme(c: Call) -> Tensor:
    b, x = c.builder, c.tensor("self")
    place = F.argmax if c.name == "aten::argmax" else F.argmin
    if c.get("dim") is None:
        return F.reshape(b, place(b, F.flatten(b, x), 0), c.shape)
    return place(b, x, c.axis(), keepdims=_keeps(c))


@handles("any", "all")
def some(c: Call) -> Tensor:
    b = c.builder
    x = F.cast(b, c.tensor("self", boolean), u8)
    reduce = F.amax if c.name == "aten::any" else F.amin
    return F.cast(b, reduce(b, x, c.axes(), keepdims=_keeps(c)), boolean)


@handles("var", "std", "var_mean", "std_mean")
def variance(c: Call) -> Tensor | list[Tensor]:
    b, x, axes = c.builder, c.tensor("self"), c.axes()
    correction = c.get("correction", 1.0)
    if "unbiased" in c.args:
        correction = 1.0 if c.get("unbiased", True) else 0.0
    counted = [x.shape[a] for a in (range(x.type.rank) if axes is None else axes)]
    count = math.prod(counted)
    if not isinstance(count, int):
        raise c.refuse("how many elements are summed is open")
    middle = F.mean(b, x, axes, keepdims=True)
    away = F.sub(b, x, middle)
    squares = F.mean(b, F.mul(b, away, away), axes, keepdims=_keeps(c))
    rest = count - float(correction)
    spread = F.mul(b, squares, count / rest if rest > 0 else math.inf) if correction else squares
    spread = F.sqrt(b, spread) if c.name.startswith("aten::std") else spread
    if not c.name.endswith("_mean"):
        return spread
    return [spread, middle if _keeps(c) else F.mean(b, x, axes)]


@handles("linalg_vector_norm", "norm")
def norm(c: Call) -> Tensor:
    b, x, axes = c.builder, c.tensor("self", c.dtype), c.axes()
    order = c.get("ord", c.get("p", 2))
    if order == 2:
        return F.l2_norm(b, x, axes, keepdims=_keeps(c))
    if order == 1:
        return F.l1_norm(b, x, axes, keepdims=_keeps(c))
    if abs(order) == math.inf:
        return (F.amax if order > 0 else F.amin)(b, F.abs(b, x), axes, keepdims=_keeps(c))
    if order == 0:
        some = F.cast(b, F.ne(b, x, 0.0), c.dtype)
        return F.sum(b, some, axes, keepdims=_keeps(c))
    powers = F.pow(b, F.abs(b, x), float(order))
    return F.pow(b, F.sum(b, powers, axes, keepdims=_keeps(c)), 1 / float(order))


@handles("logsumexp")
def logsumexp(c: Call) -> Tensor:
    return F.logsumexp(c.builder, c.tensor("self", c.dtype), c.axes(), keepdims=_keeps(c))


_ROWS: dict[str, Callable[..., Tensor]] = {"softmax": F.softmax, "log_softmax": F.log_softmax}


@handles("softmax", "_softmax", "_safe_softmax", "log_softmax", "_log_softmax")
def softmax(c: Call) -> Tensor:
    x = c.tensor("self", c.dtype)
    if not x.type.rank:
        return F.reshape(c.builder, softmax_of(c, F.reshape(c.builder, x, (1,)), 0), ())
    return softmax_of(c, x, c.axis())


def softmax_of(c: Call, x: Tensor, axis: int) -> Tensor:
    """The softmax, or its logarithm, that a call asks for."""
    kind = "log_softmax" if "log" in c.name else "softmax"
    y = _ROWS[kind](c.builder, x, axis)
    if c.name != "aten::_safe_softmax":
        return y
    hidden = F.eq(c.builder, F.amax(c.builder, x, axis, keepdims=True), -math.inf)
    return F.where(c.builder, hidden, 0.0, y)
