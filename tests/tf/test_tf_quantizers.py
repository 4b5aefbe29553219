"""FakeQuant and quantize_and_dequantize as Q/DQ: engines answer as TensorFlow does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from camshaft.errors import CalibrationError
from tf_models import QUICK, images, keras, tf

import camshaft.tensorflow as ct  # isort: skip
from camshaft.tensorflow.grids import grid_of  # isort: skip

pytestmark = pytest.mark.peers
fake = tf.quantization.fake_quant_with_min_max_vars
fake_args = tf.quantization.fake_quant_with_min_max_args
per_channel = tf.quantization.fake_quant_with_min_max_vars_per_channel
both = tf.quantization.quantize_and_dequantize_v2
LOW, HIGH = np.array([-1.0, -0.3, -4.0], np.float32), np.array([0.5, 0.9, 3.0], np.float32)

QUANTIZERS = {
    "vars": lambda x: fake(x, -1.3, 2.1),
    "args": lambda x: fake_args(x, -1.0, 1.0),
    "narrow": lambda x: fake(x, -1.3, 2.1, narrow_range=True),
    "nudged far": lambda x: fake(x, 0.3, 2.1),
    "below": lambda x: fake(x, -3.0, -0.5),
    "relu6": lambda x: fake(x, 0.0, 6.0),
    "4 bits": lambda x: fake(x, -1.3, 2.1, num_bits=4),
    "2 bits, narrow": lambda x: fake(x, -1.3, 2.1, num_bits=2, narrow_range=True),
    "12 bits": lambda x: fake(x, -1.3, 2.1, num_bits=12),
    "per channel": lambda x: per_channel(x, LOW, HIGH),
    "per channel, 5 bits": lambda x: per_channel(x, LOW, HIGH, num_bits=5),
    "symmetric": lambda x: both(x, -1.0, 1.5, range_given=True),
    "symmetric, narrow": lambda x: both(x, -1.5, 1.0, range_given=True, narrow_range=True),
    "symmetric, half up": lambda x: both(x, -1.0, 1.5, range_given=True, round_mode="HALF_UP"),
    "unsigned": lambda x: both(x, 0.0, 1.5, signed_input=False, range_given=True),
    "symmetric, 4 bits": lambda x: both(x, -1.0, 1.5, num_bits=4, range_given=True),
    "symmetric, 10 bits": lambda x: both(x, -1.0, 1.5, num_bits=10, range_given=True),
    "symmetric, channels": lambda x: tf.raw_ops.QuantizeAndDequantizeV3(
        input=x, input_min=LOW, input_max=HIGH, num_bits=8, range_given=True, axis=3
    ),
    "of what comes": lambda x: both(x, 0.0, 0.0, range_given=False),
    "of what comes, channels": lambda x: both(x, LOW, HIGH, range_given=False, axis=3),
    "of what comes, 4 bits": lambda x: both(x, 0.0, 0.0, num_bits=4, range_given=False),
    "version 3": lambda x: tf.raw_ops.QuantizeAndDequantizeV3(
        input=x, input_min=-1.0, input_max=1.5, num_bits=8, range_given=True
    ),
    "version 4": lambda x: tf.raw_ops.QuantizeAndDequantizeV4(
        input=x, input_min=-1.0, input_max=1.5, range_given=True
    ),
}
"""Every kind, of a tensor [N,H,W,3]."""

DATA = images(2, 40) * 2


def engine_of(function: Any, **options: Any) -> Any:
    spec = tf.TensorSpec([None, None, None, 3])
    made = ct.compile(
        tf.function(function, input_signature=[spec]), minimum_segment_size=1, **QUICK, **options
    )
    assert not made.left
    return made


def between(got: np.ndarray, want: np.ndarray) -> float:
    """The share of numbers that are another level's; none is further off than a level."""
    levels = np.diff(np.unique(want.reshape(-1, 3)[:, 0]))
    step = levels[levels > 1e-6].min() if (levels > 1e-6).any() else 1e-6
    off = np.abs(got - want)
    assert off.max() <= 12 * step + 1e-6
    return float((off > 1e-5).mean())


