"""TF-TRT's converter with camshaft's engines."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camshaft.errors import CalibrationError, ConfigError, ModelError, ShapeError
from tf_models import QUICK, close, images, small_net, tf

import camshaft.tensorflow as ct  # isort: skip

pytestmark = pytest.mark.peers


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model, and its SavedModel."""
    model, folder = small_net(), tmp_path_factory.mktemp("saved") / "net"
    model.export(str(folder), verbose=False)
    return model, folder


def converter(folder: Path, **options: Any) -> Any:
    return ct.TrtGraphConverterV2(input_saved_model_dir=folder, **{**QUICK, **options})


def calls() -> Iterator[tuple[np.ndarray]]:
    for seed in range(3):
        yield (images(4, seed=seed),)


def test_it_has_the_arguments_and_defaults_of_tf_trt() -> None:
    from tensorflow.python.compiler.tensorrt import trt_convert as theirs

    def arguments(function: Any) -> dict[str, Any]:
        known = inspect.signature(function).parameters.values()
        return {p.name: p.default for p in known if p.kind is not p.VAR_KEYWORD}

    for name in ("__init__", "convert", "build", "save", "summary"):
        ours = getattr(ct.TrtGraphConverterV2, name)
        wanted = getattr(theirs.TrtGraphConverterV2, name)
        assert arguments(ours) == arguments(inspect.unwrap(wanted)), name
    assert tuple(ct.DEFAULT_TRT_CONVERSION_PARAMS) == tuple(theirs.DEFAULT_TRT_CONVERSION_PARAMS)
    assert ct.TrtConversionParams._fields == theirs.TrtConversionParams._fields
    modes = ct.TrtPrecisionMode.supported_precision_modes()
    assert modes == theirs.TrtPrecisionMode.supported_precision_modes()


@pytest.mark.parametrize("mode", ["FP32", "FP16", "fp32"])
def test_convert_build_save(saved: Any, tmp_path: Path, mode: str) -> None:
    model, folder = saved
    trt = converter(folder, precision_mode=mode)
    function = trt.convert()
    trt.build(lambda: [images(4), images(2)])
    (engine,) = function.engines
    assert [s.typical for s in engine.symbols.values()] == [4]
    trt.save(tmp_path / "fast")
    loaded = tf.saved_model.load(str(tmp_path / "fast")).signatures["serving_default"]
    x = images(3)
    tolerance = 1e-5 if mode.upper() == "FP32" else 5e-3
    for got in (function(image=x), function(x), loaded(image=tf.constant(x))):
        close(got["output_0"], model(x), tolerance)


def test_int8_is_calibrated_with_calls(saved: Any) -> None:
    model, folder = saved
    trt = converter(folder, precision_mode="INT8")
    function = trt.convert(calibration_input_fn=calls)
    (engine,) = function.engines
    assert "u8" in {s["precision"] for s in engine.inspect()["steps"]}
    assert np.abs(function(images(4))["output_0"] - model(images(4))).max() < 0.1
    with pytest.raises(CalibrationError, match="no calibration_input_fn is given"):
        converter(folder, precision_mode="INT8").convert()
    with pytest.raises(CalibrationError, match="nothing is calibrated"):
        converter(folder).convert(calls)


@pytest.mark.parametrize("traced", [False, True])
def test_a_first_call_calibrates_before_tensorflow_runs(saved: Any, traced: bool) -> None:
    """On one of TensorFlow's threads, which may be its only one, calibration would wait for itself."""
    model, folder = saved
    threads = []

    def noted() -> Any:
        threads.append(threading.get_ident())
        return calls()

    trt = converter(folder, precision_mode="INT8")
    function = trt.convert(calibration_input_fn=noted)
    call = tf.function(function) if traced else function
    got = call(tf.constant(images(4)))["output_0"]
    assert np.abs(got - model(images(4))).max() < 0.1
    assert set(threads) == {threading.get_ident()}


@pytest.mark.parametrize(("strategy", "typical"), [("Range", [6]), ("Optimal", [2, 4, 6])])
def test_dynamic_shapes_are_those_that_build_sees(
    saved: Any, strategy: str, typical: list[int]
) -> None:
    model, folder = saved
    trt = converter(folder, use_dynamic_shape=True, dynamic_shape_profile_strategy=strategy)
    function = trt.convert()
    trt.build(lambda: [{"image": images(n)} for n in (2, 6, 4)])
    (engine,) = function.engines
    (batch,) = engine.symbols.values()
    assert (batch.low, batch.high) == (2, 6)
    assert batch.typical in typical
    close(function(images(5))["output_0"], model(images(5)))
    with pytest.raises(ShapeError):
        function(images(7))


def test_engines_are_built_when_they_are_needed_or_not_at_all(saved: Any) -> None:
    model, folder = saved
    trt = converter(folder)
    close(trt.convert()(images(2))["output_0"], model(images(2)))
    with pytest.raises(ConfigError, match="built already"):
        trt.build(lambda: [images(2)])
    strict = converter(folder, allow_build_at_runtime=False)
    function = strict.convert()
    with pytest.raises(ConfigError, match="allow_build_at_runtime is False"):
        function(images(2))
    strict.build(lambda: [images(2)])
    close(function(images(2))["output_0"], model(images(2)))


def test_the_summary_says_what_is_where(saved: Any) -> None:
    lines: list[str] = []
    trt = converter(saved[1])
    with pytest.raises(ConfigError, match="before convert"):
        trt.summary()
    trt.convert()
    trt.summary(print_fn=lines.append)
    assert lines[0].startswith("1 engine with ")
    assert any("Conv2D" in line for line in lines)
    none = converter(saved[1], minimum_segment_size=-1)
    none.convert()
    lines.clear()
    none.summary(print_fn=lines.append)
    assert lines[0].startswith("0 engines with 0 operators")


def test_options_that_there_are_not(saved: Any, tmp_path: Path) -> None:
    folder = saved[1]
    for options, said in (
        ({"precision_mode": "INT4"}, "precision_mode is 'INT4'"),
        ({"minimum_segment_size": 0}, "minimum_segment_size is 0"),
        ({"use_dynamic_shape": True, "dynamic_shape_profile_strategy": "x"}, "strategy is 'x'"),
        ({"unknown": 1}, "no build option"),
    ):
        with pytest.raises(ConfigError, match=said):
            converter(folder, **options)
    with pytest.raises(ConfigError, match="input_saved_model_dir is not given"):
        ct.TrtGraphConverterV2()
    trt = converter(folder, input_saved_model_signature_key="other")
    with pytest.raises(ModelError, match="no signature 'other'; there is "):
        trt.convert()
    trt = converter(folder)
    trt.convert()
    with pytest.raises(ConfigError, match="called already"):
        trt.convert()
    with pytest.raises(ConfigError, match="save_gpu_specific_engines"):
        trt.save(tmp_path / "x", save_gpu_specific_engines=False)
