"""Einsum as transposes, reshapes, sums and matrix products.

Operands are multiplied from left to right, two at a time.  Of a pair, labels in both and in what
follows are batches, labels in both and nowhere else are summed in the product, labels in one alone
are rows or columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from camshaft.errors import ModelError
from camshaft.ir.extents.extent import Extent
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ir.types import require_decided
from camshaft.ops.contraction import MATMUL
from camshaft.ops.functional.core import NoCanonicalForm, emit, require_same
from camshaft.ops.functional.movement.shape import reshape, transpose
from camshaft.ops.rowwise import REDUCE

_ELLIPSIS = "..."


@dataclass(frozen=True)
class _Term:
    """A tensor whose axes have labels; no label stands twice."""

    tensor: Tensor
    labels: tuple[str, ...]

    @property
    def extents(self) -> dict[str, Extent]:
        return dict(zip(self.labels, self.tensor.shape, strict=True))


def einsum(
    builder: GraphBuilder, equation: str, *operands: Tensor, output: str | None = None
) -> Tensor:
    """The sum of products that `equation` says, as NumPy's einsum: one letter an axis, "..." for more.

    Operands have one element type.  ModelError for an equation that does not fit them;
    NoCanonicalForm for a diagonal (one label twice in an operand) and for labels that broadcast.
    """
    if not operands:
        raise ModelError("has no operands")
    equation = equation.replace(" ", "")
    labels, result = _parsed(equation, [t.type.rank for t in operands])
    terms = [_Term(t, names) for t, names in zip(operands, labels, strict=True)]
    extents: dict[str, set[Extent]] = {}
    for names, term in zip(labels, terms, strict=True):
        for label, extent in zip(names, term.tensor.shape, strict=True):
            _agree(builder, label, extent, extents.setdefault(label, set()))
    unknown = [label for label in result if label not in extents]
    if unknown or len(set(result)) < len(result):
        raise ModelError(f"the output of equation {equation!r} names {unknown or 'a label twice'}")
    if any(len(set(names)) < len(names) for names in labels):
        raise NoCanonicalForm(f"equation {equation!r} takes a diagonal")
    if any(len(e) > 1 for e in extents.values()):
        raise NoCanonicalForm(f"labels of equation {equation!r} have different extents")
    made = terms[0]
    for i, term in enumerate(terms[1:], 1):
        wanted = set(result).union(*(t.labels for t in terms[i + 1 :]))
        made = _product(builder, _summed(builder, made, wanted | set(term.labels)), term, wanted)
    made = _summed(builder, made, set(result))
    order = [made.labels.index(label) for label in result]
    return transpose(builder, made.tensor, order, output=output)


def _agree(builder: GraphBuilder, label: str, extent: Extent, others: set[Extent]) -> None:
    """Add to the extents that have a label, which are equal, but for those of 1."""
    for other in others:
        if 1 not in (extent, other):
            require_decided(extent, other)
            require_same(builder, extent, other, f"label {label!r} is {extent} and {other} long")
            return
    others.add(extent)


def _parsed(equation: str, ranks: Sequence[int]) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """Labels of each operand's axes and of the result's; axes under an ellipsis are "...0" and on.

    Without "->" the result has the ellipsis and then, sorted, every label that stands once.
    """
    left, arrow, right = equation.partition("->")
    texts = left.split(",")
    if len(texts) != len(ranks):
        raise ModelError(f"equation {equation!r} is for {len(texts)} operands, not {len(ranks)}")
    hidden = max(
        (rank - len(t.replace(_ELLIPSIS, "")) for t, rank in zip(texts, ranks, strict=True)
         if _ELLIPSIS in t),
        default=0,
    )  # fmt: skip
    operands = [_labels(t, rank, hidden) for t, rank in zip(texts, ranks, strict=True)]
    if any(len(o) != rank for o, rank in zip(operands, ranks, strict=True)):
        raise ModelError(f"equation {equation!r} does not fit operands of ranks {list(ranks)}")
    if arrow:
        return operands, _labels(right, None, hidden)
    letters = left.replace(_ELLIPSIS, "").replace(",", "")
    once = sorted(c for c in set(letters) if letters.count(c) == 1)
    return operands, (*(f"{_ELLIPSIS}{i}" for i in range(hidden)), *once)


def _labels(text: str, rank: int | None, hidden: int) -> tuple[str, ...]:
    """The labels of one term; an ellipsis has the last of the `hidden` axes that `rank` leaves."""
    before, ellipsis, after = text.partition(_ELLIPSIS)
    if not ellipsis:
        return tuple(text)
    count = hidden if rank is None else rank - len(before) - len(after)
    return (*before, *(f"{_ELLIPSIS}{i}" for i in range(hidden - count, hidden)), *after)


def _summed(builder: GraphBuilder, term: _Term, wanted: set[str]) -> _Term:
    """The term with labels that nobody wants summed away."""
    axes = tuple(i for i, label in enumerate(term.labels) if label not in wanted)
    if not axes:
        return term
    y = emit(builder, REDUCE, [term.tensor], {"kind": "sum", "axes": axes, "keepdims": False})
    return _Term(y, tuple(label for label in term.labels if label in wanted))


def _product(builder: GraphBuilder, a: _Term, b: _Term, wanted: set[str]) -> _Term:
    """Both terms multiplied, summed over the labels that both have and nobody else wants."""
    b = _summed(builder, b, wanted | set(a.labels))
    extents = a.extents | b.extents
    shared = [label for label in a.labels if label in b.labels]
    batch = [label for label in shared if label in wanted]
    inner = [label for label in shared if label not in wanted]
    rows = [label for label in a.labels if label not in shared]
    columns = [label for label in b.labels if label not in shared]

    def matrix(term: _Term, first: list[str], second: list[str]) -> Tensor:
        order = [term.labels.index(label) for label in (*batch, *first, *second)]
        shape = [extents[label] for label in batch]
        shape += [prod(extents[label] for label in group) for group in (first, second)]
        return reshape(builder, transpose(builder, term.tensor, order), shape)

    y = emit(builder, MATMUL, [matrix(a, rows, inner), matrix(b, inner, columns)], {})
    labels = (*batch, *rows, *columns)
    return _Term(reshape(builder, y, [extents[label] for label in labels]), labels)
