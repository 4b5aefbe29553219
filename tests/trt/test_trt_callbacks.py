"""Objects of scripts that raise where they are called back: an error in the log, and None or False where the call cannot go on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import camshaft.tensorrt as trt
from trt_engines import Workshop
from trt_networks import Log


def broken(base: Any, *methods: str, **others: Any) -> Any:
    """An object of a class derived from `base`, whose methods raise."""

    def fail(self: Any, *_: Any) -> Any:
        raise ValueError("out of order")

    made = type("Broken", (base,), dict.fromkeys(methods, fail) | others)
    return made()


class Ready:
    """An engine of x -> x + x -> y with a context, and addresses set."""

    def __init__(self) -> None:
        self.shop = Workshop().double((3,))
        self.context = self.shop.engine().create_execution_context()
        self.x, self.y = np.array([1, 2, 3], np.float32), np.zeros(3, np.float32)
        self.context.set_tensor_address("x", self.x.ctypes.data)
        self.context.set_tensor_address("y", self.y.ctypes.data)

    def said(self, method: str) -> bool:
        errors = self.shop.log.errors
        return bool(errors) and all(
            f"Broken.{method} raised ValueError: out of order" in e for e in errors
        )


def test_a_profiler_that_raises_costs_no_result() -> None:
    ready = Ready()
    ready.context.profiler = broken(trt.IProfiler, "report_layer_time")
    assert ready.context.execute_async_v3(0)
    assert ready.y.tolist() == [2, 4, 6]
    assert ready.said("report_layer_time")


def test_a_debug_listener_that_raises_costs_no_result() -> None:
    shop = Workshop().double((3,))
    tensor = shop.network.get_layer(0).get_output(0)
    shop.network.unmark_output(tensor)
    shop.network.mark_debug(tensor)
    shop.output(shop.network.add_unary(tensor, trt.UnaryOperation.NEG), "z")
    context = shop.engine().create_execution_context()
    context.set_debug_listener(broken(trt.IDebugListener, "process_debug_tensor"))
    context.set_all_tensors_debug_state(True)
    x, z = np.array([1, 2, 3], np.float32), np.zeros(3, np.float32)
    assert context.execute_v2([x.ctypes.data, z.ctypes.data])
    assert z.tolist() == [-2, -4, -6]
    assert "process_debug_tensor raised ValueError" in shop.log.errors[0]


@pytest.mark.parametrize("method", ["reallocate_output", "reallocate_output_async"])
def test_an_output_allocator_that_raises_fails_the_call(method: str) -> None:
    ready = Ready()
    ready.context.set_output_allocator("y", broken(trt.IOutputAllocator, method))
    assert not ready.context.execute_async_v3(0)
    assert ready.said("reallocate_output_async")


def test_an_allocator_that_cannot_hear_of_shapes_costs_no_result() -> None:
    ready = Ready()
    gives = {"reallocate_output": lambda self, *_: ready.y.ctypes.data}
    ready.context.set_output_allocator("y", broken(trt.IOutputAllocator, "notify_shape", **gives))
    assert ready.context.execute_async_v3(0)
    assert ready.y.tolist() == [2, 4, 6]
    assert ready.said("notify_shape")


@pytest.mark.parametrize("method", ["phase_start", "step_complete", "phase_finish"])
def test_a_monitor_that_raises_ends_the_build(method: str) -> None:
    seen: list[tuple[str, str]] = []
    every = {
        "phase_start": lambda self, phase, *_: seen.append(("start", phase)),
        "step_complete": lambda self, *_: True,
        "phase_finish": lambda self, phase: seen.append(("finish", phase)),
    }
    del every[method]
    shop = Workshop().double((3,))
    shop.config.progress_monitor = broken(trt.IProgressMonitor, method, **every)
    assert shop.plan() is None
    assert f"Broken.{method} raised ValueError" in shop.log.errors[0]
    if method == "step_complete":
        started = sorted(phase for what, phase in seen if what == "start")
        assert started == sorted(phase for what, phase in seen if what == "finish")


def test_an_interrupt_in_a_monitor_is_one() -> None:
    def interrupt(self: Any, *_: Any) -> bool:
        raise KeyboardInterrupt

    quiet = {"phase_start": lambda *_: None, "phase_finish": lambda *_: None}
    shop = Workshop().double((3,))
    shop.config.progress_monitor = broken(trt.IProgressMonitor, step_complete=interrupt, **quiet)
    with pytest.raises(KeyboardInterrupt):
        shop.plan()


def test_streams_that_raise_give_no_engine() -> None:
    shop = Workshop().double((3,))
    runtime = trt.Runtime(shop.log)
    assert runtime.deserialize_cuda_engine(broken(trt.IStreamReader, "read")) is None
    assert runtime.deserialize_cuda_engine(broken(trt.IStreamReaderV2, "read", "seek")) is None
    writer = broken(trt.IStreamWriter, "write")
    assert not shop.builder.build_serialized_network_to_stream(shop.network, shop.config, writer)
    raised = [e.split(" raised")[0] for e in shop.log.errors]
    assert raised == ["Broken.read", "Broken.read", "Broken.write"]


def test_an_error_recorder_that_raises_is_an_error_in_the_log() -> None:
    shop = Workshop()
    shop.builder.error_recorder = broken(trt.IErrorRecorder, "report_error")
    assert shop.plan() is None
    assert "has no outputs" in shop.log.errors[0]
    assert shop.log.errors[1] == "Broken.report_error raised ValueError: out of order"


def test_what_a_logger_cannot_take_goes_to_standard_error(
    capfd: pytest.CaptureFixture[str],
) -> None:
    network = trt.Builder(broken(trt.ILogger, "log")).create_network()
    assert network.add_concatenation([]) is None
    said = capfd.readouterr().err
    assert "Broken.log raised ValueError: out of order" in said
    assert "inputs is empty" in said


def test_loggers_that_work_get_all() -> None:
    log = Log()
    trt.Builder(log).create_network().add_concatenation([])
    assert len(log.errors) == 1
