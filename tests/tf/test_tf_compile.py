"""TensorFlow in one line: Keras models, functions and SavedModels as engines, and what stays in TensorFlow."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camshaft.errors import (
    BindingError,
    CalibrationError,
    ConfigError,
    ModelError,
)
from tf_models import QUICK, close, images, keras, randomized, small_net, tf

import camshaft.tensorflow as ct  # isort: skip
from camshaft.tensorflow import engine_op  # isort: skip

pytestmark = pytest.mark.peers


def whole(model: Any, *call: Any, tolerance: float = 1e-5, **options: Any) -> Any:
    """One engine has all operators and computes what the model does."""
    made = ct.compile(model, **{**QUICK, **options})
    assert (len(made.engines), dict(made.left)) == (1, {})
    close(made(*call), model(*call), tolerance)
    return made


@pytest.mark.parametrize(
    "name",
    [
        "MobileNetV2",
        pytest.param("EfficientNetB0", marks=pytest.mark.slow),
        pytest.param("ResNet50", marks=pytest.mark.slow),
    ],
)
def test_networks_of_keras_are_one_engine_without_transposes(name: str) -> None:
    build = getattr(keras.applications, name)
    model = randomized(
        build(weights=None, input_shape=(32, 32, 3), classes=10, classifier_activation=None)
    )
    x = np.abs(images(2, 32))
    made = ct.compile(model, **QUICK)
    assert not made.left
    (engine,) = made.engines
    close(made(x), model(x, training=False), 1e-4)
    assert not [s["name"] for s in engine.inspect()["steps"] if s["op"] == "transpose"]


def test_the_batch_stays_open() -> None:
    model = small_net()
    made = whole(model, images(2))
    for count in (1, 7):
        close(made(images(count)), model(images(count)))


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_recurrent_layers(kind: str) -> None:
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((12, 6)),
            getattr(layers, kind)(16, return_sequences=True),
            getattr(layers, kind)(8),
            layers.Dense(3),
        ]
    )
    x = np.random.default_rng(0).standard_normal((2, 12, 6)).astype(np.float32)
    made = ct.compile(randomized(model), **QUICK)
    close(made(x), model(x))
    assert made.engines


def test_a_transformer_block() -> None:
    layers = keras.layers
    x = keras.Input((10, 32))
    a = layers.MultiHeadAttention(4, 8)(x, x)
    y = layers.LayerNormalization()(x + a)
    z = layers.Dense(32)(layers.Dense(64, activation="gelu")(y))
    model = randomized(keras.Model(x, layers.LayerNormalization()(y + z)))
    data = np.random.default_rng(0).standard_normal((2, 10, 32)).astype(np.float32)
    whole(model, data, tolerance=1e-4)


class Two(keras.Model):
    """Subclassed; takes a dictionary and gives one."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = keras.layers.Dense(8), keras.layers.Dense(8)

    def call(self, inputs: Any) -> Any:
        both = tf.nn.relu(self.a(inputs["left"])) + self.b(inputs["right"])
        return {"sum": both, "pair": (tf.nn.softmax(both), inputs["left"])}


def test_dictionaries_in_and_out_of_a_subclassed_model() -> None:
    rng = np.random.default_rng(0)
    x = {"left": rng.random((3, 4), np.float32), "right": rng.random((3, 6), np.float32)}
    model = Two()
    with pytest.raises(ModelError, match="not known; give example="):
        ct.compile(model, **QUICK)
    model(x)
    made = ct.compile(model, x, **QUICK)
    close(made(x), model(x))
    with pytest.raises(BindingError, match="has the structure"):
        made({"left": x["left"]})
    with pytest.raises(BindingError, match="shape"):
        made({**x, "left": x["left"][:, :2]})


def test_several_inputs_and_outputs_of_a_functional_model() -> None:
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    h = keras.layers.Dense(6, activation="tanh")(keras.layers.Concatenate()([a, b]))
    model = keras.Model([a, b], [h, keras.layers.Dense(2)(h)])
    rng = np.random.default_rng(0)
    call = [rng.random((5, 4), np.float32) for _ in range(2)]
    whole(model, call)


# -- what stays in TensorFlow ----------------------------------------------------------------------


@tf.function(
    input_signature=[tf.TensorSpec([None, 4], name="x"), tf.TensorSpec([None], tf.string, "words")]
)
def with_strings(x: Any, words: Any) -> Any:
    y = tf.nn.relu(tf.matmul(x, tf.reshape(tf.range(16.0), [4, 4]) / 16)) + 1.0
    lengths = tf.cast(tf.strings.length(words), tf.float32)[:, None]
    return tf.tanh(y * lengths / 8) - 0.5, tf.strings.join([words, "!"])


