"""Inputs and outputs of INT8 with a dynamic range: elements count its steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import camshaft.tensorrt as trt
from trt_engines import Workshop, run_v3

STEP = np.float32(4 / 127)
COUNTS = np.random.default_rng(3).integers(-127, 128, (1, 3, 8, 8)).astype(np.int8)


def result(shop: Workshop, x: Any) -> Any:
    return run_v3(shop.engine().create_execution_context(), {"x": x})["y"]


@pytest.mark.parametrize("permitted", [False, True])
def test_an_input_counts_steps_of_its_range(permitted: bool) -> None:
    shop = Workshop().convolution((1, 3, 8, 8), trt.int8)
    shop.network.get_input(0).dynamic_range = (-4, 4)
    if permitted:
        shop.config.set_flag(trt.BuilderFlag.INT8)
        shop.network.get_layer(0).get_output(0).dynamic_range = (-20, 20)
    plain = result(Workshop().convolution((1, 3, 8, 8)), COUNTS * STEP)
    got = result(shop, COUNTS)
    np.testing.assert_allclose(got, plain, atol=0.05 * np.abs(plain).max() if permitted else 1e-4)


def test_an_output_counts_steps_of_its_range() -> None:
    shop = Workshop().double((4,))
    y = shop.network.get_output(0)
    y.dtype, y.dynamic_range = trt.int8, (-4, 4)
    x = np.array([0.25, -1, 1.999, 99], np.float32)
    got = result(shop, x)
    assert got.dtype == np.int8
    assert got.tolist() == [*np.round(2 * x[:3] / STEP).astype(int), 127]


def test_a_convolution_has_both_ends_in_int8() -> None:
    shop = Workshop().convolution((1, 3, 8, 8), trt.int8)
    net = shop.network
    y, plain = net.get_output(0), result(Workshop().convolution((1, 3, 8, 8)), COUNTS * STEP)
    most = float(np.abs(plain).max())
    net.get_input(0).dynamic_range = (-4, 4)
    net.get_layer(0).get_output(0).dynamic_range = y.dynamic_range = (-most, most)
    y.dtype = trt.int8
    shop.config.set_flag(trt.BuilderFlag.INT8)
    got = result(shop, COUNTS)
    assert got.dtype == np.int8
    np.testing.assert_allclose(got * (most / 127), plain, atol=0.05 * most)


def test_an_output_without_a_range_cannot_be_int8() -> None:
    shop = Workshop().double((4,))
    shop.network.get_output(0).dtype = trt.int8
    assert shop.plan() is None
    assert "output 'y' is INT8" in shop.log.errors[0]
    assert "dynamic_range" in shop.log.errors[0]


def test_whole_numbers_stay_as_they_are() -> None:
    shop = Workshop().double((2,), trt.int8)
    assert result(shop, np.array([3, -5], np.int8)).tolist() == [6, -10]
