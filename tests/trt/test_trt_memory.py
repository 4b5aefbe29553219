"""Device memory that is host memory: where it ends, whose it is, when it is gone; streams and events."""

from __future__ import annotations

import ctypes
import mmap
import threading

import numpy as np
import pytest

from camshaft.tensorrt import memory
from camshaft.tensorrt.memory import Code, CudaFault, Event, Kind, Stream


@pytest.fixture
def stream() -> Stream:
    return Stream()


def test_allocations_start_on_pages_and_are_zeroed_and_their_own() -> None:
    first, second = memory.allocate(100), memory.allocate(100)
    assert first % mmap.PAGESIZE == second % mmap.PAGESIZE == 0
    assert abs(first - second) >= 100
    assert not memory.as_array(first, (100,), np.uint8, "x").any()
    memory.free(first)
    memory.free(second)


def test_large_allocation_is_not_touched_before_it_is_used() -> None:
    address = memory.allocate(3 << 30)
    memory.as_array(address + (3 << 30) - 1, (1,), np.uint8, "x")[:] = 1
    memory.free(address)


def test_find_says_which_allocation_holds_an_address() -> None:
    address = memory.allocate(64, Kind.MANAGED)
    found = memory.find(address + 63)
    assert found is not None
    assert (found.address, found.size, found.kind) == (address, 64, Kind.MANAGED)
    assert memory.find(address + 64) is None
    assert memory.find(address - 1) is None
    memory.free(address)
    assert memory.find(address) is None


@pytest.mark.parametrize(("offset", "nbytes"), [(0, 65), (60, 5), (63, 2)])
def test_check_knows_the_end_of_an_allocation(offset: int, nbytes: int) -> None:
    address = memory.allocate(64)
    memory.check(address + offset, nbytes - 1, "input x")
    with pytest.raises(CudaFault, match=f"input x needs {nbytes} bytes .* of 64 bytes") as error:
        memory.check(address + offset, nbytes, "input x")
    assert error.value.code == Code.INVALID_VALUE
    memory.free(address)


def test_memory_of_others_is_accepted_and_holes_are_not() -> None:
    array = np.arange(5, dtype=np.float32)
    assert memory.check(array.ctypes.data, array.nbytes, "x") is None
    seen = memory.as_array(array.ctypes.data, (5,), np.float32, "x")
    seen[2] = 7
    assert array[2] == 7
    for address in (8, (1 << 47) + 5, 1 << 63):
        with pytest.raises(CudaFault, match="no memory"):
            memory.check(address, 1, "x")
    with pytest.raises(CudaFault, match="x is a null pointer"):
        memory.check(0, 1, "x")
    assert memory.check(0, 0, "x") is None


def test_freed_memory_is_refused_and_so_is_freeing_it_twice() -> None:
    address = memory.allocate(1 << 22)
    memory.free(address)
    with pytest.raises(CudaFault, match="it was freed"):
        memory.copy(address, address, 8)
    with pytest.raises(CudaFault, match="free it once"):
        memory.free(address)
    memory.free(0)


def test_memory_is_freed_as_what_it_was_allocated_and_by_its_start() -> None:
    pinned, device = memory.allocate(8, Kind.HOST), memory.allocate(8)
    with pytest.raises(CudaFault, match="is pinned host memory, not device memory"):
        memory.free(pinned)
    with pytest.raises(CudaFault, match="is device memory, not pinned host memory"):
        memory.free(device, Kind.HOST)
    with pytest.raises(CudaFault, match="not the start"):
        memory.free(device + 4)
    memory.free(pinned, Kind.HOST)
    memory.free(device)


def test_arrays_outlive_the_allocation_they_look_into() -> None:
    address = memory.allocate(16)
    array = memory.as_array(address, (2, 2), np.float32, "x")
    memory.free(address)
    array[:] = 3
    assert array.sum() == 12


