"""Refits of networks written by hand: names and roles, what is checked, what is missing, what contexts then compute."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import camshaft
import camshaft.tensorrt as trt
from camshaft.tensorrt.eras import PROFILES, VARIABLE
from trt_engines import KERNEL, Workshop, run_v3

Array = np.ndarray[Any, Any]
F32 = np.float32
ROLE = trt.WeightsRole
X = np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(F32)
LARGE = (64, 64, 3, 3)
"""Shape of a kernel whose values plans do not keep."""


def random(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).uniform(0.5, 2.0, shape).astype(F32)


def shop_with(flag: Any = trt.BuilderFlag.REFIT) -> Workshop:
    shop = Workshop()
    shop.config.set_flag(flag)
    return shop


def refitter_of(shop: Workshop, engine: Any) -> Any:
    return trt.Refitter(engine, shop.log)


def convolution(net: Any, x: Any, w: Any) -> Any:
    return net.add_convolution_nd(x, 4, (3, 3), w(KERNEL_OF, 4, 3, 3, 3), w(BIAS_OF, 4))


def old_convolution(net: Any, x: Any, w: Any) -> Any:
    return net.add_convolution(x, 4, (3, 3), w(KERNEL_OF, 4, 3, 3, 3), w(BIAS_OF, 4))


def deconvolution(net: Any, x: Any, w: Any) -> Any:
    return net.add_deconvolution_nd(x, 4, (3, 3), w(KERNEL_OF, 3, 4, 3, 3), w(BIAS_OF, 4))


def old_deconvolution(net: Any, x: Any, w: Any) -> Any:
    return net.add_deconvolution(x, 4, (3, 3), w(KERNEL_OF, 3, 4, 3, 3), w(BIAS_OF, 4))


def fully_connected(net: Any, x: Any, w: Any) -> Any:
    return net.add_fully_connected(x, 5, w(KERNEL_OF, 5, 192), w(BIAS_OF, 5))


def scale(net: Any, x: Any, w: Any) -> Any:
    mode = trt.ScaleMode.CHANNEL
    return net.add_scale(x, mode, w(SHIFT_OF, 3), w(SCALE_OF, 3), w(POWER_OF, 3))


def scale_nd(net: Any, x: Any, w: Any) -> Any:
    mode, shape = trt.ScaleMode.ELEMENTWISE, (3, 8, 8)
    return net.add_scale_nd(x, mode, w(SHIFT_OF, *shape), w(SCALE_OF, *shape), None, 1)


def constant(net: Any, x: Any, w: Any) -> Any:
    held = net.add_constant((1, 3, 8, 8), w(("held", ROLE.CONSTANT), 1, 3, 8, 8))
    held.name = "held"
    return net.add_elementwise(x, held.get_output(0), trt.ElementWiseOperation.PROD)


KERNEL_OF, BIAS_OF = ("it", ROLE.KERNEL), ("it", ROLE.BIAS)
SHIFT_OF, SCALE_OF, POWER_OF = ("it", ROLE.SHIFT), ("it", ROLE.SCALE), ("it", ROLE.ANY)
ADDERS = [
    convolution, old_convolution, deconvolution, old_deconvolution, fully_connected, scale, scale_nd, constant,
]  # fmt: skip


def built(add: Any, seed: int) -> tuple[Workshop, Any, dict[Any, Array]]:
    """A network of one layer with random weights behind |x|, its engine, and the weights by layer and role."""
    shop = shop_with()
    given: dict[Any, Array] = {}

    def weights(place: Any, *shape: int) -> Array:
        given[place] = random(seed + len(given), *shape)
        return given[place]

    x = shop.network.add_input("x", trt.float32, X.shape)
    positive = shop.network.add_unary(x, trt.UnaryOperation.ABS)
    layer = add(shop.network, positive.get_output(0), weights)
    layer.name = "it"
    return shop, shop.output(layer, "y").engine(), given


@pytest.mark.parametrize("add", ADDERS, ids=lambda add: add.__name__)
def test_weights_of_each_adder_are_exchanged_by_layer_and_role(add: Any) -> None:
    shop, engine, old = built(add, 10)
    _, wanted, new = built(add, 20)
    assert engine.refittable
    refitter = refitter_of(shop, engine)
    assert set(zip(*refitter.get_all(), strict=True)) == set(old)
    context = engine.create_execution_context()
    before = run_v3(context, {"x": X})["y"]
    for (layer, role), weights in new.items():
        assert refitter.set_weights(layer, role, weights)
    assert refitter.refit_cuda_engine()
    after = run_v3(context, {"x": X})["y"]
    expected = run_v3(wanted.create_execution_context(), {"x": X})["y"]
    np.testing.assert_allclose(after, expected, rtol=1e-5)
    assert not np.allclose(after, before, rtol=1e-2)
    assert not shop.log.errors


def test_weights_have_names_of_their_layer_and_role_or_those_that_were_set() -> None:
    shop = shop_with().convolution()
    assert shop.network.set_weights_name(KERNEL, "my kernel")
    refitter = refitter_of(shop, shop.engine())
    assert refitter.get_all_weights() == ["my kernel", "conv BIAS"]
    assert refitter.get_all() == (["conv", "conv"], [ROLE.KERNEL, ROLE.BIAS])
    prototype = refitter.get_weights_prototype("my kernel")
    assert (prototype.dtype, prototype.size, prototype.nbytes) == (trt.float32, 108, 432)


def test_one_name_exchanges_the_weights_of_all_layers_that_share_them() -> None:
    shop = shop_with()
    shared = random(3, 3, 3, 3, 3)
    x = shop.network.add_input("x", trt.float32, X.shape)
    for i in range(2):
        layer = shop.network.add_convolution_nd(x, 3, (3, 3), shared)
        layer.name, x = f"conv{i}", layer.get_output(0)
    assert shop.network.set_weights_name(shared, "both")
    engine = shop.output(layer, "y").engine()
    refitter = refitter_of(shop, engine)
    assert refitter.get_all_weights() == ["both"]
    assert refitter.get_all() == (["conv0", "conv1"], [ROLE.KERNEL, ROLE.KERNEL])
    context = engine.create_execution_context()
    before = run_v3(context, {"x": X})["y"]
    assert refitter.set_weights("conv1", ROLE.KERNEL, 2 * shared)
    assert refitter.refit_cuda_engine()
    np.testing.assert_allclose(run_v3(context, {"x": X})["y"], 4 * before, rtol=1e-5)


def scaled(flag: Any = trt.BuilderFlag.REFIT) -> Workshop:
    """x -> a convolution with a large kernel -> scale, which builds fold into one -> y."""
    shop = shop_with(flag)
    shop.config.builder_optimization_level = 1
    x = shop.network.add_input("x", trt.float32, (1, 64, 6, 6))
    conv = shop.network.add_convolution_nd(x, 64, (3, 3), random(7, *LARGE))
    mode = trt.ScaleMode.CHANNEL
    scale = shop.network.add_scale(conv.get_output(0), mode, random(8, 64), random(9, 64))
    conv.name, scale.name = "conv", "scale"
    return shop.output(scale, "y")


def test_what_is_folded_with_weights_that_are_not_kept_is_missing_until_it_is_set() -> None:
    shop = scaled()
    engine = shop.engine()
    refitter = refitter_of(shop, engine)
    assert refitter.get_missing() == ([], [])
    context = engine.create_execution_context()
    x = {"x": random(1, 1, 64, 6, 6)}
    before = run_v3(context, x)["y"]
    assert refitter.set_weights("scale", ROLE.SCALE, 3 * random(9, 64))
    assert refitter.get_missing() == (["conv"], [ROLE.KERNEL])
    assert refitter.get_missing_weights() == ["conv KERNEL"]
    assert not refitter.refit_cuda_engine()
    assert "conv KERNEL" in shop.log.errors[-1]
    np.testing.assert_array_equal(run_v3(context, x)["y"], before)
    assert refitter.set_named_weights("conv KERNEL", random(7, *LARGE))
    assert refitter.get_missing_weights() == []
    assert refitter.refit_cuda_engine_async(0)
    shift = random(8, 64).reshape(1, 64, 1, 1)
    np.testing.assert_allclose(run_v3(context, x)["y"], 3 * (before - shift) + shift, rtol=1e-4)


def test_weights_of_another_type_or_count_or_name_are_errors() -> None:
    shop = shop_with().convolution()
    refitter = refitter_of(shop, shop.engine())
    faults: list[tuple[Callable[[], Any], str]] = [
        (lambda: refitter.set_weights("conv", ROLE.KERNEL, KERNEL[1:]), "81 of DataType.FLOAT"),
        (lambda: refitter.set_named_weights("conv BIAS", np.zeros(4, np.float16)), "DataType.HALF"),
        (lambda: refitter.set_weights("conv", ROLE.SCALE, KERNEL), "no SCALE weights"),
        (lambda: refitter.set_weights("relu", ROLE.KERNEL, KERNEL), "layer 'relu'"),
        (lambda: refitter.set_named_weights("conv", KERNEL), "called 'conv'"),
        (lambda: refitter.unset_named_weights("conv BIAS"), "no weights are set"),
        (lambda: refitter.set_dynamic_range("x", (-1.0, 1.0)), "dynamic range of tensor 'x'"),
    ]
    for call, words in faults:
        assert call() is False
        assert words in shop.log.errors[-1]
    assert refitter.get_weights_prototype("conv") is None
    assert refitter.get_named_weights("conv BIAS") is None
    assert np.isnan(refitter.get_dynamic_range("x")).all()
    assert refitter.get_tensors_with_dynamic_range() == []
    with pytest.raises(TypeError, match="weights="):
        refitter.set_named_weights("conv BIAS", [0.0] * 4)


def test_weights_stay_set_and_are_read_where_they_lie_at_each_refit() -> None:
    shop = shop_with().convolution()
    engine = shop.engine()
    refitter = refitter_of(shop, engine)
    own = KERNEL.copy()
    held = trt.Weights(trt.float32, own.ctypes.data, own.size)
    assert refitter.set_named_weights("conv KERNEL", held, trt.TensorLocation.DEVICE)
    assert refitter.get_weights_location("conv KERNEL") == trt.TensorLocation.DEVICE
    assert refitter.get_named_weights("conv KERNEL") is held
    context = engine.create_execution_context()
    before = run_v3(context, {"x": X})["y"]
    for factor in (2, 4):
        own[...] = factor * KERNEL
        assert refitter.refit_cuda_engine()
        np.testing.assert_allclose(run_v3(context, {"x": X})["y"], factor * before, rtol=1e-5)
    assert refitter.unset_named_weights("conv KERNEL")
    assert refitter.get_named_weights("conv KERNEL") is None


def test_weights_that_are_no_numbers_are_warned_of_unless_that_is_switched_off() -> None:
    shop = shop_with().convolution()
    refitter = refitter_of(shop, shop.engine())
    assert refitter.set_named_weights("conv BIAS", np.array([0, np.nan, 0, 0], F32))
    refitter.weights_validation = False
    assert refitter.refit_cuda_engine()
    assert not [t for s, t in shop.log.lines if s == "WARNING" and "conv BIAS" in t]
    refitter.weights_validation = True
    assert refitter.refit_cuda_engine()
    assert [t for s, t in shop.log.lines if s == "WARNING" and "conv BIAS" in t]


def test_an_engine_that_was_not_built_for_it_has_no_refitter() -> None:
    shop = Workshop().convolution()
    engine = shop.engine()
    assert not engine.refittable
    with pytest.raises(TypeError, match="not refittable"):
        trt.Refitter(engine, shop.log)
    assert "not refittable" in shop.log.errors[-1]


def test_individual_refits_are_of_marked_weights_only() -> None:
    shop = shop_with(trt.BuilderFlag.REFIT_INDIVIDUAL).convolution()
    assert not shop.network.mark_weights_refittable("conv WHATEVER")
    assert "conv WHATEVER" in shop.log.errors[-1]
    assert shop.network.mark_weights_refittable("conv BIAS")
    engine = shop.engine()
    assert engine.refittable
    assert trt.Refitter(engine, shop.log).get_all_weights() == ["conv BIAS"]
    shop.config.set_flag(trt.BuilderFlag.REFIT)
    assert shop.plan() is None
    assert "REFIT_INDIVIDUAL" in shop.log.errors[-1]


def test_a_build_says_if_no_weights_can_be_exchanged() -> None:
    shop = shop_with(trt.BuilderFlag.STRIP_PLAN)
    x = shop.network.add_input("x", trt.int32, (3,))
    whole = shop.network.add_constant((3,), np.arange(3, dtype=np.int32)).get_output(0)
    engine = shop.output(
        shop.network.add_elementwise(x, whole, trt.ElementWiseOperation.SUM), "y"
    ).engine()
    assert [t for s, t in shop.log.lines if s == "WARNING" and "no weights of the engine" in t]
    refitter = trt.Refitter(engine, shop.log)
    assert refitter.get_all_weights() == refitter.get_missing_weights() == []
    assert refitter.refit_cuda_engine()
    y = run_v3(engine.create_execution_context(), {"x": np.ones(3, np.int32)})["y"]
    assert y.tolist() == [1, 2, 3]


@pytest.mark.parametrize("individually", [False, True])
def test_a_weight_that_cannot_be_exchanged_is_told_of_where_it_was_marked(
    individually: bool,
) -> None:
    shop = shop_with(trt.BuilderFlag.REFIT_INDIVIDUAL if individually else trt.BuilderFlag.REFIT)
    x = shop.network.add_input("x", trt.float32, (3,))
    held = shop.network.add_constant((1,), trt.Weights(np.full(1, 2, F32)))
    held.name = "two"
    whole = shop.network.add_constant((3,), trt.Weights(np.arange(3, dtype=np.int32)))
    whole.name = "whole"
    cast = shop.network.add_cast(whole.get_output(0), trt.float32).get_output(0)
    for other in (held.get_output(0), cast):
        x = shop.network.add_elementwise(x, other, trt.ElementWiseOperation.SUM).get_output(0)
    shop.network.mark_output(x)
    if individually:
        for name in ("two CONSTANT", "whole CONSTANT"):
            assert shop.network.mark_weights_refittable(name)
    assert shop.plan() is not None
    said = [t for s, t in shop.log.lines if s == "WARNING" and "cannot be exchanged" in t]
    assert bool(said) == individually, shop.log.lines
    assert all(t.startswith("mark_weights_refittable names ") for t in said)


def test_halves_are_rounded_as_in_a_build_with_them() -> None:
    def half(kernel: Array) -> Workshop:
        shop = shop_with()
        x = shop.network.add_input("x", trt.float16, X.shape)
        conv = shop.network.add_convolution_nd(x, 4, (3, 3), kernel)
        conv.name = "conv"
        return shop.output(conv, "y")

    new = random(4, 4, 3, 3, 3)
    shop, other = half(KERNEL), half(new)
    engine, wanted = shop.engine(), other.engine()
    refitter = refitter_of(shop, engine)
    assert refitter.get_weights_prototype("conv KERNEL").dtype == trt.float32
    assert refitter.set_named_weights("conv KERNEL", new)
    assert refitter.refit_cuda_engine()
    x = {"x": X.astype(np.float16)}
    after, expected = (run_v3(e.create_execution_context(), x)["y"] for e in (engine, wanted))
    np.testing.assert_array_equal(after, expected)


def test_an_engine_of_camshaft_is_refitted_by_names_of_its_weights() -> None:
    shop = Workshop().convolution()
    model = shop.network._lowered().model
    data = camshaft.build(model, refittable=True, optimization_level=0).to_bytes()
    engine: Any = trt.Runtime(shop.log).deserialize_cuda_engine(data)
    refitter = trt.Refitter(engine, shop.log)
    assert set(refitter.get_all_weights()) == {"conv.kernel", "conv.bias"}
    assert refitter.set_named_weights("conv.kernel", 2 * KERNEL)
    assert refitter.refit_cuda_engine()
    assert refitter.get_all()[1] == [ROLE.CONSTANT] * 2


SCRIPT = """
import numpy as np
import camshaft.tensorrt as trt
log = trt.Logger(trt.Logger.ERROR)
builder = trt.Builder(log)
network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH) if {old} else 0)
x = network.add_input("x", trt.float32, (1, 2, 4, 4))
kernel = np.ones((2, 2, 1, 1), np.float32)
conv = network.add_convolution_nd(x, 2, (1, 1), kernel, np.zeros(2, np.float32))
conv.name = "conv"
conv.get_output(0).name = "y"
network.mark_output(conv.get_output(0))
config = builder.create_builder_config()
config.builder_optimization_level = 0
config.set_flag(trt.BuilderFlag.REFIT)
engine = trt.Runtime(log).deserialize_cuda_engine(builder.build_serialized_network(network, config))
refitter = trt.Refitter(engine, log)
assert hasattr(refitter, "get_weights_prototype") != {old}
assert hasattr(refitter, "set_dynamic_range") != {new}
assert refitter.set_weights("conv", trt.WeightsRole.KERNEL, trt.Weights(3 * kernel))
assert refitter.get_missing() == ([], []) and refitter.refit_cuda_engine()
context = engine.create_execution_context()
x, y = np.ones((1, 2, 4, 4), np.float32), np.zeros((1, 2, 4, 4), np.float32)
if {old}:
    assert context.execute_v2([x.ctypes.data, y.ctypes.data])
else:
    context.set_tensor_address("x", x.ctypes.data)
    context.set_tensor_address("y", y.ctypes.data)
    assert context.execute_async_v3(0)
assert (y == 6).all(), y
"""


@pytest.mark.parametrize("profile", PROFILES)
def test_scripts_of_a_release_refit_with_the_names_it_has(profile: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(old=profile == "8.6", new=profile == "11")],
        env=os.environ | {VARIABLE: profile, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
