"""Ranks of results whose extents hang on data, and extents that do not, where ONNX's shape inference does not
say them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from onnx import NodeProto, helper

from camshaft.frontends.onnx.context import domain_of
from camshaft.frontends.onnx.scripts.scope import Value
from camshaft.ir.extents.extent import Extent
from camshaft.ir.graph import Tensor
from camshaft.ir.types import TensorType

Rule = Callable[[NodeProto, Sequence[Value | None]], int | None]


def rank_of_outputs(node: NodeProto, values: Sequence[Value | None]) -> int | None:
    """The rank of a node's outputs; None where nothing is known of them."""
    rule = _RULES.get(node.op_type)
    if rule is None or domain_of(node.domain):
        return None
    return rule(node, values)


def kept_extents(node: NodeProto, values: Sequence[Value | None]) -> dict[int, Extent]:
    """The extents of axes that a Slice or Pad leaves alone, by axis: it lists the others in its fourth operand."""
    rank = _rank(values, 0)
    if node.op_type not in ("Slice", "Pad") or domain_of(node.domain) or rank is None:
        return {}
    axes = values[3] if len(values) > 3 else None
    if isinstance(axes, Tensor) and axes.is_const:
        changed = {int(a) % rank for a in axes.array.reshape(-1)} if rank else set()
    elif axes is None and node.op_type == "Slice" and (count := _length(values, 1)) is not None:
        changed = {*range(count)}
    else:
        return {}
    shape = values[0].type.shape  # type: ignore[union-attr]
    return {axis: extent for axis, extent in enumerate(shape) if axis not in changed}


def _rank(values: Sequence[Value | None], index: int) -> int | None:
    value = values[index] if index < len(values) else None
    return value.type.rank if value is not None and isinstance(value.type, TensorType) else None


def _length(values: Sequence[Value | None], index: int) -> int | None:
    """Elements of a list whose length is known."""
    value = values[index] if index < len(values) else None
    if value is None or not isinstance(value.type, TensorType) or value.type.rank != 1:
        return None
    extent = value.type.shape[0]
    return extent if isinstance(extent, int) else None


def _attr(node: NodeProto, name: str, default: int) -> int:
    for a in node.attribute:
        if a.name == name:
            return int(helper.get_attribute_value(a))
    return default


def _same(node: NodeProto, values: Sequence[Value | None]) -> int | None:
    return _rank(values, 0)


def _listed(index: int) -> Rule:
    return lambda node, values: _length(values, index)


def _constant(rank: int) -> Rule:
    return lambda node, values: rank


def _expand(node: NodeProto, values: Sequence[Value | None]) -> int | None:
    rank, wanted = _rank(values, 0), _length(values, 1)
    return None if rank is None or wanted is None else max(rank, wanted)


def _one_hot(node: NodeProto, values: Sequence[Value | None]) -> int | None:
    rank = _rank(values, 0)
    return None if rank is None else rank + 1


def _along_axis(node: NodeProto, values: Sequence[Value | None]) -> int | None:
    """Of Compress and Unique: without an axis the input is a list."""
    return _rank(values, 0) if any(a.name == "axis" for a in node.attribute) else 1


def _unsqueeze(node: NodeProto, values: Sequence[Value | None]) -> int | None:
    rank, more = _rank(values, 0), _length(values, 1)
    return None if rank is None or more is None else rank + more


def _squeeze(node: NodeProto, values: Sequence[Value | None]) -> int | None:
    rank, less = _rank(values, 0), _length(values, 1)
    return None if rank is None or less is None else rank - less


def _reduce(node: NodeProto, values: Sequence[Value | None]) -> int | None:
    if _attr(node, "keepdims", 1):
        return _rank(values, 0)
    return _squeeze(node, values)


def _gather(node: NodeProto, values: Sequence[Value | None]) -> int | None:
    data, indices = _rank(values, 0), _rank(values, 1)
    return None if data is None or indices is None else data + indices - 1


_ALIKE = (
    "CenterCropPad", "Clip", "Concat", "CumSum", "GatherElements", "Identity", "Pad", "Resize",
    "ReverseSequence", "ScatterElements", "ScatterND", "Slice", "Split", "Tile", "TopK", "Trilu",
    "Upsample",
)  # fmt: skip
_REDUCTIONS = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
    "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare",
)  # fmt: skip
_RULES: Mapping[str, Rule] = {
    **dict.fromkeys(_ALIKE, _same),
    **dict.fromkeys(_REDUCTIONS, _reduce),
    "Compress": _along_axis,
    "ConstantOfShape": _listed(0),
    "Expand": _expand,
    "Gather": _gather,
    "NonMaxSuppression": _constant(2),
    "NonZero": _constant(2),
    "OneHot": _one_hot,
    "RandomNormal": _listed(0),
    "Range": _constant(1),
    "Reshape": _listed(1),
    "Squeeze": _squeeze,
    "Unique": _along_axis,
    "Unsqueeze": _unsqueeze,
}
