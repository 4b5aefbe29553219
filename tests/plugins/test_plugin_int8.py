"""Plugins between INT8 layers: what moves elements runs on bytes, and so does what has a form on bytes."""

from __future__ import annotations

from typing import Any

import numpy as np

import camshaft
from camshaft.ir.op import REQUIRED
from camshaft.ir.plugins.plugin import quantization_attributes

RNG = np.random.default_rng(3)
BYTES = dict.fromkeys(quantization_attributes([], (1.0, 0)), REQUIRED)


def network(plugin: camshaft.Plugin) -> camshaft.Network:
    """conv, the plugin, conv."""
    n = camshaft.Network()
    x = n.input("x", (1, 16, 12, 12))

    def conv(t: Any) -> Any:
        return n.conv(t, RNG.standard_normal((16, 16, 3, 3)).astype(np.float32) * 0.1, padding=1)

    n.output(conv(n.plugin(plugin, conv(x), name="mine")), "y")
    return n


def built(plugin: camshaft.Plugin) -> tuple[camshaft.Engine, camshaft.Engine, list[Any]]:
    n, batches = network(plugin), [{"x": RNG.standard_normal((1, 16, 12, 12), np.float32)}] * 2
    engine = n.build(optimization_level=0, precision={"int8"}, calibration=batches,
                     layer_precision={"conv_0": "int8", "conv_1": "int8"})  # fmt: skip
    return engine, n.build(optimization_level=0), batches


def spec_types(engine: camshaft.Engine) -> list[str]:
    """Precision of the plugin's step."""
    return [s.precision for s in engine.manifest.notes if s.op == "plugin"]


def close(engine: camshaft.Engine, exact: camshaft.Engine, batches: list[Any]) -> None:
    got, want = (e(batches[0])["y"] for e in (engine, exact))
    assert np.abs(got - want).max() < 0.05 * np.abs(want).max()


def add_copy(plugin: camshaft.Plugin) -> None:
    """A kernel that copies elements of any type."""

    @plugin.kernel()
    def copy(k: Any, work: Any, x: Any, y: Any) -> None:
        with k.loop(k.begin, k.end) as i:
            k.store(k.load(x.at(i)), y.at(i))


def test_what_moves_elements_runs_on_bytes() -> None:
    @camshaft.plugin("test::Same", moves=True)
    def same(x: np.ndarray) -> np.ndarray:
        return x

    add_copy(same)
    engine, exact, batches = built(same)
    assert spec_types(engine) == ["u8"] and spec_types(exact) == ["f32"]
    close(engine, exact, batches)


def test_other_plugins_are_given_floats() -> None:
    @camshaft.plugin("test::SameFloats", types=["f32"])
    def same(x: np.ndarray) -> np.ndarray:
        return x

    add_copy(same)
    engine, exact, batches = built(same)
    assert spec_types(engine) == ["f32"]
    close(engine, exact, batches)


def test_a_form_on_bytes_gets_the_scales() -> None:
    @camshaft.plugin("test::HalfBytes", attributes=BYTES, types=["u8"])
    def on_bytes(
        x: np.ndarray,
        *,
        input_scales: tuple[float, ...],
        input_zeros: tuple[int, ...],
        output_scale: float,
        output_zero: int,
    ) -> np.ndarray:
        real = (x.astype(np.float32) - input_zeros[0]) * input_scales[0] / 2
        return np.clip(np.rint(real / output_scale) + output_zero, 0, 255).astype(np.uint8)

    @camshaft.plugin("test::Half", types=["f32"], int8=on_bytes)
    def half(x: np.ndarray) -> np.ndarray:
        return x / 2

    engine, exact, batches = built(half)
    assert [s.name for s in engine.manifest.notes if s.op == "plugin"] == ["mine + quantize mine"]
    close(engine, exact, batches)
