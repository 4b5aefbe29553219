"""Ranges of some tensors only: layers that would read the others stay floats, and a warning names what is missing."""

from __future__ import annotations

from typing import Any

import numpy as np

import camshaft.tensorrt as trt
from trt_engines import Workshop, run_v3

RNG = np.random.default_rng(7)
KERNELS = [RNG.standard_normal(shape, np.float32) * 0.2 for shape in ((8, 3, 3, 3), (4, 8, 3, 3))]
IMAGE = RNG.standard_normal((1, 3, 8, 8), np.float32)


def two_convolutions() -> Workshop:
    """x -> first -> relu -> second -> y."""
    shop = Workshop()
    net = shop.network
    first = net.add_convolution_nd(
        net.add_input("x", trt.float32, IMAGE.shape), 8, (3, 3), KERNELS[0]
    )
    relu = net.add_activation(first.get_output(0), trt.ActivationType.RELU)
    second = net.add_convolution_nd(relu.get_output(0), 4, (3, 3), KERNELS[1])
    first.name, relu.name, second.name = "first", "relu", "second"
    relu.get_output(0).name = "between"
    shop.config.set_flag(trt.BuilderFlag.INT8)
    shop.config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    second.precision = trt.int8
    return shop.output(second, "y")


def precisions(engine: Any) -> dict[str, str]:
    steps = engine._inspected["steps"]
    return {
        origin: "int8" if step["precision"] in ("i8", "u8") else "float"
        for step in steps
        for origin in step["origin"]
        if step["op"] == "conv"
    }


def check(shop: Workshop) -> Any:
    engine = shop.engine()
    y = run_v3(engine.create_execution_context(), {"x": IMAGE})["y"]
    plain = two_convolutions()
    plain.network.get_layer(2).reset_precision()
    plain.config.clear_flag(trt.BuilderFlag.INT8)
    want = run_v3(plain.engine().create_execution_context(), {"x": IMAGE})["y"]
    np.testing.assert_allclose(y, want, atol=0.03 * np.abs(want).max())
    return engine


def warned(shop: Workshop) -> list[str]:
    texts = [text for severity, text in shop.log.lines if severity == "WARNING"]
    return [text for text in texts if "has no range: layers that read it" in text]


def test_layers_with_ranges_are_int8_and_others_floats() -> None:
    shop = two_convolutions()
    shop.network.get_layer(1).get_output(0).dynamic_range = (-4, 4)
    assert precisions(check(shop)) == {"first": "float", "second": "int8"}
    assert next(text.split("'")[1] for text in warned(shop)) == "x"
    assert not any("'between'" in text for text in warned(shop))


def test_an_order_without_a_range_is_an_error() -> None:
    shop = two_convolutions()
    shop.network.get_input(0).dynamic_range = (-4, 4)
    assert shop.plan() is None
    assert "tensor 'between' has no range" in shop.log.errors[0]


class Cached(trt.IInt8EntropyCalibrator2):
    """Ranges from a cache alone."""

    def __init__(self, cache: bytes) -> None:
        super().__init__()
        self.cache = cache

    def get_batch_size(self) -> int:
        return 1

    def get_batch(self, names: list[str]) -> None:
        return None

    def read_calibration_cache(self) -> bytes:
        return self.cache

    def write_calibration_cache(self, cache: Any) -> None:
        raise AssertionError("nothing was calibrated")


def test_a_cache_without_batches_is_used_as_far_as_it_goes() -> None:
    shop = two_convolutions()
    shop.config.int8_calibrator = Cached(b"TRT-8601-EntropyCalibration2\nbetween: 3d010a14\n")
    assert precisions(check(shop)) == {"first": "float", "second": "int8"}
    assert next(text.split("'")[1] for text in warned(shop)) == "x"
    assert not any("'between'" in text for text in warned(shop))


def test_no_cache_and_no_batches_is_an_error() -> None:
    shop = two_convolutions()
    shop.config.int8_calibrator = Cached(b"rubbish")
    assert shop.plan() is None
    assert "gave no batch" in shop.log.errors[0]
