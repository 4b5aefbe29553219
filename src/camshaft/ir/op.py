"""Operator definitions: what an op is called, what it means, and what passes may know of it.

The definitions themselves live in `camshaft.ops`, by family; this module only says what one looks
like.  An op's meaning is its `reference` in NumPy: kernels, passes and tests are held against it.
Whatever else the pipeline wants to know of single ops (how its axes may be reordered, whether
quantization commutes with it, how many multiplications it makes, which integers an operand may
hold) is a field of `OpDef` with a default that is safe for any op.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.expr import Expr, inp
from camshaft.ir.extents import known
from camshaft.ir.extents.extent import Dim, Extent
from camshaft.ir.extents.symbol import UndecidedExtent
from camshaft.ir.strides import PartsOf, ViewOf
from camshaft.ir.types import TensorType

Attr = (
    int
    | float
    | str
    | bool
    | bytes
    | Expr
    | Dim
    | tuple[Extent, ...]
    | tuple[float, ...]
    | tuple[str, ...]
)
Attrs = Mapping[str, Attr]
Types = Sequence[TensorType]

InferFn = Callable[[Types, Any], Types]
ReferenceFn = Callable[[Sequence[np.ndarray], Any], Sequence[np.ndarray]]
SymbolicFn = Callable[[Sequence[np.ndarray], Any], Sequence[np.ndarray]]
"""Like a reference, on object arrays of extents (`ir.extents.known`); raises `known.Unknown`."""

REQUIRED = object()


NO_EPILOGUE = inp(0)


@dataclass(frozen=True)
class Attribute:
    """An attribute of an op: what it says, and its default (REQUIRED if there is none).

    drawn: whether drawings of graphs show it.
    """

    doc: str
    default: object = REQUIRED
    drawn: bool = True


# -- how axes may be reordered -------------------------------------------------------------------

Perm = tuple[int, ...]
"""An order of a tensor's axes: axis i of the reordered tensor is the tensor's axis perm[i]."""


class Role(Enum):
    """What the axes of an input are to an op."""

    IMAGE = "is [N, C, H, W], or [N, H, W, C] where the attribute `layout` says so"
    ALIGNED = "has the same axes, and is reordered with it"
    BROADCAST = "broadcasts to the output, and is reordered with it"
    OWN = "has axes of its own, which keep their order"


def _no_changes(perm: Perm, types: Types, attrs: Any) -> Mapping[str, Attr]:
    return {}


def _same_order(perm: Perm, types: Types, attrs: Any) -> Perm:
    return perm


@dataclass(frozen=True)
class Reordering:
    """How to compute an op on an input whose axes lie in another order.

    inputs: the roles of the inputs; the last one holds for all that follow.
    attrs: (perm, input types, attributes) -> attributes that change, where the inputs that are
        aligned, or broadcast where none is, lie in the order `perm`.
    output: likewise -> the order in which the output then lies.
    Ops on images are not reordered by these functions but computed in the layout "NHWC".
    """

    inputs: tuple[Role, ...]
    attrs: Callable[[Perm, Types, Any], Mapping[str, Attr]] = _no_changes
    output: Callable[[Perm, Types, Any], Perm] = _same_order

    def role(self, index: int) -> Role:
        """The role of input `index`."""
        return self.inputs[min(index, len(self.inputs) - 1)]

    @property
    def of_images(self) -> bool:
        """Whether the op works on images."""
        return Role.IMAGE in self.inputs


# -- what quantization may do --------------------------------------------------------------------


def _always(types: Types, attrs: Any) -> bool:
    return True


def _no_axis(axis: int, x: TensorType, out: TensorType, attrs: Any) -> int | None:
    return None


@dataclass(frozen=True)
class Commutes:
    """op(Q(x)) equals Q(op(x)), for quantization Q with one scale for all of the data operands.

    True of ops that move elements or select them by their order, and never combine them.
    when: (input types, attributes) -> whether it holds.  condition: that in words.
    data: how many leading inputs hold the data, None: all do.  The rest are tables and indices.
    values: attributes that are values of the data's type, and are quantized with it.
    ordered: whether elements are selected by their order, which only scales above 0 keep.
    axis: (axis, input type, output type, attributes) -> where a scale per element of `axis` runs in
        the output, or None if it cannot pass.
    """

    when: Callable[[Types, Any], bool] = _always
    condition: str = ""
    data: int | None = 1
    values: tuple[str, ...] = ()
    ordered: bool = False
    axis: Callable[[int, TensorType, TensorType, Any], int | None] = _no_axis


@dataclass(frozen=True)
class Int8Form:
    """How an op is computed on 8-bit integers that stand for floats; `passes.qdq` lowers it so.

    An op with weights is one whose arithmetic INT8 makes faster.  One without is given bytes only
    where it lies between such, so that they need not become floats on the way.

    inputs: (input types, output type, attrs) -> inputs that may be activations of 8 bits, one scale
        for all; operands of an epilogue are not among them.  With weights: exactly one.
    weights: the input that becomes i8 if it is constant, with a scale for each element of its axis
        0, along which the output's channels run.  None: there is none.
    mean_shift: (input types, output type, attrs, error, means) -> how far the mean of each output
        channel moves when `error`, float64 and shaped as the weights, is added to them.  means:
        float64 [C], of the channels of the activation, which are its last axis.  Float64 [K].
        None: not known, so that biases are not corrected.
    """

    inputs: Callable[[Types, TensorType, Any], Sequence[int]]
    weights: int | None = None
    mean_shift: Callable[[Types, TensorType, Any, np.ndarray, np.ndarray], np.ndarray] | None = None


# -- numbers -------------------------------------------------------------------------------------


class Rounding(Enum):
    """How a float result, before the epilogue, may differ from the reference's."""

    EXACT = "not at all: elements are moved or selected"
    SUMS = "as sums differ whose terms are added in another order, or whose functions round"


