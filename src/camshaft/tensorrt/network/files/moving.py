"""What layers show of ONNX's operators that move elements: slices, lookups, sorts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from camshaft.tensorrt.enums.data import DataType
from camshaft.tensorrt.enums.modes import BoundingBoxFormat, GatherMode, SampleMode, ScatterMode
from camshaft.tensorrt.enums.operations import TopKOperation
from camshaft.tensorrt.network.files.node import Read, Reader, axis, bit, made_shape, shape_of
from camshaft.tensorrt.network.record import Late, Record

_INT64 = DataType.INT64
_STRICT = SampleMode.STRICT_BOUNDS
_PADS = {
    "constant": SampleMode.FILL,
    "reflect": SampleMode.REFLECT,
    "edge": SampleMode.CLAMP,
    "wrap": SampleMode.WRAP,
}


def _sliced(start: Late, stride: Late, mode: SampleMode = _STRICT) -> dict[str, Any]:
    shape = Late(made_shape)
    return {"start": start, "shape": shape, "stride": stride, "axes": (), "mode": mode}


def _along(default: int, axes: list[int], values: list[int]) -> Callable[[int], list[int]]:
    """A number for each axis of a rank: the value of those that are said."""

    def spread(rank: int) -> list[int]:
        made = [default] * rank
        for where, value in zip(axes, values, strict=True):
            made[where % rank] = value
        return made

    return spread


def slices(read: Read) -> dict[str, Any]:
    """A slice; where inputs say it that are no constants, start and stride are empty."""
    starts, axes, steps = (
        read.listed(name, i) for name, i in (("starts", 1), ("axes", 3), ("steps", 4))
    )
    if starts is None or (axes is None and read.has(3)) or (steps is None and read.has(4)):
        nothing = Late(lambda record: ())
        return _sliced(nothing, nothing)
    where = [*range(len(starts))] if axes is None else axes
    first = _along(0, where, starts)
    step = _along(1, where, [1] * len(starts) if steps is None else steps)

    def start(record: Record) -> tuple[int, ...]:
        shape = shape_of(record)
        made = []
        for at, by, extent in zip(first(len(shape)), step(len(shape)), shape, strict=True):
            if extent < 0 and (at < 0 or by < 0):
                return ()
            at += extent if at < 0 else 0
            made.append(at if extent < 0 else min(max(at, 0), extent - (by < 0)))
        return tuple(made)

    return _sliced(Late(start), Late(lambda record: tuple(step(len(shape_of(record))))))


def pads(read: Read) -> dict[str, Any]:
    """A slice that begins before the tensor."""
    around = read.listed("pads", 1)
    mode = _PADS[read.word("mode", "constant")]
    one = Late(lambda record: (1,) * len(shape_of(record)))
    if around is None:
        return _sliced(Late(lambda record: ()), one, mode)
    before = [-count for count in around[: len(around) // 2]]
    axes = read.listed("axes", 3) or [*range(len(before))]
    start = Late(lambda record: tuple(_along(0, axes, before)(len(shape_of(record)))))
    return _sliced(start, one, mode)


def expands(read: Read) -> dict[str, Any]:
    """A slice whose steps are 0 along axes that are repeated."""

    def stride(record: Record) -> tuple[int, ...]:
        shape, made = shape_of(record), made_shape(record)
        full = (1,) * (len(made) - len(shape)) + shape
        return tuple(int(a != 1 or b == 1) for a, b in zip(full, made, strict=True))

    return _sliced(Late(lambda record: (0,) * len(made_shape(record))), Late(stride))


def gathers(mode: GatherMode) -> Reader:
    """Gather, GatherElements, GatherND."""

    def read(read: Read) -> dict[str, Any]:
        a = read.attributes
        shared = a.get("batch_dims", 0)
        return {"axis": axis(a.get("axis", 0)), "num_elementwise_dims": shared, "mode": mode}

    return read


def scatters(mode: ScatterMode) -> Reader:
    """ScatterElements, ScatterND."""
    return lambda read: {"axis": axis(read.attributes.get("axis", 0)), "mode": mode}


def best(read: Read) -> dict[str, Any]:
    """TopK, ArgMax, ArgMin; k is 0 where an input says it that is no constant."""
    a, kind = read.attributes, read.node.op_type
    count = [1] if kind != "TopK" else read.listed("k", 1) or [0]
    smallest = kind == "ArgMin" or not a.get("largest", 1)
    return {
        "op": TopKOperation.MIN if smallest else TopKOperation.MAX,
        "k": int(count[0]),
        "axes": bit(a.get("axis", -1 if kind == "TopK" else 0)),
        "indices_type": _INT64,
    }


def boxes(read: Read) -> dict[str, Any]:
    """NonMaxSuppression."""
    centers = read.attributes.get("center_point_box", 0)
    kind = BoundingBoxFormat.CENTER_SIZES if centers else BoundingBoxFormat.CORNER_PAIRS
    return {"bounding_box_format": kind, "topk_box_limit": 5000, "indices_type": _INT64}


def places(read: Read) -> dict[str, Any]:
    """NonZero."""
    return {"indices_type": _INT64}


def one_hot(read: Read) -> dict[str, Any]:
    """OneHot, whose axis is of the output."""
    return {"axis": axis(read.attributes.get("axis", -1), 1)}


def turned_rows(read: Read) -> dict[str, Any]:
    """ReverseSequence."""
    a = read.attributes
    return {"batch_axis": a.get("batch_axis", 1), "sequence_axis": a.get("time_axis", 0)}
