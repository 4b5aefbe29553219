"""Builds: plans, engines, flags, profiles, what fails, and what a build reports."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

import camshaft.tensorrt as trt
from camshaft.tensorrt.building.progress import Phases
from camshaft.tensorrt.errors import Reports
from trt_engines import KERNEL, Workshop, run_v3
from trt_networks import Log

X = np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(np.float32)


def convolved(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    padded = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))
    return np.maximum(np.einsum("nchwij,ocij->nohw", windows, KERNEL), 0)


def test_a_plan_is_bytes_that_a_runtime_makes_an_engine_of() -> None:
    shop = Workshop().convolution()
    plan = shop.plan()
    assert isinstance(plan, trt.IHostMemory)
    for data in (plan, bytes(plan), bytearray(plan), memoryview(plan)):
        engine = trt.Runtime(shop.log).deserialize_cuda_engine(data)
        y = run_v3(engine.create_execution_context(), {"x": X})["y"]
        np.testing.assert_allclose(y, convolved(X), rtol=1e-4, atol=1e-4)
    assert engine.serialize() == plan
    assert not shop.log.errors


def test_build_engine_and_its_later_name_give_engines() -> None:
    for build in ("build_engine", "build_engine_with_config"):
        shop = Workshop().convolution()
        engine = getattr(shop.builder, build)(shop.network, shop.config)
        y = run_v3(engine.create_execution_context(), {"x": X})["y"]
        np.testing.assert_allclose(y, convolved(X), rtol=1e-4, atol=1e-4)


def test_a_builder_of_tensorrt_7_needs_no_configuration() -> None:
    shop = Workshop().convolution()
    builder = shop.builder
    builder.max_workspace_size = 1 << 20
    builder.fp16_mode, builder.max_batch_size = True, 4
    assert (builder.max_workspace_size, builder.fp16_mode, builder.int8_mode) == (
        1 << 20,
        True,
        False,
    )
    engine = builder.build_cuda_engine(shop.network)
    y = run_v3(engine.create_execution_context(), {"x": X})["y"]
    np.testing.assert_allclose(y, convolved(X), rtol=2e-2, atol=2e-2)


def test_streams_of_a_script_are_written_and_read() -> None:
    class Writer(trt.IStreamWriter):
        def __init__(self) -> None:
            self.data = b""

        def write(self, data: bytes) -> int:  # type: ignore[override]
            self.data += data[:1000]
            return len(data[:1000])

    class Reader(trt.IStreamReader):
        def __init__(self, data: bytes) -> None:
            self.file = io.BytesIO(data)

        def read(self, size: int) -> bytes:  # type: ignore[override]
            return self.file.read(min(size, 777))

    class ReaderV2(trt.IStreamReaderV2):
        def __init__(self, data: bytes) -> None:
            self.file = io.BytesIO(data)

        def read(self, num_bytes: int, stream: int) -> bytes:  # type: ignore[override]
            assert stream == 0
            return self.file.read(num_bytes)

    shop, writer = Workshop().convolution(), Writer()
    assert shop.builder.build_serialized_network_to_stream(shop.network, shop.config, writer)
    for reader in (Reader(writer.data), ReaderV2(writer.data)):
        engine = trt.Runtime(shop.log).deserialize_cuda_engine(reader)
        assert engine.get_tensor_name(0) == "x"

    class Full(trt.IStreamWriter):
        def write(self, data: bytes) -> int:  # type: ignore[override]
            return 0

    assert not shop.builder.build_serialized_network_to_stream(shop.network, shop.config, Full())
    assert "took 0 of" in shop.log.errors[-1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: setattr(c, "engine_capability", trt.EngineCapability.SAFETY), "STANDARD"),
        (lambda c: c.set_flag(trt.BuilderFlag.SAFETY_SCOPE), "SAFETY_SCOPE"),
        (
            lambda c: setattr(c, "runtime_platform", trt.RuntimePlatform.WINDOWS_AMD64),
            "SAME_AS_BUILD",
        ),
        (lambda c: setattr(c, "default_device_type", trt.DeviceType.DLA), "GPU_FALLBACK"),
    ],
)
def test_what_cannot_be_built_is_none_and_a_line_in_the_log(change: Any, said: str) -> None:
    shop = Workshop().convolution()
    change(shop.config)
    assert shop.plan() is None
    assert said in shop.log.errors[-1]
    assert not shop.builder.is_network_supported(shop.network, shop.config)


def test_errors_reach_the_recorder_too() -> None:
    class Recorder(trt.IErrorRecorder):
        def __init__(self) -> None:
            self.found: list[Any] = []

        def report_error(self, arg0: Any, arg1: str) -> bool:
            self.found.append((arg0, arg1))
            return False

    shop, recorder = Workshop().double(), Recorder()
    shop.builder.error_recorder = recorder
    assert shop.plan() is None  # an open shape without a profile
    ((code, text),) = recorder.found
    assert code == trt.ErrorCodeTRT.INVALID_CONFIG
    assert "set_shape" in shop.log.errors[-1]
    assert shop.log.errors[-1].startswith(text)


@pytest.mark.parametrize(
    ("shapes", "name", "said"),
    [
        (((1,), (2,), (4,)), "z", "no such input"),
        (((1, 1), (2, 2), (4, 4)), "x", "are none of"),
    ],
)
def test_profiles_that_do_not_fit_the_network(shapes: Any, name: str, said: str) -> None:
    shop = Workshop().double().profile(*shapes, name=name)
    assert shop.plan() is None
    assert said in shop.log.errors[-1]


def test_profiles_ascend() -> None:
    profile = trt.Builder(trt.Logger()).create_optimization_profile()
    with pytest.raises(RuntimeError, match="must hold"):
        profile.set_shape("x", (2,), (1,), (4,))
    with pytest.raises(RuntimeError, match="length"):
        profile.set_shape_input("x", [2], [2, 3], [4])
    profile.set_shape("x", (1,), [2], trt.Dims([4]))
    assert profile.get_shape("x") == [(1,), (2,), (4,)]
    assert profile.get_shape("y") == []
    assert profile.get_shape_input("x") == []
    assert bool(profile)


def test_broken_plans_are_none_and_a_line_in_the_log() -> None:
    shop = Workshop().convolution()
    plan = bytes(shop.plan())
    runtime = trt.Runtime(shop.log)
    damaged = bytearray(plan)
    damaged[len(plan) // 2] ^= 1
    for data, said in ((b"", "empty"), (plan[:-1], "cut off"), (damaged, "checksum")):
        assert runtime.deserialize_cuda_engine(data) is None
        assert said in shop.log.errors[-1]


def test_half_floats_at_the_border_and_permitted_inside() -> None:
    shop = Workshop().double((4,), trt.float16)
    shop.config.set_flag(trt.BuilderFlag.FP16)
    engine = shop.engine()
    assert engine.get_tensor_dtype("x") == engine.get_tensor_dtype("y") == trt.float16
    x = np.arange(4, dtype=np.float16)
    y = run_v3(engine.create_execution_context(), {"x": x})["y"]
    assert y.dtype == np.float16
    np.testing.assert_array_equal(y, 2 * x)


def test_flags_are_bits_with_names() -> None:
    config = Workshop().config
    flag = trt.BuilderFlag
    assert config.flags == 1 << int(flag.TF32)
    config.flags |= 1 << int(flag.INT8)
    config.set_flag(flag.FP16)
    config.clear_flag(flag.TF32)
    assert config.get_flag(flag.INT8)
    assert config.get_flag(flag.FP16)
    assert not config.get_flag(flag.TF32)
    with pytest.raises(TypeError, match="BuilderFlag"):
        config.set_flag(1)
    config.reset()
    assert config.flags == 1 << int(flag.TF32)


def test_a_configuration_keeps_what_it_is_told() -> None:
    shop = Workshop()
    config = shop.config
    pool = trt.MemoryPoolType
    config.set_memory_pool_limit(pool.WORKSPACE, 1 << 20)
    assert config.max_workspace_size == config.get_memory_pool_limit(pool.WORKSPACE) == 1 << 20
    config.set_memory_pool_limit(pool.DLA_LOCAL_DRAM, 5000)  # no power of 2
    assert config.get_memory_pool_limit(pool.DLA_LOCAL_DRAM) == 1 << 30
    assert "power of 2" in shop.log.errors[-1]
    config.builder_optimization_level = 9
    assert config.builder_optimization_level == 0
    assert "from 0 to 5" in shop.log.errors[-1]
    assert config.get_tactic_sources() == 24
    assert config.set_tactic_sources(3)
    assert config.get_tactic_sources() == 3
    config.set_preview_feature(trt.PreviewFeature.ALIASED_PLUGIN_IO_10_03, True)
    assert config.get_preview_feature(trt.PreviewFeature.ALIASED_PLUGIN_IO_10_03)
    config.set_quantization_flag(trt.QuantizationFlag.CALIBRATE_BEFORE_FUSION)
    assert config.quantization_flags == 1
    config.avg_timing_iterations, config.max_aux_streams = 5, 2
    assert (config.avg_timing_iterations, config.max_aux_streams) == (5, 2)
    with pytest.raises(TypeError, match="int8_calibrator"):
        config.int8_calibrator = object()
    shop.convolution()
    layer = shop.network[0]
    config.set_device_type(layer, trt.DeviceType.DLA)
    assert config.is_device_type_set(shop.network[0])
    config.reset_device_type(layer)
    assert config.get_device_type(layer) == trt.DeviceType.GPU


def layers_of(engine: Any) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = engine._inspected["steps"]
    return steps


def test_layer_precisions_are_orders_wishes_or_hints() -> None:
    for flag, said in (
        (trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS, "f16"),
        (trt.BuilderFlag.PREFER_PRECISION_CONSTRAINTS, "f16"),
        (trt.BuilderFlag.STRICT_TYPES, "f16"),
    ):
        shop = Workshop().convolution()
        shop.config.set_flag(trt.BuilderFlag.FP16)
        shop.config.set_flag(flag)
        for layer in shop.network:
            layer.precision = trt.float16
        assert any(said in step["precision"] for step in layers_of(shop.engine()))
    shop = Workshop().convolution()
    shop.config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    shop.network[0].precision = trt.float16
    assert shop.plan() is None  # FP16 is not permitted
    assert "BuilderFlag.FP16" in shop.log.errors[-1]


def test_strong_types_permit_no_others() -> None:
    shop = Workshop(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)).convolution()
    assert shop.plan() is not None
    shop.config.set_flag(trt.BuilderFlag.FP16)
    assert shop.plan() is None
    assert "strongly typed" in shop.log.errors[-1]


def test_int8_without_ranges_is_a_warning() -> None:
    shop = Workshop().convolution()
    shop.config.set_flag(trt.BuilderFlag.INT8)
    assert shop.plan() is not None
    assert any("no ranges" in text for severity, text in shop.log.lines if severity == "WARNING")


def test_dynamic_ranges_quantize() -> None:
    shop = Workshop().convolution()
    shop.config.set_flag(trt.BuilderFlag.INT8)
    shop.config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    shop.network[0].precision = trt.int8
    for layer in shop.network:
        layer.get_output(0).set_dynamic_range(-20, 20)
    shop.network.get_input(0).set_dynamic_range(-4, 4)
    engine = shop.engine()
    assert any("i8" in step["precision"] or "u8" in step["precision"] for step in layers_of(engine))
    y = run_v3(engine.create_execution_context(), {"x": X})["y"]
    assert np.abs(y - convolved(X)).max() < 0.5


class Monitor(trt.IProgressMonitor):
    """Keeps what it is told; cancels in a phase."""

    def __init__(self, cancels: str = "") -> None:
        trt.IProgressMonitor.__init__(self)
        self.cancels = cancels
        self.open: list[str] = []
        self.steps: dict[str, list[int]] = {}
        self.counts: dict[str, int] = {}

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        assert (self.open[-1] if self.open else None) == parent_phase
        assert num_steps > 0  # monitors divide by it
        self.open.append(phase_name)
        self.counts[phase_name] = num_steps

    def step_complete(self, phase_name: str, step: int) -> bool:
        assert phase_name in self.open
        self.steps.setdefault(phase_name, []).append(step)
        return phase_name != self.cancels

    def phase_finish(self, phase_name: str) -> None:
        assert self.open.pop() == phase_name


def test_a_monitor_sees_phases_and_their_steps() -> None:
    shop, monitor = Workshop().convolution(), Monitor()
    shop.config.builder_optimization_level = 2
    shop.config.progress_monitor = monitor
    assert shop.plan() is not None
    assert not monitor.open
    assert {"Building Engine", "tuning"} <= set(monitor.counts)
    for phase, steps in monitor.steps.items():
        assert steps == [*range(len(steps))]
        assert len(steps) <= monitor.counts[phase]


def test_a_stage_without_steps_is_no_phase() -> None:
    monitor = Monitor()
    with Phases(monitor, Reports(Log())) as told:
        for stage, total in (("tuning", 1), ("tuning again", 0), ("assembling", 1)):
            told(stage, 0, total)
            told(stage, total, total)
    assert not monitor.open
    assert monitor.counts.keys() == {"Building Engine", "tuning", "assembling"}
    assert monitor.steps["tuning"] == monitor.steps["assembling"] == [0]
    assert monitor.steps["Building Engine"] == [*range(monitor.counts["Building Engine"])]


@pytest.mark.parametrize("phase", ["importing", "tuning", "Building Engine"])
def test_a_monitor_cancels(phase: str) -> None:
    shop, monitor = Workshop().convolution(), Monitor(phase)
    shop.config.builder_optimization_level = 2
    shop.config.progress_monitor = monitor
    assert shop.plan() is None
    assert not monitor.open
    assert "cancelled" in shop.log.errors[-1]
    shop.config.progress_monitor = None
    assert shop.plan() is not None


def test_int8_inputs_and_outputs_are_levels_of_their_ranges() -> None:
    shop = Workshop()
    x = shop.network.add_input("x", trt.float32, (1, 3, 8, 8))
    y = shop.network.add_activation(x, trt.ActivationType.RELU).get_output(0)
    y.name = "y"
    shop.network.mark_output(y)
    x.dtype = y.dtype = trt.int8
    x.set_dynamic_range(-4, 4)
    y.set_dynamic_range(-1, 1)
    levels = np.arange(-96, 96, dtype=np.int8).reshape(1, 3, 8, 8)
    got = run_v3(shop.engine().create_execution_context(), {"x": levels})["y"]
    assert got.dtype == np.int8
    wanted = np.clip(4.0 * np.maximum(levels.astype(np.float32), 0), -128, 127)
    np.testing.assert_array_equal(got, wanted.astype(np.int8))


def test_a_quantized_layer_reads_levels_of_an_int8_input() -> None:
    shop = Workshop().convolution()
    shop.config.set_flag(trt.BuilderFlag.INT8)
    shop.config.builder_optimization_level = 0
    x, y = shop.network.get_input(0), shop.network.get_output(0)
    for layer in shop.network:
        layer.get_output(0).set_dynamic_range(-20, 20)
    x.set_dynamic_range(-4, 4)
    x.dtype = y.dtype = trt.int8
    levels = np.random.default_rng(0).integers(-127, 128, tuple(x.shape)).astype(np.int8)
    got = run_v3(shop.engine().create_execution_context(), {"x": levels})["y"]
    wanted = np.minimum(convolved(levels.astype(np.float32) * 4 / 127), 20)
    assert np.abs(got.astype(np.float32) * 20 / 127 - wanted).max() < 0.5
    assert wanted.max() > 10


def test_plans_for_other_versions_carry_their_network() -> None:
    for flags, warned in (((), False), ((trt.BuilderFlag.STRIP_PLAN,), True)):
        shop = Workshop().convolution()
        for flag in (trt.BuilderFlag.VERSION_COMPATIBLE, *flags):
            shop.config.set_flag(flag)
        assert (b"portable machine" in bytes(shop.plan())) is not warned
        assert any("have no effect beside" in text for _, text in shop.log.lines) is warned
