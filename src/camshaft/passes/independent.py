"""Whether the rows of a batch depend on each other: a proof that follows the batch's axis through a graph.

A tensor has the axis if its part at a place is made of the inputs' parts at that place alone; tensors without it hang on no
input.  What no rule here knows is taken to mix rows: the proof fails where it may not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod

from camshaft.ir.attrs import axis_attr, extents_attr, ints_attr, symbolic_in
from camshaft.ir.extents.extent import Extent, symbols_of
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.graph import Graph, Node
from camshaft.ops import (
    ATTENTION,
    BROADCAST,
    CONCAT,
    CONV,
    CONV_TRANSPOSE,
    DEQUANTIZE,
    GATHER,
    INTERLEAVE,
    MATMUL,
    MATMUL_NBITS,
    PAD,
    POINTWISE,
    POOL,
    QUANTIZE,
    RECURRENT,
    REDUCE,
    RESAMPLE,
    RESHAPE,
    SLICE,
    SOFTMAX,
    TRANSPOSE,
)
from camshaft.ops.recurrent import given_of


class _Mixed(Exception):
    """Rows may depend on each other."""


Axes = Sequence[int | None]
"""Of a node's inputs, the axis of the batch; None: it hangs on no input."""
Rule = Callable[[Node, Axes], Sequence[int | None]]
"""A node, the axes of its inputs -> of its outputs."""


def mixing(graph: Graph, batch: Symbol) -> str:
    """The node that may mix rows of a batch that all inputs and outputs begin with, in words; "" if none does."""
    known: dict[str, int | None] = {t.name: 0 for t in graph.inputs}
    for node in graph.nodes:
        try:
            axes = [known.get(t.name) for t in node.args]
            known.update(
                zip((t.name for t in node.outputs), _followed(node, axes, batch), strict=True)
            )
        except _Mixed:
            return f"node {node.name!r} ({node.op.name}) may mix the rows of a batch"
    if any(known.get(t.name) != 0 for t in graph.outputs):
        return "an output does not begin with the rows of the batch"
    return ""


def _followed(node: Node, axes: Axes, batch: Symbol) -> Sequence[int | None]:
    """The axes of a node's outputs."""
    if all(a is None for a in axes):
        return [_spread(node, batch)] * len(node.outputs)
    if any(
        a is None and batch in symbols_of(*t.shape) for t, a in zip(node.args, axes, strict=True)
    ):
        raise _Mixed
    counted = [e for name, v in node.attrs.items() if name not in _SHAPES for e in symbolic_in(v)]
    rule = _RULES.get(node.op.name)
    if rule is None or batch in symbols_of(*counted):
        raise _Mixed
    return rule(node, axes)


_SHAPES = ("shape", "starts", "sizes")
"""Attributes that say how large results are; extents in others are numbers that are computed with."""


def _spread(node: Node, batch: Symbol) -> int | None:
    """Of what hangs on no input: the axis along which a constant is repeated for each row."""
    open_ = [a for a, d in enumerate(node.outputs[0].shape) if batch in symbols_of(d)]
    if not open_ and not any(batch in symbols_of(*symbolic_in(v)) for v in node.attrs.values()):
        return None
    if node.op is not BROADCAST or len(open_) != 1:
        raise _Mixed  # the numbers of rows, say
    source, axis = node.args[0].shape, open_[0] - len(node.outputs[0].shape)
    if -axis <= len(source) and source[axis] != 1:
        raise _Mixed
    return open_[0]


def _one(axes: Axes, first: int, *allowed: int) -> int:
    """The axis of input `first`, if no other has one, and it is among those allowed (none: any)."""
    axis = axes[first]
    alone = all(a is None for n, a in enumerate(axes) if n != first)
    if axis is None or not alone or (allowed and axis not in allowed):
        raise _Mixed
    return axis


def _aligned(node: Node, axes: Axes, first: int = 0, start: int | None = None) -> int:
    """The axis of a result with which operands from `first` on are combined element by element.

    start: the axis of the result before that; None: it has none.
    """
    rank = node.outputs[0].type.rank
    found = set() if start is None else {start}
    for t, a in zip(node.args[first:], axes[first:], strict=True):
        found |= set() if a is None else {a + rank - t.type.rank}
    if len(found) != 1:
        raise _Mixed
    return found.pop()


def _anchored(rule: Callable[[Node, Axes], int]) -> Rule:
    """A rule for an op's own inputs, then its epilogue."""

    def apply(node: Node, axes: Axes) -> list[int]:
        own = node.op.own_inputs(node.attrs) or 0
        return [_aligned(node, axes, own, rule(node, axes[:own]))]

    return apply


