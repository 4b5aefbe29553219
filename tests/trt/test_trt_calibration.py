"""INT8: a script's calibrator is asked in TensorRT's order, and its cache is used."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest

import camshaft.tensorrt as trt
from camshaft.tensorrt import memory
from trt_engines import Workshop, device, host, run_v3

F32 = np.float32
BATCH = (2, 3, 8, 8)


class Calibrator(trt.IInt8EntropyCalibrator2):
    """Batches through one buffer, as scripts have them; keeps the names of methods in the order of calls."""

    def __init__(self, cache: Any = None, batches: int = 3) -> None:
        trt.IInt8EntropyCalibrator2.__init__(self)
        self.calls: list[str] = []
        self.cache, self.left = cache, batches
        self.buffer = memory.allocate(4 * int(np.prod(BATCH)))
        self.rng = np.random.default_rng(0)

    def get_batch_size(self) -> int:
        self.calls.append("size")
        return BATCH[0]

    def get_batch(self, names: list[str]) -> list[int] | None:
        self.calls.append(f"batch of {names}")
        if not self.left:
            return None
        self.left -= 1
        array = self.rng.standard_normal(BATCH).astype(F32)
        memory.copy(self.buffer, array.ctypes.data, array.nbytes)
        return [self.buffer]

    def read_calibration_cache(self) -> Any:
        self.calls.append("read")
        return self.cache

    def write_calibration_cache(self, cache: memoryview) -> None:
        self.calls.append("write")
        self.cache = bytes(cache)


ALL = ["read", "size", *["batch of ['x']"] * 4, "write"]


def shop_of(calibrator: Any) -> Workshop:
    """A convolution that must be INT8."""
    shop = Workshop().convolution((-1, 3, 8, 8)).profile((1, 3, 8, 8), BATCH, (4, 3, 8, 8))
    shop.config.set_flag(trt.BuilderFlag.INT8)
    shop.config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    shop.network[0].precision = trt.int8
    shop.config.int8_calibrator = calibrator
    return shop


def is_int8(engine: Any) -> bool:
    return any(s["precision"] in ("i8", "u8") for s in engine._inspected["steps"])


def test_batches_then_the_cache_is_written_and_later_read() -> None:
    first = Calibrator()
    engine = shop_of(first).engine()
    assert first.calls == ALL
    assert is_int8(engine)
    assert b"EntropyCalibration2" in first.cache.split(b"\n")[0]
    second = Calibrator(first.cache)
    again = shop_of(second).engine()
    assert second.calls == ["read"]
    x = np.random.default_rng(2).standard_normal(BATCH).astype(F32)
    results = [run_v3(e.create_execution_context(), {"x": x})["y"] for e in (engine, again)]
    np.testing.assert_allclose(*results, atol=0.02)  # the bias is corrected by batches alone
    exact = Workshop().convolution(BATCH).engine()
    y = run_v3(exact.create_execution_context(), {"x": x})["y"]
    assert 0 < np.abs(results[0] - y).max() < 0.1 * np.abs(y).max()


@pytest.mark.parametrize("cache", [b"no cache", b"TRT-8601-EntropyCalibration2\nother: 3c010a14\n"])
def test_a_cache_that_cannot_be_used_is_as_none(cache: bytes) -> None:
    calibrator = Calibrator(cache)
    shop = shop_of(calibrator)
    assert is_int8(shop.engine())
    assert calibrator.calls == ALL
    assert any("cache is not used" in text for _, text in shop.log.lines)


@pytest.mark.parametrize(
    ("algorithm", "header"),
    [
        (trt.CalibrationAlgoType.MINMAX_CALIBRATION, b"MinMaxCalibration"),
        (trt.CalibrationAlgoType.ENTROPY_CALIBRATION, b"EntropyCalibration\n"),
        (trt.CalibrationAlgoType.LEGACY_CALIBRATION, b"LegacyCalibration"),
    ],
)
def test_the_algorithm_is_the_calibrators(algorithm: Any, header: bytes) -> None:
    class Other(Calibrator):
        def get_algorithm(self) -> Any:
            return algorithm

    calibrator = Other()
    assert shop_of(calibrator).plan() is not None
    assert header in calibrator.cache


def test_calibrators_have_the_algorithms_of_their_classes() -> None:
    kind = trt.CalibrationAlgoType
    assert trt.IInt8EntropyCalibrator2().get_algorithm() == kind.ENTROPY_CALIBRATION_2
    assert trt.IInt8EntropyCalibrator().get_algorithm() == kind.ENTROPY_CALIBRATION
    assert trt.IInt8MinMaxCalibrator().get_algorithm() == kind.MINMAX_CALIBRATION
    assert trt.IInt8LegacyCalibrator().get_algorithm() == kind.LEGACY_CALIBRATION


def test_calibration_takes_the_shapes_of_its_profile() -> None:
    class Single(Calibrator):
        def get_batch(self, names: list[str]) -> list[int] | None:
            if not self.left:
                return None
            self.left -= 1
            return [device(np.ones((1, 3, 8, 8), F32))]

    shop = shop_of(Single())
    profile = shop.builder.create_optimization_profile()
    profile.set_shape("x", (1, 3, 8, 8), (1, 3, 8, 8), (1, 3, 8, 8))
    assert shop.config.set_calibration_profile(profile)
    assert shop.config.get_calibration_profile() is profile
    assert shop.plan() is not None
    shop = shop_of(Single())  # whose buffers are too small for the opt shape of profile 0
    assert shop.plan() is None
    assert "get_batch needs 1536 bytes" in shop.log.errors[-1]


def raising(names: list[str]) -> Any:
    raise KeyError("no such file")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (raising, "KeyError"),
        (lambda names: None, "no batch"),
        (lambda names: [1, 2], "gave 2 addresses"),
        (lambda names: [""], "must be an address"),
    ],
)
def test_a_calibrator_that_fails_is_none_and_a_line_in_the_log(answer: Any, said: str) -> None:
    calibrator = Calibrator()
    calibrator.get_batch = answer  # type: ignore[method-assign]
    shop = shop_of(calibrator)
    assert shop.plan() is None
    assert said in shop.log.errors[-1]
    assert "write" not in calibrator.calls


@pytest.mark.parametrize("given", ["text", 5, [1]])
def test_what_is_no_cache_is_named(given: Any) -> None:
    shop = shop_of(Calibrator(given))
    assert shop.plan() is None
    assert "Calibrator.read_calibration_cache gave" in shop.log.errors[0]


def test_layers_that_quantize_themselves_need_no_calibrator() -> None:
    shop = Workshop()
    x = shop.network.add_input("x", trt.float32, (1, 4))
    scale = shop.network.add_constant((1,), np.array([0.5], F32)).get_output(0)
    quantized = shop.network.add_quantize(x, scale).get_output(0)
    shop.output(shop.network.add_dequantize(quantized, scale), "y")
    shop.config.set_flag(trt.BuilderFlag.INT8)
    calibrator = Calibrator()
    shop.config.int8_calibrator = calibrator
    engine = shop.engine()
    assert not calibrator.calls
    x = np.array([[0.2, 0.3, 1.1, -9.0]], F32)
    context = engine.create_execution_context()
    context.set_tensor_address("x", device(x))
    y = memory.allocate(16)
    context.set_tensor_address("y", y)
    assert context.execute_async_v3(0)
    np.testing.assert_array_equal(host(y, (1, 4)), [[0.0, 0.5, 1.0, -9.0]])


def products(calibrator: Any) -> tuple[Workshop, np.ndarray[Any, Any]]:
    """Two products that must be INT8, x -> a -> y, whose kernels have rows where the network has matrices; x * both."""
    shop, none = Workshop(), trt.MatrixOperation.NONE
    rng = np.random.default_rng(0)
    whole, tensor = PRODUCTS_X, shop.network.add_input("x", trt.float32, PRODUCTS_X.shape)
    for name, shape in (("a", (32, 48)), ("y", (48, 24))):
        weights = rng.uniform(-1, 1, shape).astype(F32)
        held = shop.network.add_constant(shape, trt.Weights(weights)).get_output(0)
        layer = shop.network.add_matrix_multiply(tensor, none, held, none)
        layer.precision = trt.int8
        tensor = layer.get_output(0)
        tensor.name = name
        whole = whole @ weights
    shop.network.mark_output(tensor)
    for flag in (trt.BuilderFlag.INT8, trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS):
        shop.config.set_flag(flag)
    shop.config.builder_optimization_level = 1
    shop.config.int8_calibrator = calibrator
    return shop, whole


PRODUCTS_X = np.random.default_rng(1).uniform(-1, 1, (4, 32)).astype(F32)
RANGES = {"x": 1.0, "a": 12.0, "y": 60.0}


def test_a_cache_of_tensorrt_names_tensors_of_the_network() -> None:
    scales = {name: struct.pack(">f", amax / 127).hex() for name, amax in RANGES.items()}
    lines = ["TRT-8601-EntropyCalibration2", *(f"{n}: {s}" for n, s in scales.items())]
    calibrator = Calibrator("\n".join(lines).encode() + b"\n")
    shop, wanted = products(calibrator)
    got = run_v3(shop.engine().create_execution_context(), {"x": PRODUCTS_X})["y"]
    assert calibrator.calls == ["read"]
    assert 0 < np.abs(got - wanted).max() < 0.05 * np.abs(wanted).max()


def test_ranges_are_of_tensors_whatever_kernels_make_of_them() -> None:
    shop, wanted = products(None)
    for layer in shop.network:
        if (tensor := layer.get_output(0)).name in RANGES:
            tensor.dynamic_range = (-RANGES[tensor.name], RANGES[tensor.name])
    shop.network.get_input(0).dynamic_range = (-1, 1)
    got = run_v3(shop.engine().create_execution_context(), {"x": PRODUCTS_X})["y"]
    assert 0 < np.abs(got - wanted).max() < 0.05 * np.abs(wanted).max()
    assert not [text for severity, text in shop.log.lines if severity == "WARNING"]


def test_layers_that_read_a_tensor_without_a_range_stay_in_floats() -> None:
    shop, wanted = products(None)
    last = next(layer for layer in shop.network if layer.get_output(0).name == "y")
    last.reset_precision()
    shop.network.get_input(0).dynamic_range = (-1, 1)
    engine = shop.engine()
    said = [text for severity, text in shop.log.lines if severity == "WARNING"]
    assert said == ["tensor 'a' has no range: layers that read it are not INT8"]
    y = run_v3(engine.create_execution_context(), {"x": PRODUCTS_X})["y"]
    assert 0 < np.abs(y - wanted).max() < 0.05 * np.abs(wanted).max()  # the first product is INT8
    last.precision = trt.int8  # an order that cannot be
    assert shop.plan() is None
    assert "no range" in shop.log.errors[-1]


def test_messages_name_the_script_s_calibrator() -> None:
    calibrator = Calibrator(cache=b"\xff no cache", batches=0)
    shop = shop_of(calibrator)
    assert shop.plan() is None
    said = [text for _, text in shop.log.lines]
    assert any("calibration cache from Calibrator is not a text file" in text for text in said)
    assert "Calibrator.get_batch gave no batch" in shop.log.errors[-1]
    assert not any("Adapter" in text for text in said)
