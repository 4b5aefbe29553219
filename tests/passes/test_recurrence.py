"""Cells that a graph has step by step become recurrent layers, with the same results; what only looks like it stays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import product

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto

import camshaft
from camshaft.frontends.onnx import import_onnx
from camshaft.ir.graph import Graph
from camshaft.ir.interpret import interpret
from camshaft.ir.verify import verify
from camshaft.passes.canonical.unrolled import unrolled
from camshaft.passes.pipeline import optimize
from cell_models import FORMS, Cells
from recurrent_models import Layer

pytestmark = pytest.mark.sampled

VARIANTS = [
    Cells("lstm", form, turned=turned, zero=zero, backward=backward)
    for form, turned, zero, backward in product(FORMS, (False, True), (False, True), (False, True))
]
VARIANTS += [
    Cells("gru", form, mix, after, turned=zero != (mix > 1), zero=zero)
    for form, mix, after, zero in product(FORMS, range(4), (False, True), (False, True))
]
VARIANTS += [
    Cells("rnn", form, turned=turned, zero=zero, function=function, batch=batch)
    for form, turned, zero, function, batch in product(
        FORMS, (False, True), (False, True), ("Tanh", "Relu", "Sigmoid"), (2, "n")
    )
    if (batch == 2 or not zero) and (function == "Tanh" or form == "one")
]


def name(cells: Cells) -> str:
    said = [cells.kind, cells.form, f"mix{cells.mix}" * (cells.kind == "gru"), cells.function * (cells.kind == "rnn")]  # fmt: skip
    flags = {"after": cells.after and cells.kind == "gru", "turned": cells.turned, "zero": cells.zero, "backward": cells.backward, "open": cells.batch == "n"}  # fmt: skip
    return "-".join([*filter(None, said), *(n for n, on in flags.items() if on)])


def ops(graph: Graph) -> Counter[str]:
    return Counter(n.op.name for n in graph.nodes)


def optimized(model: ModelProto) -> Graph:
    graph = optimize(import_onnx(model), level=1)
    verify(graph)
    return graph


def same(model: ModelProto, graph: Graph, feeds: Mapping[str, np.ndarray]) -> None:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    want = dict(zip(graph.output_names, session.run(list(graph.output_names), dict(feeds)), strict=True))  # fmt: skip
    for output, got in interpret(graph, feeds).items():
        np.testing.assert_allclose(got, want[output], 1e-4, 1e-5)


@pytest.mark.parametrize("cells", VARIANTS, ids=name)
def test_a_chain_of_cells_is_a_layer(cells: Cells) -> None:
    hidden, last = cells.run("x", cells.first())
    model = cells.model([cells.stacked(hidden), *last])
    graph = optimized(model)
    assert ops(graph)["recurrent"] == 1 and ops(graph)["matmul"] == 0, ops(graph)
    # Of a first step whose state is 0 some forms have too little left to be seen.
    whole = cells.kind != "gru" or not cells.zero or (cells.after and cells.mix != 1)
    assert ops(graph)["concat"] == 0 or not whole, ops(graph)
    assert ops(graph)["conv"] <= 2 * len(FORMS) and ops(graph)["pointwise"] <= 3
    same(model, graph, cells.feeds())


def test_layers_upon_layers_and_both_directions() -> None:
    cells = Cells("lstm", steps=5)
    hidden, _ = cells.run("x", cells.first())
    upper = Cells("gru", steps=5, width=5, backward=True, nodes=cells.nodes, constants=cells.constants)  # fmt: skip
    states, made = upper.first(), dict[int, str]()
    for place in reversed(range(5)):
        states = upper.step(hidden[place], states)
        made[place] = states[0]
    model = cells.model([upper.stacked([made[p] for p in range(5)]), hidden[2]])
    graph = optimized(model)
    assert ops(graph)["recurrent"] == 2 and ops(graph)["conv"] == 2 and ops(graph)["concat"] == 0
    same(model, graph, cells.feeds())


def test_layers_step_by_step_in_one_loop() -> None:
    """Both layers' cells in one loop, as people write them."""
    cells = Cells("gru", steps=6)
    upper = Cells("gru", steps=6, width=5, seed=1, nodes=cells.nodes, constants=cells.constants)
    low, high, out = cells.first(), upper.first(), []
    for place in range(6):
        at = cells.op("Gather", "x", cells.constant(np.array(place)), axis=1)
        low = cells.step(at, low)
        high = upper.step(low[0], high)
        out.append(high[0])
    model = cells.model([cells.stacked(out)])
    graph = optimized(model)
    assert ops(graph)["recurrent"] == 2 and ops(graph)["concat"] == 0
    same(model, graph, cells.feeds())


