"""ATen operators that make tensors of nothing."""

from __future__ import annotations

from typing import Any

from camshaft.frontends.torch.call import Call, handles
from camshaft.ir.graph import Tensor
from camshaft.ops import functional as F


@handles("full", "full_like", "new_full")
def full(c: Call) -> Tensor:
    return _filled(c, c["fill_value"])


@handles(
    "zeros",
    "zeros_like",
    "new_zeros",
    "empty",
    "empty_like",
    "new_empty",
    "empty_strided",
    "new_empty_strided",
)
def zeros(c: Call) -> Tensor:
    return _filled(c, 0)


@handles("ones", "ones_like", "new_ones")
def ones(c: Call) -> Tensor:
    return _filled(c, 1)


@handles("fill")
def fill(c: Call) -> Tensor:
    return _filled(c, c["value"])


def _filled(c: Call, value: Any) -> Tensor:
    if isinstance(value, bool | int | float):
        if c.dtype.kind == "b":
            value = bool(value)
        return F.full(c.builder, c.shape, value, c.dtype)
    return F.broadcast_to(c.builder, c.as_tensor(value, c.dtype), c.shape)


@handles("scalar_tensor")
def scalar_tensor(c: Call) -> Tensor:
    return c.as_tensor(c["s"], c.dtype)


@handles("arange")
def arange(c: Call) -> Tensor:
    start, step = c.get("start", 0), c.get("step", 1)
    whole = not isinstance(start, float) and isinstance(step, int)
    if whole and c.dtype.is_int and not isinstance(c["end"], float):
        return F.cast(c.builder, F.arange(c.builder, start, c["end"], step), c.dtype)
    count = F.cast(c.builder, F.arange(c.builder, 0, c.shape[0]), c.dtype)
    scaled = count if step == 1 else F.mul(c.builder, count, step)
    return scaled if start == 0 else F.add(c.builder, scaled, c.as_tensor(start, c.dtype))


@handles("linspace")
def linspace(c: Call) -> Tensor:
    steps, start, end = c.shape[0], c["start"], c["end"]
    if not isinstance(steps, int) or not all(isinstance(v, int | float) for v in (start, end)):
        raise c.refuse("its ends hang on data")
    count = F.cast(c.builder, F.arange(c.builder, 0, steps), c.dtype)
    span = (end - start) / max(1, steps - 1)
    return F.add(c.builder, F.mul(c.builder, count, float(span)), float(start))


@handles("eye")
def eye(c: Call) -> Tensor:
    rows, columns = c.shape
    return F.eye(c.builder, rows, columns, 0, c.dtype)
