"""DynamicQuantizeLSTM with all that it says, beside ONNX Runtime's LSTM of the same weights as floats.

ONNX Runtime's own one rounds inputs and states to 8 bits, camshaft to 12 and more; it lies near both.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from camshaft.errors import ModelError
from foreign_models import Fixed, Operand, check_foreign, foreign, runtime_results
from onnx_models import SMALL_WEIGHTS, imported

pytest.importorskip("onnxruntime", reason="operators are compared with ONNX Runtime")
pytestmark = pytest.mark.peers

RNG = np.random.default_rng(18)
STEPS, WIDTH, SIZE = 5, 6, 8
NAMES = ("y", "hidden", "cell")
START = RNG.bit_generator.state


@pytest.fixture(autouse=True)
def _same_numbers() -> None:
    """Whatever ran before: another value may stand at a tie."""
    RNG.bit_generator.state = START


def f(*shape: int) -> np.ndarray:
    return (RNG.standard_normal(shape) / 4).astype(np.float32)


def check(
    given: list[Operand], tolerance: float, dims: dict[int, str] | None = None, **more: Any
) -> None:
    """tolerance: to the layer of floats."""
    plain: list[Operand] = [
        given[0],
        *(Fixed(floats(given, *n)) for n in ((1, 8), (2, 10))),
        *given[3:8],
    ]
    layer = runtime_results(*foreign("LSTM", plain, domain="", **more))
    check_foreign("DynamicQuantizeLSTM", given, dims=dims, tolerance=tolerance, want=layer, **more)
    for theirs, want in zip(
        runtime_results(*foreign("DynamicQuantizeLSTM", given, **more)), layer, strict=True
    ):
        np.testing.assert_allclose(theirs, want, atol=0.05)


def floats(given: list[Operand], weights: int, scale: int) -> np.ndarray:
    """[D, 4H, .] of weights, their scales and zero points."""
    w, s, z = (np.asarray(given[n].array) for n in (weights, scale, scale + 1))  # type: ignore[union-attr]
    s, z = (a.reshape(len(w), 1, -1).astype(np.float32) for a in (s, z))
    return ((w.astype(np.float32) - z) * s).swapaxes(1, 2).copy()


def operands(
    d: int, batch: int, *, by_column: bool, lengths: bool, more: bool, unsigned: bool = False
) -> list[Operand]:
    columns = (d, 4 * SIZE) if by_column else (d,)

    def quantized(inner: int) -> tuple[Operand, list[Operand]]:
        low, high = SMALL_WEIGHTS
        stored = RNG.integers(low, high + 1, (d, inner, 4 * SIZE)).astype(np.int8)
        scale = RNG.uniform(0.005, 0.01, columns).astype(np.float32)
        zero = np.zeros(columns, np.int8)
        if unsigned:
            stored, zero = (
                (stored.astype(np.int16) + 128).astype(np.uint8),
                np.full(columns, 128, np.uint8),
            )
        return Fixed(stored), [Fixed(scale), Fixed(zero)]

    (w, w_scale), (r, r_scale) = quantized(WIDTH), quantized(SIZE)
    steps = RNG.integers(1, STEPS + 1, batch).astype(np.int32)
    states: list[Operand] = [f(d, batch, SIZE), f(d, batch, SIZE), Fixed(f(d, 3 * SIZE))]
    return [
        2 * f(STEPS, batch, WIDTH), w, r, Fixed(f(d, 8 * SIZE)) if more else None,
        steps if lengths else None, *(states if more else [None] * 3), *w_scale, *r_scale,
    ]  # fmt: skip


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "clip": {"clip": 0.3},
    "coupled": {"input_forget": 1},
    "activations": {"activations": ["HardSigmoid", "Relu", "Softsign"]},
    "with numbers": {
        "activations": ["Sigmoid", "LeakyRelu", "Elu"],
        "activation_alpha": [0.1, 0.7],
    },
}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("by_column", [False, True])
def test_options(by_column: bool, direction: str, option: str) -> None:
    d = 2 if direction == "bidirectional" else 1
    attrs = dict(OPTIONS[option])
    if "activations" in attrs:
        attrs["activations"] = attrs["activations"] * d
        attrs["activation_alpha"] = attrs.get("activation_alpha", []) * d or None
    attrs = {k: v for k, v in attrs.items() if v is not None}
    more: dict[str, Any] = {"direction": direction, "hidden_size": SIZE, "outputs": NAMES, **attrs}
    given = operands(d, 1, by_column=by_column, lengths=False, more=option != "plain")
    dims = {0: f"t b {WIDTH}"}
    check(given, 2e-3, dims, **more)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_lengths(direction: str) -> None:
    d = 2 if direction == "bidirectional" else 1
    given = operands(d, 1, by_column=False, lengths=True, more=True)
    more: dict[str, Any] = {"direction": direction, "hidden_size": SIZE, "outputs": NAMES}
    for steps in (1, 3, STEPS):
        given[4] = np.array([steps], np.int32)
        check(given, 1e-3, **more)


def test_zero_points() -> None:
    given = operands(1, 3, by_column=True, lengths=False, more=False, unsigned=True)
    check(given, 1e-5, hidden_size=SIZE, outputs=NAMES)


def test_weights_stay_bytes_where_states_are_bounded() -> None:
    for more in (False, True):
        given = operands(1, 2, by_column=True, lengths=True, more=more)
        graph = imported(foreign("DynamicQuantizeLSTM", given, hidden_size=SIZE, outputs=NAMES)[0])
        (layer,) = [n for n in graph.nodes if n.op.name == "recurrent"]
        assert layer.args[1].type.dtype.name == "i8"
    graph = imported(
        foreign(
            "DynamicQuantizeLSTM", given, hidden_size=SIZE, activations=["Sigmoid", "Tanh", "Relu"]
        )[0]
    )
    (layer,) = [n for n in graph.nodes if n.op.name == "recurrent"]
    assert layer.args[1].type.dtype.name == "f32"


def test_computed_weights_are_left_to_the_host() -> None:
    given = operands(1, 1, by_column=False, lengths=False, more=True)
    given[2] = given[2].array  # type: ignore[union-attr]
    check_foreign(
        "DynamicQuantizeLSTM", given, tolerance=5e-3, host=True, hidden_size=SIZE, outputs=NAMES
    )


def test_what_does_not_fit_names_node_and_input() -> None:
    given = operands(1, 2, by_column=False, lengths=True, more=True)
    given[5] = f(1, 3, SIZE)
    model, _ = foreign("DynamicQuantizeLSTM", given, hidden_size=SIZE)
    with pytest.raises(ModelError, match=r"node 'node' .*initial hidden state"):
        imported(model)
