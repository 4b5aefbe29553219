"""Ops that move elements, and the integers that say where."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from camshaft.frontends.onnx.dtypes import onnx_dtype
from camshaft.frontends.onnx.standard.call import Call, Emitter
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import is_static
from camshaft.ir.types import dtype_named, i32, i64
from camshaft.ops import (
    BROADCAST,
    CONCAT,
    EXTENTS,
    GATHER,
    IOTA,
    PAD,
    RESHAPE,
    SLICE,
    TRANSPOSE,
)


def reshape(c: Call) -> None:
    """Reshape; sizes that are open are copied or left to be found where that says them."""
    shape: tuple[Extent, ...] = c.attrs["shape"]
    if is_static(shape):
        allow = {"allowzero": 1} if 0 in shape else {}
        c.finish("Reshape", c.value(0), c.w.ints(shape, "shape"), **allow)
        return
    source = c.type(0).shape
    copied = [i < len(source) and source[i] == d and d != 0 for i, d in enumerate(shape)]
    left = [i for i, d in enumerate(shape) if not isinstance(d, int) and not copied[i]]
    if len(left) <= 1 and 0 not in shape:
        said = [d if isinstance(d, int) else 0 if copied[i] else -1 for i, d in enumerate(shape)]
        c.finish("Reshape", c.value(0), c.w.ints(said, "shape"))
        return
    c.finish("Reshape", c.value(0), c.extents.vector(shape, "shape"), allowzero=1)


def transpose(c: Call) -> None:
    """Transpose."""
    c.finish("Transpose", c.value(0), perm=c.attrs["perm"])


def concat(c: Call) -> None:
    """Concat."""
    c.finish("Concat", *(c.w.value(t) for t in c.node.args), axis=c.attrs["axis"])


def slice_(c: Call) -> None:
    """Slice, of the axes that are cut."""
    x = c.type(0)
    starts, sizes, steps = (c.attrs[n] for n in ("starts", "sizes", "steps"))
    cut = [a for a, d in enumerate(x.shape) if (starts[a], sizes[a], steps[a]) != (0, d, 1)] or [0]
    ends = [starts[a] + (sizes[a] - 1) * steps[a] + 1 if sizes[a] != 0 else starts[a] for a in cut]
    c.finish(
        "Slice",
        c.value(0),
        c.extents.vector([starts[a] for a in cut], "starts"),
        c.extents.vector(ends, "ends"),
        c.w.ints(cut, "axes"),
        c.w.ints([steps[a] for a in cut], "steps"),
    )


def pad(c: Call) -> None:
    """Pad."""
    amounts = c.extents.vector((*c.attrs["before"], *c.attrs["after"]), "pads")
    if c.attrs["mode"] != "constant":
        c.finish("Pad", c.value(0), amounts, mode=c.attrs["mode"])
        return
    value = np.asarray(c.attrs["value"]).astype(c.type(0).dtype.numpy)
    c.finish("Pad", c.value(0), amounts, c.w.constant(value, "value"))


def broadcast(c: Call) -> None:
    """Expand."""
    c.finish("Expand", c.value(0), c.extents.vector(c.attrs["shape"], "shape"))


def gather(c: Call) -> None:
    """Gather."""
    index = c.value(1)
    if c.type(1).dtype not in (i32, i64):
        index = c.w.cast(index, c.type(1).dtype, i64)
    c.finish("Gather", c.value(0), index, axis=c.attrs["axis"])


def extents(c: Call) -> None:
    """The numbers, computed from shapes of inputs."""
    flat = c.extents.vector(c.attrs["values"], "extents")
    shaped = c.emit("Reshape", flat, c.w.ints(c.attrs["shape"], "shape"))
    c.finish("Cast", shaped, to=onnx_dtype(dtype_named(c.attrs["dtype"])))


def iota(c: Call) -> None:
    """Range."""
    count = c.emit("Reshape", c.extents.one(c.attrs["count"]), c.w.ints([], "scalar"))
    c.finish("Range", c.constant(0, i64), count, c.constant(1, i64))


EMITTERS: Mapping[str, Emitter] = {
    RESHAPE.name: reshape,
    TRANSPOSE.name: transpose,
    CONCAT.name: concat,
    SLICE.name: slice_,
    PAD.name: pad,
    BROADCAST.name: broadcast,
    GATHER.name: gather,
    EXTENTS.name: extents,
    IOTA.name: iota,
}