Integers = tuple[Extent, Extent]
"""The least and the greatest integer that are valid."""

ValueRange = tuple[float, float]
"""Numbers between which all elements of a tensor lie, both included; NaN may occur besides."""


@dataclass(frozen=True)
class Operands:
    """What is known of a node's inputs before anything runs.

    constants: the arrays of those that are constant, else None.  range_of: index -> an interval
    that holds the elements of that input.
    """

    types: Types
    constants: Sequence[np.ndarray | None]
    range_of: Callable[[int], ValueRange]


def _no_macs(types: Types, output: TensorType, attrs: Any) -> Extent:
    return 0


def _sums(types: Types, attrs: Any) -> Rounding:
    return Rounding.SUMS


def _none_inside(arrays: Sequence[np.ndarray], attrs: Any) -> Sequence[np.ndarray] | None:
    return None


def _any_integers(types: Types, attrs: Any) -> Mapping[int, Integers]:
    return {}


def _random_ones(types: Types, attrs: Any, rng: np.random.Generator) -> Sequence[np.ndarray]:
    return ()


def _unknown(operands: Operands, attrs: Any) -> ValueRange | None:
    return None


def _never(types: Types, attrs: Any) -> bool:
    return False


def _no_statistic(types: Types, output: TensorType, attrs: Any) -> bool:
    return False


