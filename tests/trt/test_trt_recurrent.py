"""add_rnn_v2 beside NumPy: all operations, both ways, inputs as they are, lengths, first states; and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import camshaft.tensorrt as trt
from trt_networks import Bench

Array = np.ndarray[Any, Any]
OP, GATE, MODE, WAY = trt.RNNOperation, trt.RNNGateType, trt.RNNInputMode, trt.RNNDirection
GATES = {"RELU": ["INPUT"], "TANH": ["INPUT"], "LSTM": ["INPUT", "FORGET", "CELL", "OUTPUT"], "GRU": ["UPDATE", "RESET", "HIDDEN"]}  # fmt: skip
ROWS, STEPS, DATA, HIDDEN = 3, 4, 5, 5
Weights = dict[tuple[int, str, bool], tuple[Array, Array]]


def weights_of(op: str, layers: int, ways: int, skips: bool) -> Weights:
    """(place, gate, is_w) -> matrix and bias; no matrix where the input is taken as it is."""
    rng = np.random.default_rng(11)
    made: Weights = {}
    for place in range(layers * ways):
        inputs = DATA if place < ways else ways * HIDDEN
        for gate in GATES[op]:
            for is_w in (True, False):
                shape = (HIDDEN, inputs if is_w else HIDDEN)
                matrix = rng.standard_normal(shape) / 2
                if is_w and place < ways and skips:
                    matrix = np.zeros((0, 0))
                bias = rng.standard_normal(HIDDEN) / 2
                made[place, gate, is_w] = matrix.astype(np.float32), bias.astype(np.float32)
    return made


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def step(
    op: str, place: int, weights: Weights, x: Array, h: Array, c: Array
) -> tuple[Array, Array]:
    """One row's next states."""

    def part(gate: str, is_w: bool, given: Array) -> Array:
        matrix, bias = weights[place, gate, is_w]
        return (matrix @ given if matrix.size else given) + bias

    both = {g: part(g, True, x) + part(g, False, h) for g in GATES[op]}
    if op == "RELU":
        return np.maximum(both["INPUT"], 0), c
    if op == "TANH":
        return np.tanh(both["INPUT"]), c
    if op == "LSTM":
        i, f, o = (sigmoid(both[g]) for g in ("INPUT", "FORGET", "OUTPUT"))
        c = f * c + i * np.tanh(both["CELL"])
        return o * np.tanh(c), c
    z, r = sigmoid(both["UPDATE"]), sigmoid(both["RESET"])
    fresh = np.tanh(part("HIDDEN", True, x) + r * part("HIDDEN", False, h))
    return (1 - z) * fresh + z * h, c


def reference(op: str, layers: int, ways: int, weights: Weights, x: Array, lengths: Array, h0: Array, c0: Array) -> list[Array]:  # fmt: skip
    """x: [rows, steps, data]; h0, c0: [rows, layers * ways, hidden]."""
    x, last_h, last_c = x.astype(np.float64), np.zeros(h0.shape), np.zeros(c0.shape)
    for layer in range(layers):
        made = np.zeros((len(x), STEPS, ways * HIDDEN))
        for row, length in enumerate(lengths):
            for way in range(ways):
                place = layer * ways + way
                h, c = h0[row, place].astype(np.float64), c0[row, place].astype(np.float64)
                for t in range(length) if way == 0 else reversed(range(length)):
                    h, c = step(op, place, weights, x[row, t], h, c)
                    made[row, t, way * HIDDEN : (way + 1) * HIDDEN] = h
                last_h[row, place], last_c[row, place] = h, c
        x = made
    return [x, last_h, *([last_c] if op == "LSTM" else [])]