def test_a_state_that_is_read_on_its_way() -> None:
    cells = Cells("lstm")
    hidden, last = cells.run("x", cells.first())
    extra = cells.op("Neg", hidden[1])
    model = cells.model([extra, hidden[2], last[1]])
    graph = optimized(model)
    assert ops(graph)["recurrent"] == 1
    same(model, graph, cells.feeds())


def test_what_is_fed_back_stays_step_by_step() -> None:
    """A decoder whose input is what it put out before; no step can be computed before the one in front of it."""
    cells = Cells("gru", width=5)
    state, out = cells.first(), []
    x = cells.op("Gather", "x", cells.constant(np.array(0)), axis=1)
    for _ in range(5):
        state = cells.step(x, state)
        x = cells.op("Relu", state[0])
        out.append(x)
    model = cells.model([cells.stacked(out)])
    graph = optimized(model)
    assert ops(graph)["recurrent"] == 0
    same(model, graph, cells.feeds())


def test_cells_that_others_read_stay() -> None:
    cells = Cells("lstm")
    states, seen = cells.first(), []
    for place in range(4):
        at = cells.op("Gather", "x", cells.constant(np.array(place)), axis=1)
        states = cells.step(at, states)
        seen.append(states[1])
    model = cells.model([cells.stacked(seen), states[0]])
    graph = optimized(model)
    assert ops(graph)["recurrent"] == 0
    same(model, graph, cells.feeds())


def test_other_weights_are_another_layer() -> None:
    cells = Cells("rnn", steps=3)
    other = Cells("rnn", steps=3, seed=5, nodes=cells.nodes, constants=cells.constants)
    hidden, last = cells.run("x", cells.first())
    more, _ = other.run("x", last)
    model = cells.model([cells.stacked([*hidden, *more])])
    graph = optimized(model)
    assert ops(graph)["recurrent"] == 2
    same(model, graph, cells.feeds())


@pytest.mark.parametrize("steps", [1, 2])
def test_few_steps_stay(steps: int) -> None:
    cells = Cells("gru", steps=steps, zero=False)
    hidden, _ = cells.run("x", cells.first())
    model = cells.model([cells.stacked(hidden)])
    graph = optimized(model)
    assert ops(graph)["recurrent"] == 0
    same(model, graph, cells.feeds())


@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_layers_that_were_unrolled_are_layers_again(kind: str, direction: str) -> None:
    layer = Layer(kind, direction, 5, 3, given=("bias",), attrs={})
    graph = import_onnx(layer.model())
    steps = unrolled(graph)
    again = optimize(steps, level=1)
    assert ops(steps)["recurrent"] == 0 and ops(again)["recurrent"] >= 1
    feeds = layer.feeds(5, 3)
    want = interpret(graph, feeds)
    for output, got in interpret(again, feeds).items():
        np.testing.assert_allclose(got, want[output], 1e-4, 1e-5)