def test_strings_stay_in_tensorflow_and_the_rest_is_one_engine() -> None:
    call = np.random.default_rng(0).random((3, 4), np.float32), np.array(["a", "bcd", "ef"])
    made = ct.compile(with_strings, **QUICK)
    got, want = made(*call), with_strings(*call)
    close(got[0], want[0])
    assert got[1].numpy().tolist() == [b"a!", b"bcd!", b"ef!"]
    assert len(made.engines) == 1
    assert {op for op, _ in made.left.values()} == {"StringLength", "StringJoin"}
    assert all(why == "it handles strings" for _, why in made.left.values())


def middle(x: Any) -> Any:
    y = tf.nn.relu(tf.matmul(x, tf.ones([4, 4]) / 4) + 1.0)
    z = tf.numpy_function(lambda a: a[::-1].copy(), [y], tf.float32)
    z.set_shape([None, 4])
    return tf.nn.softmax(tf.tanh(z) * 2.0 + y)


def test_python_in_the_middle_parts_two_engines(capsys: pytest.CaptureFixture[str]) -> None:
    x = np.random.default_rng(0).random((3, 4), np.float32)
    made = ct.compile(tf.function(middle), x, **QUICK)
    close(made(x), middle(x))
    assert len(made.engines) == 2
    made.summary()
    said = capsys.readouterr().out
    assert said.startswith("2 engines with ")
    assert "PyFunc in TensorFlow: it calls Python" in said
    few = ct.compile(tf.function(middle), x, minimum_segment_size=99, **QUICK)
    assert not few.engines
    close(few(x), middle(x))
    assert any("fewer than 99 operators" in why for _, why in few.left.values())


def test_an_operator_that_tf2onnx_does_not_know_stays_with_its_reason() -> None:
    def net(x: Any) -> Any:
        y = tf.nn.relu(tf.abs(x) + 1.0) * 2.0
        return tf.tanh(tf.math.lgamma(y) / 8 + y) - 1.0

    x = np.random.default_rng(0).random((3, 4), np.float32)
    made = ct.compile(tf.function(net), x, **QUICK)
    close(made(x), net(x))
    assert len(made.engines) == 2
    assert list(made.left.values()) == [("Lgamma", "tf2onnx has no form in ONNX for Lgamma")]


def test_effects_are_kept() -> None:
    seen = []

    def note(a: Any) -> Any:
        seen.append(a.shape)
        return np.float32(0)

    def net(x: Any) -> Any:
        y = tf.nn.relu(x) + 1.0
        tf.numpy_function(note, [y], tf.float32)
        tf.debugging.assert_less(x, 9.0)
        return tf.tanh(y * 2.0) - 1.0

    x = np.ones((3, 4), np.float32)
    made = ct.compile(tf.function(net), x, **QUICK)
    seen.clear()
    close(made(x), net(x))
    assert seen == [(3, 4), (3, 4)]
    with pytest.raises(tf.errors.InvalidArgumentError):
        made(x * 10)


def test_values_that_decide_shapes() -> None:
    def net(x: Any) -> Any:
        values, places = tf.unique(tf.cast(tf.reshape(x, [-1]) * 3, tf.int32))
        return tf.cast(values, tf.float32) * 2.0 + 1.0, places

    x = np.random.default_rng(0).random((3, 4), np.float32)
    made = ct.compile(tf.function(net), x, **QUICK)
    close(made(x), net(x))


def test_branches_and_loops() -> None:
    def net(x: Any) -> Any:
        y = tf.cond(tf.reduce_sum(x) > 0, lambda: tf.tanh(x) + 1.0, lambda: x * 3.0)
        return tf.while_loop(lambda i, _: i < 3, lambda i, v: (i + 1, v * 0.5 + 1.0), [0, y])[1]

    x = np.random.default_rng(0).random((3, 4), np.float32)
    made = ct.compile(tf.function(net), x, **QUICK)
    for data in (x, -x):
        close(made(data), net(data))


# -- INT8, files, misuse ---------------------------------------------------------------------------


def test_int8_takes_calls_as_calibration() -> None:
    model = small_net()
    calls = [images(4, seed=seed) for seed in range(3)]
    made = ct.compile(model, precision={"int8"}, calibration=calls, **QUICK)
    (engine,) = made.engines
    assert "u8" in {s["precision"] for s in engine.inspect()["steps"]}
    off = np.abs(made(images(4)) - model(images(4))).max()
    assert 0 < off < 0.1
    with pytest.raises(CalibrationError, match="gives no call"):
        ct.compile(model, precision={"int8"}, calibration=[], **QUICK)


LOAD = """
import numpy as np, tensorflow as tf
loaded = tf.saved_model.load({folder!r})
made = loaded.signatures["serving_default"](image=tf.constant(np.load({data!r})))
np.save({result!r}, made["output_0"].numpy())
"""


