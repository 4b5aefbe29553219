"""Operators whose form in ONNX tf2onnx gets wrong: engines answer as TensorFlow does, or TensorFlow does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tf_models import QUICK, close, images, keras, randomized, tf

import camshaft.tensorflow as ct  # isort: skip

pytestmark = pytest.mark.peers
F = tf.float32
whole = np.array([-7, -3, -2, 0, 2, 5], np.int32)
numbers = np.array([-7.5, -1.0, -0.25, 0.0, 1.0, 3.5], np.float32)
picture = images(1, 6, 1)
infinite = np.array([[-np.inf, -np.inf], [np.inf, 0], [1, 2]], np.float32)
legacy = tf.compat.v1.image

INSIDE: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "//": (lambda x: tf.cast(x // 2, F) * 2 + 1, [whole]),
    "// of int64": (lambda x: tf.cast(tf.cast(x, tf.int64) // -3, F) * 2 + 1, [whole]),
    "% of int64": (lambda x: tf.cast(tf.cast(x, tf.int64) % -3, F) * 2 + 1, [whole]),
    "%": (lambda x: tf.cast(x % 3, F) * 2 + 1, [whole]),
    "// of floats": (lambda x, y: x // (y + 9.25) * 2, [numbers, numbers]),
    "% of floats": (lambda x, y: tf.nn.relu(x % (y + 0.1)) + 1.0, [numbers, numbers[::-1].copy()]),
    "% that hardly leaves nothing": (lambda x: (x * 1.0) % 0.1 + 2.0, [np.float32([1, -1, 0.7])]),
    "scatter_nd": (lambda x: tf.scatter_nd([[0], [2], [0]], x * 2, [4]) + 1.0 - 0.5, [numbers[:3]]),
    "one_hot": (lambda i: tf.one_hot(i, 3) * 2 + 1, [whole]),
    "one_hot, axis, no zeros": (lambda i: tf.one_hot(i[:, None] - [0, 1], 3, 5, 7, 1) * 2, [whole]),
    "one_hot, first axis": (lambda i: tf.one_hot(i - 2, 4, 0.0, 3.0, 0) * 2 + 1, [whole]),
    "logsumexp": (lambda x: tf.reduce_logsumexp(x * 2 + 1, 1), [infinite]),
    "where": (lambda x: tf.where(x > 0, x * 2, 1.0) + 1.0, [infinite]),
    "where by rows": (
        lambda x: tf.compat.v1.where(x[:, 0] > 0, x * 2, x + 3.0) + 1.0,
        [infinite],
    ),
    "segment_sum": (lambda x: tf.math.segment_sum(x * 2, [0, 0, 3]) * 2 + 1, [numbers[:3]]),
    "segment_mean, none empty": (
        lambda x: tf.math.segment_mean(x * 2, [0, 0, 1]) * 2 + 1,
        [numbers[:3]],
    ),
    "resize, bicubic": (lambda x: tf.image.resize(x * 2, (12, 3), "bicubic") + 1.0, [picture]),
    "resize_bilinear": (
        lambda x: legacy.resize_bilinear(x * 2, (9, 4), align_corners=True) + 1.0,
        [picture],
    ),
}
"""What engines have whole."""

OUTSIDE: dict[str, tuple[Callable[..., Any], list[Any], str]] = {
    "// by what comes": (lambda x, y: tf.cast(x // y, F) * 2 + 1, [whole, whole + 1], "FloorDiv"),
    "% by what comes": (lambda x, y: tf.cast(x % y, F) * 2 + 1, [whole, whole + 1], "FloorMod"),
    "area": (lambda x: tf.image.resize(x * 2, (2, 3), "area") + 1.0, [picture], "ResizeArea"),
    "bicubic": (lambda x: legacy.resize_bicubic(x * 2, (5, 5)) + 1.0, [picture], "ResizeBicubic"),
    "bicubic, corners": (
        lambda x: legacy.resize_bicubic(x * 2, (7, 7), align_corners=True) + 1.0,
        [picture],
        "ResizeBicubic",
    ),
    "segment_mean": (
        lambda x: tf.math.segment_mean(x * 2, [0, 0, 3]) * 2,
        [numbers[:3]],
        "SegmentMean",
    ),
    "segment_min": (
        lambda x: tf.math.segment_min(x * 2, [0, 0, 3]) * 2,
        [numbers[:3]],
        "SegmentMin",
    ),
    "segment_max": (
        lambda x: tf.math.segment_max(x * 2, [0, 0, 3]) * 2,
        [numbers[:3]],
        "SegmentMax",
    ),
    "unsorted": (
        lambda x: tf.math.unsorted_segment_sum(x * 2, [0, -1, 3], 5) * 2,
        [numbers[:3]],
        "UnsortedSegmentSum",
    ),
    "unsorted, max": (
        lambda x: tf.math.unsorted_segment_max(x * 2, [0, 0, 1], 3) * 0.5,
        [numbers[:3]],
        "UnsortedSegmentMax",
    ),
    "in a loop": (
        lambda x, y: tf.while_loop(lambda i, _: i < 3, lambda i, v: (i + 1, v // y), [0, x])[1] + 1,
        [whole, whole + 1],
        "StatelessWhile",
    ),
}
"""What stays in TensorFlow."""


def compared(function: Any, call: list[Any]) -> Any:
    specs = [tf.TensorSpec(np.shape(a), a.dtype) for a in call]
    made = ct.compile(tf.function(function, input_signature=specs), minimum_segment_size=1, **QUICK)
    np.testing.assert_allclose(made(*call), function(*call), 1e-5, 1e-6)
    return made


@pytest.mark.parametrize("name", INSIDE)
def test_what_is_respelt(name: str) -> None:
    made = compared(*INSIDE[name])
    assert (len(made.engines), dict(made.left)) == (1, {})


@pytest.mark.parametrize("name", OUTSIDE)
def test_what_stays_in_tensorflow(name: str) -> None:
    function, call, op = OUTSIDE[name]
    made = compared(function, call)
    assert op in {kind for kind, _ in made.left.values()}


def test_a_branch_of_single_nodes_is_in_one_engine_or_in_none() -> None:
    def net(i: Any, x: Any) -> Any:
        cases = [lambda: x * 2 + 1, lambda: tf.exp(x) - 1, lambda: tf.nn.relu(x) * 3 - 1]
        return tf.nn.relu(tf.tanh(tf.switch_case(i, cases) + 1) * 2)

    specs = [tf.TensorSpec([], tf.int32), tf.TensorSpec([3])]
    made = ct.compile(tf.function(net, input_signature=specs), **QUICK)
    for i in range(3):
        close(made(np.int32(i), numbers[:3]), net(tf.constant(i), numbers[:3]))
    assert len(made.engines) == 1
    whys = {why for op, why in made.left.values() if op == "Exp"}
    assert whys and all("no engine has its whole branch" in why for why in whys)


@pytest.mark.parametrize("shape", [(), (1,), (8, 1, 1), (1, 1, 8), (1, 8, 1)])
def test_what_is_added_to_a_convolution_without_bias(shape: tuple[int, ...]) -> None:
    added = np.random.default_rng(1).random(shape, np.float32)
    image = keras.Input((8, 8, 3))
    h = keras.layers.Conv2D(8, 3, padding="same", use_bias=False)(image)
    model = randomized(keras.Model(image, keras.layers.ReLU()(h + added)))
    made = ct.compile(model, **QUICK)
    close(made(images(2, 8)), model(images(2, 8)))
    assert not made.left


def test_what_tf2onnx_fails_at_stays_in_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    from camshaft.tensorflow import onnx_form

    def fails(*_: Any, **__: Any) -> Any:
        raise IndexError("no such thing")

    model = tf.function(lambda x: tf.tanh(x * 2 + 1), input_signature=[tf.TensorSpec([3])])
    x = numbers[:3]
    monkeypatch.setattr(onnx_form._Transposes, "optimize", fails)
    made = ct.compile(model, **QUICK)
    close(made(x), model(x))
    assert len(made.engines) == 1
    monkeypatch.setattr(onnx_form.tf2onnx.tfonnx, "process_tf_graph", fails)
    made = ct.compile(model, **QUICK)
    close(made(x), model(x))
    assert {why for _, why in made.left.values()} == {"tf2onnx fails: IndexError: no such thing"}