def fill(layer: Any, weights: Weights, skips: bool) -> None:
    for (place, gate, is_w), (matrix, bias) in weights.items():
        if matrix.size:
            assert layer.set_weights_for_gate(place, getattr(GATE, gate), is_w, matrix)
        assert layer.set_bias_for_gate(place, getattr(GATE, gate), is_w, bias)


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("skips", [False, True])
@pytest.mark.parametrize("ways", [1, 2])
@pytest.mark.parametrize("op", GATES)
def test_layers_of_all_operations(op: str, ways: int, skips: bool, opened: bool) -> None:
    b = Bench((ROWS, STEPS, DATA), opened=(0,) if opened else ())
    layers = 2
    layer: Any = b.net.add_rnn_v2(b.tensors[0], layers, HIDDEN, STEPS, getattr(OP, op))
    if ways == 2:
        layer.direction = WAY.BIDIRECTION
    if skips:
        layer.input_mode = MODE.SKIP
    weights = weights_of(op, layers, ways, skips)
    fill(layer, weights, skips)
    states = (
        np.random.default_rng(2)
        .standard_normal((2, ROWS, layers * ways, HIDDEN))
        .astype(np.float32)
    )
    lengths = np.array([4, 2, 3], np.int32)
    layer.seq_lengths = b.constant(lengths)
    layer.hidden_state = b.constant(states[0])
    if op == "LSTM":
        layer.cell_state = b.constant(states[1])
    want = reference(op, layers, ways, weights, b.arrays[0], lengths, *states)
    got = b.outputs(layer)
    assert len(got) == len(want)
    for mine, theirs in zip(got, want, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("index", [(), (2, 2)])
def test_any_number_of_axes_before_steps(index: tuple[int, ...]) -> None:
    b = Bench((*index, STEPS, DATA))
    layer: Any = b.net.add_rnn_v2(b.tensors[0], 1, HIDDEN, STEPS, OP.LSTM)
    weights = weights_of("LSTM", 1, 1, False)
    fill(layer, weights, False)
    rows = b.arrays[0].reshape(-1, STEPS, DATA)
    nothing = np.zeros((len(rows), 1, HIDDEN))
    want = reference("LSTM", 1, 1, weights, rows, np.full(len(rows), STEPS), nothing, nothing)
    for mine, theirs in zip(b.outputs(layer), want, strict=True):
        np.testing.assert_allclose(
            mine, theirs.reshape(*index, *theirs.shape[1:]), rtol=1e-4, atol=1e-5
        )


def test_properties() -> None:
    b = Bench((ROWS, STEPS, DATA))
    layer: Any = b.net.add_rnn_v2(b.tensors[0], 2, HIDDEN, STEPS, OP.RELU)
    assert (layer.num_layers, layer.hidden_size, layer.max_seq_length, layer.data_length) == (
        2,
        HIDDEN,
        STEPS,
        DATA,
    )
    assert (layer.op, layer.input_mode, layer.direction) == (OP.RELU, MODE.LINEAR, WAY.UNIDIRECTION)
    assert (layer.seq_lengths, layer.hidden_state, layer.cell_state, layer.type) == (
        None,
        None,
        None,
        trt.LayerType.RNN_V2,
    )
    matrix = np.ones((HIDDEN, DATA), np.float32)
    assert layer.set_weights_for_gate(0, GATE.INPUT, True, matrix)
    assert np.array_equal(layer.get_weights_for_gate(0, GATE.INPUT, True), matrix.reshape(-1))
    assert layer.get_bias_for_gate(0, GATE.INPUT, True).size == 0
    layer.op = OP.TANH
    assert layer.op == OP.TANH
    assert not b.log.errors
    layer.op = OP.LSTM
    assert "has other outputs" in b.log.errors[-1]
    assert not layer.set_weights_for_gate(0, GATE.FORGET, True, matrix)
    assert "has no gate RNNGateType.FORGET in layer 0" in b.log.errors[-1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda layer: layer.set_weights_for_gate(0, GATE.INPUT, False, np.zeros(0, np.float32)), "are not set; call set_weights_for_gate"),
        (lambda layer: layer.set_weights_for_gate(0, GATE.INPUT, True, np.zeros(7, np.float32)), "have 7 elements, and shape (5, 5) not"),
        (lambda layer: setattr(layer, "input_mode", MODE.SKIP), "must be empty"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_are_errors(change: Any, said: str) -> None:
    b = Bench((ROWS, STEPS, DATA))
    layer: Any = b.net.add_rnn_v2(b.tensors[0], 1, HIDDEN, STEPS, OP.TANH)
    fill(layer, weights_of("TANH", 1, 1, False), False)
    change(layer)
    with pytest.raises(ValueError, match="no rank"):
        len(layer.get_output(0).shape)
    assert said in b.log.errors[-1]


def test_another_number_of_steps_is_an_error() -> None:
    b = Bench((ROWS, STEPS, DATA))
    layer: Any = b.net.add_rnn_v2(b.tensors[0], 1, HIDDEN, STEPS + 1, OP.TANH)
    assert layer.get_output(0).dtype == trt.float32
    assert "max_seq_length=5, and the input has 4 steps" in b.log.errors[-1]
    assert b.net.add_rnn_v2(b.tensors[0], 0, HIDDEN, STEPS, OP.TANH) is None
    assert "layer_count" in b.log.errors[-1] or "num_layers=0 must be 1 or more" in b.log.errors[-1]
