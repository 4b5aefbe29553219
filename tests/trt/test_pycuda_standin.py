"""pycuda by camshaft: its objects, its exceptions, its order of arguments."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from camshaft.tensorrt import memory
from camshaft.tensorrt.standins.pycuda import compiler, gpuarray, tools
from camshaft.tensorrt.standins.pycuda import driver as drv


def test_allocation_is_a_number_and_freed_once() -> None:
    made = drv.mem_alloc(16)
    address = int(made)
    assert made.__index__() == address
    assert memory.find(address) is not None
    made.free()
    assert memory.find(address) is None
    with pytest.raises(drv.LogicError, match="device_allocation::free"):
        made.free()


def test_allocation_goes_with_its_last_reference() -> None:
    address = int(drv.mem_alloc(16))
    gc.collect()
    assert memory.find(address) is None


def test_allocations_that_cannot_be() -> None:
    with pytest.raises(drv.LogicError, match="cuMemAlloc failed: invalid argument"):
        drv.mem_alloc(0)
    with pytest.raises(drv.MemoryError, match="cuMemAlloc failed: out of memory"):
        drv.mem_alloc(1 << 60)
    assert issubclass(drv.MemoryError, drv.Error)
    assert not issubclass(drv.LogicError, drv.MemoryError)


@pytest.mark.parametrize("given", ["none", "stream"])
def test_copies(given: str) -> None:
    stream = drv.Stream() if given == "stream" else None
    source = drv.pagelocked_empty((2, 3), np.float32)
    source[:] = np.arange(6).reshape(2, 3)
    target = drv.pagelocked_empty_like(source)
    first, second = drv.mem_alloc(source.nbytes), drv.mem_alloc_like(source)
    drv.memcpy_htod_async(first, source, stream)
    drv.memcpy_dtod_async(second, first, source.nbytes, stream)
    drv.memcpy_dtoh_async(target, second, stream)
    drv.Context.synchronize()
    np.testing.assert_array_equal(target, source)
    drv.memcpy_htod(first, source[::-1].copy())
    drv.memcpy_dtod(second, first, source.nbytes)
    drv.memcpy_dtoh(target, second)
    np.testing.assert_array_equal(target, source[::-1])


def test_copies_that_do_not_fit() -> None:
    small, host = drv.mem_alloc(8), np.zeros(3, np.float32)
    with pytest.raises(drv.LogicError, match="cuMemcpyHtoD failed: invalid argument - the dest"):
        drv.memcpy_htod(small, host)
    with pytest.raises(drv.LogicError, match="cuMemcpyDtoH failed: invalid argument - the source"):
        drv.memcpy_dtoh(host, small)
    with pytest.raises(ValueError, match="not contiguous"):
        drv.memcpy_htod(small, np.zeros((2, 2), np.int8)[:, 0])
    host.flags.writeable = False
    with pytest.raises(BufferError, match="read-only"):
        drv.memcpy_dtoh(host[:2], small)


def test_pinned_arrays() -> None:
    made = drv.pagelocked_empty((3, 4), np.int16, order="F")
    assert made.flags.f_contiguous
    assert made.ctypes.data % 4096 == 0
    assert drv.pagelocked_empty_like(made).flags.f_contiguous
    assert drv.pagelocked_empty(5, np.uint8).shape == (5,)
    assert not drv.pagelocked_zeros((0, 2), np.float64).size
    with pytest.raises(drv.LogicError, match="order is 'A'"):
        drv.pagelocked_empty(5, np.uint8, order="A")
    array = np.ones(4)
    assert drv.register_host_memory(array) is array


def test_set_and_move_whole_arrays() -> None:
    made = drv.to_device(np.zeros(4, np.uint32))
    drv.memset_d32(made, 9, 2)
    drv.memset_d8(int(made) + 8, 1, 4)
    assert drv.from_device(made, (2, 2), np.uint32).tolist() == [[9, 9], [0x01010101, 0]]
    assert drv.from_device_like(made, np.zeros(4, np.uint32)).tolist() == [9, 9, 0x01010101, 0]
    assert bytes(made.as_buffer(4, 8)) == b"\1\1\1\1"
    with pytest.raises(drv.LogicError, match="cuMemsetD8"):
        drv.memset_d8(made, 0, 17)


def test_streams_and_events() -> None:
    stream = drv.Stream()
    assert isinstance(stream.handle, int)
    assert memory.stream(stream) is memory.stream(stream.handle)
    start, end = drv.Event(), drv.Event()
    assert start.record(stream) is start
    stream.wait_for_event(start)
    end.record(stream).synchronize()
    stream.synchronize()
    assert stream.is_done()
    assert end.query()
    assert 0 <= start.time_till(end) == end.time_since(start)
    with pytest.raises(drv.LogicError, match="cuEventElapsedTime failed"):
        start.time_till(drv.Event(drv.event_flags.DISABLE_TIMING).record())
    handle = stream.handle
    del stream
    gc.collect()
    with pytest.raises(memory.CudaFault):
        memory.stream(handle)


def test_device_and_contexts() -> None:
    drv.init()
    assert drv.Device.count() == 1
    device = drv.Device(0)
    assert device.name()
    assert (
        device.get_attributes()[drv.device_attribute.COMPUTE_CAPABILITY_MAJOR]
        == (device.compute_capability()[0])
    )
    with pytest.raises(drv.LogicError, match="invalid device ordinal"):
        drv.Device(1)
    context = tools.make_default_context()
    assert drv.Context.get_current() == context
    assert context.get_device() == device
    primary = tools.make_default_context(drv.Device.retain_primary_context)
    primary.push()
    assert drv.Context.get_current() == primary != context
    primary.pop()
    context.pop()
    with pytest.raises(drv.LogicError, match="cuCtxPopCurrent failed: invalid device context"):
        context.pop()
    context.detach()
    with pytest.raises(drv.LogicError, match="cuCtxPushCurrent"):
        context.push()


def test_gpuarray_moves_arrays_as_onnx_tensorrt_does() -> None:
    stream, source = drv.Stream(), np.arange(6, dtype=np.int32).reshape(2, 3)
    made = gpuarray.empty((2, 3), np.int32)
    assert (made.nbytes, made.size, made.ndim, len(made)) == (24, 6, 2, 2)
    made.set_async(source[:, ::-1], stream)
    host = drv.pagelocked_empty((2, 3), np.int32)
    assert made.get_async(stream, host) is host
    np.testing.assert_array_equal(host, source[:, ::-1])
    found = memory.find(made.ptr)
    assert found is not None
    assert found.size == 24

    copied = gpuarray.to_gpu(source)
    np.testing.assert_array_equal(copied.copy().reshape(3, -1).get(), source.reshape(3, 2))
    np.testing.assert_array_equal(copied.fill(4).ravel().get(), np.full(6, 4))
    assert not gpuarray.zeros_like(copied).get().any()
    assert gpuarray.to_gpu(np.zeros((0, 3))).get().shape == (0, 3)
    with pytest.raises(ValueError, match="reshape it"):
        made.set(source[:1])
    with pytest.raises(TypeError, match="convert it"):
        made.set(source.astype(np.float32))
    with pytest.raises(ValueError, match="of its size and type"):
        made.get(np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match="reshape"):
        made.reshape(4, 2)


def test_kernels_in_cuda_cannot_be_compiled() -> None:
    """The import is no fault: many scripts use it in one branch alone."""
    with pytest.raises(drv.CompileError, match="there is no GPU"):
        compiler.SourceModule("__global__ void f() {}")


def test_arithmetic_of_gpuarrays_is_numpys() -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    made = gpuarray.to_gpu(x)
    for got, want in (
        (made + made, x + x),
        (2 - made, 2 - x),
        (made * np.float32(3), x * 3),
        (made / 2, x / 2),
        (-made, -x),
    ):
        np.testing.assert_array_equal(got.get(), want)
        assert got.dtype == np.float32


def test_managed_memory_is_the_hosts() -> None:
    made = drv.managed_empty((2, 3), np.float32, mem_flags=drv.mem_attach_flags.GLOBAL)
    made[:] = 2
    assert made.sum() == 12 and drv.managed_zeros((4,), np.int8).tolist() == [0] * 4
