"""Every rewrite fires on its own example, keeps its value, and comes to an end."""

from __future__ import annotations

import pytest

from camshaft.errors import ModelError
from camshaft.ir import expr as E
from camshaft.ir.graph import GraphBuilder
from camshaft.ir.types import TensorType, f32
from camshaft.ir.verify import verify
from camshaft.ops import POINTWISE
from camshaft.passes.pipeline import ALL_REWRITES
from camshaft.passes.rewrite import Rewrite, rewrite, sweep
from graph_checks import same


@pytest.mark.parametrize("rule", ALL_REWRITES, ids=lambda r: r.name)
def test_rule_fires_on_its_example_and_preserves_it(rule: Rewrite) -> None:
    graph = rule.example()
    verify(graph)
    once, fired = sweep(graph, [rule])
    assert fired[rule.name] >= 1
    same(graph, once)
    same(graph, rewrite(graph, [rule]))


@pytest.mark.parametrize("rule", ALL_REWRITES, ids=lambda r: r.name)
def test_rule_keeps_origins(rule: Rewrite) -> None:
    graph = rule.example()
    after, _ = sweep(graph, [rule])
    known = {o for n in graph.nodes for o in n.origin}
    assert {o for n in after.nodes for o in n.origin} <= known


def test_rule_names_are_unique() -> None:
    names = [r.name for r in ALL_REWRITES]
    assert len(set(names)) == len(names)


class _Restless(Rewrite):
    name = "restless"

    def apply(self, node, r):
        return [r.emit(node.op, node.inputs, node.attrs, like=node)]

    def example(self):
        b = GraphBuilder("any")
        x = b.input("x", TensorType(f32, (2,)))
        return b.graph({"y": b.emit(POINTWISE, [x], {"expr": E.unary("neg", E.inp(0))})})


class _Liar(_Restless):
    name = "liar"

    def apply(self, node, r):
        return [r.emit(POINTWISE, node.inputs, {"expr": E.unary("isnan", E.inp(0))}, like=node)]


def test_endless_rule_is_named() -> None:
    with pytest.raises(ModelError, match="restless"):
        rewrite(_Restless().example(), [_Restless()], max_sweeps=5)


def test_rule_that_changes_a_type_is_named() -> None:
    with pytest.raises(ModelError, match="'liar'"):
        sweep(_Liar().example(), [_Liar()])


def test_names_of_kept_nodes_survive_sweeps() -> None:
    graph = _Restless().example()
    after = rewrite(graph, [])
    assert [n.name for n in after.nodes] == [n.name for n in graph.nodes]
    assert [t.name for n in after.nodes for t in n.outputs] == ["pointwise:out"]
