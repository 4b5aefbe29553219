"""Which extents an operator demands to be equal, for operators that no function of ours checks.

Those are the operators that become host steps, and those that ONNX defines by a body which would take
more than it should.  ONNX's shape inference passes extents on, but does not compare all of them; a
host step would fail, or broadcast, when it runs.  What is demanded of open extents is learned, as from
any other arithmetic of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from camshaft.frontends.onnx.context import NodeContext
from camshaft.ir.extents.constraints import require_at_least, require_equal
from camshaft.ir.extents.extent import Extent
from camshaft.ir.types import broadcast_shapes
from camshaft.ops.common import normal_axis
from camshaft.ops.functional.movement.inside import require_indices

_RECURRENT = "t n i, d g i, d g h, d b, n, d n h, d n h, d p"
_BATCH_FIRST = "n t i, d g i, d g h, d b, n, n d h, n d h, d p"

_PATTERNS: Mapping[str, str] = {
    "DeformConv": "n *, k *, n *, k, n *",
    "GridSample": "n *, n *",
    "MaxUnpool": "..., ...",
    "NegativeLogLikelihoodLoss": "n c ..., n ..., c",
    "RoiAlign": "*, r *, r",
    "SoftmaxCrossEntropyLoss": "n c ..., n ..., c",
}
"""The axes of inputs as labels: equal labels are equal extents.  "*" stands for any axes, "..." for axes
that are the same wherever it stands."""

_BROADCAST = ("BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "StringConcat")
"""Elementwise operators that are host steps."""

Demand = tuple[Extent, Extent, str]


def demand(ctx: NodeContext) -> None:
    """State what the node demands of its inputs' extents.

    ModelError, naming the inputs, where extents differ; what is open is learned by the graph.
    """
    if ctx.domain:
        return
    op_type = ctx.proto.op_type
    with ctx.builder.constraints.learning(f"node {ctx.name!r}"):
        if op_type in _BROADCAST:
            broadcast_shapes(*(t.shape for t in ctx.inputs if t is not None))
        elif op_type in _PATTERNS:
            _match(ctx, _PATTERNS[op_type])
        elif op_type in _RULES:
            for a, b, what in _RULES[op_type](ctx):
                require_equal(a, b, f"{what} differ: {a} and {b}")


def _match(ctx: NodeContext, pattern: str) -> None:
    """State that axes of one label are equal."""
    seen: dict[str, tuple[Extent, int]] = {}
    for index, part in enumerate(pattern.split(",")):
        if not ctx.has(index):
            continue
        shape = ctx.arg(index).shape
        for axis, label in enumerate(_labels(part.split(), len(shape))):
            extent, first = seen.setdefault(label, (shape[axis], index))
            require_equal(
                extent,
                shape[axis],
                f"inputs {first} and {index}, {ctx.arg(first).type} and {ctx.arg(index).type}, "
                f"do not fit: {extent} must be {shape[axis]}",
            )


def _labels(words: list[str], rank: int) -> Iterator[str]:
    """A label for each axis that has one; the rank itself is ONNX's shape inference to judge."""
    for axis in range(rank):
        if axis < len(words) and words[axis] not in ("*", "..."):
            yield words[axis]
        elif words[-1] == "...":
            yield f"...{axis - len(words) + 1}"
        else:
            return


def _recurrent(ctx: NodeContext) -> Iterator[Demand]:
    _match(ctx, _BATCH_FIRST if ctx.attr_int("layout") else _RECURRENT)
    return iter(())


def _reverse_sequence(ctx: NodeContext) -> Iterator[Demand]:
    batch = ctx.arg(0).shape[ctx.attr_int("batch_axis", 1)]
    yield batch, ctx.arg(1).shape[0], "the batch and the number of lengths"


def _gather_nd(ctx: NodeContext) -> Iterator[Demand]:
    data, indices = ctx.arg(0).shape, ctx.arg(1).shape
    for axis in range(ctx.attr_int("batch_dims")):
        yield data[axis], indices[axis], f"data and indices along batch axis {axis}"
    _indices_inside(ctx, ctx.attr_int("batch_dims"))


def _indices_inside(ctx: NodeContext, first: int = 0) -> None:
    """State that constant indices of N axes, from axis `first` on, count along them."""
    data, indices = ctx.arg(0), ctx.arg(1)
    if indices.data is not None and indices.type.rank:
        for i in range(indices.data.shape[-1]):
            require_indices(ctx.builder, indices.data[..., i], data, first + i)


def _scatter_elements(ctx: NodeContext) -> Iterator[Demand]:
    """Indices and updates are alike, and along other axes than the op's no longer than the data."""
    _match(ctx, "*, ..., ...")
    data, indices = ctx.arg(0), ctx.arg(1)
    axis = normal_axis(ctx.attr_int("axis"), data.type.rank)
    if indices.data is not None:
        require_indices(ctx.builder, indices.data, data, axis)
    for a, (there, given) in enumerate(zip(data.shape, indices.shape, strict=False)):
        if a != axis:
            longer = f"indices {indices.type} are longer than {data.type} along axis {a}"
            require_at_least(there, given, longer)
    return iter(())


def _scatter_nd(ctx: NodeContext) -> Iterator[Demand]:
    """updates: indices' axes but the last, then those of data that an index leaves."""
    data, indices, updates = (ctx.arg(i).shape for i in range(3))
    depth = indices[-1]
    if isinstance(depth, int):
        for a, b in zip(updates, (*indices[:-1], *data[depth:]), strict=False):
            yield a, b, "updates and what the indices pick"
        _indices_inside(ctx)


def _affine_grid(ctx: NodeContext) -> Iterator[Demand]:
    known = ctx.builder.known(ctx.arg(1))
    if known is not None and known.size and isinstance(known.flat[0], Extent):
        yield ctx.arg(0).shape[0], known.flat[0], "the batch of theta and of the size"


_RULES: Mapping[str, Callable[[NodeContext], Iterator[Demand]]] = {
    "AffineGrid": _affine_grid,
    "GRU": _recurrent,
    "GatherND": _gather_nd,
    "LSTM": _recurrent,
    "RNN": _recurrent,
    "ReverseSequence": _reverse_sequence,
    "Scatter": _scatter_elements,
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
}
