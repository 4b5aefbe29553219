"""Where the rest of a script hangs on a branch: results of different ranks, decided by a size.

PyTorch exports `x.squeeze(1)` of an open axis as an If that squeezes where the axis is 1.  What follows
has another rank in each case, so it is imported twice, once in each branch; and what the condition says
of sizes is known there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import GraphProto, NodeProto, ValueInfoProto, helper

from camshaft.frontends.onnx.scripts.narrowed import learned
from camshaft.frontends.onnx.scripts.scope import HostValue, Scope, Value
from camshaft.ir.expr import Expr
from camshaft.ir.extents.bounds import bounds
from camshaft.ir.extents.constraints import Constraints
from camshaft.ir.extents.extent import Extent, known_different
from camshaft.ir.extents.sizes import Constraint, substitute
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.types import TensorType
from camshaft.ops import POINTWISE

MOST_FORKS = 8
"""In one model: each doubles what follows it."""

Facts = Mapping[Symbol, Extent]
"""What symbols turn out to be."""


class Fork(Exception):
    """The branches of an If give tensors of different ranks."""


@dataclass(frozen=True)
class Comparison:
    """A condition that compares two extents: a == b, or else a != b."""

    a: Extent
    b: Extent
    is_equal: bool

    def says(self, holds: bool) -> Constraint | None:
        """What is known of the extents where the condition holds, or where it does not."""
        if holds == self.is_equal:
            return Constraint(self.a, "==", self.b, "")
        if isinstance(self.b, int) and bounds(self.a)[0] >= self.b:
            return Constraint(self.a, ">=", self.b + 1, "")
        return None

    def facts(self, holds: bool) -> Facts:
        """The same, as what symbols turn out to be."""
        said, found = self.says(holds), Constraints()
        if said is not None:
            found.add(said.left, said.kind, said.right, "")
        return learned(found)

    def decided(self, found: Iterable[Constraint]) -> bool | None:
        """Whether the condition holds by what must hold anyway; None if that is open."""
        for holds in (True, False):
            said = self.says(holds)
            if said is not None and any(
                (c.left, c.kind, c.right) == (said.left, said.kind, said.right) for c in found
            ):
                return holds
        return None


def comparison(scope: Scope, condition: Value) -> Comparison | None:
    """The comparison of extents that a condition is; None if it is none."""
    if isinstance(condition, HostValue) or condition.is_const:
        return None
    owner, level = scope.shared.owners[condition.name]
    builder = owner.levels[level].builder
    node = builder.producer(condition)
    while node is not None and _expr(node.attrs.get("expr")) in ("i0", "cast_bool(i0)"):
        node = builder.producer(node.args[0])
    if node is None or node.op is not POINTWISE or len(node.args) != 2:
        return None
    text = _expr(node.attrs["expr"])
    a, b = (_only(builder.known(t)) for t in node.args)
    if a is None or b is None or text not in ("eq(i0,i1)", "ne(i0,i1)") or known_different(a, b):
        return None
    a, b = (b, a) if isinstance(a, int) else (a, b)
    a, b = substitute(a, scope.facts), substitute(b, scope.facts)
    return Comparison(a, b, text.startswith("eq"))


def _expr(value: object) -> str:
    return str(value) if isinstance(value, Expr) else ""


def _only(known: np.ndarray | None) -> Extent | None:
    value = None if known is None or known.size != 1 else known.reshape(-1)[0]
    return value if isinstance(value, Extent) and not isinstance(value, bool) else None


def continued(
    branch: GraphProto, node: NodeProto, rest: Sequence[NodeProto], outputs: Sequence[str]
) -> GraphProto:
    """A branch of an If with the nodes that follow the If."""
    graph = GraphProto(name=branch.name)
    graph.initializer.extend(branch.initializer)
    graph.sparse_initializer.extend(branch.sparse_initializer)
    graph.node.extend(branch.node)
    for inner, outer in zip(branch.output, node.output, strict=False):
        if outer:
            graph.node.append(helper.make_node("Identity", [inner.name], [outer]))
    graph.node.extend(rest)
    graph.output.extend(ValueInfoProto(name=name) for name in outputs)
    return graph


def have_other_ranks(pairs: Sequence[Sequence[Value]]) -> bool:
    """Whether two results that are tensors of known rank have different ones."""
    return any(
        len({v.type.rank for v in values if isinstance(v.type, TensorType)}) > 1 for values in pairs
    )
