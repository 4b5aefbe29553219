"""Attention in numbers: loops over heads, and what a work item does of one."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, prod

from camshaft.backends.base import KernelSpec, Operand
from camshaft.backends.cpu.pointwise.axes import merged
from camshaft.backends.cpu.pointwise.support import printable
from camshaft.ir import expr as E
from camshaft.ir.attrs import expr_attr, extent_attr, int_attr
from camshaft.ir.extents.bounds import bounds
from camshaft.ir.extents.extent import Extent, extent_of
from camshaft.ir.extents.sizes import is_positive, typical
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.strides import Strides
from camshaft.ir.types import HALVES, DType, Shape, bf16, f32, i8

_FACTORS = {"f32": f32, "bf16": bf16, "i8": i8}

RAGGED = 3
"""The operand of ragged attention that says where segments begin."""


@dataclass(frozen=True)
class Strided:
    """A matrix for each head: strides over the loops over heads, of rows, of columns."""

    lead: Strides
    row: Extent
    column: Extent


@dataclass(frozen=True)
class Segments:
    """How rows are cut into pieces of their own.  count: pieces.  length: the symbol of a piece's rows, which a
    kernel computes for each."""

    count: Extent
    length: Symbol

    @staticmethod
    def of(spec: KernelSpec) -> Segments:
        """Those of a "ragged_attention" spec."""
        longest = extent_attr(spec, "longest")
        high = bounds(longest)[1]
        most = int(high) if high < inf else None
        symbol = Symbol("rows_of_segment", 0, typical(longest), most)
        return Segments(spec.inputs[RAGGED].shape[0] - 1, symbol)


@dataclass(frozen=True)
class AttentionProblem:
    """lead: loops over heads (and batches).  queries, keys, size, width: S, T, H and G.

    score, score_operands: the expression of a score and its operands, matrices [S, T] for each head;
    epilogue, operands: likewise of a result, [S, G].
    factors: of what the products are: f32, bf16, or i8 for bytes.
    causal, first, window: see the op.  place_step: how far apart the places of neighbouring rows are,
    0 where the rows are heads with one query each.
    segments: how rows are cut, of ragged attention; then `queries` and `keys` are those of one segment.
    """

    lead: Shape
    queries: Extent
    keys: Extent
    size: int
    width: int
    q: Strided
    k: Strided
    v: Strided
    out: Strided
    factors: DType
    score: E.Expr
    score_operands: tuple[Strided, ...]
    epilogue: E.Expr
    operands: tuple[Strided, ...]
    causal: bool
    first: Extent
    window: int
    place_step: int
    zero_hidden: bool
    segments: Segments | None = None

    @staticmethod
    def of(spec: KernelSpec) -> AttentionProblem:
        """The numbers of an "attention" spec."""
        attrs = dict(spec.attrs)
        own = own_operands(spec)
        count = own + int_attr(spec, "operands", 0)
        out = spec.outputs[0]
        heads, rank = out.shape[:-2], len(out.shape)
        size, width = spec.inputs[0].shape[-1], out.shape[-1]
        assert isinstance(size, int) and isinstance(width, int)
        segments = Segments.of(spec) if own > RAGGED else None
        operands = [o for n, o in enumerate(spec.inputs) if n != RAGGED or segments is None]
        strides = [_over(o, rank) for o in (*operands, out)]
        nest = merged(heads, [s[:-2] for s in strides])
        all_ = [Strided(lead, s[-2], s[-1]) for lead, s in zip(nest.strides, strides, strict=True)]
        lead, rows, step = nest.shape, out.shape[-2], 1
        if segments is None and rows == 1 and all_[1].lead[-1] == 0 and all_[2].lead[-1] == 0:
            # Heads with one query each that share their keys are the rows of one matrix.
            lead, rows, step = (*lead[:-1], 1), lead[-1], 0
            all_ = [
                Strided((*s.lead[:-1], 0), s.row if n in (1, 2) else s.lead[-1], s.column)
                for n, s in enumerate(all_)
            ]
        length = None if segments is None else extent_of(segments.length)
        count -= own - 3
        return AttentionProblem(
            lead=lead,
            queries=rows if length is None else length,
            keys=spec.inputs[1].shape[-2] if length is None else length,
            size=size,
            width=width,
            q=all_[0],
            k=all_[1],
            v=all_[2],
            out=all_[-1],
            factors=_FACTORS[str(attrs.get("products", "f32"))],
            score=expr_attr(spec, "score", E.inp(0)),
            score_operands=tuple(all_[3:count]),
            epilogue=expr_attr(spec, "epilogue", E.inp(0)),
            operands=tuple(all_[count:-1]),
            causal=bool(attrs.get("causal", False)),
            first=extent_attr(spec, "first", 0),
            window=int_attr(spec, "window", 0),
            place_step=step,
            zero_hidden=attrs.get("hidden", "nan") == "zero",
            segments=segments,
        )

    @property
    def row_steps(self) -> tuple[Extent, ...]:
        """How far each operand, the output last, is from one row to the next; of scores along both axes."""
        before, behind = (self.q, self.k, self.v), (*self.operands, self.out)
        scores = [o.row + o.column for o in self.score_operands]
        return (*(o.row for o in before), *scores, *(o.row for o in behind))

    @property
    def heads(self) -> Extent:
        """Matrices of scores."""
        return prod(self.lead)


def _over(operand: Operand, rank: int) -> Strides:
    """Strides of an operand over the axes of the output; its last two may be other axes."""
    missing = rank - len(operand.shape)
    own = tuple(0 if d == 1 else s for d, s in zip(operand.shape, operand.strides, strict=True))
    return (0,) * missing + own


def own_operands(spec: KernelSpec) -> int:
    """How many operands stand before those of the score: queries, keys, values, and where segments begin."""
    return 3 + (spec.op == "ragged_attention")


def is_supported(spec: KernelSpec) -> bool:
    """Whether there is code for these types and expressions."""
    q, k, v = spec.inputs[:3]
    if any(o.dtype not in (f32, *HALVES) or o.const for o in (q, k, v)):
        return False
    known = all(isinstance(o.shape[-1], int) and o.shape[-1] > 0 for o in (q, v))
    if not known or not is_positive(k.shape[-2]):
        return False
    if any(0 in o.shape for o in (*spec.inputs, *spec.outputs)):
        return False
    own = own_operands(spec)
    count = own + int_attr(spec, "operands", 0)
    score, result = spec.inputs[own:count], spec.inputs[count:]
    return printable(
        expr_attr(spec, "score", E.inp(0)), [f32, *(o.dtype for o in score)]
    ) and printable(expr_attr(spec, "epilogue", E.inp(0)), [f32, *(o.dtype for o in result)])
