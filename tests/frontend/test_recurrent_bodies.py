"""Scan and Loop over recurrent cells become recurrent layers in the graph where they stand, whatever the number of steps."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import onnxruntime
import pytest
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper

import camshaft
from camshaft.frontends.onnx import import_model
from camshaft.ir.interpret import interpret
from cell_models import Cells

N, WIDTH = 2, 3


def value(name: str, shape: Sequence[int | str] | None, kind: int = TensorProto.FLOAT) -> object:
    return helper.make_tensor_value_info(name, kind, shape)


def body(layers: Sequence[Cells], loop: bool, axis: int, batch: int | str) -> GraphProto:
    """Cells upon each other; collected are the upper state, and something made of the lower one."""
    first = layers[0]
    x = "at"
    if loop:
        x = first.op("Gather", "x", "number", axis=axis)
    states, made = [], []
    for n, cells in enumerate(layers):
        own = [f"{s}{n}" for s in cells.states]
        new = cells.step(x, own)
        states += [(s, cells.hidden) for s in own]
        made += new
        x = new[0]
    made = [first.op("Identity", m) for m in made]
    extra = first.op("Mul", first.op("Neg", made[0]), first.constant(np.array(2, np.float32)))
    inputs = [value(s, [batch, size]) for s, size in states]
    outputs = [value(m, None) for m in (*made, x, extra)]
    if loop:
        inputs = [value("number", [], TensorProto.INT64), value("going", [], TensorProto.BOOL), *inputs]  # fmt: skip
        first.nodes.append(helper.make_node("Identity", ["going"], ["on"]))
        outputs = [value("on", [], TensorProto.BOOL), *outputs]
    else:
        inputs.append(value("at", [batch, WIDTH]))
    inits = [numpy_helper.from_array(a, n) for n, a in first.constants.items()]
    return helper.make_graph(first.nodes, "body", inputs, outputs, inits)


def model(
    layers: Sequence[Cells],
    loop: bool = False,
    axis: int = 0,
    steps: int | str = "t",
    batch: int | str = N,
    directions: tuple[int, int] = (0, 0),
) -> ModelProto:
    for other in layers[1:]:
        other.nodes, other.constants = layers[0].nodes, layers[0].constants
    inner = body(layers, loop, axis, batch)
    states = [(f"{s}{n}", c.hidden) for n, c in enumerate(layers) for s in c.states]
    ends = [f"end_{s}" for s, _ in states]
    begin = [f"begin_{s}" for s, _ in states]
    inits = []
    if loop:
        inits = [numpy_helper.from_array(np.array(axis), "axis"), numpy_helper.from_array(np.array(True), "true")]  # fmt: skip
        nodes = [
            helper.make_node("Shape", ["x"], ["shape"]),
            helper.make_node("Gather", ["shape", "axis"], ["count"]),
            helper.make_node("Loop", ["count", "true", *begin], [*ends, "y", "z"], body=inner),
        ]
    else:
        nodes = [
            helper.make_node(
                "Scan", [*begin, "x"], [*ends, "y", "z"], body=inner, num_scan_inputs=1, scan_input_axes=[axis],
                scan_output_axes=[axis, 1], scan_input_directions=[directions[0]], scan_output_directions=[directions[1], 0],
            )
        ]  # fmt: skip
    shape = [steps, batch, WIDTH] if axis == 0 else [batch, steps, WIDTH]
    inputs = [value("x", shape), *(value(b, [batch, size]) for b, (_, size) in zip(begin, states, strict=True))]  # fmt: skip
    graph = helper.make_graph(nodes, "model", inputs, [value(o, None) for o in ("y", "z", *ends)], inits)  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def feeds(layers: Sequence[Cells], steps: int, axis: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(steps)
    shapes = {"x": (steps, N, WIDTH) if axis == 0 else (N, steps, WIDTH)}
    shapes |= {f"begin_{s}{n}": (N, c.hidden) for n, c in enumerate(layers) for s in c.states}
    return {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}


def is_right(proto: ModelProto, given: dict[str, np.ndarray]) -> None:
    whole = import_model(proto)
    assert whole.script is None
    (graph,) = whole.graphs
    assert any(n.op.name == "recurrent" for n in graph.nodes)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    names = list(graph.output_names)
    want = dict(zip(names, session.run(names, given), strict=True))
    for name, got in interpret(graph, given).items():
        assert got.shape == want[name].shape
        np.testing.assert_allclose(got, want[name], 1e-4, 1e-5)


KINDS = [("lstm", False), ("gru", True), ("gru", False), ("rnn", False)]


@pytest.mark.parametrize(("kind", "after"), KINDS)
@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("form", ["one", "each", "joined"])
def test_a_loop_over_a_cell_is_a_layer(
    kind: str, after: bool, loop: bool, axis: int, form: str
) -> None:
    layers = [Cells(kind, form, after=after)]
    proto = model(layers, loop, axis)
    for steps in (1, 6):
        is_right(proto, feeds(layers, steps, axis))


@pytest.mark.parametrize("directions", list(product((0, 1), (0, 1))))
def test_directions(directions: tuple[int, int]) -> None:
    layers = [Cells("gru")]
    is_right(model(layers, directions=directions), feeds(layers, 5))


@pytest.mark.parametrize("loop", [False, True])
def test_cells_upon_each_other(loop: bool) -> None:
    layers = [Cells("lstm"), Cells("gru", width=5, seed=1), Cells("rnn", width=5, seed=2)]
    is_right(model(layers, loop), feeds(layers, 7))


def test_an_open_batch() -> None:
    layers = [Cells("lstm")]
    is_right(model(layers, batch="n"), feeds(layers, 5))


def test_long_sequences_of_known_length() -> None:
    layers = [Cells("gru")]
    is_right(model(layers, steps=700), feeds(layers, 700))


def test_an_engine() -> None:
    layers = [Cells("lstm", hidden=19)]
    proto = model(layers, axis=1)
    engine = camshaft.build(proto, threads=1, optimization_level=1)
    given = feeds(layers, 9, 1)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    for name, want in zip(("y", "z"), session.run(["y", "z"], given), strict=True):
        np.testing.assert_allclose(engine(given)[name], want, 1e-4, 1e-5)


def test_other_bodies_stay_loops() -> None:
    """A cell whose input is what it made before, and one that counts beside it."""
    cells = Cells("rnn", width=5, hidden=5)
    new = cells.step("h0", ["h0"])
    cells.nodes.append(helper.make_node("Add", [new[0], "at"], ["made"]))
    inner = helper.make_graph(
        cells.nodes, "body", [value("h0", [N, 5]), value("at", [N, 5])], [value("made", None)],
        [numpy_helper.from_array(a, n) for n, a in cells.constants.items()],
    )  # fmt: skip
    node = helper.make_node("Scan", ["begin", "x"], ["end"], body=inner, num_scan_inputs=1)
    graph = helper.make_graph(
        [node], "model", [value("x", ["t", N, 5]), value("begin", [N, 5])], [value("end", None)]
    )
    whole = import_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9))  # fmt: skip
    assert whole.script is not None


def test_sequences_that_may_be_empty_stay_loops() -> None:
    layers = [Cells("gru")]
    shapes = {"x": ("t=0..", N, WIDTH)}
    assert import_model(model(layers), shapes=camshaft.BuildConfig(shapes=shapes).shapes).script is not None  # fmt: skip
