"""Small helpers shared by the op families: epilogues, axes, windows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir import expr as E
from camshaft.ir.extents.constraints import require_at_least, require_equal
from camshaft.ir.extents.extent import Extent, ceil_div, smallest
from camshaft.ir.op import NO_EPILOGUE, Attr, Attribute, Perm, Types
from camshaft.ir.types import HALVES, DType, Shape, TensorType, broadcast_shapes, f32, i8, u8

IDENTITY = NO_EPILOGUE
EPILOGUE = Attribute(
    "scalar expression of the result (i0) and of the operands behind the op's own inputs (i1, ...)",
    IDENTITY,
)
LAYOUT = Attribute('"NCHW" or "NHWC": where the channels of images lie')
PADS = Attribute("pixels added at the top, left, bottom and right", (0, 0, 0, 0))


def axis_follows(perm: Perm, types: Types, attrs: Mapping[str, Any]) -> Mapping[str, Attr]:
    """The attribute "axis" of an op whose input lies in the order `perm` (see `Reordering`)."""
    return {"axis": perm.index(attrs["axis"] % len(perm)) if perm else attrs["axis"]}


def entries_follow(*names: str) -> Callable[[Perm, Types, Mapping[str, Any]], Mapping[str, Attr]]:
    """Likewise for attributes that have an entry for each axis."""

    def follow(perm: Perm, types: Types, attrs: Mapping[str, Any]) -> Mapping[str, Attr]:
        return {name: tuple(attrs[name][axis] for axis in perm) for name in names}

    return follow


def epilogue_type(
    anchor: TensorType, operands: Sequence[TensorType], attrs: Mapping[str, Any]
) -> TensorType:
    """Type after the epilogue; operands must broadcast to the anchor's shape."""
    epilogue = attrs["epilogue"]
    if E.input_count(epilogue) > 1 + len(operands):
        raise ModelError(f"epilogue {epilogue} reads more operands than the {len(operands)} given")
    for t in operands:
        misfit = f"epilogue operand {t} does not broadcast to {anchor.shape}"
        for a, b in zip(anchor.shape, broadcast_shapes(anchor.shape, t.shape), strict=False):
            require_equal(a, b, misfit)
        if t.rank > anchor.rank:
            raise ModelError(misfit)
    dtype = E.result_dtype(epilogue, [anchor.dtype, *(t.dtype for t in operands)])
    return TensorType(dtype, anchor.shape)


def apply_epilogue(
    result: np.ndarray, operands: Sequence[np.ndarray], attrs: Mapping[str, Any]
) -> np.ndarray:
    """The epilogue's value on an anchor's result, always of the anchor's shape."""
    epilogue: E.Expr = attrs["epilogue"]
    if epilogue == IDENTITY:
        return result
    value = E.evaluate(epilogue, [result, *operands])
    return np.asarray(np.broadcast_to(value, result.shape), order="C")


def normal_axis(axis: int, rank: int) -> int:
    """`axis` counted from the front; ModelError when out of range."""
    if not -rank <= axis < max(rank, 1):
        raise ModelError(f"axis {axis} does not exist in a tensor of rank {rank}")
    return axis + rank if axis < 0 else axis


def window_extent(
    size: Extent,
    kernel: Extent,
    stride: int,
    pads: tuple[Extent, Extent],
    dilation: int,
    ceil: bool = False,
) -> Extent:
    """Output extent of a sliding window (ONNX rules).

    With `ceil`, a last window that would start in the end padding is dropped, as PyTorch and
    ONNX do, and the first may reach beyond the image.  ModelError where there is no window.
    """
    reach = dilation * (kernel - 1) + 1
    room = size + pads[0] + pads[1] - reach
    misfit = f"window of {reach} is larger than the padded extent {room + reach}"
    if reach != 1 or pads != (0, 0):  # single elements of nothing are nothing
        require_at_least(room, 1 - stride if ceil else 0, misfit)
    if not ceil:
        return room // stride + 1
    return smallest(ceil_div(room, stride), (size + pads[0] - 1) // stride) + 1


D = TypeVar("D", int, Extent)


def spatial(shape: tuple[D, ...], layout: str) -> tuple[D, D, D, D]:
    """(N, C, H, W) of a rank-4 shape in layout "NCHW" or "NHWC"."""
    if len(shape) != 4:
        raise ModelError(f"expected a rank-4 tensor, got shape {shape}")
    n, a, b, c = shape
    return (n, a, b, c) if layout == "NCHW" else (n, c, a, b)


def from_nchw(n: Extent, c: Extent, h: Extent, w: Extent, layout: str) -> Shape:
    """The shape in `layout`."""
    return (n, c, h, w) if layout == "NCHW" else (n, h, w, c)


def accumulator(x: DType, w: DType) -> DType:
    """Type in which products of x and w are summed; 8-bit integers of both kinds may meet, and f32 and
    the half floats of w."""
    meet = x == w or {x, w} <= {u8, i8} or (x == f32 and w in HALVES)
    if not meet:
        raise ModelError(f"operands have different element types {x} and {w}")
    return x.accumulator
