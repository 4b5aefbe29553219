"""ATen operators that sum products: convolutions, products of matrices, attention."""

from __future__ import annotations

from typing import Any

from camshaft.frontends.torch.call import Call, handles
from camshaft.ir.graph import Tensor
from camshaft.ops import functional as F
from camshaft.ops.functional.heads import Scoring, Seen, attention


def _ints(value: Any) -> list[int]:
    return [int(v) for v in value] if isinstance(value, list | tuple) else [int(value)]


def _per_axis(value: Any, count: int) -> list[int]:
    values = _ints(value)
    return values * count if len(values) == 1 else values


def _batched(c: Call, x: Tensor, axes: int) -> tuple[Tensor, bool]:
    """An image with a batch, and whether it had none."""
    alone = x.type.rank == axes + 1
    return (F.unsqueeze(c.builder, x, 0) if alone else x), alone


@handles("conv1d", "conv2d", "conv3d", "convolution", "_convolution")
def conv(c: Call) -> Tensor:
    weight = c.tensor("weight")
    if c.get("transposed", False):
        return _conv_transpose(c)
    axes = weight.type.rank - 2
    x, alone = _batched(c, c.tensor("input"), axes)
    padding = c["padding"]
    pads: Any = padding if isinstance(padding, str) else _per_axis(padding, axes)
    stride, dilation = (_per_axis(c[n], axes) for n in ("stride", "dilation"))
    bias = c.get("bias")
    y = F.conv(
        c.builder,
        x,
        weight,
        bias,
        stride=stride,
        padding=pads,
        dilation=dilation,
        groups=int(c["groups"]),
    )
    return F.squeeze(c.builder, y, 0) if alone else y


@handles("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def conv_transpose(c: Call) -> Tensor:
    return _conv_transpose(c)


def _conv_transpose(c: Call) -> Tensor:
    weight = c.tensor("weight")
    axes = weight.type.rank - 2
    x, alone = _batched(c, c.tensor("input"), axes)
    y = F.conv_transpose(
        c.builder,
        x,
        weight,
        c.get("bias"),
        stride=_per_axis(c["stride"], axes),
        padding=_per_axis(c["padding"], axes),
        output_padding=_per_axis(c["output_padding"], axes),
        dilation=_per_axis(c["dilation"], axes),
        groups=int(c["groups"]),
    )
    return F.squeeze(c.builder, y, 0) if alone else y


@handles("linear")
def linear(c: Call) -> Tensor:
    x, weight, bias = c.tensor("input"), c.tensor("weight"), c.get("bias")
    if weight.type.rank == 2:
        return F.linear(c.builder, x, weight, bias)
    y = F.matmul(c.builder, x, weight)
    return y if bias is None else F.add(c.builder, y, bias)


@handles("mm", "bmm", "matmul", "mv", "dot")
def matmul(c: Call) -> Tensor:
    right = next(n for n in ("mat2", "other", "vec", "tensor") if n in c.args)
    return F.matmul(c.builder, c.tensor("self"), c.tensor(right))


@handles("addmm", "addmv", "addbmm", "baddbmm")
def addmm(c: Call) -> Tensor:
    if c.name == "aten::addbmm":
        raise c.refuse("it sums over the batch")
    names = next(
        p for p in (("mat1", "mat2"), ("batch1", "batch2"), ("mat", "vec")) if p[0] in c.args
    )
    b, alpha, beta = c.builder, c.get("alpha", 1), c.get("beta", 1)
    y = F.matmul(b, *(c.tensor(n) for n in names))
    y = y if alpha == 1 else F.mul(b, y, float(alpha))
    bias = c.tensor("self")
    if beta == 0:
        return y
    return F.add(b, y, bias if beta == 1 else F.mul(b, bias, float(beta)))


@handles("einsum")
def einsum(c: Call) -> Tensor:
    return F.einsum(c.builder, c["equation"], *c["tensors"])


@handles("outer")
def outer(c: Call) -> Tensor:
    left, right = c.operands(c.dtype, "self", "vec2")
    return F.mul(c.builder, F.unsqueeze(c.builder, c.as_tensor(left), 1), right)


@handles("scaled_dot_product_attention")
def scaled_dot_product_attention(c: Call) -> Tensor:
    if c.get("dropout_p", 0.0):
        raise c.refuse("it is training: call model.eval() first")
    b = c.builder
    q, k, v = (c.tensor(n) for n in ("query", "key", "value"))
    mask = c.get("attn_mask")
    if q.type.rank < 3:
        raise c.refuse("its operands are no batches")
    lead, heads = q.shape[:-3], q.type.rank - 3
    if heads == 0:
        q, k, v = (F.unsqueeze(b, t, 0) for t in (q, k, v))
    elif heads > 1:
        q, k, v = (F.reshape(b, t, (-1, *t.shape[-3:])) for t in (q, k, v))
        if mask is not None and mask.type.rank > 3:
            mask = F.broadcast_to(b, mask, (*lead, *mask.shape[-3:]))
            mask = F.reshape(b, mask, (-1, *mask.shape[-3:]))
    seen = Seen(behind=0) if c.get("is_causal", False) else Seen()
    biases = [] if mask is None else [mask]
    y = attention(b, q, k, v, Scoring(c.get("scale"), biases=biases, seen=seen))
    return F.reshape(b, y, c.shape)
