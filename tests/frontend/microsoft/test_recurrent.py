"""DynamicQuantizeLSTM with all that it says, beside ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from camshaft.errors import ModelError
from foreign_models import Fixed, Operand, check_foreign, foreign
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


def operands(d: int, batch: int, *, by_column: bool, lengths: bool, more: bool) -> list[Operand]:
    columns = (d, 4 * SIZE) if by_column else (d,)

    def quantized(inner: int) -> tuple[Operand, list[Operand]]:
        low, high = SMALL_WEIGHTS
        stored = RNG.integers(low, high + 1, (d, inner, 4 * SIZE)).astype(np.int8)
        scale = RNG.uniform(0.005, 0.01, columns).astype(np.float32)
        return Fixed(stored), [Fixed(scale), Fixed(np.zeros(columns, np.int8))]

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
    """A batch of one: ONNX Runtime quantizes the states of a batch in pieces, one a thread.

    A value at a rounding tie may fall the other way, which moves results by a quantum.
    """
    d = 2 if direction == "bidirectional" else 1
    attrs = dict(OPTIONS[option])
    if "activations" in attrs:
        attrs["activations"] = attrs["activations"] * d
        attrs["activation_alpha"] = attrs.get("activation_alpha", []) * d or None
    attrs = {k: v for k, v in attrs.items() if v is not None}
    more: dict[str, Any] = {"direction": direction, "hidden_size": SIZE, "outputs": NAMES, **attrs}
    given = operands(d, 1, by_column=by_column, lengths=False, more=option != "plain")
    dims = {0: f"t b {WIDTH}"}
    check_foreign("DynamicQuantizeLSTM", given, dims=dims, tolerance=5e-3, host=True, **more)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_lengths(direction: str) -> None:
    d = 2 if direction == "bidirectional" else 1
    given = operands(d, 1, by_column=False, lengths=True, more=True)
    more: dict[str, Any] = {"direction": direction, "hidden_size": SIZE, "outputs": NAMES}
    for steps in (1, 3, STEPS):
        given[4] = np.array([steps], np.int32)
        check_foreign("DynamicQuantizeLSTM", given, tolerance=1e-3, host=True, **more)


def test_what_does_not_fit_names_node_and_input() -> None:
    given = operands(1, 2, by_column=False, lengths=True, more=True)
    given[5] = f(1, 3, SIZE)
    model, _ = foreign("DynamicQuantizeLSTM", given, hidden_size=SIZE)
    with pytest.raises(ModelError, match=r"node 'node' .*initial hidden state"):
        imported(model)
