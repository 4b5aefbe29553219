"""ATen operators that normalize."""

from __future__ import annotations

import numpy as np

from camshaft.frontends.torch.call import Call, handles
from camshaft.ir.graph import Tensor
from camshaft.ir.types import f32
from camshaft.ops import functional as F


def _vector(c: Call, name: str, value: float) -> Tensor:
    given = c.get(name)
    if given is not None:
        return c.tensor(name)
    channels = c.tensor("input").shape[1]
    if not isinstance(channels, int):
        raise c.refuse("its channels are open")
    return c.builder.constant(np.full(channels, value, np.float32), c.builder.local(name))


def _by_running_statistics(c: Call) -> Tensor:
    return F.batch_norm(
        c.builder,
        c.tensor("input"),
        c.tensor("running_mean"),
        c.tensor("running_var"),
        _vector(c, "weight", 1.0),
        _vector(c, "bias", 0.0),
        eps=float(c["eps"]),
    )


def _by_own_statistics(c: Call) -> Tensor:
    """As instances of PyTorch's batch norm without running statistics compute it: nets that standardize their weights."""
    b, x = c.builder, c.tensor("input")
    axes = [a for a in range(x.type.rank) if a != 1]
    away = F.sub(b, x, F.mean(b, x, axes, keepdims=True))
    variance = F.mean(b, F.mul(b, away, away), axes, keepdims=True)
    y = F.div(b, away, F.sqrt(b, F.add(b, variance, float(c["eps"]))))
    for name, combine in (("weight", F.mul), ("bias", F.add)):
        if c.get(name) is not None:
            vector = c.tensor(name)
            y = combine(b, y, F.reshape(b, vector, (*vector.shape, *(1,) * (x.type.rank - 2))))
    return y


@handles(
    "batch_norm",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
    "cudnn_batch_norm",
)
def batch_norm(c: Call) -> Tensor | list[Tensor | None]:
    has_statistics = c.get("running_mean") is not None
    if has_statistics and c.get("training", False):
        raise c.refuse("it is training: call model.eval() first")
    y = _by_running_statistics(c) if has_statistics else _by_own_statistics(c)
    return [y, None, None] if len(c.results) > 1 else y


@handles("layer_norm", "native_layer_norm")
def layer_norm(c: Call) -> Tensor | list[Tensor | None]:
    axis = -len(c["normalized_shape"])
    y = F.layer_norm(
        c.builder,
        c.tensor("input"),
        axis,
        c.get("weight"),
        c.get("bias"),
        eps=float(c["eps"]),
    )
    return [y, None, None] if len(c.results) > 1 else y


@handles("group_norm", "native_group_norm")
def group_norm(c: Call) -> Tensor | list[Tensor | None]:
    groups = int(c["num_groups"] if "num_groups" in c.args else c["group"])
    y = F.group_norm(
        c.builder, c.tensor("input"), groups, c.get("weight"), c.get("bias"), eps=float(c["eps"])
    )
    return [y, None, None] if len(c.results) > 1 else y


@handles("instance_norm")
def instance_norm(c: Call) -> Tensor:
    if not c.get("use_input_stats", True):
        return _by_running_statistics(c)
    return F.instance_norm(
        c.builder, c.tensor("input"), c.get("weight"), c.get("bias"), eps=float(c["eps"])
    )


@handles("rms_norm", "_fused_rms_norm")
def rms_norm(c: Call) -> Tensor | list[Tensor | None]:
    eps = c.get("eps")
    step = float(eps) if eps is not None else f32.step
    axis = -len(c["normalized_shape"])
    y = F.rms_norm(c.builder, c.tensor("input"), axis, c.get("weight"), eps=step)
    return [y, None] if len(c.results) > 1 else y
