"""What all functions of the package share: how ops are emitted and named, and how arguments are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.extents.constraints import require_equal
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import typical
from camshaft.ir.graph import GraphBuilder, Node, Tensor
from camshaft.ir.op import Attrs, OpDef
from camshaft.ops.common import normal_axis
from camshaft.ops.quantize import DEQUANTIZE

MOST_ELEMENTS = 2**31
MOST_FOLDED = 2**29
"""Elements of the largest tensor, and of the largest one that is computed while the graph is built."""

TensorLike = Tensor | float | np.ndarray
"""A tensor; or a number, which takes the element type of the tensors beside it; or an array."""


class NoCanonicalForm(ModelError):
    """The call means something, but the ops of the graph cannot express it.

    Raised before anything is emitted for the call.  A frontend that knows another way (a host
    step, or its own decomposition) catches it; to everybody else it is a ModelError.
    """


def emit(
    builder: GraphBuilder,
    op: OpDef,
    inputs: Sequence[Tensor],
    attrs: Mapping[str, object],
    output: str | None = None,
) -> Tensor:
    """Add one node and return its output, called `output`, or after the op where that is None.

    Raises ModelError for misuses of the op and for results out of all proportion.
    """
    given = cast(Attrs, attrs)
    with builder.constraints.learning(f"node {builder.layer or op.name!r}"):
        _check_size(op, inputs, given)
    return builder.emit(op, inputs, given, output=output or builder.local(op.name))


def constant(builder: GraphBuilder, array: np.ndarray | np.generic, what: str) -> Tensor:
    """A constant that a function needs itself, named after `what` it is."""
    return builder.constant(array, builder.local(what))


def _check_size(op: OpDef, inputs: Sequence[Tensor], attrs: Attrs) -> None:
    """Refuse results so large that computing them, at build time or later, cannot be meant."""
    folds = op.folds and all(t.is_const for t in inputs)
    limit = MOST_FOLDED if folds else MOST_ELEMENTS
    for t in op.infer([t.type for t in inputs], op.complete(attrs)):
        if typical(t.size) > limit:
            raise ModelError(
                f"{'a constant' if folds else 'a result'} of type {t} has more than {limit} "
                "elements; the shapes or attributes cannot be right"
            )


def dequantized_constant(builder: GraphBuilder, x: Tensor) -> Node | None:
    """The dequantize node that makes `x` of constants, if that is how it is made."""
    made = builder.producer(x)
    if made is None or made.op is not DEQUANTIZE or not all(t.is_const for t in made.args):
        return None
    return made


def normal_axes(axes: int | Sequence[int], rank: int) -> tuple[int, ...]:
    """Axes counted from the front, sorted, each once; ModelError for one that does not exist."""
    given = (axes,) if isinstance(axes, int) else axes
    return tuple(sorted({normal_axis(a, rank) for a in given}))


def per_axis(value: int | Sequence[int], count: int, what: str, least: int) -> tuple[int, ...]:
    """One number for each of `count` spatial axes; a single int counts for all.

    ModelError, naming `what`, when there are more or fewer, or one is below `least`.
    """
    values = (value,) * count if isinstance(value, int) else tuple(value)
    if len(values) != count:
        raise ModelError(f"{what}={list(values)} does not fit {count} spatial axes")
    if min(values, default=least) < least:
        raise ModelError(f"{what}={list(values)} is below {least}")
    return values


def require_same(builder: GraphBuilder, a: Extent, b: Extent, otherwise: str) -> None:
    """State that two extents are equal: ModelError(otherwise) where they differ, a constraint of the
    graph where that is open."""
    with builder.constraints.learning(f"node {builder.layer!r}"):
        require_equal(a, b, otherwise)