@pytest.mark.parametrize("name", QUANTIZERS)
@pytest.mark.parametrize("precision", ["", "int8"])
def test_a_quantizer_rounds_as_tensorflow_does(name: str, precision: str) -> None:
    function = QUANTIZERS[name]
    if precision and (name.startswith("of what") or name.endswith(("12 bits", "10 bits"))):
        with pytest.raises(CalibrationError, match="INT8 needs ranges"):
            engine_of(function, precision={precision})
        return
    made = engine_of(function, precision={precision} - {""})
    got, want = made(DATA).numpy(), function(tf.constant(DATA)).numpy()
    assert between(got, want) < 2e-4


@pytest.mark.parametrize("name", ["vars", "relu6", "symmetric", "per channel", "narrow"])
def test_only_what_lies_between_two_levels_may_go_to_either(name: str) -> None:
    function = QUANTIZERS[name]
    want = function(tf.constant(DATA)).numpy()
    scale = np.diff(np.unique(want[..., 1]))
    scale = scale[scale > 1e-6].min()
    middle = np.abs(np.abs(DATA / scale % 1) - 0.5) < 1e-2
    got = engine_of(function)(DATA).numpy()
    differs = np.abs(got - want) > 1e-5
    assert not differs[..., 1][~middle[..., 1]].any()


@pytest.mark.parametrize("name", QUANTIZERS)
def test_a_quantized_weight_is_tensorflows_to_the_bit(name: str) -> None:
    weight = images(3, 3, seed=5)[..., :3]
    function = QUANTIZERS[name]

    def net(x: Any) -> Any:
        return tf.reduce_sum(x) * 0 + function(tf.constant(weight)) * 1.0

    got = engine_of(net)(np.zeros((1, 2, 2, 3), np.float32)).numpy()
    np.testing.assert_allclose(got, function(tf.constant(weight)).numpy(), rtol=0, atol=2e-7)


def test_a_range_that_is_computed_stays_in_tensorflow() -> None:
    def net(x: Any) -> Any:
        y = fake(x * 2.0, -tf.reduce_max(x), tf.reduce_max(x))
        return tf.tanh(y * 0.5) + 1.0

    spec = tf.TensorSpec([None, None, None, 3])
    made = ct.compile(tf.function(net, input_signature=[spec]), **QUICK)
    want = net(tf.constant(DATA)).numpy()
    np.testing.assert_allclose(made(DATA).numpy(), want, rtol=0, atol=1e-5)
    assert ("FakeQuantWithMinMaxVars", "its range is computed while the model runs") in [
        *made.left.values()
    ]


def test_an_empty_range_is_told() -> None:
    attributes = {"num_bits": 8, "narrow_range": False}
    with pytest.raises(ValueError, match="is empty"):
        grid_of("FakeQuantWithMinMaxVars", attributes, [np.array(0.0), np.array(0.0)], 1)


class Quantized(keras.layers.Layer):
    """A convolution of fake-quantized images and weights, as training has it."""

    def __init__(self, filters: int, kernel: int, high: float, low: float = 0.0) -> None:
        super().__init__()
        self.filters, self.kernel, self.low, self.high = filters, kernel, low, high

    def build(self, shape: Any) -> None:
        self.weight = self.add_weight(
            shape=(self.kernel, self.kernel, shape[-1], self.filters), initializer="glorot_normal"
        )
        self.bias = self.add_weight(shape=(self.filters,), initializer="glorot_normal")

    def call(self, x: Any) -> Any:
        x = fake(x, self.low, self.high)
        amax = tf.reduce_max(tf.abs(self.weight), [0, 1, 2])
        w = per_channel(self.weight, -amax, amax, narrow_range=True)
        return tf.nn.conv2d(x, w, 1, "SAME") + self.bias


def test_a_net_of_fake_quant_is_int8_and_answers_as_tensorflow_does() -> None:
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            Quantized(16, 3, 3.0, -3.0),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            Quantized(16, 1, 4.0),
            keras.layers.ReLU(),
            keras.layers.MaxPooling2D(),
            Quantized(8, 1, 4.0),
        ]
    )
    x = images(2)
    made = ct.compile(model, precision={"int8"}, **QUICK)
    (engine,) = made.engines
    steps = engine.inspect()["steps"]
    assert sum(s["op"] == "conv" and s["precision"] == "u8" for s in steps) == 3
    assert not [s for s in steps if s["op"] == "transpose"]
    got, want = made(x).numpy(), model(x).numpy()
    assert np.abs(got - want).max() < 0.05 * np.abs(want).max()
    assert (np.abs(got - want) > 1e-5).mean() < 0.02
