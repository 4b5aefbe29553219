"""Calibrators as classes: batches, algorithms, ranges that are kept; what they do wrong."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import camshaft
from camshaft.config import CALIBRATORS
from camshaft.errors import CalibrationError, ConfigError
from onnx_models import model_of

QUICK: dict[str, Any] = {"threads": 1, "optimization_level": 1, "precision": {"int8"}}
CLASSES = (
    camshaft.EntropyCalibrator,
    camshaft.EntropyCalibrator2,
    camshaft.LegacyCalibrator,
    camshaft.MinMaxCalibrator,
    camshaft.MSECalibrator,
    camshaft.PercentileCalibrator,
)


def net() -> onnx.ModelProto:
    """Two convolutions of two inputs."""
    rng = np.random.default_rng(0)
    constants = {
        name: (rng.standard_normal(shape) / 8).astype(np.float32)
        for name, shape in (("w", (24, 16, 3, 3)), ("v", (24, 24, 1, 1)))
    }
    nodes = [
        helper.make_node("Add", ["a", "b"], ["s"]),
        helper.make_node("Conv", ["s", "w"], ["t"], name="first", pads=[1] * 4),
        helper.make_node("Relu", ["t"], ["u"]),
        helper.make_node("Conv", ["u", "v"], ["y"], name="second"),
    ]
    x = np.zeros((1, 16, 12, 12), np.float32)
    return model_of(nodes, {"a": x, "b": x}, ["y"], constants)


def batches() -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(1)
    return [
        {n: rng.standard_normal((1, 16, 12, 12)).astype(np.float32) ** 3 for n in "ab"}
        for _ in range(4)
    ]


class Kept:
    """Mixed into a calibrator: gives its batches, by name or in order, and keeps ranges in memory."""

    def __init__(self, *, in_order: bool = False, cache: Any = None) -> None:
        self.left, self.in_order, self.cache = batches(), in_order, cache
        self.asked: list[list[str]] = []
        self.written: list[bytes] = []

    def get_batch(self, names: Sequence[str]) -> Mapping[str, Any] | Sequence[Any] | None:
        self.asked.append(list(names))
        if not self.left:
            return [] if self.in_order else None
        batch = self.left.pop(0)
        return [batch[n] for n in names] if self.in_order else batch

    def read_calibration_cache(self) -> Any:
        return self.cache

    def write_calibration_cache(self, cache: bytes) -> None:
        self.written.append(cache)


class Mine(Kept, camshaft.MinMaxCalibrator):
    pass


def answer(engine: camshaft.Engine) -> np.ndarray:
    return engine(batches()[0])["y"]


@pytest.mark.parametrize("base", CLASSES, ids=lambda c: c.__name__)
def test_each_class_is_its_algorithm(base: type[camshaft.Calibrator]) -> None:
    calibrator = type("Own", (Kept, base), {})()
    got = answer(camshaft.build(net(), calibration=calibrator, **QUICK))
    percentile = {} if calibrator.get_percentile() is None else {"percentile": 99.99}
    plain = {"calibrator": calibrator.get_algorithm(), **percentile, **QUICK}
    wanted = camshaft.build(net(), calibration=batches(), **plain)
    np.testing.assert_array_equal(got, answer(wanted))
    assert calibrator.asked == [["a", "b"]] * 5


def test_all_algorithms_have_a_class() -> None:
    assert {c.algorithm for c in (camshaft.Calibrator, *CLASSES)} == set(CALIBRATORS)


def test_a_quantile_is_a_percentile() -> None:
    class Own(Kept, camshaft.LegacyCalibrator):
        def get_quantile(self) -> float:
            return 0.95

    got = answer(camshaft.build(net(), calibration=Own(), **QUICK))
    options = {"calibrator": "percentile", "percentile": 95.0, **QUICK}
    np.testing.assert_array_equal(
        got, answer(camshaft.build(net(), calibration=batches(), **options))
    )


def test_ranges_are_written_once_and_read_in_place_of_batches() -> None:
    first = Mine(in_order=True)
    engine = camshaft.build(net(), calibration=first, bias_correction=False, **QUICK)
    (cache,) = first.written
    assert cache.startswith(b"TRT-8601-MinMaxCalibration\n")
    for kept in (cache, memoryview(cache)):
        again = Mine(cache=kept)
        read = camshaft.build(net(), calibration=again, bias_correction=False, **QUICK)
        assert again.asked == again.written == []
        np.testing.assert_array_equal(answer(read), answer(engine))
    empty = Mine(cache=b"")
    camshaft.build(net(), calibration=empty, **QUICK)
    assert len(empty.asked) == 5 and len(empty.written) == 1


def test_engines_hold_nothing_of_where_ranges_lay(tmp_path: Any) -> None:
    for name in ("one", "two"):
        camshaft.build(net(), calibration=Mine(), **QUICK).save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("cache", [None, b"TRT-8601-MinMaxCalibration\ny: 3c010a14\n"])
def test_where_no_layer_takes_ranges_none_are_written(cache: bytes | None) -> None:
    rng = np.random.default_rng(2)
    qkv = {n: rng.standard_normal((1, 2, 64, 64)).astype(np.float32) for n in "qkv"}
    node = helper.make_node("Attention", [*"qkv"], ["y"], "att")
    calibrator = Mine(cache=cache)
    calibrator.left = [qkv]
    model = model_of([node], qkv, ["y"], opset=23)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine = camshaft.build(
            model, calibration=calibrator, layer_precision={"att": "int8"}, **QUICK
        )
    assert calibrator.written == []
    assert engine(qkv)["y"].shape == (1, 2, 64, 64)


def test_models_that_decide_while_they_run_are_calibrated_anew() -> None:
    """They have several graphs, and no one cache."""
    calibrator = Mine(cache=b"not asked for")
    x = {"x": np.ones((1, 3, 8, 8), np.float32), "flag": np.array(True)}
    calibrator.left = [x]
    branches = [
        helper.make_graph(
            [helper.make_node("Conv", ["x", w], [y], pads=[1] * 4)],
            y,
            [],
            [helper.make_tensor_value_info(y, onnx.TensorProto.FLOAT, [1, 24, 8, 8])],
        )
        for w, y in (("w", "p"), ("v", "q"))
    ]
    rng = np.random.default_rng(3)
    weights = {n: rng.standard_normal((24, 3, 3, 3)).astype(np.float32) for n in "wv"}
    node = helper.make_node("If", ["flag"], ["y"], then_branch=branches[0], else_branch=branches[1])
    model = model_of([node], x, ["y"], weights)
    engine = camshaft.build(model, calibration=calibrator, **QUICK)
    assert calibrator.asked and calibrator.written == []
    assert engine(x)["y"].shape == (1, 24, 8, 8)


class Raises(Mine):
    def get_batch(self, names: Sequence[str]) -> Any:
        raise RuntimeError("the disk is gone")


class One(Mine):
    def __init__(self, batch: Any) -> None:
        super().__init__()
        self.left = [batch]

    def get_batch(self, names: Sequence[str]) -> Any:
        return self.left.pop() if self.left else None


@pytest.mark.parametrize(
    ("calibrator", "error", "text"),
    [
        (Raises(), RuntimeError, "the disk is gone"),
        (One("photo.jpg"), CalibrationError, r"One.get_batch gave str, batch 0; give a dictionary"),
        (One([np.zeros(3)]), CalibrationError, r"gave 1 arrays, batch 0; the model has 2 inputs: a, b"),
        (One({"a": np.zeros(3)}), CalibrationError, "'b'"),
        (One([]), CalibrationError, "One.get_batch gave no batch"),
        (Mine(cache="text"), CalibrationError, "read_calibration_cache gave str; give the bytes"),
        (Mine(cache=b"nonsense"), CalibrationError, "from Mine"),
        (type("Odd", (Mine,), {"algorithm": "best"})(), ConfigError, "get_algorithm gave 'best'"),
        (camshaft.MinMaxCalibrator(), CalibrationError, r"MinMaxCalibrator has no batches: override"),
        (Mine, CalibrationError, r"the class Mine; give an object: Mine\(\)"),
        (One({"a": [[1, 2], [3]]}), CalibrationError, r"One.get_batch, batch 0: 'a' is no array"),
    ],
    ids=["raises", "text", "few", "names", "none", "no bytes", "no cache", "algorithm", "abstract", "class", "ragged"],
)  # fmt: skip
def test_faults_are_named(calibrator: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        camshaft.build(net(), calibration=calibrator, **QUICK)
    assert getattr(calibrator, "written", []) == []


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"calibration_cache": "ranges.cache"}, "calibration_cache beside Mine"),
        ({"calibrator": "mse"}, "calibrator='mse' beside Mine, whose algorithm is 'minmax'"),
        ({"precision": set()}, "calibration given, but INT8 is not permitted"),
    ],
    ids=["cache", "algorithm", "precision"],
)
def test_options_that_say_otherwise(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        camshaft.build(net(), calibration=Mine(), **{**QUICK, **options})


@pytest.mark.parametrize("quantile", [None, 0, 99.9, "a"])
def test_quantiles_that_are_none(quantile: Any) -> None:
    own = type("Own", (Kept, camshaft.LegacyCalibrator), {"get_quantile": lambda self: quantile})
    with pytest.raises(CalibrationError, match=r"Own.get_quantile gave .*; give a number above 0"):
        camshaft.build(net(), calibration=own(), **QUICK)


def test_a_percentile_beside_another() -> None:
    with pytest.raises(ConfigError, match=r"percentile=50.* beside Own, whose percentile is 99.99"):
        own = type("Own", (Kept, camshaft.LegacyCalibrator), {})
        camshaft.build(net(), calibration=own(), percentile=50, **QUICK)


def test_half_floats_take_a_calibrator() -> None:
    calibrator = Mine()
    camshaft.build(net(), calibration=calibrator, **{**QUICK, "precision": {"fp16"}})
    assert calibrator.written == []