def test_sizes_that_cannot_be() -> None:
    assert memory.allocate(0) == 0
    for size, code in ((-1, Code.INVALID_VALUE), (1 << 60, Code.OUT_OF_MEMORY)):
        with pytest.raises(CudaFault) as error:
            memory.allocate(size)
        assert error.value.code == code


def test_threads_share_the_registry() -> None:
    def work() -> None:
        for _ in range(200):
            address = memory.allocate(32)
            found = memory.find(address + 31)
            if found is None or found.address != address:
                wrong.append(address)
            memory.free(address)

    wrong: list[int] = []
    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_copies_may_overlap() -> None:
    address = memory.allocate(8)
    bytes_ = memory.as_array(address, (8,), np.uint8, "x")
    bytes_[:] = np.arange(8)
    memory.copy(address + 2, address, 6)
    assert bytes_.tolist() == [0, 1, 0, 1, 2, 3, 4, 5]
    memory.free(address)


@pytest.mark.parametrize(("itemsize", "expected"), [(1, 0x04), (2, 0x0304), (4, 0x01020304)])
def test_fill_sets_elements_and_no_more(itemsize: int, expected: int) -> None:
    array = np.zeros(3, f"u{itemsize}")
    memory.fill(array.ctypes.data, 0x01020304, 2, itemsize)
    assert array.tolist() == [expected, expected, 0]


def test_pointers_in_every_form() -> None:
    class Handle:
        def __int__(self) -> int:
            return 48

    array = np.zeros((2, 3), np.float16)
    assert memory.region(None, "x") == (0, None)
    assert memory.region(np.uint64(48), "x") == memory.region(Handle(), "x") == (48, None)
    assert memory.region(ctypes.c_void_p(48), "x") == (48, None)
    assert memory.region(array, "x") == memory.region(array.T, "x") == (array.ctypes.data, 12)
    assert memory.region(bytearray(7), "x")[1] == 7
    assert memory.region(b"", "x") == (0, 0)
    one = np.array([5], np.int64)
    assert memory.region(one, "x") == (one.ctypes.data, 8)  # memory, although it has __index__
    with pytest.raises(ValueError, match="x is an array that is not contiguous"):
        memory.region(array[:, ::2], "x")
    with pytest.raises(TypeError, match="x is a list: give an address or an array"):
        memory.region([1], "x")


def test_events_measure_what_a_stream_does_between_them(stream: Stream) -> None:
    start, end = Event(), Event()
    start.record(stream)
    stream.enqueue(lambda: threading.Event().wait(0.01))
    end.record(stream)
    end.synchronize()
    assert 9 < start.milliseconds_to(end) < 5000
    assert end.milliseconds_to(start) == -start.milliseconds_to(end)
    with pytest.raises(CudaFault, match="record it"):
        start.milliseconds_to(Event())
    untimed = Event(is_timed=False)
    untimed.record(stream)
    with pytest.raises(CudaFault, match="without cudaEventDisableTiming"):
        start.milliseconds_to(untimed)


def test_captured_work_runs_when_its_graph_is_launched(stream: Stream) -> None:
    done: list[int] = []
    stream.begin_capture()
    stream.enqueue(lambda: done.append(1))
    with pytest.raises(CudaFault, match="end the capture"):
        stream.synchronize()
    with pytest.raises(CudaFault, match="already"):
        stream.begin_capture()
    graph = stream.end_capture()
    assert done == []
    stream.launch(graph)
    Stream().launch(graph)
    assert done == [1, 1]
    with pytest.raises(CudaFault, match="begin a capture"):
        stream.end_capture()


def test_streams_by_handle() -> None:
    handle = memory.STREAMS.add(Stream())
    assert memory.stream(handle) is memory.STREAMS.get(handle)
    assert memory.stream(0) is memory.stream(None) is memory.stream(2)
    memory.STREAMS.remove(handle)
    with pytest.raises(CudaFault, match="is no stream, or was destroyed") as error:
        memory.stream(handle)
    assert error.value.code == Code.INVALID_RESOURCE_HANDLE
