"""Tensors of steps in TensorRT's order of axes, channels before rows and columns, and their formats in its words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from camshaft.ir.extents.sizes import typical
from camshaft.program.view import View

_IMAGES = frozenset(["conv", "conv_transpose", "pool", "resample"])
"""Operators whose tensors of three axes and more have channels last."""
_POINTWISE = frozenset(["pointwise", "copy"])
_SPATIAL = {4: "", 5: " with 3 spatial dimensions"}

_LINEAR = {
    "f32": "Row major linear FP32",
    "f16": "Row major linear FP16 format",
    "bf16": "Row major linear BFloat16 format",
    "i8": "Row major Int8 format",
    "u8": "Row major linear UInt8 format",
    "i32": "Row major linear Int32",
    "i64": "Row major linear Int64 format",
    "bool": "Row major linear BOOL",
    "f8e4m3fn": "Row major linear FP8 format",
    "i4": "Int4",
    "i16": "Int16",
    "u16": "UInt16",
    "u32": "UInt32",
    "u64": "UInt64",
    "f64": "Double",
}
_CHANNELS = {"f32": "FP32", "f16": "FP16", "i8": "Int8", "u8": "UInt8"}


class Step(NamedTuple):
    """op: the operator.  inputs, outputs: what it reads and writes."""

    op: str
    inputs: Sequence[View]
    outputs: Sequence[View]

    def views(self) -> Iterator[View]:
        """All."""
        yield from self.inputs
        yield from self.outputs


Key = tuple[str, Any, Any]


def channels_last(steps: Sequence[Step]) -> set[Key]:
    """Keys of views whose last axis is channels: those of images, and what pointwise steps read or write beside them."""
    found = {
        key(view)
        for step in steps
        if step.op in _IMAGES
        for view in step.views()
        if len(view.shape) > 2
    }
    before = -1
    while len(found) > before:
        before = len(found)
        for step in steps:
            shapes = {tuple(v.shape) for v in step.views() if key(v) in found}
            if step.op in _POINTWISE and shapes:
                found |= {key(v) for v in step.views() if tuple(v.shape) in shapes}
    return found


def key(view: View) -> Key:
    """What tells a view from others."""
    return view.buffer.name, tuple(view.shape), tuple(view.strides)


def tensor(view: View, last: set[Key]) -> dict[str, Any]:
    """Name, extents, format and strides in elements.  last: of `channels_last`."""
    order = list(range(len(view.shape)))
    if key(view) in last:
        order = [0, order[-1], *order[1:-1]]
    extents = [typical(view.shape[axis]) for axis in order]
    strides = [typical(view.strides[axis]) for axis in order]
    return {
        "Name": view.buffer.name,
        "Location": "Device",
        "Dimensions": extents,
        "Format/Datatype": _format(view.dtype.name, extents, strides),
        "Strides": strides,
    }


def _format(dtype: str, extents: Sequence[int], strides: Sequence[int]) -> str:
    rank = len(extents)
    if rank in _SPATIAL and strides[1] == 1 and strides[-1] > 1:
        if dtype in _CHANNELS:
            return f"Channel major {_CHANNELS[dtype]} format{_SPATIAL[rank]}"
        multiple = next((n for n in (8, 4, 2) if extents[1] % n == 0), None)
        if dtype == "bf16" and multiple is not None:
            return f"Channel major BFloat16 format where channel % {multiple} == 0{_SPATIAL[rank]}"
    return _LINEAR.get(dtype, "Unknown format")
