"""Arithmetic that the reference gets wrong, or that NumPy does not have as it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camshaft.errors import ModelError
from camshaft.ops.hosted.call import Call, Value, axis_of, computed


def modulo(call: Call) -> Sequence[Value]:
    """Mod: with the divisor's sign, or with fmod=1 the dividend's."""
    a, b = call.array(0), call.array(1)
    if a.dtype.kind in "iu" and (b == 0).any():
        raise ModelError("a whole number cannot be divided by 0")
    with np.errstate(all="ignore"):
        y = (np.fmod if call.attr_flag("fmod") else np.mod)(computed(a), computed(b))
    return [np.asarray(y, a.dtype)]


def bit_shift(call: Call) -> Sequence[Value]:
    """BitShift; by as many bits as the type has, or a negative number, nothing but the sign is left."""
    x, y = call.array(0), call.array(1)
    direction = call.choice("direction", "", ("LEFT", "RIGHT"))
    bits = x.dtype.itemsize * 8
    beyond = y >= bits if y.dtype.kind == "u" else (y < 0) | (y >= bits)
    amount = np.where(beyond, 0, y).astype(x.dtype)
    if direction == "LEFT":
        return [np.where(beyond, np.zeros((), x.dtype), np.left_shift(x, amount))]
    sign = np.where(x < 0, np.array(-1).astype(x.dtype), np.zeros((), x.dtype))
    return [np.where(beyond, sign, np.right_shift(x, amount))]


def cumulate(call: Call) -> Sequence[Value]:
    """CumSum and CumProd along an axis, which is a scalar or one element."""
    x = call.array(0)
    axis = axis_of(call.number(1, "axis"), x.ndim)
    turned = np.flip(x, axis) if call.attr_flag("reverse") else x
    run, first = (np.cumsum, 0) if call.op_type == "CumSum" else (np.cumprod, 1)
    y = run(computed(turned), axis).astype(x.dtype)
    if call.attr_flag("exclusive"):
        shape = [1 if a == axis else n for a, n in enumerate(x.shape)]
        before = np.take(y, range(max(0, x.shape[axis] - 1)), axis)
        y = np.concatenate([np.full(shape, first, x.dtype), before], axis)
        y = np.take(y, range(x.shape[axis]), axis)
    return [np.flip(y, axis) if call.attr_flag("reverse") else y]


def einsum(call: Call) -> Sequence[Value]:
    """Einsum; the equation may hold blanks, an ellipsis, and letters more than once in a term."""
    operands = [computed(x) for x in call.arrays()]
    equation = call.attr_str("equation").replace(" ", "")
    y = np.einsum(equation, *operands, optimize="greedy")
    return [np.asarray(y, call.array(0).dtype)]


def mean(call: Call) -> Sequence[Value]:
    """Mean of any number of arrays, which broadcast."""
    arrays = [call.array(i) for i in range(len(call.inputs))]
    total = computed(arrays[0])
    for array in arrays[1:]:
        total = total + computed(array)
    return [np.asarray(total / total.dtype.type(len(arrays)), arrays[0].dtype)]
