"""cuda-python's runtime and driver, by camshaft: tuples, errors, copies, streams, devices."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from camshaft.tensorrt.standins.cuda import driver as cuda
from camshaft.tensorrt.standins.cuda import nvrtc
from camshaft.tensorrt.standins.cuda import runtime as cudart

Kind = cudart.cudaMemcpyKind
OK = cudart.cudaError_t.cudaSuccess
INVALID = cudart.cudaError_t.cudaErrorInvalidValue


def done(answer: tuple[Any, ...]) -> Any:
    """The result of a call that must succeed, as NVIDIA's samples take it."""
    error, *results = answer
    assert isinstance(error, cudart.cudaError_t | cuda.CUresult)
    assert error.value == 0, error
    return results[0] if len(results) == 1 else tuple(results) if results else None


@pytest.fixture
def device() -> Any:
    address = done(cudart.cudaMalloc(32))
    yield address
    done(cudart.cudaFree(address))


COPIES: dict[str, Callable[[Any, Any, int, Any], tuple[Any, ...]]] = {
    "sync": cudart.cudaMemcpy,
    "async": lambda dst, src, n, kind: cudart.cudaMemcpyAsync(dst, src, n, kind, 0),
}


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("form", ["array", "address"])
def test_copies_in_all_directions(copy: Any, form: str, device: int) -> None:
    def as_given(array: np.ndarray) -> Any:
        return array if form == "array" else array.ctypes.data

    source, target, host = np.arange(8, dtype=np.float32), np.zeros(8, np.float32), np.zeros(8, "f")
    other = done(cudart.cudaMalloc(32))
    assert copy(device, as_given(source), 32, Kind.cudaMemcpyHostToDevice) == (OK,)
    assert copy(other, device, 32, Kind.cudaMemcpyDeviceToDevice) == (OK,)
    assert copy(as_given(target), other, 32, Kind.cudaMemcpyDeviceToHost) == (OK,)
    assert copy(as_given(host), as_given(target), 32, Kind.cudaMemcpyHostToHost) == (OK,)
    np.testing.assert_array_equal(host, source)
    assert copy(as_given(host), device + 16, 16, Kind.cudaMemcpyDefault) == (OK,)
    assert host[:4].tolist() == [4, 5, 6, 7]
    done(cudart.cudaFree(other))


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_copies_beyond_an_end_are_refused_and_change_nothing(copy: Any, device: int) -> None:
    long, short = np.ones(64, np.uint8), np.ones(16, np.uint8)
    to, back = Kind.cudaMemcpyHostToDevice, Kind.cudaMemcpyDeviceToHost
    assert copy(device, long, 33, to) == (INVALID,)
    assert copy(device + 1, long, 32, to) == (INVALID,)
    assert copy(long, device, 33, back) == (INVALID,)
    assert copy(device, short, 17, to) == (INVALID,)
    assert copy(short, device, 17, back) == (INVALID,)
    assert copy(device, 0, 1, to) == (INVALID,)
    assert copy(device, short, -1, to) == (INVALID,)
    assert copy(short, device, 16, back) == (OK,)
    assert not short.any()
    assert copy(device, short, 0, to) == (OK,)


def test_unknown_direction(device: int) -> None:
    answer = cudart.cudaMemcpy(device, device, 4, 5)
    assert answer == (cudart.cudaError_t.cudaErrorInvalidMemcpyDirection,)


def test_wrong_argument_is_a_type_error_as_in_cuda_python(device: int) -> None:
    with pytest.raises(TypeError, match="the source is a list"):
        cudart.cudaMemcpy(device, [1, 2], 4, Kind.cudaMemcpyHostToDevice)


def test_memory_is_freed_once_and_by_its_function() -> None:
    device, pinned = done(cudart.cudaMalloc(8)), done(cudart.cudaMallocHost(8))
    managed = done(cudart.cudaMallocManaged(8))
    assert cudart.cudaFree(pinned) == cudart.cudaFreeHost(device) == (INVALID,)
    assert cudart.cudaFree(device) == cudart.cudaFreeHost(pinned) == (OK,)
    assert cudart.cudaFree(managed) == (OK,)
    assert cudart.cudaFree(device) == cudart.cudaFreeHost(pinned) == (INVALID,)
    assert cudart.cudaFree(0) == cudart.cudaFreeHost(0) == (OK,)