def _reduced(node: Node, axes: Axes) -> int:
    axis, rank = _one(axes, 0), node.args[0].type.rank
    gone = {a % rank for a in ints_attr(node, "axes")}
    if axis in gone:
        raise _Mixed
    return axis if node.attrs["keepdims"] else axis - sum(a < axis for a in gone)


def _multiplied(node: Node, axes: Axes) -> int:
    """Rows of the first matrix, columns of the second, or one product for each place."""
    rank, found = node.outputs[0].type.rank, set()
    for n, (own, summed) in enumerate(((-2, -1), (-1, -2))):
        axis = axes[n]
        if axis is None:
            continue
        behind = axis - node.args[n].type.rank
        if behind == summed or (behind == own and axes[1 - n] is not None):
            raise _Mixed
        found.add(behind + rank)
    if len(found) != 1 or any(a is not None for a in axes[2:]):
        raise _Mixed
    return found.pop()


def _attended(node: Node, axes: Axes) -> int:
    ranks = 1, node.args[0].type.rank  # lengths; masks that say which sequence they are of
    fits = all(a is None or t.type.rank in ranks for t, a in zip(node.args, axes, strict=False))
    if any(a not in (0, None) for a in axes) or axes[0] != 0 or not fits:
        raise _Mixed
    return 0


def _recurrent(node: Node, axes: Axes) -> list[int]:
    expected = [1, None, *(1 if name in "hc" else 0 if name == "lengths" else None for name in given_of(node))]  # fmt: skip
    if axes[0] != 1 or any(a not in (e, None) for a, e in zip(axes, expected, strict=True)):
        raise _Mixed
    return [2, *[1] * (len(node.outputs) - 1)]


def _reshaped(node: Node, axes: Axes) -> list[int]:
    axis, before, after = _one(axes, 0), node.args[0].shape, node.outputs[0].shape
    front: Extent = prod(before[:axis])
    for a, d in enumerate(after):
        if d == before[axis] and prod(after[:a]) == front:
            return [a]
    raise _Mixed


def _sliced(node: Node, axes: Axes) -> list[int]:
    axis = _one(axes, 0)
    whole = extents_attr(node, "sizes")[axis] == node.args[0].shape[axis]
    if not whole or ints_attr(node, "steps")[axis] != 1:
        raise _Mixed
    return [axis]


def _padded(node: Node, axes: Axes) -> list[int]:
    axis = _one(axes, 0)
    if any(extents_attr(node, name)[axis] != 0 for name in ("before", "after")):
        raise _Mixed
    return [axis]


def _apart(node: Node, axes: Axes) -> list[int]:
    """Of an op along another axis, or a concatenation along one."""
    found = set(axes)
    axis = found.pop()
    if found or axis is None or axis_attr(node, node.outputs[0].type.rank) == axis:
        raise _Mixed
    return [axis]


def _gathered(node: Node, axes: Axes) -> list[int]:
    x, index = axes
    along = axis_attr(node, node.args[0].type.rank)
    if (x is None) == (index is None) or x == along:
        raise _Mixed
    if x is None:
        assert index is not None
        return [along + index]
    return [x if x < along else x + node.args[1].type.rank - 1]


def _quantized(node: Node, axes: Axes) -> list[int]:
    return [_one(axes, 0)]


def _interleaved(node: Node, axes: Axes) -> list[int]:
    if set(axes) != {0}:
        raise _Mixed
    return [0]


_FIRST = _anchored(lambda node, axes: _one(axes, 0, 0))
_RULES: Mapping[str, Rule] = {
    POINTWISE.name: lambda node, axes: [_aligned(node, axes)],
    CONV.name: _FIRST,
    CONV_TRANSPOSE.name: lambda node, axes: [_one(axes, 0, 0)],
    POOL.name: _FIRST,
    RESAMPLE.name: _FIRST,
    REDUCE.name: _anchored(_reduced),
    MATMUL.name: _anchored(_multiplied),
    MATMUL_NBITS.name: _anchored(
        lambda node, axes: _one(axes, 0, *range(node.args[0].type.rank - 1))
    ),
    ATTENTION.name: _anchored(_attended),
    RECURRENT.name: _recurrent,
    SOFTMAX.name: _apart,
    CONCAT.name: _apart,
    RESHAPE.name: _reshaped,
    TRANSPOSE.name: lambda node, axes: [ints_attr(node, "perm").index(_one(axes, 0))],
    SLICE.name: _sliced,
    PAD.name: _padded,
    BROADCAST.name: lambda node, axes: [_aligned(node, axes)],
    GATHER.name: _gathered,
    QUANTIZE.name: _quantized,
    DEQUANTIZE.name: _quantized,
    INTERLEAVE.name: _interleaved,
}
