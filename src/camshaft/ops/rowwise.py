"""Reductions and softmax."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir import expr as E
from camshaft.ir.extents import known
from camshaft.ir.op import Attr, Attribute, OpDef, Perm, Reordering, Role, Rounding, Types
from camshaft.ir.types import DType, TensorType, dtype_of
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

OPS = (REDUCE, SOFTMAX)
