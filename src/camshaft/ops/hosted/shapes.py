"""Operators that pad, cut and frame: Pad, Slice, Squeeze, Unsqueeze, BitCast, in every spelling."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from camshaft.errors import ModelError
from camshaft.ops.hosted.call import Call, Value, axis_of

_MODES = {"constant": "constant", "reflect": "reflect", "edge": "edge", "wrap": "wrap"}


def _given(call: Call, name: str, index: int) -> list[int] | None:
    """Ints that older opsets give as attribute `name` and newer ones as input `index`."""
    if name in call.attrs:
        return list(call.attrs[name])
    array = call.given(index)
    return None if array is None else [int(v) for v in array.reshape(-1)]


def pad(call: Call) -> Sequence[Value]:
    """Pad: by a value or by the data's own elements; negative amounts cut off, before others add."""
    x, amounts = call.array(0), _given(call, "pads", 1)
    axes = [axis_of(a, x.ndim) for a in _given(call, "axes", 3) or range(x.ndim)]
    if amounts is None or len(amounts) != 2 * len(axes):
        raise ModelError(f"pads {amounts} are not two numbers for each of the axes {axes}")
    mode = _MODES[call.choice("mode", "constant", tuple(_MODES))]
    widths, cut = [(0, 0)] * x.ndim, [slice(None)] * x.ndim
    for axis, before, after in zip(axes, amounts, amounts[len(axes) :], strict=False):
        size = x.shape[axis]
        rest, out = size + min(before, 0) + min(after, 0), size + before + after
        if rest < 0 <= out and mode == "constant":  # one side cuts all, the other adds as much
            before, after = -size, out
        elif rest < 0:
            raise ModelError(f"pads {amounts} cut off more than axis {axis} of {size} elements has")
        cut[axis] = slice(max(0, -before), size + min(after, 0))
        widths[axis] = (max(0, before), max(0, after))
    y = x[tuple(cut)]
    if mode != "constant":
        if any(sum(w) and not n for w, n in zip(widths, y.shape, strict=True)):
            raise ModelError(f"an axis without elements cannot be padded in mode {mode!r}")
        return [np.pad(y, widths, mode)]  # type: ignore[call-overload]
    given = call.given(2)
    value = call.attr_float("value") if given is None else given.reshape(-1)[0] if given.size else 0
    if given is None and x.dtype.kind in "OSU":
        value = ""
    return [np.pad(y, widths, constant_values=value)]


def slice_(call: Call) -> Sequence[Value]:
    """Slice: starts and ends beyond the axis are moved to its ends; steps may be negative."""
    x = call.array(0)
    starts, ends = _given(call, "starts", 1), _given(call, "ends", 2)
    if starts is None or ends is None:
        raise ModelError("starts and ends are missing")
    axes = _given(call, "axes", 3)
    axes = list(range(len(starts))) if axes is None else axes
    steps = _given(call, "steps", 4) or [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise ModelError(
            f"starts {starts}, ends {ends}, axes {axes}, steps {steps} differ in number"
        )
    cut = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis = axis_of(axis, x.ndim)
        size = x.shape[axis]
        if step == 0:
            raise ModelError("a step of 0 leads nowhere")
        first = start + size if start < 0 else start
        last = end + size if end < 0 else end
        if step > 0:
            cut[axis] = slice(min(max(first, 0), size), min(max(last, 0), size), step)
        else:
            last = min(max(last, -1), size - 1)
            cut[axis] = slice(min(max(first, 0), size - 1), None if last < 0 else last, step)
            if not size:
                cut[axis] = slice(0, 0)
    return [x[tuple(cut)]]


def squeeze(call: Call) -> Sequence[Value]:
    """Squeeze: without axes, all of extent 1 go."""
    x, axes = call.array(0), _given(call, "axes", 1)
    if axes is None:
        return [x.squeeze()]
    chosen = tuple(axis_of(a, x.ndim) for a in axes)
    long = [a for a in chosen if x.shape[a] != 1]
    if long:
        raise ModelError(f"axis {long[0]} of {list(x.shape)} has not the extent 1")
    return [x.squeeze(chosen)]


def unsqueeze(call: Call) -> Sequence[Value]:
    """Unsqueeze: the axes count in the result."""
    x, axes = call.array(0), _given(call, "axes", 1)
    if axes is None:
        raise ModelError("axes are missing")
    rank = x.ndim + len(axes)
    chosen = [axis_of(a, rank) for a in axes]
    if len(set(chosen)) != len(chosen):
        raise ModelError(f"axes {axes} name one twice")
    return [np.expand_dims(x, tuple(chosen))]


def bit_cast(call: Call) -> Sequence[Value]:
    """BitCast: the same bits as another type of the same size."""
    x, to = call.array(0), call.attr_type("to")
    if x.dtype.itemsize != to.itemsize:
        raise ModelError(f"{x.dtype} and {to} differ in size")
    return [np.ascontiguousarray(x).view(to).reshape(x.shape)]


def reshape(call: Call) -> Sequence[Value]:
    """Reshape: 0 keeps an extent (unless allowzero), one -1 is what remains."""
    x, wanted = call.array(0), _given(call, "shape", 1)
    shape = list(wanted or ())
    if any(d < -1 for d in shape) or shape.count(-1) > 1:
        raise ModelError(f"shape {shape} has more than one -1, or what is less")
    if not call.attr_flag("allowzero"):
        if any(d == 0 and i >= x.ndim for i, d in enumerate(shape)):
            raise ModelError(f"shape {shape} copies an axis that {list(x.shape)} does not have")
        shape = [x.shape[i] if d == 0 else d for i, d in enumerate(shape)]
    if -1 in shape:
        rest = prod(d for d in shape if d != -1)
        if 0 in shape and call.attr_flag("allowzero"):
            raise ModelError(f"shape {shape} has both 0 and -1, so that what remains is open")
        shape[shape.index(-1)] = x.size // rest if rest else 0
    if prod(shape) != x.size:
        raise ModelError(f"{list(x.shape)} cannot take the shape {wanted}: it has other elements")
    return [x.reshape(shape)]


def split(call: Call) -> Sequence[Value]:
    """Split into parts of given lengths, or of equal ones, of which the last may be shorter (opset 18)."""
    x, parts = call.array(0), len(call.outputs)
    axis = call.axis(x.ndim)
    extent, lengths = x.shape[axis], _given(call, "split", 1)
    if lengths is None:
        count = call.attr_int("num_outputs", parts)
        each = -(-extent // count) if call.opset >= 18 else extent // count
        if call.opset < 18 and each * count != extent:
            raise ModelError(f"{extent} along axis {axis} cannot be split into {count} equal parts")
        lengths = [max(0, min(each, extent - i * each)) for i in range(count)]
    if len(lengths) != parts or min(lengths, default=0) < 0 or sum(lengths) != extent:
        raise ModelError(
            f"lengths {lengths} do not make {parts} parts of the {extent} along axis {axis}"
        )
    ends = np.cumsum(lengths)
    return [x.take(range(end - n, end), axis) for n, end in zip(lengths, ends, strict=True)]
