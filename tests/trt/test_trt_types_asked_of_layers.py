"""Types and precisions that scripts set of layers, beside those of the network's ends, ranges and caches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import camshaft.tensorrt as trt
from trt_engines import RNG, Workshop, run_v3

WEIGHT = (RNG.standard_normal((4, 3, 3, 3)) / 5).astype(np.float32)


def parsed() -> Workshop:
    """conv, relu, a mean over each channel: x [1, 3, 8, 8] -> y [1, 4, 1, 1], from a file."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["y"], "gap"),
    ]
    ends = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s)
        for n, s in (("x", (1, 3, 8, 8)), ("y", (1, 4, 1, 1)))
    ]
    held = [numpy_helper.from_array(WEIGHT, "w")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], held)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    shop = Workshop()
    parser = trt.OnnxParser(shop.network, shop.log)
    assert parser.parse(model.SerializeToString())
    return shop


def layer(shop: Workshop, name: str) -> Any:
    return next(x for x in shop.network if x.name == name)


def all_ranges(shop: Workshop) -> None:
    shop.network.get_input(0).dynamic_range = (-4, 4)
    for each in shop.network:
        each.get_output(0).dynamic_range = (-4, 4)


@pytest.mark.parametrize("kind", [trt.float16, trt.int8])
def test_outputs_of_parsed_networks_keep_their_types(kind: Any) -> None:
    """The parser sets them; what layers should give is another thing."""
    shop = parsed()
    shop.config.set_flag(trt.BuilderFlag.FP16)
    layer(shop, "gap").set_output_type(0, kind)
    assert shop.network.get_output(0).dtype == trt.float32
    assert shop.engine().get_tensor_dtype("y") == trt.float32


@pytest.mark.parametrize("first", [True, False])
def test_a_type_that_is_set_of_an_output_wins(first: bool) -> None:
    shop = Workshop()
    x = shop.network.add_input("x", trt.float32, (1, 8))
    relu = shop.network.add_activation(x, trt.ActivationType.RELU)
    y = relu.get_output(0)
    y.name = "y"
    shop.network.mark_output(y)
    shop.config.set_flag(trt.BuilderFlag.FP16)
    sets = [lambda: relu.set_output_type(0, trt.float16), lambda: setattr(y, "dtype", trt.float32)]
    for each in sets if first else sets[::-1]:
        each()
    assert y.dtype == trt.float32
    values = np.arange(8, dtype=np.float32).reshape(1, 8)
    engine = shop.engine()
    assert engine.get_tensor_dtype("y") == trt.float32
    np.testing.assert_array_equal(
        run_v3(engine.create_execution_context(), {"x": values})["y"], values
    )


@pytest.mark.parametrize(
    "flag", [None, "PREFER_PRECISION_CONSTRAINTS", "OBEY_PRECISION_CONSTRAINTS"]
)
def test_int8_may_be_asked_of_all_layers(flag: str | None) -> None:
    """A pool has no INT8 form of its own, and reads bytes behind a convolution that gives such."""
    shop = parsed()
    shop.config.set_flag(trt.BuilderFlag.INT8)
    if flag is not None:
        shop.config.set_flag(getattr(trt.BuilderFlag, flag))
    all_ranges(shop)
    for each in shop.network:
        if each.type != trt.LayerType.CONSTANT:
            each.precision = trt.int8
            each.set_output_type(0, trt.int8)
    precisions = [n.precision for n in shop.engine()._engine.manifest.notes]
    assert "u8" in precisions


@pytest.mark.parametrize("name", ["conv", "relu"])
def test_ranges_beside_types_of_layers(name: str) -> None:
    shop = parsed()
    for flag in (trt.BuilderFlag.INT8, trt.BuilderFlag.FP16):
        shop.config.set_flag(flag)
    all_ranges(shop)
    layer(shop, name).set_output_type(0, trt.float16)
    assert shop.engine() and not shop.log.errors


class Batches(trt.IInt8MinMaxCalibrator):
    def __init__(self, cache: bytes | None = None) -> None:
        super().__init__()
        self.batches = [RNG.standard_normal((1, 3, 8, 8)).astype(np.float32) for _ in range(4)]
        self.cache = cache
        self.written = b""

    def get_batch_size(self) -> int:
        return 1

    def get_batch(self, names: list[str]) -> list[int] | None:
        if not self.batches or self.cache:
            return None
        self.held = self.batches.pop()
        return [self.held.ctypes.data]

    def read_calibration_cache(self) -> bytes | None:
        return self.cache

    def write_calibration_cache(self, cache: Any) -> None:
        self.written = bytes(cache)


def calibrated(calibrator: Batches, typed: bool) -> Workshop:
    shop = parsed()
    for flag in (trt.BuilderFlag.INT8, trt.BuilderFlag.FP16):
        shop.config.set_flag(flag)
    shop.config.int8_calibrator = calibrator
    if typed:
        layer(shop, "relu").set_output_type(0, trt.float16)
        shop.config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    assert shop.engine()
    assert not shop.log.errors
    return shop


def test_caches_have_the_networks_names_whatever_types_layers_have() -> None:
    plain = Batches()
    calibrated(plain, typed=False)
    calibrated(Batches(plain.written), typed=True)
    mixed = Batches()
    calibrated(mixed, typed=True)
    names = [line.partition(":")[0] for line in mixed.written.decode().splitlines()[1:]]
    assert names and not any(name.endswith("rounded") for name in names)
    tensors = {"x", "c", "r", "y"}
    assert {name.partition(" ")[0] for name in names} <= tensors


@pytest.mark.parametrize("kind", ["scale", "relu"])
def test_levels_at_both_ends_of_layers_without_products(kind: str) -> None:
    """INT8 needs no ranges within where there is nothing within that is INT8."""
    shop = Workshop()
    shop.config.set_flag(trt.BuilderFlag.INT8)
    x = shop.network.add_input("x", trt.int8, (1, 3, 4, 4))
    x.dynamic_range = (-12.7, 12.7)
    if kind == "relu":
        made = shop.network.add_activation(x, trt.ActivationType.RELU)
    else:
        two, zero, one = (np.array([v], np.float32) for v in (2, 0, 1))
        made = shop.network.add_scale(x, trt.ScaleMode.UNIFORM, zero, two, one)
    y = made.get_output(0)
    y.name, y.dynamic_range, y.dtype = "y", (-25.4, 25.4), trt.int8
    shop.network.mark_output(y)
    levels = np.arange(-24, 24, dtype=np.int8).reshape(1, 3, 4, 4)
    got = run_v3(shop.engine().create_execution_context(), {"x": levels})["y"]
    real = levels * 0.1
    want = np.rint((np.maximum(real, 0) if kind == "relu" else 2 * real) / 0.2)
    assert np.abs(got - want).max() <= 1