@dataclass(frozen=True)
class OpDef:
    """One operator.  A simple one needs only `name`, `doc`, `infer` and `reference`.

    name: lower-case name in graphs and kernel specs.
    doc: what it computes, of which inputs, for the catalogue of ops.
    infer: (input types, attrs) -> output types; raises ModelError on a misuse.
    reference: (input arrays, attrs) -> output arrays; the meaning of the op.
    attributes: every attribute by name.
    family: heading in the catalogue; colour in drawings.

    anchors: how many leading inputs belong to the op itself; the rest are operands of its epilogue
        (None: the op has no expression and all inputs are its own; 0: it is its expression).
    more_anchors: the attribute that says how many further inputs belong to the op itself.
    folds: may be evaluated at build time when all inputs are constant.
    deterministic: equal inputs give equal outputs, so that equal nodes may become one.
    moves: every element of the output is one of the inputs (or a constant): nothing is computed.
    hosted: is always run by its reference, in Python; no backend has kernels for it.
    named_by: the attribute that says what people call the operation; None: its name does.

    view: how its output is a view of its only input, if nothing needs to be copied.
    inverse: how its only input is a view of its output, into which it can be written straight away.
    parts: how its inputs are views of its output, into which they can be written straight away.
    reordering: how it is computed on reordered axes; None: only in the model's own order.
    commutes: under which condition quantization before and after it is the same; None: never.
    int8: how it is computed on 8-bit integers; None: only on floats.
    smooths: its elements are sums of many products, in which errors of the inputs average out.
    statistic: (input types, output type, attrs) -> whether its elements are statistics (sums, means,
        extremes) of whole rows or channels of input 0.  What combines them with that input
        normalizes it.
    macs: (input types, output type, attrs) -> multiplications and additions that have to be made.
    integers: (input types, attrs) -> input index -> the integers which that input may hold; inputs
        that are not named may hold any.
    samples: (input types, attrs, rng) -> arrays to try kernels on, one for each input; none where random ones do.
    ascending: inputs of one axis whose integers ascend from the least valid one to the greatest.
    rounding: (input types, attrs) -> how the result before the epilogue may be rounded.
    inner_rounding: (input arrays, attrs) -> how far each element of that result (of each result, where there are several) may be off
        because kernels round numbers inside it, which the reference does not, or otherwise; None where that is no more
        than sums are off.
    increasing: (input types, attrs) -> whether no element of that result becomes smaller when an
        element of input 0 becomes larger, so that an interval passes at both ends.
    requires: raises ModelError where this process lacks what the reference of a node with these attributes needs; asked
        when an engine is loaded that runs it in Python.  None: it needs nothing.
    symbolic: the reference on small tensors whose elements are extents, for shape arithmetic.  That
        of an op without inputs says what its attributes say.
    value_range: (operands, attrs) -> an interval that holds the non-NaN elements of that result,
        None where nothing is known.
    """

    name: str
    doc: str
    infer: InferFn
    reference: ReferenceFn
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    family: str = "other"

    anchors: int | None = None
    more_anchors: str | None = None
    folds: bool = True
    deterministic: bool = True
    moves: bool = False
    hosted: bool = False
    named_by: str | None = None

    view: ViewOf | None = None
    inverse: ViewOf | None = None
    parts: PartsOf | None = None
    reordering: Reordering | None = None
    commutes: Commutes | None = None
    int8: Int8Form | None = None
    smooths: bool = False
    statistic: Callable[[Types, TensorType, Any], bool] = _no_statistic
    macs: Callable[[Types, TensorType, Any], Extent] = _no_macs
    integers: Callable[[Types, Any], Mapping[int, Integers]] = _any_integers
    samples: Callable[[Types, Any, np.random.Generator], Sequence[np.ndarray]] = _random_ones
    ascending: tuple[int, ...] = ()
    rounding: Callable[[Types, Any], Rounding] = _sums
    inner_rounding: Callable[[Sequence[np.ndarray], Any], Sequence[np.ndarray] | None] = (
        _none_inside
    )
    increasing: Callable[[Types, Any], bool] = _never
    value_range: Callable[[Operands, Any], ValueRange | None] = _unknown
    symbolic: SymbolicFn | None = None
    requires: Callable[[Attrs], None] | None = None

    def complete(self, attrs: Attrs) -> dict[str, Attr]:
        """`attrs` with defaults filled in; ModelError names an unknown or missing attribute."""
        unknown = set(attrs) - set(self.attributes)
        if unknown:
            raise ModelError(f"op {self.name!r} has no attribute {sorted(unknown)}")
        filled = {**{k: a.default for k, a in self.attributes.items()}, **attrs}
        missing = [k for k, v in filled.items() if v is REQUIRED]
        if missing:
            raise ModelError(f"op {self.name!r} needs attribute {missing}")
        return filled  # type: ignore[return-value]

    def changed(self, attrs: Attrs) -> dict[str, Attr]:
        """The attributes that differ from their defaults."""
        return {k: v for k, v in attrs.items() if self.attributes[k].default != v}

    def own_inputs(self, attrs: Attrs) -> int | None:
        """How many leading inputs of a node with these attributes are no operands of its epilogue (see
        `anchors`)."""
        if self.anchors is None or self.more_anchors is None:
            return self.anchors
        more = attrs[self.more_anchors]
        assert isinstance(more, int)
        return self.anchors + more

    def title(self, attrs: Attrs) -> str:
        """What people call the operation of a node with these attributes."""
        return self.name if self.named_by is None else str(attrs[self.named_by])

    @property
    def expression(self) -> str | None:
        """The attribute that holds the op's scalar expression; None if it has none."""
        return next((k for k in ("expr", "epilogue") if k in self.attributes), None)

    def commutes_with_quantization(self, types: Types, attrs: Attrs) -> bool:
        """Whether op(Q(x)) equals Q(op(x)) on inputs of these types (see `Commutes`)."""
        plain = attrs.get("epilogue", NO_EPILOGUE) == NO_EPILOGUE
        return self.commutes is not None and plain and self.commutes.when(types, attrs)

    def results_as_extents(
        self, values: Sequence[np.ndarray | None], attrs: Attrs
    ) -> Sequence[np.ndarray] | None:
        """Its results as small object arrays of extents (see `ir.extents.known`), None if it is no
        shape arithmetic.  values: those of the inputs, likewise; None where one is not known."""
        evaluate = self.reference if self.moves else self.symbolic
        known_values = [v for v in values if v is not None]
        if evaluate is None or len(known_values) < len(values):
            return None
        try:
            results = [np.asarray(v, object) for v in evaluate(known_values, attrs)]
        except (known.Unknown, UndecidedExtent):
            return None
        return results if all(v.size <= known.MOST_KNOWN for v in results) else None

    def anchor_types(self, types: Types, attrs: Attrs) -> Types:
        """Types of the results before the epilogue.  types: of all inputs."""
        if self.anchors is None or "epilogue" not in self.attributes:
            return self.infer(types, attrs)
        return self.infer(types[: self.own_inputs(attrs)], {**attrs, "epilogue": NO_EPILOGUE})

    def __repr__(self) -> str:
        return f"OpDef({self.name})"