def test_a_saved_model_runs_engines_in_another_process(tmp_path: Path) -> None:
    model, x = small_net(), images(3)
    ct.compile(model, **QUICK).save(tmp_path / "fast")
    (asset,) = (tmp_path / "fast/assets").iterdir()
    assert re.fullmatch(r"camshaft_engine_0\.[0-9a-f]{32}\.engine", asset.name)
    np.save(tmp_path / "x.npy", x)
    (tmp_path / "fast").rename(tmp_path / "moved")
    paths = {"folder": "moved", "data": "x.npy", "result": "y.npy"}
    code = LOAD.format(**{k: str(tmp_path / v) for k, v in paths.items()})

    def run(before: str) -> Any:
        command = [sys.executable, "-c", before + code]
        return subprocess.run(command, capture_output=True, text=True)

    assert run("import camshaft.tensorflow").returncode == 0
    close(np.load(tmp_path / "y.npy"), model(x).numpy())
    assert "camshaft_engine (import camshaft.tensorflow first)" in run("").stderr


def test_saving_over_a_folder_leaves_engines_that_are_in_use_whole(tmp_path: Path) -> None:
    model, x = small_net(), images(3)
    folder = tmp_path / "fast"

    def served() -> Any:
        return tf.saved_model.load(str(folder)).signatures["serving_default"]

    ct.compile(model, **QUICK).save(folder)
    old, unused, before = served(), served(), model(x).numpy()
    close(old(image=tf.constant(x))["output_0"], before)
    (first,) = (folder / "assets").iterdir()
    inode, content = first.stat().st_ino, first.read_bytes()
    ct.compile(model, **QUICK).save(folder)  # the same content, or another file beside it
    assert first.read_bytes() == content
    for weight in model.weights:
        weight.assign(weight * -0.5 + 0.1)
    ct.compile(model, **QUICK).save(folder)
    assert inode not in [p.stat().st_ino for p in (folder / "assets").iterdir() if p != first]
    close(old(image=tf.constant(x))["output_0"], before)
    close(unused(image=tf.constant(x))["output_0"], before)
    close(served()(image=tf.constant(x))["output_0"], model(x).numpy())
    assert not [p.name for p in folder.iterdir() if p.name.startswith(".")]


def test_an_engine_file_of_another_name_is_loaded_anew_where_it_was_replaced(
    tmp_path: Path,
) -> None:
    path = tmp_path / "net.engine"
    model = small_net()
    for factor in (1.0, -0.5):
        for weight in model.weights:
            weight.assign(weight * factor)
        ct.compile(model, **QUICK).engines[0].save(path)
        close(engine_op._run(str(path), images(2))[0], model(images(2)).numpy())


def test_tables_are_saved_with_the_model(tmp_path: Path) -> None:
    class Words(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            pairs = tf.lookup.KeyValueTensorInitializer(["a", "b"], [1, 2])
            self.table = tf.lookup.StaticHashTable(pairs, 0)
            self.rows = tf.Variable(tf.reshape(tf.range(12.0), [3, 4]))

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "words")])
        def __call__(self, words: Any) -> Any:
            rows = tf.gather(self.rows, self.table.lookup(words))
            return tf.tanh(rows * 0.1 + 1.0) - 0.5

    module, words = Words(), tf.constant(["b", "z", "a"])
    tf.saved_model.save(module, str(tmp_path / "words"))
    made = ct.compile(tmp_path / "words", **QUICK)
    close(made(words)["output_0"], module(words))
    made.save(tmp_path / "fast")
    loaded = tf.saved_model.load(str(tmp_path / "fast"))
    close(loaded.signatures["serving_default"](words=words)["output_0"], module(words))


def test_misuse_is_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no SavedModel"):
        ct.compile(tmp_path)
    with pytest.raises(ModelError, match="model is of type int"):
        ct.compile(3)
    with pytest.raises(ConfigError, match="minimum_segment_size is 0"):
        ct.compile(small_net(), minimum_segment_size=0)
    with pytest.raises(ConfigError, match="no build option"):
        ct.compile(small_net(), workspace=3)
    with pytest.raises(ModelError, match="no input_signature"):
        ct.compile(tf.function(middle))
    module = tf.Module()
    tf.saved_model.save(module, str(tmp_path / "bare"))
    with pytest.raises(ModelError, match="no signature 'serving_default'; there is none"):
        ct.compile(tmp_path / "bare")


def test_a_folder_that_cannot_be_written_is_told_before_the_build(tmp_path: Path) -> None:
    made = ct.compile(with_strings, **QUICK)
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        made.save(tmp_path / "file" / "fast")
