"""Reductions, softmax, and what calibration counts of a tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir import expr as E
from camshaft.ir.extents import known
from camshaft.ir.extents.extent import Extent, ceil_div
from camshaft.ir.op import Attr, Attribute, OpDef, Perm, Reordering, Role, Rounding, Types
from camshaft.ir.types import DType, Shape, TensorType, dtype_of, f32, f64
from camshaft.ops.common import (
    EPILOGUE,
    IDENTITY,
    apply_epilogue,
    axis_follows,
    epilogue_type,
    normal_axis,
)

Attrs = Mapping[str, Any]
_REDUCERS = {"sum": np.add, "prod": np.multiply, "max": np.maximum, "min": np.minimum}


def _accumulated(dtype: DType, kind: str) -> DType:
    return dtype.accumulator if kind in ("sum", "prod") else dtype


def _reduce_infer(types: Sequence[TensorType], attrs: Attrs) -> list[TensorType]:
    x = types[0]
    if attrs["kind"] not in _REDUCERS:
        raise ModelError(f"no reduction kind {attrs['kind']!r}")
    axes = {normal_axis(a, x.rank) for a in attrs["axes"]}
    dtype = _accumulated(E.result_dtype(attrs["prologue"], [x.dtype]), attrs["kind"])
    if attrs["keepdims"]:
        shape = tuple(1 if i in axes else d for i, d in enumerate(x.shape))
    else:
        shape = tuple(d for i, d in enumerate(x.shape) if i not in axes)
    return [epilogue_type(TensorType(dtype, shape), types[1:], attrs)]


def _of_nothing(dtype: DType, kind: str) -> float:
    """What a reduction over no elements is: the operation's neutral element."""
    if kind in ("sum", "prod"):
        return float(kind == "prod")
    low, high = (-np.inf, np.inf) if dtype.is_float else (dtype.range if dtype.is_int else (0, 1))
    return low if kind == "max" else high


def _reduce_reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> list[np.ndarray]:
    x = E.evaluate(attrs["prologue"], [arrays[0]])
    axes = tuple(attrs["axes"])
    reducer = _REDUCERS[attrs["kind"]]
    x = x.astype(_accumulated(dtype_of(x), attrs["kind"]).numpy, copy=False)
    wide = x.astype(np.float64) if x.dtype == np.float32 else x
    y = np.asarray(wide)
    none = _of_nothing(dtype_of(x), attrs["kind"])
    for axis in sorted((normal_axis(a, x.ndim) for a in axes), reverse=True):
        if y.shape[axis] == 0:
            y = np.full_like(y, none, shape=(*y.shape[:axis], 1, *y.shape[axis + 1 :]))
        y = reducer.reduce(y, axis=axis, keepdims=attrs["keepdims"])
    return [apply_epilogue(np.asarray(y, x.dtype), arrays[1:], attrs)]


def _reduce_symbolic(arrays: Sequence[np.ndarray], attrs: Attrs) -> list[np.ndarray]:
    """Of a vector of extents, to one."""
    x = arrays[0]
    plain = attrs["prologue"] == attrs["epilogue"] == IDENTITY
    if not plain or x.ndim != 1 or not x.size or len(arrays) != 1 or not len(attrs["axes"]):
        raise known.Unknown
    total = known.folded(x, attrs["kind"])
    return [total.reshape(1) if attrs["keepdims"] else total]


def _reduced_axes(perm: Perm, types: Types, attrs: Attrs) -> Mapping[str, Attr]:
    return {"axes": tuple(sorted(perm.index(a % len(perm)) for a in set(attrs["axes"])))}


def _reduced_order(perm: Perm, types: Types, attrs: Attrs) -> Perm:
    if attrs["keepdims"]:
        return perm
    gone = {a % len(perm) for a in attrs["axes"]}
    left = sorted(set(perm) - gone)
    return tuple(left.index(a) for a in perm if a not in gone)


def _is_extreme(types: Types, attrs: Attrs) -> bool:
    return attrs["kind"] in ("max", "min")