@pytest.mark.parametrize("kind", ["lstm", "rnn"])
def test_cells_that_nothing_enters(kind: str) -> None:
    """All that the gates get is constant."""
    cells = Cells(kind, zero=False)
    states = list(cells.states)
    at = cells.constant(np.full((2, 3), 0.5, np.float32))
    for _ in range(4):
        states = cells.step(at, states)
    model = cells.model(states)
    assert ops(optimized(model))["recurrent"] == 1
    engine, feeds = camshaft.build(model, threads=1, optimization_level=1), cells.feeds()
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for got, want in zip(engine(feeds).values(), session.run(None, feeds), strict=True):
        np.testing.assert_allclose(got, want, 1e-4, 1e-5)


def stepwise(cells: Cells, x: list[str], states: list[str]) -> Graph:
    """The graph of an RNN over what enters, [N, H] or [1, H], checked beside ONNX Runtime."""
    (h,), made = states, []
    for at in x:
        own = cells.op("MatMul", h, cells.constant(cells.r))
        h = cells.op("Tanh", cells.op("Add", at, own))
        made.append(h)
    model = cells.model([cells.stacked(made)])
    graph = optimized(model)
    same(model, graph, cells.feeds())
    return graph


def test_one_row_enters_for_all() -> None:
    cells = Cells("rnn", zero=False, width=5)
    line = cells.op("Reshape", cells.op("ReduceMean", "x", cells.constant(np.array([0])), keepdims=1), cells.constant(np.array([4, 5])))  # fmt: skip
    x = [cells.op("Gather", line, cells.constant(np.array([n])), axis=0) for n in range(4)]
    assert ops(stepwise(cells, x, ["h"]))["recurrent"] == 1


def test_a_first_state_of_one_column() -> None:
    cells = Cells("lstm", zero=False)
    column = cells.op("ReduceMean", "c", cells.constant(np.array([1])), keepdims=1)
    hidden, _ = cells.run("x", ["h", column])
    model = cells.model([cells.stacked(hidden)])
    graph = optimized(model)
    assert ops(graph)["recurrent"] == 1
    same(model, graph, cells.feeds())


def test_a_first_state_that_looks_like_a_step() -> None:
    cells = Cells("rnn", zero=False, width=5)
    first = cells.op("Tanh", cells._linear("h", cells.r[::-1].copy(), cells.b))
    hidden, _ = cells.run("x", [first])
    model = cells.model([cells.stacked(hidden)])
    graph = optimized(model)
    assert ops(graph)["recurrent"] == 1
    same(model, graph, cells.feeds())


def test_what_enters_may_be_deep_and_shared() -> None:
    """Twenty layers, each read twice, and a sum of hundreds of terms: neither takes long, nor too many calls within each other."""
    cells = Cells("rnn", zero=False, width=5)
    x = [cells.op("Gather", "x", cells.constant(np.array(n)), axis=1) for n in range(4)]
    w = cells.constant(cells.r)
    for _ in range(20):
        x = [cells.op("Add", at, cells.op("Relu", cells.op("MatMul", at, w))) for at in x]
        x = [cells.op("Mul", at, cells.constant(np.array(0.3, np.float32))) for at in x]
    graph = stepwise(cells, x, ["h"])
    assert ops(graph)["recurrent"] == 1
    cells = Cells("rnn", zero=False, width=5)
    x = [cells.op("Gather", "x", cells.constant(np.array(n)), axis=1) for n in range(3)]
    more = cells.op("Neg", x[0])
    for _ in range(300):
        x = [cells.op("Add", at, more) for at in x]
    stepwise(cells, x, ["h"])


def test_an_engine_of_cells() -> None:
    cells = Cells("lstm", steps=7, width=6, hidden=19)
    hidden, last = cells.run("x", cells.first())
    model = cells.model([cells.stacked(hidden), *last])
    feeds = cells.feeds()
    engine = camshaft.build(model, threads=1, optimization_level=1)
    assert sum(step["op"] == "recurrent" for step in engine.inspect()["steps"]) == 1
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for got, want in zip(engine(feeds).values(), session.run(None, feeds), strict=True):
        np.testing.assert_allclose(got, want, 1e-4, 1e-5)
