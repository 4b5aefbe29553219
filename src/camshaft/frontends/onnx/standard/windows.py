"""Pooling and resizing of images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

import numpy as np

from camshaft.errors import ModelError
from camshaft.frontends.onnx.standard.call import Call, Emitter
from camshaft.frontends.onnx.standard.writer import plain_name
from camshaft.ir.extents.sizes import is_static
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ir.types import TensorType, f32
from camshaft.ops import POOL, RESAMPLE
from camshaft.ops import functional as F


def pool(c: Call) -> None:
    """MaxPool or AveragePool, the global ones where the window is the image."""
    if c.attrs["layout"] != "NCHW":
        raise ModelError("images are channels-last; bring the graph into standard form first")
    x = c.type(0)
    kind = "MaxPool" if c.attrs["kind"] == "max" else "AveragePool"
    source = c.value(0)
    if kind == "AveragePool" and x.dtype != f32:
        source = c.w.cast(source, x.dtype, f32)
        if x.dtype.is_int and c.attrs["x_zero_point"]:
            source = c.emit("Sub", source, c.constant(c.attrs["x_zero_point"], f32, "zero_point"))
    if tuple(c.attrs["kernel"]) == x.shape[2:] and not any(c.attrs["pads"]):
        c.finish(f"Global{kind}", source)
        return
    more = {} if kind == "MaxPool" else {"count_include_pad": int(c.attrs["count_include_pad"])}
    if tuple(c.attrs["dilations"]) != (1, 1):
        more["dilations"] = c.attrs["dilations"]
    c.finish(
        kind,
        source,
        kernel_shape=c.attrs["kernel"],
        strides=c.attrs["strides"],
        pads=c.attrs["pads"],
        ceil_mode=int(c.attrs["ceil_mode"]),
        **more,
    )


# --- resizing -----------------------------------------------------------------------------------


def resample(c: Call) -> None:
    """Resize with the attributes that give the same tables, else gathered pixels, weighted and added."""
    if c.attrs["layout"] != "NCHW":
        raise ModelError("images are channels-last; bring the graph into standard form first")
    tables = c.node.args[1:5]
    sampling = _sampling(c) if all(t.is_const for t in tables) else None
    if sampling is not None:
        h, w = tables[0].shape[0], tables[2].shape[0]
        wanted = c.extents.vector((*c.type(0).shape[:2], h, w), "sizes")
        nearest = {"nearest_mode": sampling.nearest} if sampling.mode == "nearest" else {}
        c.finish(
            "Resize", c.value(0), "", "", wanted, mode=sampling.mode,
            coordinate_transformation_mode=sampling.coordinates, **nearest,
        )  # fmt: skip
        return
    rows = _blended(c, c.value(0), tables[0], tables[1], 2)
    c.finish("Identity", _blended(c, rows, tables[2], tables[3], 3))


def _blended(c: Call, x: str, index: Tensor, weight: Tensor, axis: int) -> str:
    """Pixels gathered along an axis, a tap behind the other, weighted and added."""
    taps = index.type.static[1]
    total = ""
    for tap in range(taps):
        at, by = (_column(c, t, tap, axis) for t in (index, weight))
        part = c.emit("Gather", x, c.emit("Reshape", at, c.w.ints([-1])), axis=axis)
        if taps > 1:
            part = c.emit("Mul", part, by)
        total = part if not total else c.emit("Add", total, part)
    return total


def _column(c: Call, table: Tensor, tap: int, axis: int) -> str:
    """A column of a table, along an axis of an image."""
    shape = [-1] if axis == 3 else [-1, 1]
    if table.is_const:
        column = np.ascontiguousarray(table.array[:, tap].reshape(shape))
        return c.w.stored(column, plain_name(table.name))
    taken = c.emit("Gather", c.w.value(table), c.w.ints([tap]), axis=1)
    return c.emit("Reshape", taken, c.w.ints(shape))


_COORDINATES = (
    "half_pixel",
    "asymmetric",
    "align_corners",
    "pytorch_half_pixel",
    "half_pixel_symmetric",
)
_NEAREST = ("floor", "round_prefer_floor", "round_prefer_ceil", "ceil")


def _candidates(taps: int) -> Iterator[F.Sampling]:
    for coordinates in _COORDINATES:
        if taps == 1:
            for nearest in _NEAREST:
                yield F.Sampling("nearest", coordinates, nearest)
        else:
            mode = "linear" if taps == 2 else "cubic"
            yield F.Sampling(mode, coordinates, "round_prefer_floor")


def _sampling(c: Call) -> F.Sampling | None:
    """How Resize must sample to use the tables of a node, None where no way of it does."""
    sizes = (*c.type(0).shape[2:], *c.node.output.shape[2:])
    tables = [t.array for t in c.node.args[1:5]]
    taps = max(tables[0].shape[1], tables[2].shape[1])
    if not is_static(sizes):
        return None
    for sampling in _candidates(taps):
        made = _tables(sampling, *(int(d) for d in sizes))
        if made is not None and all(map(_same, tables, made)):
            return sampling
    return None


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two tables are equal, of which one may have a row for all."""
    if a.shape[1] != b.shape[1]:
        return False
    wide_a, wide_b = np.broadcast_arrays(a, b)
    return bool(np.array_equal(wide_a, wide_b))


@lru_cache(maxsize=256)
def _tables(
    sampling: F.Sampling, h: int, w: int, oh: int, ow: int
) -> tuple[np.ndarray, ...] | None:
    """The tables with which an image is resized so."""
    b = GraphBuilder("tables")
    x = b.input("x", TensorType(f32, (1, 1, h, w)))
    y = F.resize(b, x, sizes=(1, 1, oh, ow), sampling=sampling)
    made = b.producer(y)
    if made is None or made.op is not RESAMPLE or not all(t.is_const for t in made.args[1:]):
        return None
    return tuple(t.array for t in made.args[1:5])


EMITTERS: Mapping[str, Emitter] = {POOL.name: pool, RESAMPLE.name: resample}