def test_failed_calls_return_none_for_each_result(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert cudart.cudaMalloc(1 << 60) == (cudart.cudaError_t.cudaErrorMemoryAllocation, None)
    assert "cudaMalloc: no memory for device memory" in caplog.text
    assert cudart.cudaGetDeviceProperties(1) == (cudart.cudaError_t.cudaErrorInvalidDevice, None)


def test_last_error_is_kept_until_it_is_read() -> None:
    cudart.cudaGetLastError()
    cudart.cudaSetDevice(3)
    done(cudart.cudaSetDevice(0))
    wrong = cudart.cudaError_t.cudaErrorInvalidDevice
    assert cudart.cudaPeekAtLastError() == cudart.cudaGetLastError() == (wrong,)
    assert cudart.cudaGetLastError() == (OK,)


def test_names_and_words_of_errors() -> None:
    error = cudart.cudaError_t.cudaErrorMemoryAllocation
    assert (error.value, repr(error)) == (2, "<cudaError_t.cudaErrorMemoryAllocation: 2>")
    assert cudart.cudaGetErrorName(error) == (OK, b"cudaErrorMemoryAllocation")
    assert cudart.cudaGetErrorString(error) == (OK, b"out of memory")
    assert cudart.cudaGetErrorName(12345)[1] == b"unrecognized error code"
    assert cuda.cuGetErrorName(cuda.CUresult.CUDA_ERROR_INVALID_HANDLE) == (
        cuda.CUresult.CUDA_SUCCESS,
        b"CUDA_ERROR_INVALID_HANDLE",
    )
    assert cuda.cuGetErrorString(400)[1] == b"invalid resource handle"
    assert cuda.cuGetErrorName(12345) == (cuda.CUresult.CUDA_ERROR_INVALID_VALUE, None)
    for known in cudart.cudaError_t:
        assert b"unrecognized" not in cudart.cudaGetErrorString(known)[1], known


def test_set(device: int) -> None:
    host = np.zeros(8, np.uint32)
    done(cudart.cudaMemset(device, 0x1FF, 30))
    done(cuda.cuMemsetD32(cuda.CUdeviceptr(device), 7, 2))
    done(cuda.cuMemcpyDtoH(host, cuda.CUdeviceptr(device), 32))
    assert host.tolist() == [7, 7] + [0xFFFFFFFF] * 5 + [0xFFFF]
    assert cudart.cudaMemset(device, 0, 33) == (INVALID,)


def test_streams_and_events() -> None:
    stream = done(cudart.cudaStreamCreate())
    assert isinstance(stream, cudart.cudaStream_t)
    start, end = done(cudart.cudaEventCreate()), done(cudart.cudaEventCreateWithFlags(0))
    handle = cudart.cudaError_t.cudaErrorInvalidResourceHandle
    assert cudart.cudaEventElapsedTime(start, end) == (handle, None)
    done(cudart.cudaEventRecord(start, stream))
    done(cudart.cudaEventRecord(end, stream))
    done(cudart.cudaStreamWaitEvent(stream, end, 0))
    done(cudart.cudaEventSynchronize(end))
    done(cudart.cudaEventQuery(end))
    done(cudart.cudaStreamQuery(stream))
    assert 0 <= done(cudart.cudaEventElapsedTime(start, end)) < 1000
    untimed = done(cudart.cudaEventCreateWithFlags(cudart.cudaEventDisableTiming))
    done(cudart.cudaEventRecord(untimed, stream))
    assert cudart.cudaEventElapsedTime(start, untimed) == (handle, None)
    done(cudart.cudaStreamSynchronize(int(stream)))
    done(cudart.cudaEventDestroy(start))
    done(cudart.cudaStreamDestroy(stream))
    assert cudart.cudaEventRecord(start, 0) == (handle,)
    assert cudart.cudaStreamDestroy(stream) == cudart.cudaStreamSynchronize(stream) == (handle,)
    assert cudart.cudaStreamDestroy(0) == (handle,)
    done(cudart.cudaDeviceSynchronize())


def test_graph_of_a_capture(device: int) -> None:
    stream, host = done(cudart.cudaStreamCreate()), np.ones(8, np.float32)
    mode = cudart.cudaStreamCaptureMode.cudaStreamCaptureModeGlobal
    done(cudart.cudaStreamBeginCapture(stream, mode))
    to = Kind.cudaMemcpyHostToDevice
    done(cudart.cudaMemcpyAsync(device, host, 32, to, stream))
    active = cudart.cudaStreamCaptureStatus.cudaStreamCaptureStatusActive
    assert done(cudart.cudaStreamIsCapturing(stream)) == active
    graph = done(cudart.cudaStreamEndCapture(stream))
    launchable = done(cudart.cudaGraphInstantiate(graph, 0))
    done(cudart.cudaGraphDestroy(graph))
    host[:] = 5  # captured is where to read, not what
    seen = np.zeros(8, np.float32)
    done(cudart.cudaMemcpy(seen, device, 32, Kind.cudaMemcpyDeviceToHost))
    assert not seen.any()
    done(cudart.cudaGraphLaunch(launchable, stream))
    done(cudart.cudaMemcpy(seen, device, 32, Kind.cudaMemcpyDeviceToHost))
    assert (seen == 5).all()
    done(cudart.cudaGraphExecDestroy(launchable))
    done(cudart.cudaStreamDestroy(stream))


def test_memory_pools_as_the_sample_with_dynamic_outputs_uses_them() -> None:
    props = cudart.cudaMemPoolProps()
    props.allocType = cudart.cudaMemAllocationType.cudaMemAllocationTypePinned
    props.handleTypes = cudart.cudaMemAllocationHandleType.cudaMemHandleTypeNone
    props.location.type = cudart.cudaMemLocationType.cudaMemLocationTypeDevice
    pool = done(cudart.cudaMemPoolCreate(props))
    threshold = cudart.cudaMemPoolAttr.cudaMemPoolAttrReleaseThreshold
    done(cudart.cudaMemPoolSetAttribute(pool, threshold, cuda.cuuint64_t(1 << 40)))
    assert done(cudart.cudaMemPoolGetAttribute(pool, threshold)) == 1 << 40
    address = done(cudart.cudaMallocFromPoolAsync(64, pool, 0))
    done(cudart.cudaMemset(address, 1, 64))
    done(cudart.cudaFreeAsync(address, 0))
    assert cudart.cudaFree(address) == (INVALID,)
    done(cudart.cudaMemPoolDestroy(pool))
    handle = cudart.cudaError_t.cudaErrorInvalidResourceHandle
    assert cudart.cudaMallocFromPoolAsync(64, pool, 0) == (handle, None)


def test_the_device_is_this_machine() -> None:
    assert done(cudart.cudaGetDeviceCount()) == 1
    assert done(cudart.cudaGetDevice()) == 0
    properties = done(cudart.cudaGetDeviceProperties(0))
    free, total = done(cudart.cudaMemGetInfo())
    assert 0 < free <= total == properties.totalGlobalMem
    assert properties.name
    assert properties.multiProcessorCount >= 1
    major = cudart.cudaDeviceAttr.cudaDevAttrComputeCapabilityMajor
    assert done(cudart.cudaDeviceGetAttribute(major, 0)) == properties.major
    assert done(cudart.cudaRuntimeGetVersion()) == done(cuda.cuDriverGetVersion())


def test_what_is_known_of_a_pointer(device: int) -> None:
    attributes = done(cudart.cudaPointerGetAttributes(device + 4))
    assert attributes.type == cudart.cudaMemoryType.cudaMemoryTypeDevice
    assert attributes.devicePointer == device + 4
    host = done(cudart.cudaPointerGetAttributes(np.zeros(3)))
    assert host.type == cudart.cudaMemoryType.cudaMemoryTypeUnregistered


def test_driver_context_memory_and_copies() -> None:
    done(cuda.cuInit(0))
    device = done(cuda.cuDeviceGet(0))
    assert done(cuda.cuDeviceGetName(8, device)) == cudart.cudaGetDeviceProperties(0)[1].name[:7]
    context = done(cuda.cuCtxCreate(None, 0, device))
    assert done(cuda.cuCtxGetCurrent()) == context
    older = done(cuda.cuCtxCreate(0, device))
    done(cuda.cuCtxDestroy(older))
    assert done(cuda.cuCtxPopCurrent()) == context
    assert cuda.cuCtxPopCurrent() == (cuda.CUresult.CUDA_ERROR_INVALID_CONTEXT, None)
    done(cuda.cuCtxDestroy(context))
    with pytest.raises(TypeError, match="cuCtxCreate takes"):
        cuda.cuCtxCreate(device)

    source, target = np.arange(4, dtype=np.int16), np.zeros(4, np.int16)
    a, b = done(cuda.cuMemAlloc(8)), done(cuda.cuMemAlloc(8))
    assert isinstance(a, cuda.CUdeviceptr)
    stream = done(cuda.cuStreamCreate(0))
    done(cuda.cuMemcpyHtoDAsync(a, source.ctypes.data, 8, stream))
    done(cuda.cuMemcpyDtoDAsync(b, a, 8, stream))
    done(cuda.cuMemcpyDtoHAsync(target.ctypes.data, b, 8, stream))
    done(cuda.cuStreamSynchronize(stream))
    np.testing.assert_array_equal(target, source)
    invalid = cuda.CUresult.CUDA_ERROR_INVALID_VALUE
    assert cuda.cuMemcpyHtoD(a, source, 9) == (invalid,)
    assert cuda.cuMemAlloc(0) == (invalid, None)
    done(cuda.cuMemFree(a))
    assert cuda.cuMemFree(a) == (invalid,)
    assert cudart.cudaFree(b) == (OK,)  # one registry


def test_kernels_are_refused() -> None:
    refused = cuda.CUresult.CUDA_ERROR_NOT_SUPPORTED
    assert cuda.cuModuleLoadData(b"ptx") == (refused, None)
    assert cuda.cuLaunchKernel(0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0) == (refused,)
    error, program = nvrtc.nvrtcCreateProgram(b"source", b"name", 0, [], [])
    assert isinstance(error, nvrtc.nvrtcResult)
    assert error.value != 0
    assert program is None
    assert nvrtc.nvrtcGetErrorString(error)[1] == b"NVRTC_ERROR_PROGRAM_CREATION_FAILURE"


def test_every_name_is_there() -> None:
    for module in (cudart, cuda, nvrtc):
        assert not [name for name in module.__all__ if not hasattr(module, name)]
