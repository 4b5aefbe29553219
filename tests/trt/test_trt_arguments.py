"""Arguments of engines and contexts: what is taken, and what is refused by a message that names it."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
import pytest

import camshaft.tensorrt as trt
from camshaft.tensorrt import memory
from camshaft.tensorrt.memory import allocations
from camshaft.tensorrt.network import graph
from camshaft.tensorrt.network.emission import Emission
from trt_engines import Workshop, run_v3


@pytest.fixture
def shop() -> Workshop:
    return Workshop().double().profile((1,), (2,), (8,))


@pytest.mark.parametrize("shape", [np.array([3]), [3], (3,), trt.Dims([3]), [np.int64(3)]])
def test_shapes_are_any_sequences(shop: Workshop, shape: Any) -> None:
    context = shop.engine().create_execution_context()
    for _ in range(2):
        assert context.set_input_shape("x", shape)
    assert context.get_tensor_shape("y") == (3,)


def test_addresses_are_whole_numbers_that_a_machine_has(shop: Workshop) -> None:
    context = shop.engine().create_execution_context()
    for wrong in (1.5, -5, 1 << 70, "12", None, np.zeros(2), np.float64(3)):
        with pytest.raises(TypeError, match=r"memory is .*give an address"):
            context.set_tensor_address("x", wrong)
    for right in (5, np.int64(5), np.uint64(5)):
        assert context.set_tensor_address("x", right)
        assert context.get_tensor_address("x") == 5


@pytest.mark.parametrize("index", [2, 99, -1])
def test_numbers_of_no_tensor_are_an_error_in_the_log(shop: Workshop, index: int) -> None:
    engine = shop.engine()
    assert engine.get_tensor_name(index) is None
    assert f"get_tensor_name({index}): the engine has 2" in shop.log.errors[0]


def test_batches_of_releases_before_10_are_a_warning() -> None:
    shop = Workshop()
    shop.builder.max_batch_size = 4
    assert shop.builder.max_batch_size == 4
    context = shop.double((3,)).engine().create_execution_context()
    x, y = np.ones(3, np.float32), np.zeros(3, np.float32)
    addresses = [x.ctypes.data, y.ctypes.data]
    for size in (1, 3):  # 3 is the first axis
        assert context.execute(size, addresses)
        assert context.execute_async(size, addresses, 0)
    warned = [text for severity, text in shop.log.lines if severity == "WARNING"]
    assert [text.split(" has no effect")[0] for text in warned] == ["max_batch_size=4"]
    y[:] = 7
    for call in (context.execute, lambda *given: context.execute_async(*given, 0)):
        assert not call(4, addresses)
        assert "batch_size=4, and input 'x' has the shape (3,)" in shop.log.errors[-1]
    assert (y == 7).all()


def test_a_plan_prints_in_a_line(shop: Workshop) -> None:
    plan = shop.plan()
    assert str(plan) == repr(plan) == f"<IHostMemory of {plan.nbytes} bytes>"
    assert bytes(plan)[:1] != b"<"


WEIGHTS = np.ones(4 * 3 * 3 * 3, np.float32)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda n, x: n.add_convolution_nd(x, 0, (3, 3), WEIGHTS), "num_output_maps=0 must be 1"),
        (lambda n, x: n.add_convolution_nd(x, 4, (-3, 3), WEIGHTS), "kernel_shape=(-3, 3) must be"),
        (
            lambda n, x: n.add_convolution_nd(x, 4, (3, 3, 3), WEIGHTS),
            "is of 3 axes, and input 'x'",
        ),
        (lambda n, x: n.add_pooling_nd(x, trt.PoolingType.MAX, (0, 2)), "window_size=(0, 2) must"),
        (
            lambda n, x: n.add_pooling_nd(x, trt.PoolingType.MAX, (2,)),
            "is of 1 axes, and input 'x'",
        ),
        (lambda n, x: n.add_input("", trt.float32, (1,)), "name is empty"),
        (lambda n, x: n.add_input("y", trt.float32, (-2, 1)), "extents below -1"),
    ],
)
def test_parameters_that_cannot_be_make_no_layer(make: Any, said: str) -> None:
    shop = Workshop()
    assert make(shop.network, shop.network.add_input("x", trt.float32, (2, 3, 8, 8))) is None
    assert len(shop.log.errors) == 1
    assert said in shop.log.errors[0]
    assert (shop.network.num_inputs, shop.network.num_layers) == (1, 0)


def test_parameters_that_cannot_be_change_no_layer() -> None:
    shop = Workshop().convolution()
    conv: Any = shop.network.get_layer(0)
    conv.__class__ = trt.IConvolutionLayer
    conv.stride_nd, conv.dilation_nd, conv.num_groups = (0, 1), (1, 0), 0
    assert (conv.stride_nd, conv.dilation_nd, conv.num_groups) == ((1, 1), (1, 1), 1)
    assert [e.split(": ")[1] for e in shop.log.errors] == [
        "stride_nd=(0, 1) must be 1 or more",
        "dilation_nd=(1, 0) must be 1 or more",
        "num_groups=0 must be 1 or more",
    ]


def test_profiles_say_all_extents() -> None:
    profile = Workshop().builder.create_optimization_profile()
    with pytest.raises(RuntimeError, match="extents below 0"):
        profile.set_shape("x", (-1, 3), (2, 3), (3, 3))


@pytest.mark.parametrize("scale", [0.0, -0.1, np.nan])
def test_scales_are_positive(scale: float) -> None:
    shop = Workshop()
    by = shop.network.add_constant((), np.array(scale, np.float32)).get_output(0)
    x = shop.network.add_input("x", trt.float32, (3,))
    quantized = shop.network.add_quantize(x, by)
    layer = shop.network.add_dequantize(quantized.get_output(0), by)
    assert shop.output(layer, "y").plan() is None
    assert "must be above 0 and finite" in shop.log.errors[0]


def test_corners_are_aligned_as_until_8_0() -> None:
    shop = Workshop()
    x = np.arange(4, dtype=np.float32).reshape(1, 1, 1, 4)
    layer: Any = shop.network.add_resize(shop.network.add_input("x", trt.float32, x.shape))
    layer.scales, layer.resize_mode, layer.align_corners = (1, 1, 1, 2), trt.ResizeMode.LINEAR, True
    assert layer.coordinate_transformation == trt.ResizeCoordinateTransformation.ALIGN_CORNERS
    got = run_v3(shop.output(layer, "y").engine().create_execution_context(), {"x": x})["y"]
    np.testing.assert_allclose(got.reshape(-1), np.linspace(0, 3, 8), rtol=1e-5)
    layer.align_corners = False
    assert layer.coordinate_transformation == trt.ResizeCoordinateTransformation.ASYMMETRIC


def test_shapes_asked_after_each_layer_walk_the_network_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shop, walks = Workshop(), []
    monkeypatch.setattr(graph, "Emission", lambda *a, **n: walks.append(1) or Emission(*a, **n))
    tensor = shop.network.add_input("x", trt.float32, (-1, 3, 8, 8))
    for _ in range(5):
        conv: Any = shop.network.add_convolution_nd(tensor, 3, (3, 3), np.ones(81, np.float32))
        conv.padding_nd, conv.dilation_nd = (2, 2), (2, 2)
        tensor = conv.get_output(0)
        assert tensor.shape == (-1, 3, 8, 8)
    assert len(walks) == 1
    conv.padding_nd = (0, 0)
    assert tensor.shape == (-1, 3, 4, 4)


def test_outputs_lie_in_memory_that_can_be_written() -> None:
    shop = Workshop().double((4,))
    context = shop.engine().create_execution_context()
    x, fixed = np.ones(4, np.float32), mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ)
    if not allocations._tells_writable():
        pytest.skip("the kernel is older than 5.14")
    y = np.frombuffer(fixed, np.float32)
    assert not context.execute_v2([x.ctypes.data, y.ctypes.data])
    assert "output 'y' lies at" in shop.log.errors[0]
    assert "can only be read" in shop.log.errors[0]
    assert context.execute_v2([y.ctypes.data, x.ctypes.data])
    assert x.tolist() == [0, 0, 0, 0]
    with pytest.raises(memory.CudaFault, match=r"the destination lies at .* only be read"):
        memory.copy(y.ctypes.data, x.ctypes.data, 16)
    with pytest.raises(memory.CudaFault, match=r"the destination lies at .* only be read"):
        memory.fill(y.ctypes.data, 1, 16)


def test_weights_lie_where_there_is_memory() -> None:
    with pytest.raises(ValueError, match="weights needs 40 bytes at 0x5, where there is no memory"):
        trt.Weights(trt.float32, 5, 10)
    array = np.arange(10, dtype=np.float32)
    assert trt.Weights(trt.float32, array.ctypes.data, 10).numpy().tolist() == array.tolist()
