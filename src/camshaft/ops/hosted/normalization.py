"""Normalizations: by batch, group, instance, layer and channel window; softmax and its kin."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from camshaft.errors import ModelError
from camshaft.ops.hosted.call import Call, Value, axis_of, computed


def _along_channels(vector: np.ndarray, rank: int) -> np.ndarray:
    return computed(vector).reshape(-1, *[1] * (rank - 2))


def batch_normalization(call: Call) -> Sequence[Value]:
    """BatchNormalization: by given statistics, or in training by the batch's own.

    Since opset 14 `training_mode` chooses; before, that more than one output is wanted.  Outputs: Y;
    the running mean and variance; before opset 14 also the batch's mean and variance.  The variance
    is the population's (opset 15 says so).  spatial=0 (opset 7): statistics for each element.
    """
    x = call.array(0)
    wide = computed(x)
    scale, bias, mean, variance = (computed(call.array(i)) for i in range(1, 5))
    spatial = bool(call.attr_int("spatial", 1)) or call.opset >= 9
    axes = (0, *range(2, x.ndim)) if spatial else (0,)
    expected = x.shape[1:2] if spatial else x.shape[1:]
    for name, v in (("scale", scale), ("B", bias), ("mean", mean), ("var", variance)):
        if v.shape != expected:
            raise ModelError(f"{name} {list(v.shape)} does not have the shape {list(expected)}")

    def shaped(v: np.ndarray) -> np.ndarray:
        return _along_channels(v, x.ndim) if spatial else v

    training = call.attr_flag("training_mode") if call.opset >= 14 else any(call.outputs[1:])
    eps, momentum = call.attr_float("epsilon", 1e-5), call.attr_float("momentum", 0.9)
    given, used = (mean, variance), (mean, variance)
    if training:
        used = (wide.mean(axes), wide.var(axes))
    deviation = np.sqrt(shaped(used[1]) + np.asarray(eps, wide.dtype))
    y = (wide - shaped(used[0])) / deviation * shaped(scale) + shaped(bias)
    running = [g * momentum + u * (1 - momentum) for g, u in zip(given, used, strict=True)]
    types = [x.dtype, call.array(3).dtype, call.array(4).dtype, x.dtype, x.dtype]
    return [v.astype(t) for v, t in zip([y, *running, *used], types, strict=True)]


def _standardized(x: np.ndarray, axes: tuple[int, ...], eps: float) -> np.ndarray:
    centred = x - x.mean(axes, keepdims=True)
    variance = np.square(centred).mean(axes, keepdims=True)
    return np.asarray(centred / np.sqrt(variance + np.asarray(eps, x.dtype)))


def group_normalization(call: Call) -> Sequence[Value]:
    """GroupNormalization: scale and bias are one number a group in opset 18, a channel since 21."""
    x = call.array(0)
    groups, channels = call.attr_int("num_groups"), x.shape[1]
    if groups < 1 or channels % groups:
        raise ModelError(f"{channels} channels do not divide into {groups} groups")
    scale, bias = computed(call.array(1)), computed(call.array(2))
    count = groups if call.opset < 21 else channels
    if scale.shape != (count,) or bias.shape != (count,):
        raise ModelError(
            f"scale {list(scale.shape)} and bias {list(bias.shape)} have not {count} numbers"
        )
    if call.opset < 21:
        scale, bias = (np.repeat(v, channels // groups) for v in (scale, bias))
    grouped = computed(x).reshape(x.shape[0], groups, -1)
    normal = _standardized(grouped, (2,), call.attr_float("epsilon", 1e-5)).reshape(x.shape)
    y = normal * _along_channels(scale, x.ndim) + _along_channels(bias, x.ndim)
    return [y.astype(x.dtype)]


def instance_normalization(call: Call) -> Sequence[Value]:
    """InstanceNormalization: each channel of each item by itself."""
    x, scale, bias = (call.array(i) for i in range(3))
    if scale.shape != x.shape[1:2] or bias.shape != x.shape[1:2]:
        raise ModelError(f"scale and bias have not one number for each of {x.shape[1]} channels")
    normal = _standardized(computed(x), tuple(range(2, x.ndim)), call.attr_float("epsilon", 1e-5))
    y = normal * _along_channels(scale, x.ndim) + _along_channels(bias, x.ndim)
    return [y.astype(x.dtype)]


def layer_normalization(call: Call) -> Sequence[Value]:
    """LayerNormalization(X, Scale, B) -> Y, Mean, InvStdDev, over the axes from `axis` on."""
    x, scale, bias = call.array(0), call.array(1), call.given(2)
    wide = computed(x)
    axes = tuple(range(call.axis(x.ndim, -1), x.ndim))
    mean = wide.mean(axes, keepdims=True)
    centred = wide - mean
    variance = np.square(centred).mean(axes, keepdims=True)
    inverse = 1 / np.sqrt(variance + np.asarray(call.attr_float("epsilon", 1e-5), wide.dtype))
    y = centred * inverse * computed(scale)
    y = y if bias is None else y + computed(bias)
    return [y.astype(x.dtype), mean, inverse]


def lp_normalization(call: Call) -> Sequence[Value]:
    """LpNormalization: over the norm along an axis; where that is 0 the result is 0."""
    x = computed(call.array(0))
    axis, p = call.axis(x.ndim, -1), call.attr_int("p", 2)
    if p not in (1, 2):
        raise ModelError(f"p={p} is neither 1 nor 2")
    norm = np.linalg.norm(x, p, axis, keepdims=True)
    y = np.divide(x, norm, out=np.zeros_like(x), where=norm != 0)
    return [y.astype(call.array(0).dtype)]


def local_response(call: Call) -> Sequence[Value]:
    """LRN: over (bias + alpha / size * squares of `size` channels around)^beta."""
    x = computed(call.array(0))
    size = call.attr_int("size")
    if size < 1:
        raise ModelError(f"size={size} is below 1")
    before, after = (size - 1) // 2, size // 2
    squares = np.pad(np.square(x), [(0, 0), (before, after), *[(0, 0)] * (x.ndim - 2)])
    sums = sum(squares[:, i : i + x.shape[1]] for i in range(size))
    alpha, beta = call.attr_float("alpha", 1e-4), call.attr_float("beta", 0.75)
    y = x / np.power(call.attr_float("bias", 1.0) + alpha / size * sums, beta)
    return [y.astype(call.array(0).dtype)]


def _rows(call: Call, x: np.ndarray) -> tuple[np.ndarray, int]:
    """x and the axis, or before opset 13 a matrix whose rows hold all axes from `axis` on."""
    if call.opset >= 13:
        return x, call.axis(x.ndim, -1)
    axis = call.attr_int("axis", 1)
    if axis != x.ndim:
        axis = axis_of(axis, x.ndim)
    return x.reshape(prod(x.shape[:axis]), prod(x.shape[axis:])), 1


def softmax(call: Call) -> Sequence[Value]:
    """Softmax."""
    x = call.array(0)
    rows, axis = _rows(call, computed(x))
    e = np.exp(rows - rows.max(axis, keepdims=True, initial=-np.inf))
    return [(e / e.sum(axis, keepdims=True)).reshape(x.shape).astype(x.dtype)]


def log_softmax(call: Call) -> Sequence[Value]:
    """LogSoftmax."""
    x = call.array(0)
    rows, axis = _rows(call, computed(x))
    centred = rows - rows.max(axis, keepdims=True, initial=-np.inf)
    y = centred - np.log(np.exp(centred).sum(axis, keepdims=True))
    return [y.reshape(x.shape).astype(x.dtype)]


def hardmax(call: Call) -> Sequence[Value]:
    """Hardmax: 1 at the first of the greatest elements, else 0."""
    x = call.array(0)
    rows, axis = _rows(call, x)
    y = np.zeros(rows.shape, x.dtype)
    if rows.size:
        np.put_along_axis(y, rows.argmax(axis, keepdims=True), 1, axis)
    return [y.reshape(x.shape)]


def mean_variance_normalization(call: Call) -> Sequence[Value]:
    """MeanVarianceNormalization: (X - mean) / (deviation + 1e-9) over `axes`."""
    x = computed(call.array(0))
    axes = tuple(axis_of(a, x.ndim) for a in call.attr_ints("axes") or (0, 2, 3))
    centred = x - x.mean(axes, keepdims=True)
    deviation = np.sqrt(np.square(centred).mean(axes, keepdims=True))
    return [(centred / (deviation + np.asarray(1e-9, x.dtype))).astype(call.array(0).dtype)]
