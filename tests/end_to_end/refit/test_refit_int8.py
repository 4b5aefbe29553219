"""Engines with INT8 layers whose weights are exchanged: scales, levels and corrections of biases are made anew, ranges of
activations stay."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper

import camshaft
from refit_nets import (
    Draw,
    Net,
    arrays,
    attention,
    close,
    convolutions,
    feed,
    flattened,
    random,
    recurrent,
)

INT8 = {"precision": {"int8"}, "optimization_level": 1}


def batches(engine: camshaft.Engine) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(5)
    shape = feed(engine)["x"].shape
    return [{"x": rng.standard_normal(shape).astype(np.float32)} for _ in range(4)]


def nearby(net: Callable[[Draw], ModelProto]) -> ModelProto:
    """The net of `random(1)`, trained on a little."""
    rng = np.random.default_rng(7)

    def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
        return first(name, shape) * rng.uniform(0.9, 1.1, shape)

    first = random(1)
    return net(draw)


@pytest.mark.parametrize(
    "net", [convolutions, flattened, attention, recurrent], ids=lambda f: f.__name__
)
def test_weights_of_int8_layers_become_those_of_a_build_with_the_same_ranges(
    net: Callable[[Draw], ModelProto], tmp_path: Path
) -> None:
    first, second, cache = net(random(1)), net(random(2)), tmp_path / "cache"
    data = batches(camshaft.build(first, optimization_level=0))
    camshaft.build(first, calibration=data, calibration_cache=cache, **INT8)
    engine, wanted = (
        camshaft.build(m, refittable=True, calibration_cache=cache, **INT8) for m in (first, second)
    )
    assert any(note.precision in ("u8", "f32, weights i8") for note in engine.notes)
    assert engine.refittable.keys() == arrays(first).keys()
    x = feed(engine)
    old = engine(x)["y"]
    assert np.array_equal(engine.refit(second, copy=True)(x)["y"], wanted(x)["y"])
    assert np.array_equal(engine.refit(second).refit(first)(x)["y"], old)


@pytest.mark.parametrize("net", [convolutions, attention], ids=lambda f: f.__name__)
def test_with_data_biases_are_corrected_for_the_new_weights(
    net: Callable[[Draw], ModelProto],
) -> None:
    first, second = net(random(1)), nearby(net)
    data = batches(camshaft.build(first, optimization_level=0))
    engine = camshaft.build(first, refittable=True, calibration=data, **INT8)
    x = data[0]
    old = engine(x)["y"]
    exact = camshaft.build(second, optimization_level=1)(x)["y"]
    built = camshaft.build(second, calibration=data, **INT8)(x)["y"]
    stripped = camshaft.load(engine.to_bytes(strip_weights=True))
    exchanged = stripped.refit(second)(x)["y"]
    assert not np.array_equal(exchanged, old)
    assert np.abs(exchanged - exact).mean() < 1.5 * np.abs(built - exact).mean() + 1e-3
    assert np.array_equal(stripped.refit(first)(x)["y"], old)


def cells(draw: Draw) -> ModelProto:
    n = Net(draw)
    x = n.add(
        "LSTM", "x", n.w("w", 1, 160, 6), n.w("r", 1, 160, 40), n.w("b", 1, 320), hidden_size=40
    )
    return n.model(n.add("ReduceSum", x, keepdims=0, noop_with_empty_axes=1), [4, 2, 6])


def rows(draw: Draw) -> ModelProto:
    n = Net(draw)
    x = n.add("Relu", n.add("MatMul", "x", n.w("a", 160, 96)))
    return n.model(n.add("Add", n.add("MatMul", x, n.w("b", 96, 40)), n.w("c", 40)), [3, 5, 160])


@pytest.mark.parametrize("net", [cells, rows], ids=lambda f: f.__name__)
def test_weights_of_layers_that_need_no_calibration(net: Callable[[Draw], ModelProto]) -> None:
    first, second = net(random(1)), net(random(2))
    engine = camshaft.build(first, refittable=True, **INT8)
    assert any(note.precision in ("u8", "f32, weights i8") for note in engine.notes)
    x = feed(engine)
    wanted = camshaft.build(second, refittable=True, **INT8)
    assert np.array_equal(engine.refit(second)(x)["y"], wanted(x)["y"])


def quantized(draw: Draw, *, floats: bool, by_channel: bool, channels: int) -> ModelProto:
    """relu(conv) of levels, as tools for quantization-aware training write it."""
    n = Net(draw)
    w = draw("w", (channels, 3, 3, 3)).astype(np.float32)
    largest = np.abs(w).max((1, 2, 3)) if by_channel else np.abs(w).max()
    scale = np.asarray(largest / 127, np.float32)
    own = {
        "x.s": np.float32(0.02), "x.z": np.uint8(128), "y.s": np.float32(0.02), "y.z": np.uint8(0),
        "w.s": scale, "w.z": np.zeros(scale.shape, np.int8),
    }  # fmt: skip
    x = n.add("DequantizeLinear", n.add("QuantizeLinear", "x", "x.s", "x.z"), "x.s", "x.z")
    if floats:
        n.weights["w"] = w
        levels = n.add("QuantizeLinear", "w", "w.s", "w.z", axis=0)
    else:
        own["w"] = np.rint(w / scale.reshape(-1, 1, 1, 1)).astype(np.int8)
        levels = "w"
    filters = n.add("DequantizeLinear", levels, "w.s", "w.z", axis=0)
    y = n.add("Relu", n.add("Conv", x, filters, n.w("b", channels), pads=[1] * 4))
    y = n.add("DequantizeLinear", n.add("QuantizeLinear", y, "y.s", "y.z"), "y.s", "y.z")
    model = n.model(y, [1, 3, 8, 8])
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(a), k) for k, a in own.items()
    )
    return model


@pytest.mark.parametrize("channels", [8, 1])
@pytest.mark.parametrize("by_channel", [True, False])
@pytest.mark.parametrize("floats", [True, False])
def test_weights_of_models_that_are_quantized(
    floats: bool, by_channel: bool, channels: int
) -> None:
    first, second = (
        quantized(random(s), floats=floats, by_channel=by_channel, channels=channels)
        for s in (1, 2)
    )
    engine = camshaft.build(first, refittable=True, **INT8)
    assert {"w", "w.s", "b"} <= engine.refittable.keys()
    x = feed(engine)
    wanted = camshaft.build(second, **INT8)(x)["y"]
    assert close(engine.refit(second)(x)["y"], wanted)
    with pytest.raises(camshaft.errors.RefitError, match=r"'x\.s' cannot be exchanged"):
        engine.refit({"x.s": np.float32(0.5)})
