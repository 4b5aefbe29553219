"""Fake quantization as an operator of PyTorch: what it computes, its gradients, and that torch.export keeps it whole.

Sources: Y. Bengio et al., Estimating or Propagating Gradients Through Stochastic Neurons, 2013 (straight-through);
S. Esser et al., Learned Step Size Quantization, ICLR 2020 (the scale's gradient); J. Choi et al., PACT, 2018 (that of a
range by what lies beyond it).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

NAME = "camshaft::fake_quantize"


def _computed(
    x: Tensor, scale: Tensor, zero_point: Tensor, low: int, high: int, axis: int, inner: bool
) -> Tensor:
    """(clip(round(x / scale) + zero_point, low, high) - zero_point) * scale, halves rounded to even.

    x: float32, any shape.  scale, zero_point: float32, of no axis, or [K] along `axis` of x.  low, high: the least and greatest
    level.  inner: whether x within the range counts in the scale's gradient, too (LSQ), or only what lies beyond (PACT).
    """
    scale, zero_point = _spread(scale, axis, x.dim()), _spread(zero_point, axis, x.dim())
    levels = torch.clamp(torch.round(x / scale) + zero_point, low, high)
    return (levels - zero_point) * scale


def _like(
    x: Tensor, scale: Tensor, zero_point: Tensor, low: int, high: int, axis: int, inner: bool
) -> Tensor:
    return torch.empty_like(x)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, scale, zero_point, ctx.low, ctx.high, ctx.axis, ctx.inner = inputs
    ctx.save_for_backward(x, scale, zero_point)


def _gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, scale, zero_point = ctx.saved_tensors
    s, z = (_spread(t, ctx.axis, x.dim()) for t in (scale, zero_point))
    exact = x / s
    level = torch.round(exact)
    below, above = level + z < ctx.low, level + z > ctx.high
    within = ~(below | above)
    by_x = grad * within
    if not (ctx.needs_input_grad[1] or ctx.needs_input_grad[2]):
        return by_x, None, None, None, None, None, None
    ends = torch.where(below, ctx.low - z, ctx.high - z)
    inside = level - exact if ctx.inner else torch.zeros_like(exact)
    by_scale = _summed(grad * torch.where(within, inside, ends), scale, ctx.axis)
    by_zero = _summed(torch.where(within, 0.0, -s * grad), zero_point, ctx.axis)
    return by_x, by_scale, by_zero, None, None, None, None


fake_quantize: Any = torch.library.custom_op(NAME, _computed, mutates_args=())
"""The operator: see `_computed`."""
fake_quantize.register_fake(_like)
fake_quantize.register_autograd(_gradients, setup_context=_remember)


def _spread(t: Tensor, axis: int, rank: int) -> Tensor:
    """Numbers along an axis, shaped to meet a tensor of `rank` axes."""
    return t if t.dim() == 0 else t.reshape([-1 if a == axis % rank else 1 for a in range(rank)])


def _summed(t: Tensor, like: Tensor, axis: int) -> Tensor:
    """What is the same number of `like`, added up."""
    if like.dim() == 0:
        return t.sum()
    return t.sum([a for a in range(t.dim()) if a != axis % t.dim()])
