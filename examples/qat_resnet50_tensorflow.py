"""Quantization-aware training in TensorFlow, and the engine of what was trained: ResNet-50 from FakeQuant nodes to INT8.

    python examples/qat_resnet50_tensorflow.py [--quick]

The steps are those of NVIDIA's talk "Deploying quantization-aware trained networks using TensorRT":

1. train ResNet-50; put FakeQuant nodes before weights and inputs of its convolutions and its dense layer, and train on
2. make the final dense layer a 1x1 convolution with the same weights
3. freeze the graph
4. tf2onnx, within camshaft.tensorflow.compile: FakeQuant nodes become QuantizeLinear and DequantizeLinear
5. engines in FP32 and INT8, their accuracy and latency beside TensorFlow's

Weights are random at first and the pictures are made here: stripes whose direction is the class.  So the accuracy says only that
quantization keeps what was learned, nothing of ImageNet.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import camshaft.tensorflow

CLASSES = 4


def pictures(count: int, side: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy stripes [count,side,side,3], and which of `CLASSES` directions they have."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    angle = labels * np.pi / CLASSES + rng.normal(0, 0.1, count)
    y, x = np.mgrid[:side, :side] / side
    across = x * np.cos(angle)[:, None, None] + y * np.sin(angle)[:, None, None]
    waves = np.sin(2 * np.pi * (4 * across + rng.random((count, 1, 1))))
    noisy = waves[..., None] + rng.normal(0, 0.5, (count, side, side, 3))
    return noisy.astype(np.float32), labels


class Quantized(keras.layers.Layer):
    """A convolution or dense layer whose input and weights pass FakeQuant nodes.

    layer: what it was in FP32.  The input's range is the largest that was seen in training, the weights' follows them: one for each
    output channel, symmetric.
    """

    def __init__(self, layer: keras.layers.Layer) -> None:
        super().__init__(name=f"{layer.name}_quantized")
        self.layer = layer
        self.low = self.add_weight(shape=(), initializer="zeros", trainable=False, name="low")
        self.high = self.add_weight(shape=(), initializer="zeros", trainable=False, name="high")

    def call(self, x: tf.Tensor, training: bool = False) -> tf.Tensor:
        if training:
            self.low.assign(tf.minimum(self.low, tf.reduce_min(x)))
            self.high.assign(tf.maximum(self.high, tf.reduce_max(x)))
        x = tf.quantization.fake_quant_with_min_max_vars(
            x, tf.convert_to_tensor(self.low), tf.convert_to_tensor(self.high)
        )
        weight = tf.convert_to_tensor(self.layer.kernel)
        amax = tf.reduce_max(tf.abs(weight), list(range(len(weight.shape) - 1))) + 1e-9
        weight = tf.quantization.fake_quant_with_min_max_vars_per_channel(
            weight, -amax, amax, narrow_range=True
        )
        if isinstance(self.layer, keras.layers.Dense):
            made = tf.matmul(x, weight)
        else:
            made = tf.nn.conv2d(x, weight, self.layer.strides, self.layer.padding.upper())
        return made if self.layer.bias is None else made + tf.convert_to_tensor(self.layer.bias)


def quantized(model: keras.Model) -> keras.Model:
    """The model with FakeQuant nodes; weights are shared."""

    def replaced(layer: keras.layers.Layer) -> keras.layers.Layer:
        heavy = isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)
        return Quantized(layer) if heavy else layer

    return keras.models.clone_model(
        model,
        call_function=lambda layer, *args, **kwargs: replaced(layer)(*args, **kwargs),
        clone_function=lambda layer: layer,
    )


def with_convolution(model: keras.Model) -> keras.Model:
    """The model with its final dense layer as a convolution of 1x1, whose weights and ranges are the same."""
    last = model.layers[-1]
    assert isinstance(last, Quantized)
    dense = last.layer
    conv = keras.layers.Conv2D(dense.units, 1, name="fc_conv")
    conv.build((None, 1, 1, dense.kernel.shape[0]))
    conv.kernel.assign(dense.kernel[None, None])
    conv.bias.assign(dense.bias)
    layer = Quantized(conv)
    features = keras.layers.Reshape((1, 1, -1))(last.input)
    made = keras.Model(model.input, keras.layers.Flatten()(layer(features)))
    layer.low.assign(last.low)
    layer.high.assign(last.high)
    return made


def train(
    model: keras.Model, data: tuple[np.ndarray, np.ndarray], epochs: int, rate: float
) -> None:
    """Train for a few epochs."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    model.fit(*data, batch_size=16, epochs=epochs, verbose=0)


@dataclass(frozen=True)
class Row:
    """One line of the table.  accuracy: share of pictures that are right.  milliseconds: of a call with one picture, the median."""

    name: str
    accuracy: float
    milliseconds: float


def measured(
    name: str, call: Callable[[np.ndarray], np.ndarray], data: tuple[np.ndarray, np.ndarray]
) -> Row:
    """Accuracy and latency of a function of pictures that gives logits."""
    x, labels = data
    right = np.mean(np.argmax(call(x), 1) == labels)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        call(x[:1])
        times.append(1000 * (time.perf_counter() - start))
    return Row(name, float(right), float(np.median(times)))


def run(side: int, count: int, epochs: int, level: int, threads: int) -> list[Row]:
    """All steps; the rows of the table."""
    keras.utils.set_random_seed(0)
    data, test = pictures(count, side, 1), pictures(max(32, count // 4), side, 2)
    net = keras.applications.ResNet50(
        weights=None, input_shape=(side, side, 3), classes=CLASSES, classifier_activation=None
    )
    train(net, data, epochs, 1e-3)
    options = {"optimization_level": level, "threads": threads}
    plain = camshaft.tensorflow.compile(net, data[0][:1], **options)
    rows = [
        measured("TensorFlow, FP32", tf.function(lambda x: net(x, training=False)), test),
        measured("camshaft, FP32", plain, test),
    ]
    qat = quantized(net)
    train(qat, data, max(1, epochs // 4), 1e-5)
    final = with_convolution(qat)
    engine = camshaft.tensorflow.compile(final, data[0][:1], precision={"int8"}, **options)
    engine.summary(detailed=False)
    rows += [
        measured("TensorFlow, FakeQuant", tf.function(lambda x: final(x, training=False)), test),
        measured("camshaft, INT8", engine, test),
    ]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="tiny pictures and hardly any training"
    )
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    side, count, epochs, level = (32, 16, 1, 1) if given.quick else (64, 512, 8, 3)
    rows = run(side, count, epochs, level, given.threads)
    print(f"{'':24}{'accuracy':>10}{'ms':>10}{'speed-up':>10}")
    for row in rows:
        speed = rows[0].milliseconds / row.milliseconds
        print(f"{row.name:24}{row.accuracy:10.3f}{row.milliseconds:10.2f}{speed:10.2f}")


if __name__ == "__main__":
    main()
