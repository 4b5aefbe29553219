"""Sequences (lists of values) and optionals (a value or None)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ops.hosted.call import Call, Value


def _position(call: Call, index: int, count: int, what: str) -> int:
    """Input `index` as a place among `count`, negative ones counted from the end."""
    at = call.number(index, "position")
    if not -count <= at < count:
        raise ModelError(f"position {at} is outside of {count} {what}")
    return at % count


def construct(call: Call) -> Sequence[Value]:
    """SequenceConstruct: the inputs in order."""
    return [list(call.inputs)]


def empty(call: Call) -> Sequence[Value]:
    """SequenceEmpty."""
    return [[]]


def at(call: Call) -> Sequence[Value]:
    """SequenceAt(sequence, position)."""
    values = call.sequence(0)
    return [values[_position(call, 1, len(values), "elements")]]


def insert(call: Call) -> Sequence[Value]:
    """SequenceInsert(sequence, tensor, position): before that place, or at the end."""
    values, new = call.sequence(0), call.value(1)
    count = len(values)
    where = call.number(2, "position") if call.has(2) else count
    if not -count <= where <= count:
        raise ModelError(f"position {where} is outside of {count} elements")
    where = where + count if where < 0 else where
    return [[*values[:where], new, *values[where:]]]


def erase(call: Call) -> Sequence[Value]:
    """SequenceErase(sequence, position): without that element, or the last."""
    values = call.sequence(0)
    if not values:
        raise ModelError("an empty sequence has nothing to erase")
    where = _position(call, 1, len(values), "elements") if call.has(1) else len(values) - 1
    return [[*values[:where], *values[where + 1 :]]]


def length(call: Call) -> Sequence[Value]:
    """SequenceLength."""
    return [np.array(len(call.sequence(0)), np.int64)]


def split_to_sequence(call: Call) -> Sequence[Value]:
    """SplitToSequence(X, split): pieces of one size (the last may be smaller), of sizes, or of 1.

    keepdims says whether pieces of 1, where no split is given, keep the axis.
    """
    x, given = call.array(0), call.given(1)
    axis = call.axis(x.ndim)
    size = x.shape[axis]
    if given is None:
        parts: list[Any] = np.split(x, size, axis) if size else []
        return [parts if call.attr_flag("keepdims", True) else [p.squeeze(axis) for p in parts]]
    if given.ndim == 0:
        step = int(given)
        if step < 1:
            raise ModelError(f"pieces of {step} elements cannot be made")
        return [np.split(x, range(step, size, step), axis)]
    sizes = given.reshape(-1).astype(np.int64)
    if (sizes < 0).any() or sizes.sum() != size:
        raise ModelError(
            f"sizes {sizes.tolist()} do not add up to the {size} elements of axis {axis}"
        )
    return [np.split(x, np.cumsum(sizes)[:-1], axis)]


def concat_from_sequence(call: Call) -> Sequence[Value]:
    """ConcatFromSequence: joined along an axis, or along a new one."""
    values = call.sequence(0)
    if not values:
        raise ModelError("an empty sequence cannot be joined")
    rank = np.ndim(values[0])
    new = call.attr_flag("new_axis")
    axis = call.axis(rank + new)
    return [np.stack(values, axis) if new else np.concatenate(values, axis)]


def optional(call: Call) -> Sequence[Value]:
    """Optional: of a value, or without one."""
    return [call.value(0)]


def has_element(call: Call) -> Sequence[Value]:
    """OptionalHasElement; what is no optional has one."""
    return [np.array(call.value(0) is not None)]


def get_element(call: Call) -> Sequence[Value]:
    """OptionalGetElement; ModelError of an empty one."""
    value = call.value(0)
    if value is None:
        raise ModelError("the optional has no element")
    return [value]
