"""What a model is called with, trained further by its calls, and with the wrong things."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camshaft.errors import BindingError, CalibrationError, ConfigError, ModelError
from tf_models import QUICK, close, images, keras, small_net, tf

import camshaft.tensorflow as ct  # isort: skip

pytestmark = pytest.mark.peers
a, b = np.ones((2, 4), np.float32), np.arange(8, dtype=np.float32).reshape(2, 4)


def pair() -> Any:
    """Two inputs of one shape, whose names are not in their order."""
    q, k = keras.Input((4,), name="q"), keras.Input((4,), name="k")
    dense = keras.layers.Dense
    return keras.Model([q, k], dense(3)(q) - dense(3, activation="relu")(k) * 5)


def test_inputs_by_name_of_a_keras_model_that_has_a_list(tmp_path: Path) -> None:
    model = pair()
    want = model([a, b])
    for example in ([a, b], {"q": a, "k": b}, None):
        made = ct.compile(model, example, **QUICK)
        for got in (made([a, b]), made({"k": b, "q": a}), made(q=a, k=b), made(a, b)):
            close(got, want)
    for wrong in ({"q": a, "z": b}, {"q": a}, {"q": a, "k": b, "z": b}):
        with pytest.raises(BindingError, match=r"the model takes \['q', 'k'\]"):
            made(wrong)
    made.save(tmp_path / "pair")
    loaded = tf.saved_model.load(str(tmp_path / "pair")).signatures["serving_default"]
    close(loaded(q=tf.constant(a), k=tf.constant(b))["output_0"], want)


def test_inputs_by_name_of_a_signature(tmp_path: Path) -> None:
    model = pair()
    model.export(str(tmp_path / "pair"), verbose=False)
    trt = ct.TrtGraphConverterV2(str(tmp_path / "pair"), precision_mode="INT8", **QUICK)
    made = trt.convert(calibration_input_fn=lambda: [{"q": a, "z": b}])
    with pytest.raises(BindingError, match="the model takes"):
        made.engines  # noqa: B018
    with pytest.raises(BindingError, match="the model takes"):
        trt.build(lambda: [{"q": a, "z": b}])
    made = ct.compile(tmp_path / "pair", **QUICK)  # whose inputs are in the order of names
    for got in (made(q=a, k=b), made({"k": b, "q": a}), made(b, a), made([b, a])):
        close(got["output_0"], model([a, b]))


def test_arguments_that_say_how_a_model_is_called() -> None:
    model = small_net()
    made = ct.compile(model, **QUICK)
    close(made(images(2), training=False), model(images(2)))
    close(made([images(2)], mask=None), model(images(2)))
    with pytest.raises(BindingError, match="training is True"):
        made(images(2), training=True)

    @tf.function(input_signature=[tf.TensorSpec([None, 4])])
    def net(x: Any, training: bool = False) -> Any:
        return tf.tanh(x * 2.0 + 1.0) * (2.0 if training else 1.0)

    made = ct.compile(net, **QUICK)
    for got in (made(a), made(a, False), made(x=a), made(a, training=False)):
        close(got, net(a))
    with pytest.raises(BindingError, match="training is True; the model was compiled for False"):
        made(a, training=True)
    for wrong in ((a, False, 3), ()):
        with pytest.raises(BindingError, match="has the structure"):
            made(*wrong)


def test_a_signature_of_fixed_sizes_with_an_example() -> None:
    net = tf.function(
        lambda x: tf.tanh(x * 2.0 + 1.0), input_signature=[tf.TensorSpec([2, 4], tf.float32)]
    )
    made = ct.compile(net, a, **QUICK)
    close(made(a), net(a))
    with pytest.raises(BindingError, match="shape"):
        made(a[:1])


class Counting(tf.Module):
    """Counts its calls in two variables, one of them in a branch, and has a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = tf.Variable(tf.ones([4, 4]) / 4, name="weight")
        self.calls = tf.Variable(0.0, name="calls")
        self.large = tf.Variable(0.0, name="large")

    @tf.function(input_signature=[tf.TensorSpec([None, 4], name="x")])
    def __call__(self, x: Any) -> Any:
        self.calls.assign_add(1.0)
        if tf.reduce_sum(x) > 10.0:
            self.large.assign_add(1.0)
        return tf.nn.relu(tf.matmul(x, self.weight) + self.calls) * 2.0 + self.large


def test_variables_that_a_model_assigns_stay_variables(tmp_path: Path) -> None:
    mine, theirs = Counting(), Counting()
    made = ct.compile(mine.__call__, **QUICK)
    assert made.engines
    for x in (a, b, b, a):
        close(made(x), theirs(x))
    assert (mine.calls.numpy(), mine.large.numpy()) == (4.0, 2.0)
    assert {op for op, _ in made.left.values()} >= {"AssignAddVariableOp"}
    made.save(tmp_path / "counting")
    loaded = tf.saved_model.load(str(tmp_path / "counting")).signatures["serving_default"]
    close(loaded(x=tf.constant(a))["output_0"], theirs(a))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precisions_of_keras(policy: str) -> None:
    keras.mixed_precision.set_global_policy(policy)
    try:
        layers = keras.layers
        model = keras.Sequential(
            [keras.Input((16,)), layers.Dense(32, activation="relu"), layers.Dense(5)]
        )
    finally:
        keras.mixed_precision.set_global_policy("float32")
    x = np.random.default_rng(0).random((3, 16), np.float32)
    made = ct.compile(model, **QUICK)
    got, want = made(x), model(x)
    assert (got.dtype, len(made.engines), dict(made.left)) == (want.dtype, 1, {})
    close(tf.cast(got, tf.float32), tf.cast(want, tf.float32), 2e-2)


def test_wrong_things_are_told_in_words(tmp_path: Path) -> None:
    small_net().export(str(tmp_path / "net"), verbose=False)

    def converter(**options: Any) -> Any:
        return ct.TrtGraphConverterV2(str(tmp_path / "net"), **{**QUICK, **options})

    with pytest.raises(CalibrationError, match="calibration_input_fn is of type list"):
        converter(precision_mode="INT8").convert([images(1)])
    made = converter(precision_mode="INT8").convert(lambda: None)
    with pytest.raises(ConfigError, match="calibration_input_fn gives a NoneType"):
        made(images(1))
    trt = converter()
    made = trt.convert()
    with pytest.raises(ConfigError, match="input_fn is of type NoneType"):
        trt.build(None)
    with pytest.raises(ConfigError, match="input_fn gives a NoneType"):
        trt.build(lambda: None)
    with pytest.raises(ConfigError, match="output_saved_model_dir is None"):
        trt.save(None)
    for save in (trt.save, made.save):
        with pytest.raises(ConfigError, match="'/proc/nope' cannot be written"):
            save("/proc/nope")
    ragged = tf.ragged.constant([[1.0], [1.0, 2.0]])
    with pytest.raises(ModelError, match="no dense tensor"):
        ct.compile(tf.function(lambda x: x * 2), ragged, **QUICK)
    with pytest.raises(BindingError, match="RaggedTensor; give a dense tensor"):
        ct.compile(tf.function(lambda x: tf.tanh(x * 2 + 1)), a, **QUICK)(ragged)
    with pytest.raises(CalibrationError, match="calibration= is of type int"):
        ct.compile(small_net(), precision={"int8"}, calibration=3, **QUICK)
