"""Inputs that say which rows are kept: masks [B, ..., S], bools that say which are hidden, and lengths [B], below which places are rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from camshaft.ir import expr as E
from camshaft.ir.extents.bounds import bounds
from camshaft.ir.extents.extent import Extent, extent_of, sole_symbol, symbols_of
from camshaft.ir.extents.sizes import typical
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.graph import Graph, GraphBuilder, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.types import TensorType, boolean, f32, f64, i32, i64
from camshaft.ops import ATTENTION, IOTA, POINTWISE, RESHAPE

NAME = "kept_rows"
LENGTH: Extent = extent_of(Symbol("length_of_sequence", 0, 0, None)) + -(2**63)
"""The length of a sequence, in proofs: any whole number."""
MASKS = (boolean, i32, i64, f32, f64)
"""Types of inputs that may be masks."""
TYPES = (i32, i64)
"""Types of inputs that may be lengths."""


@dataclass(frozen=True)
class Lengths:
    """An input that says how long each sequence is.

    tensor: [B], or [B, 1].  places: how many places there are.  said: see `Kept.lengths`.
    """

    tensor: Tensor
    places: Extent
    said: int | tuple[str, int]


@dataclass(frozen=True)
class Mask:
    """What says which rows are kept.

    tensor: [B, ..., S], an input, or, of lengths, what stands for the mask that they say; likewise of `hidden`, an input of
    bools that are true where a row is padding (PyTorch's key_padding_mask).
    """

    tensor: Tensor
    lengths: Lengths | None = None
    hidden: Tensor | None = None

    @property
    def source(self) -> Tensor:
        """The input."""
        if self.hidden is not None:
            return self.hidden
        return self.tensor if self.lengths is None else self.lengths.tensor


def may_be_mask(t: Tensor) -> bool:
    """Whether an input may be a mask [B, ..., S]."""
    return (
        t.type.rank >= 2
        and t.type.dtype in MASKS
        and not t.values
        and all(d == 1 for d in t.shape[1:-1])
        and all(bounds(d)[0] >= 1 for d in t.shape)
        and t.type.size != 1
    )


def lengths_in(graph: Graph) -> Iterator[Lengths]:
    """Inputs that may be lengths, with each number of places that attention has."""
    longest = dict.fromkeys(n.args[1].shape[-2] for n in graph.nodes if n.op is ATTENTION)
    for t in graph.inputs:
        batch = t.shape[:1]
        if t.type.dtype not in TYPES or t.values or t.shape not in (batch, (*batch, 1)):
            continue
        if not batch or bounds(batch[0])[0] < 1 or t.type.size == 1:
            continue
        for places in longest:
            said = _said(graph, places)
            if said is not None:
                yield Lengths(t, places, said)


def _said(graph: Graph, places: Extent) -> int | tuple[str, int] | None:
    """What a call says that number of places by: nothing, or an axis of an input."""
    if isinstance(places, int):
        return places
    if sole_symbol(places) is None:
        return None
    axes = ((t.name, n) for t in graph.inputs for n, d in enumerate(t.shape) if d == places)
    return next(axes, None)


def mask_of(graph: Graph, lengths: Lengths) -> Mask:
    """The mask that they say, [B, S] of bools, which is no tensor of the graph."""
    type_ = TensorType(boolean, (lengths.tensor.shape[0], lengths.places))
    return Mask(Tensor(_free(graph, lengths.tensor), type_), lengths)


def opposite_of(graph: Graph, t: Tensor) -> Mask:
    """The mask that bools say which are true where a row is hidden."""
    return Mask(Tensor(_free(graph, t), t.type), hidden=t)


def _free(graph: Graph, t: Tensor) -> str:
    """A name that no tensor of the graph has."""
    name = f"{t.name}:mask"
    while name in graph.tensors:
        name += "'"
    return name


def add_mask(builder: GraphBuilder, mask: Mask, t: Tensor) -> Tensor:
    """The mask as a tensor of a new graph, in which `t` is what stands for the input that says it."""
    name, lengths = f"{t.name}:mask", mask.lengths
    if lengths is None:
        opposite: dict[str, Attr] = {"expr": E.unary("not", E.inp(0))}
        return builder.emit(POINTWISE, [t], opposite, name=name, output=builder.local(name))

    def local(what: str) -> str:
        return builder.local(f"{name}:{what}")

    places = builder.emit(IOTA, [], {"count": lengths.places}, name=name, output=local("places"))
    if t.type.rank == 1:
        shape = (*t.shape, 1)
        t = builder.emit(RESHAPE, [t], {"shape": shape}, name=name, output=local("column"))
    expr = E.binary("lt", E.inp(0), E.cast(E.inp(1), i64))
    return builder.emit(
        POINTWISE, [places, t], {"expr": expr}, name=name, output=builder.local(name)
    )


def kept_symbol(graph: Graph, rows: Extent) -> Symbol:
    """How many rows are kept, under a name that no other size has."""
    types = [t.type for n in graph.nodes for t in n.outputs] + [t.type for t in graph.inputs]
    taken = {s.name for t in types for s in symbols_of(*t.shape)}
    name = NAME
    while name in taken:
        name += "_"
    high = bounds(rows)[1]
    return Symbol(name, 1, typical(rows), int(high) if high < float("inf") else None)