REDUCE = OpDef(
    "reduce",
    "Sum, product, maximum or minimum of prologue(x) over some axes.  8-bit integers are summed and "
    "multiplied in i32, half floats in f32.",
    _reduce_infer,
    _reduce_reference,
    {
        "kind": Attribute('"sum", "prod", "max" or "min"'),
        "axes": Attribute("the axes that are reduced"),
        "keepdims": Attribute("whether they stay, with an extent of 1", True),
        "prologue": Attribute("scalar expression of every element, taken first", IDENTITY),
        "epilogue": EPILOGUE,
    },
    "rowwise",
    anchors=1,
    reordering=Reordering((Role.ALIGNED, Role.BROADCAST), _reduced_axes, _reduced_order),
    statistic=lambda types, output, attrs: True,
    macs=lambda types, output, attrs: types[0].size,
    rounding=lambda types, attrs: Rounding.EXACT if _is_extreme(types, attrs) else Rounding.SUMS,
    increasing=lambda types, attrs: bool(attrs["kind"] != "prod"),
    symbolic=_reduce_symbolic,
)


def _softmax_infer(types: Sequence[TensorType], attrs: Attrs) -> list[TensorType]:
    normal_axis(attrs["axis"], types[0].rank)
    return [types[0]]


def _softmax_reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> list[np.ndarray]:
    x = arrays[0].astype(np.float64)
    if x.size:
        x = x - x.max(axis=attrs["axis"], keepdims=True)
    total = np.exp(x).sum(axis=attrs["axis"], keepdims=True)
    with np.errstate(divide="ignore"):  # a row without elements
        y = x - np.log(total) if attrs["log"] else np.exp(x) / total
    return [y.astype(arrays[0].dtype)]


SOFTMAX = OpDef(
    "softmax",
    "exp(x) / sum(exp(x)) along an axis, or its logarithm; the largest element is subtracted first.",
    _softmax_infer,
    _softmax_reference,
    {
        "axis": Attribute("along which elements sum to 1", -1),
        "log": Attribute("whether the logarithm is taken", False),
    },
    "rowwise",
    reordering=Reordering((Role.ALIGNED,), axis_follows),
    value_range=lambda operands, attrs: None if attrs["log"] else (0.0, 1.0),
)


def tally_extents(shape: Shape, attrs: Attrs) -> tuple[Extent, Extent]:
    """Of a tally of x[shape]: pieces of each image, and values that are sampled of it."""
    rows: Extent = prod(shape[1:-1])
    return ceil_div(rows, attrs["rows"]), ceil_div(rows * shape[-1], attrs["every"])


def _tally_infer(types: Sequence[TensorType], attrs: Attrs) -> list[TensorType]:
    shape = types[0].shape
    if len(shape) < 2:
        raise ModelError(f"{types[0]} has no images with channels, which a tally is of")
    if attrs["rows"] < 1 or attrs["every"] < 1:
        raise ModelError(
            f"a tally has pieces of {attrs['rows']} rows, and samples {attrs['every']}"
        )
    pieces, sampled = tally_extents(shape, attrs)
    count, values = shape[0] * pieces * shape[-1], shape[0] * sampled
    return [TensorType(f32, (count,))] * 2 + [TensorType(f64, (count,)), TensorType(f32, (values,))]


def _tally_reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> list[np.ndarray]:
    with np.errstate(over="ignore", invalid="ignore"):
        x = arrays[0].astype(np.float32)
        images = x.reshape(len(x), prod(x.shape[1:-1]), x.shape[-1])
        starts = np.arange(0, images.shape[1], attrs["rows"])
        sums = np.add.reduceat(images, starts, axis=1, dtype=np.float64)
        least, most = (
            np.where(np.isfinite(sums), f.reduceat(images, starts, axis=1), np.float32(np.nan))
            for f in (np.fmin, np.fmax)
        )
    sample = images.reshape(len(images), -1)[:, :: attrs["every"]]
    return [least.reshape(-1), most.reshape(-1), sums.reshape(-1), sample.reshape(-1)]


TALLY = OpDef(
    "tally",
    "What calibration counts of x [N, ..., C], where it lies: for each piece of some rows of an image the least, the most "
    "(f32) and the sum (f64) of each channel, all [N * pieces * C]; extremes are NaN where the sum is not finite, which kernels make of sums "
    "of a few rows in f32.  Then values at equal distances in each image, f32.",
    _tally_infer,
    _tally_reference,
    {
        "rows": Attribute("how many rows [C] of an image make a piece"),
        "every": Attribute("of how many neighbouring values of an image one is sampled, the first"),
    },
    "rowwise",
    folds=False,
    statistic=lambda types, output, attrs: True,
)

OPS = (REDUCE, SOFTMAX, TALLY)
