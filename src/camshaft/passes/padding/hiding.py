"""Which attention hides the keys whose mask is 0: proved from its score, element by element."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from camshaft.ir.attrs import expr_attr, extent_attr, int_attr
from camshaft.ir.extents.extent import Extent
from camshaft.ir.graph import Graph, Node
from camshaft.ir.types import DType, boolean
from camshaft.passes.padding.elements import Axis, Elements
from camshaft.passes.padding.lengths import Mask
from camshaft.passes.padding.rows import Rows
from camshaft.passes.padding.scalars import FALSE, TRUE, Value, anything

LARGEST_PRODUCT = 1e29
"""Products of queries and keys are smaller, in what is proved.  (Scores that are larger say nothing in FP32.)"""
USUAL_PRODUCT = 1e3
"""The same where the user permits that padding is skipped: such a mask may only add -10000."""
UNDERFLOW = 200.0
"""A score that is so much lower than another has no share: exp(-104) is the least number of FP32."""


@dataclass(frozen=True)
class Hiding:
    """Attention that hides the keys of rows whose mask is 0.

    This is so for queries whose own mask is not 0: each sees at least its own key.  constants: operands of the
    score that are one number for all keys that are not hidden.  ones: whether this holds of masks of 0 and 1 only.
    """

    constants: Mapping[int, float]
    ones: bool = False


def hiding(graph: Graph, node: Node, mask: Mask, rows: Rows, *, permitted: bool) -> Hiding | None:
    """How an "attention" node hides keys, None if that is not certain.

    rows: where sequences and places lie in its queries, keys and values.  permitted: whether the user
    wants padding skipped, so that masks of usual values are taken to hide.
    """
    q, k = node.args[:2]
    if rows.batch is None or rows.place != q.type.rank - 2 or k.shape[-2] != q.shape[-2]:
        return None
    if extent_attr(node, "first") != 0 or int_attr(node, "window") != 0:
        return None
    most = USUAL_PRODUCT if permitted else LARGEST_PRODUCT
    dtype = mask.tensor.type.dtype
    for kept in dict.fromkeys((_not_zero(dtype), TRUE)):
        proof = _Proof(graph, node, mask, rows, kept, most)
        if proof.own_score().low - proof.score_of_hidden().high >= UNDERFLOW:
            return Hiding(proof.constants(), kept is TRUE and dtype != boolean)
    return None


def _not_zero(dtype: DType) -> Value:
    if dtype == boolean:
        return TRUE
    whole = anything(dtype)
    return Value(whole.low, whole.high, nonzero=True)


class _Proof:
    """Scores of one attention node, at one query and one key."""

    def __init__(
        self, graph: Graph, node: Node, mask: Mask, rows: Rows, kept: Value, most: float
    ) -> None:
        """kept: the mask of rows that are kept.  most: bound of products of queries and keys."""
        self.graph, self.node, self.mask, self.kept, self.most = graph, node, mask, kept, most
        self.count = 3 + int_attr(node, "operands")
        shape = node.output.shape[:-2]
        assert rows.batch is not None
        lead = [Axis.of(f"lead_{n}", d) for n, d in enumerate(shape)]
        places = node.args[0].shape[-2]
        self.query, self.key = Axis.of("query", places), Axis.of("key", places)
        self.axes = (*lead, self.query, self.key)
        self.batch = 0 if shape[rows.batch] == 1 else lead[rows.batch].index

    def _elements(self, of_key: Value) -> Elements:
        """Where the mask of the key is `of_key`, and that of the query is not 0."""
        rows = {(self.batch, self.query.index): self.kept, (self.batch, self.key.index): of_key}
        return Elements(self.graph, self.mask, rows, self.axes)

    def _values(self, elements: Elements, key: Extent) -> list[Value]:
        index = (*(a.index for a in self.axes[:-1]), key)
        index = tuple(0 if a.extent == 1 else i for a, i in zip(self.axes, index, strict=True))
        return [elements.broadcast(t, index) for t in self.node.args[3 : self.count]]

    def _score(self, of_key: Value, key: Extent) -> Value:
        elements = self._elements(of_key)
        operands = self._values(elements, key)
        dtypes = [self.node.args[0].type.dtype, *(t.type.dtype for t in self.node.args[3:])]
        product = Value(-self.most, self.most)
        return elements.evaluate(expr_attr(self.node, "score"), [product, *operands], dtypes)

    def score_of_hidden(self) -> Value:
        """Of any query that is kept and a key whose mask is 0."""
        return self._score(FALSE, self.key.index)

    def own_score(self) -> Value:
        """Of a query that is kept and its own key."""
        return self._score(self.kept, self.query.index)

    def constants(self) -> dict[int, float]:
        """See `Hiding`; by number among all inputs of the node."""
        values = self._values(self._elements(self.kept), self.key.index)
        return {3 + n: v.low for n, v in enumerate(values) if v.is_known}
