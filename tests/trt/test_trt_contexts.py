"""Engines and contexts: both ways to bind, profiles, shapes, allocators, profilers, listeners, inspectors."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import camshaft
import camshaft.tensorrt as trt
from camshaft.tensorrt import memory
from camshaft.tensorrt.running import preparing
from trt_engines import Workshop, device, host, run_v3

F32 = np.float32


@pytest.fixture(scope="module")
def profiled() -> Workshop:
    """x of 1 to 4 and of 8 to 16 elements, doubled."""
    return Workshop().double().profile((1,), (2,), (4,)).profile((8,), (8,), (16,))


@pytest.fixture(scope="module")
def two(profiled: Workshop) -> Any:
    return profiled.engine()


@pytest.fixture
def context(two: Any) -> Any:
    return two.create_execution_context()


def errors(shop: Workshop) -> list[str]:
    return shop.log.errors


# -- what an engine says ---------------------------------------------------------------------------


def test_an_engine_lists_its_tensors(two: Any, profiled: Workshop) -> None:
    assert [two.get_tensor_name(i) for i in range(two.num_io_tensors)] == ["x", "y"]
    assert two.get_tensor_mode("x") == trt.TensorIOMode.INPUT
    assert two.get_tensor_mode("y") == trt.TensorIOMode.OUTPUT
    assert two.get_tensor_mode("z") == trt.TensorIOMode.NONE
    assert two.get_tensor_shape("x") == (-1,)
    assert two.get_tensor_dtype("y") == trt.float32
    assert two.get_tensor_location("x") == trt.TensorLocation.DEVICE
    assert two.get_tensor_format("x") == trt.TensorFormat.LINEAR
    assert two.get_tensor_bytes_per_component("x") == 4
    assert two.num_optimization_profiles == 2
    assert two.get_tensor_profile_shape("x", 1) == [(8,), (8,), (16,)]
    assert two.get_tensor_profile_shape("y", 0) == [(), (), ()]
    assert not two.is_shape_inference_io("x")
    assert two.get_tensor_shape("z") == ()
    assert "'z' is no input or output" in errors(profiled)[-1]
    assert two.num_layers >= 1
    assert two.device_memory_size == two.device_memory_size_v2
    assert two.refittable is False
    assert two.name == "Unnamed Network 0"


def test_bindings_by_number_come_once_a_profile(two: Any) -> None:
    names = ["x", "y", "x [profile 1]", "y [profile 1]"]
    assert two.num_bindings == len(two) == 4
    assert [two[i] for i in range(4)] == names
    assert [*two] == names
    assert [two[name] for name in names] == [0, 1, 2, 3]
    assert two.get_binding_index("x [profile 2]") == two.get_binding_index("q") == -1
    assert [two.binding_is_input(i) for i in range(4)] == [True, False] * 2
    assert two.binding_is_input("x [profile 1]")
    assert two.get_binding_shape(2) == (-1,)
    assert two.get_binding_dtype("y") == trt.float32
    assert two.get_profile_shape(1, 0) == two.get_profile_shape(1, "x") == [(8,), (8,), (16,)]
    assert two.max_batch_size == 1
    assert two.get_binding_name(9) is None
    with pytest.raises(IndexError):
        two[4]


def test_an_engine_of_camshaft_alone_runs_too() -> None:
    shop = Workshop().double()
    model = shop.network._lowered().model
    plan = camshaft.build(model, shapes={"x": ("1..2..8",)}, optimization_level=0).to_bytes()
    engine = trt.Runtime(shop.log).deserialize_cuda_engine(plan)
    assert engine.get_tensor_profile_shape("x", 0) == [(1,), (2,), (8,)]
    x = np.arange(5, dtype=F32)
    y = run_v3(engine.create_execution_context(), {"x": x})["y"]
    np.testing.assert_array_equal(y, 2 * x)


# -- names -----------------------------------------------------------------------------------------


def test_shapes_are_within_the_active_profile(context: Any, profiled: Workshop) -> None:
    assert context.infer_shapes() == ["x"]
    assert context.get_tensor_shape("x") == context.get_tensor_shape("y") == (-1,)
    assert not context.all_binding_shapes_specified
    assert not context.set_input_shape("x", (8,))
    assert "not within (1,) to (4,)" in errors(profiled)[-1]
    assert not context.set_input_shape("x", (1, 1))
    assert not context.set_input_shape("y", (1,))
    assert context.set_input_shape("x", (3,))
    assert context.get_tensor_shape("y") == (3,)
    assert context.get_tensor_strides("y") == (1,)
    assert context.infer_shapes() == []
    assert context.get_max_output_size("y") == 12
    assert context.set_optimization_profile_async(1, 0)
    assert context.active_optimization_profile == 1
    assert context.infer_shapes() == ["x"]
    assert context.set_input_shape("x", (8,))
    assert not context.set_optimization_profile_async(2, 0)
    assert "no optimization profile 2" in errors(profiled)[-1]


def test_runs_by_names(context: Any) -> None:
    for profile, size in ((0, 3), (0, 4), (1, 16), (0, 1)):
        context.active_optimization_profile = profile
        x = np.arange(size, dtype=F32)
        np.testing.assert_array_equal(run_v3(context, {"x": x})["y"], 2 * x)


def test_what_is_missing_is_false_and_a_line_in_the_log(context: Any, profiled: Workshop) -> None:
    assert not context.execute_async_v3(0)
    assert "shape of input 'x' is not set" in errors(profiled)[-1]
    context.set_input_shape("x", (2,))
    assert not context.execute_async_v3(0)
    assert "address of input 'x' is not set" in errors(profiled)[-1]
    context.set_tensor_address("x", device(np.ones(2, F32)))
    assert not context.execute_async_v3(0)
    assert "address of output 'y' is not set" in errors(profiled)[-1]
    assert not context.set_tensor_address("z", 8)
    assert context.get_tensor_address("z") == context.get_tensor_address("y") == 0
    context.set_tensor_address("y", memory.allocate(8))
    assert context.execute_async_v3(0)
    assert not context.execute_async_v3(77)
    assert "no stream" in errors(profiled)[-1]


def test_memory_that_is_too_small_is_found(context: Any, profiled: Workshop) -> None:
    context.set_input_shape("x", (4,))
    context.set_tensor_address("x", device(np.ones(4, F32)))
    context.set_tensor_address("y", memory.allocate(12))
    assert not context.execute_async_v3(0)
    assert "output 'y' needs 16 bytes" in errors(profiled)[-1]


def test_a_run_sees_what_lies_at_its_addresses_then(context: Any) -> None:
    context.set_input_shape("x", (2,))
    x, y = np.array([1, 2], F32), np.zeros(2, F32)
    context.set_tensor_address("x", x.ctypes.data)
    context.set_tensor_address("y", y.ctypes.data)
    for value in (1, 5):
        x[:] = value
        assert context.execute_async_v3(0)
        np.testing.assert_array_equal(y, 2 * x)


def test_output_and_input_may_share_memory(context: Any) -> None:
    x = np.array([1, 2], F32)
    address = device(x)
    context.set_input_shape("x", (2,))
    context.set_tensor_address("x", address)
    context.set_tensor_address("y", address)
    assert context.execute_async_v3(0)
    np.testing.assert_array_equal(host(address, (2,)), 2 * x)


def test_graphs_replay_calls(context: Any) -> None:
    x, y = np.array([1, 2], F32), np.zeros(2, F32)
    context.set_input_shape("x", (2,))
    context.set_tensor_address("x", x.ctypes.data)
    context.set_tensor_address("y", y.ctypes.data)
    stream = memory.Stream()
    handle = memory.STREAMS.add(stream)
    stream.begin_capture()
    assert context.execute_async_v3(handle)
    graph = stream.end_capture()
    assert not y.any()
    stream.launch(graph)
    np.testing.assert_array_equal(y, 2 * x)


# -- numbers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["execute_v2", "execute_async_v2", "execute", "execute_async"])
def test_runs_by_numbers(context: Any, profiled: Workshop, method: str) -> None:
    context.active_optimization_profile = 1
    assert context.set_binding_shape(2, (9,))
    assert context.get_binding_shape(3) == (9,)
    assert not context.set_binding_shape(0, (2,))
    assert "another optimization profile" in errors(profiled)[-1]
    x = np.arange(9, dtype=F32)
    given = {"bindings": [0, 0, device(x), memory.allocate(36)]}
    if "async" in method:
        given["stream_handle"] = 0  # type: ignore[assignment]
    if not method.endswith("v2"):
        given["batch_size"] = 1  # type: ignore[assignment]
    for _ in range(2):
        assert getattr(context, method)(**given)
        np.testing.assert_array_equal(host(given["bindings"][3], (9,)), 2 * x)
    assert not context.execute_v2([0])
    assert "bindings has 1 addresses" in errors(profiled)[-1]


def test_handles_are_whatever_has_an_int(context: Any) -> None:
    class Pointer:
        def __init__(self, address: int) -> None:
            self.address = address

        def __int__(self) -> int:
            return self.address

    x = np.ones(3, F32)
    context.set_binding_shape(0, (3,))
    y = memory.allocate(12)
    assert context.execute_async_v2([Pointer(device(x)), Pointer(y)], Pointer(0))
    np.testing.assert_array_equal(host(y, (3,)), 2 * x)


# -- inputs that say shapes ------------------------------------------------------------------------


def reshaping() -> Workshop:
    """x of 12 elements, in the shape that `to` says."""
    shop = Workshop()
    x = shop.network.add_input("x", trt.float32, (12,))
    to = shop.network.add_input("to", trt.int32, (2,))
    shuffle = shop.network.add_shuffle(x)
    shuffle.set_input(1, to)
    profile = shop.builder.create_optimization_profile()
    profile.set_shape_input("to", (1, 1), (3, 4), (12, 12))
    shop.config.add_optimization_profile(profile)
    return shop.output(shuffle, "y")


def test_values_of_shape_inputs_are_read_at_each_run() -> None:
    engine = reshaping().engine()
    assert engine.is_shape_inference_io("to")
    assert engine.get_tensor_location("to") == trt.TensorLocation.HOST
    assert engine.get_tensor_profile_values("to", 0) == [[1, 1], [3, 4], [12, 12]]
    assert engine.get_tensor_profile_values(0, "to") == [[1, 1], [3, 4], [12, 12]]
    context = engine.create_execution_context()
    assert context.infer_shapes() == ["to"]
    x, to = np.arange(12, dtype=F32), np.array([2, 6], np.int32)
    context.set_tensor_address("x", device(x))
    context.set_tensor_address("to", to.ctypes.data)
    y = memory.allocate(48)
    context.set_tensor_address("y", y)
    for rows in (2, 3):
        to[:] = rows, 12 // rows
        assert context.infer_shapes() == []
        assert context.get_tensor_shape("y") == (rows, 12 // rows)
        assert context.execute_async_v3(0)
        np.testing.assert_array_equal(host(y, (12,)), x)


def test_values_of_shape_inputs_are_set_by_number() -> None:
    shop = reshaping()
    engine = shop.engine()
    context = engine.create_execution_context()
    number = engine.get_binding_index("to")
    assert engine.is_shape_binding(number)
    assert not context.all_shape_inputs_specified
    assert not context.set_shape_input(number, (13, 1))
    assert "not within" in shop.log.errors[-1]
    assert context.set_shape_input(number, (6, 2))
    assert context.all_shape_inputs_specified
    assert context.get_shape(number) == [6, 2]
    assert context.get_binding_shape(engine.get_binding_index("y")) == (6, 2)
    x = np.arange(12, dtype=F32)
    bindings = [0] * 3
    bindings[engine.get_binding_index("x")] = device(x)
    bindings[engine.get_binding_index("y")] = y = memory.allocate(48)
    assert context.execute_v2(bindings)
    np.testing.assert_array_equal(host(y, (12,)), x)


# -- outputs whose shapes depend on data -----------------------------------------------------------


class Allocator(trt.IOutputAllocator):
    """Gives device memory; keeps what it was asked and told."""

    def __init__(self, refuses: bool = False) -> None:
        trt.IOutputAllocator.__init__(self)
        self.refuses = refuses
        self.asked: list[tuple[str, int]] = []
        self.shape: tuple[int, ...] | None = None

    def reallocate_output(self, tensor_name: str, memory: int, size: int, alignment: int) -> int:
        assert self.shape is None
        self.asked.append((tensor_name, size))
        return 0 if self.refuses else device(np.zeros(size, np.uint8))

    def notify_shape(self, tensor_name: str, shape: Any) -> None:
        self.shape = tuple(shape)


def non_zero() -> Workshop:
    shop = Workshop()
    x = shop.network.add_input("x", trt.float32, (5,))
    return shop.output(shop.network.add_non_zero(x), "y")


def test_an_allocator_gives_memory_when_the_size_is_found() -> None:
    shop = non_zero()
    engine = shop.engine()
    assert engine.get_tensor_shape("y") == (1, -1)
    context = engine.create_execution_context()
    context.set_tensor_address("x", device(np.array([0, 3, 0, 0, 4], F32)))
    assert context.get_tensor_shape("y") == (1, -1)
    allocator = Allocator()
    assert context.set_output_allocator("y", allocator)
    assert context.get_output_allocator("y") is allocator
    assert context.execute_async_v3(0), shop.log.errors
    kind = trt.nptype(engine.get_tensor_dtype("y"))
    assert allocator.shape == (1, 2)
    assert allocator.asked == [("y", 2 * np.dtype(kind).itemsize)]
    found = host(context.get_tensor_address("y"), (1, 2), kind)
    np.testing.assert_array_equal(found, [[1, 4]])
    context.set_output_allocator("y", Allocator(refuses=True))
    assert not context.execute_async_v3(0)
    assert "no memory" in shop.log.errors[-1]
    assert not context.set_output_allocator("x", allocator)


def test_an_allocator_serves_outputs_of_known_shapes(context: Any) -> None:
    x = np.ones(3, F32)
    context.set_input_shape("x", (3,))
    context.set_tensor_address("x", device(x))
    allocator = Allocator()
    context.set_output_allocator("y", allocator)
    assert context.execute_async_v3(0)
    assert allocator.asked == [("y", 12)]
    assert allocator.shape == (3,)
    np.testing.assert_array_equal(host(context.get_tensor_address("y"), (3,)), 2 * x)


# -- what watches ----------------------------------------------------------------------------------


class Times(trt.IProfiler):
    def __init__(self) -> None:
        trt.IProfiler.__init__(self)
        self.found: list[tuple[str, float]] = []

    def report_layer_time(self, layer_name: str, ms: float) -> None:
        self.found.append((layer_name, ms))


def test_a_profiler_is_told_of_each_layer() -> None:
    engine = Workshop().convolution().engine()
    context, times = engine.create_execution_context(), Times()
    context.profiler = times
    assert context.profiler is times
    x = np.ones((1, 3, 8, 8), F32)
    run_v3(context, {"x": x})
    assert len(times.found) == engine.num_layers
    assert any("conv" in name and ms > 0 for name, ms in times.found)
    context.enqueue_emits_profile = False
    times.found.clear()
    assert context.execute_async_v3(0)
    assert not times.found
    assert context.report_to_profiler()
    assert len(times.found) == engine.num_layers
    assert not context.report_to_profiler()


@pytest.mark.parametrize(
    "verbosity",
    [
        trt.ProfilingVerbosity.NONE,
        trt.ProfilingVerbosity.LAYER_NAMES_ONLY,
        trt.ProfilingVerbosity.DETAILED,
    ],
)
def test_an_inspector_says_as_much_as_was_permitted(verbosity: Any) -> None:
    shop = Workshop().convolution()
    shop.config.profiling_verbosity = verbosity
    engine = shop.engine()
    assert engine.profiling_verbosity == verbosity
    inspector = engine.create_engine_inspector()
    said = json.loads(inspector.get_engine_information(trt.LayerInformationFormat.JSON))
    assert said["Bindings"] == ["x", "y"]
    assert len(said["Layers"]) == engine.num_layers
    first = json.loads(inspector.get_layer_information(0, trt.LayerInformationFormat.JSON))
    assert first == said["Layers"][0]
    if verbosity == trt.ProfilingVerbosity.DETAILED:
        conv = next(layer for layer in said["Layers"] if layer["LayerType"] == "Convolution")
        assert "x" in {tensor["Name"] for tensor in conv["Inputs"]}
        assert conv["TacticName"]
        assert "[ONNX Layer: conv]" in conv["Metadata"]
        assert "TacticName" in inspector.get_layer_information(
            0, trt.LayerInformationFormat.ONELINE
        )
    else:
        assert all(isinstance(layer, str) for layer in said["Layers"])
    assert inspector.get_layer_information(99, trt.LayerInformationFormat.JSON) == ""
    assert "layer_index=99" in shop.log.errors[-1]


def test_contexts_take_strategies_and_configurations(two: Any) -> None:
    kind = trt.ExecutionContextAllocationStrategy
    config = two.create_runtime_config()
    config.set_execution_context_allocation_strategy(kind.USER_MANAGED)
    context = two.create_execution_context(config)
    assert context.get_runtime_config() is config
    assert context.update_device_memory_size_for_shapes() == two.device_memory_size_v2
    other = two.create_execution_context(kind.ON_PROFILE_CHANGE)
    strategy = other.get_runtime_config().get_execution_context_allocation_strategy()
    assert strategy == kind.ON_PROFILE_CHANGE
    assert two.create_execution_context_without_device_memory().engine is two


def test_arrays_are_made_once_for_the_same_addresses_and_shapes(
    context: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    array_at = preparing.array_at
    monkeypatch.setattr(preparing, "array_at", lambda *a: made.append(a) or array_at(*a))
    x = np.ones(3, F32)
    addresses = [device(x), memory.allocate(12)]

    def by_name() -> None:
        assert context.set_input_shape("x", (3,))
        for name, address in zip("xy", addresses, strict=True):
            assert context.set_tensor_address(name, address)
        assert context.execute_async_v3(0)

    def by_number() -> None:
        assert context.execute_v2(addresses)

    for run in (by_name, by_number):
        run()
        assert len(made) == 2
        run()
        assert len(made) == 2
        made.clear()
    context.set_tensor_address("y", memory.allocate(12))
    assert context.execute_async_v3(0)
    assert len(made) == 2


def test_tensors_come_in_the_networks_order_and_fixed_values_are_checked() -> None:
    shop = Workshop()
    z = shop.network.add_input("z", trt.float32, (12,))
    to = shop.network.add_input("a", trt.int32, (2,))
    shuffle = shop.network.add_shuffle(z)
    shuffle.set_input(1, to)
    profile = shop.builder.create_optimization_profile()
    profile.set_shape_input("a", (3, 4), (3, 4), (3, 4))
    shop.config.add_optimization_profile(profile)
    engine = shop.output(shuffle, "y").engine()
    assert [*engine] == ["z", "a", "y"]
    context = engine.create_execution_context()
    x, values, y = np.arange(12, dtype=F32), np.array([3, 4], np.int32), np.zeros((3, 4), F32)
    addresses = [array.ctypes.data for array in (x, values, y)]
    assert context.execute_v2(addresses)
    np.testing.assert_array_equal(y.reshape(-1), x)
    values[:] = 4, 3
    assert not context.execute_v2(addresses)
    assert "allows [3, 4] alone" in shop.log.errors[-1]
