"""libcudart through ctypes, called as Polygraphy and onnx-tensorrt call it."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from camshaft.tensorrt import memory
from camshaft.tensorrt.standins.libcudart import LibCudart

SOURCE = Path(__file__).parents[2] / "src"


@pytest.fixture
def lib() -> LibCudart:
    return LibCudart("libcudart.so")


def test_calls_of_polygraphy(lib: LibCudart) -> None:
    ptr, stream = ctypes.c_void_p(None), ctypes.c_void_p(None)
    assert lib.cudaMalloc(ctypes.byref(ptr), ctypes.c_size_t(16)) == 0
    assert memory.find(ptr.value or 0) is not None
    assert lib.cudaStreamCreate(ctypes.byref(stream)) == 0
    source, target = np.arange(4, dtype=np.int32), np.zeros(4, np.int32)

    def void_ptr(value: int | None) -> ctypes.c_void_p:
        return ctypes.c_void_p(value)

    size, to, back = ctypes.c_size_t(16), ctypes.c_int(1), ctypes.c_int(2)
    assert lib.cudaMemcpy(void_ptr(ptr.value), void_ptr(source.ctypes.data), size, to) == 0
    copied = lib.cudaMemcpyAsync(
        void_ptr(target.ctypes.data), void_ptr(ptr.value), size, back, void_ptr(stream.value)
    )
    assert copied == 0
    assert lib.cudaStreamSynchronize(void_ptr(stream.value)) == 0
    np.testing.assert_array_equal(target, source)
    too_much = ctypes.c_size_t(17)
    assert lib.cudaMemcpy(void_ptr(ptr.value), void_ptr(source.ctypes.data), too_much, to) == 1
    assert lib.cudaStreamDestroy(void_ptr(stream.value)) == 0
    assert lib.cudaStreamDestroy(void_ptr(stream.value)) == 400
    assert lib.cudaFree(void_ptr(ptr.value)) == 0
    assert lib.cudaFree(void_ptr(ptr.value)) == 1
    assert lib.cudaFree(void_ptr(0)) == 0


def test_calls_of_onnx_tensorrt(lib: LibCudart) -> None:
    lib.cudaGetErrorString.restype = ctypes.c_char_p  # type: ignore[attr-defined]
    assert lib.cudaSetDevice(0) == 0
    assert lib.cudaGetErrorString(lib.cudaSetDevice(2)) == b"invalid device ordinal"


def test_outputs_of_other_types(lib: LibCudart) -> None:
    count, ms = ctypes.c_int(), ctypes.c_float(-1)
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    events = [ctypes.c_void_p(), ctypes.c_void_p()]
    assert lib.cudaGetDeviceCount(ctypes.pointer(count)) == 0
    assert count.value == 1
    assert lib.cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total)) == 0
    assert 0 < free.value <= total.value
    for event in events:
        assert lib.cudaEventCreate(ctypes.byref(event)) == 0
        assert lib.cudaEventRecord(event, None) == 0
    assert lib.cudaEventElapsedTime(ctypes.byref(ms), *events) == 0
    assert ms.value >= 0
    with pytest.raises(TypeError, match=r"give ctypes\.byref"):
        lib.cudaMalloc(0, 16)


def test_memory_of_ctypes_itself(lib: LibCudart) -> None:
    source, target, one = (ctypes.c_char * 4)(*b"abcd"), (ctypes.c_char * 4)(), ctypes.c_int(0)
    assert lib.cudaMemcpy(target, source, 4, 0) == 0
    assert target.raw == b"abcd"
    assert lib.cudaMemcpy(ctypes.byref(one), ctypes.pointer(ctypes.c_int(9)), 4, 0) == 0
    assert one.value == 9


def test_a_function_that_it_lacks(lib: LibCudart) -> None:
    with pytest.raises(AttributeError, match=r"libcudart\.so has no function cudaLaunchKernel"):
        _ = lib.cudaLaunchKernel
    assert lib["cudaFree"] is lib.cudaFree


LOAD = """
import ctypes, glob, os, sys
from camshaft.tensorrt.standins import install
install(force={force})
class Mine(ctypes.CDLL):
    pass
found = [p for s in sys.path for p in glob.glob(os.path.join(s, "nvidia/cuda_runtime/lib/libcudart.so*"))]
names = ["libcudart.so", "libcudart.so.12", *found]
print([type(load(n)).__name__ for n in names for load in (ctypes.CDLL, ctypes.cdll.LoadLibrary, Mine)])
print(type(ctypes.CDLL(None)).__name__, type(ctypes.PyDLL(None)).__name__, len(found))
print(isinstance(Mine(None), ctypes.CDLL), ctypes.CDLL(None, mode=ctypes.RTLD_GLOBAL).abs(-3))
try:
    ctypes.CDLL("libcudart_of_others.so")
except OSError as error:
    print("not ours")
"""


@pytest.mark.parametrize("force", [False, True])
def test_ctypes_loads_it_by_its_names_and_everything_else_as_ever(force: bool) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; sys.path.insert(0, {str(SOURCE)!r})" + LOAD.format(force=force),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        str(["LibCudart"] * 9),
        "CDLL PyDLL 1",
        "True 3",
        "not ours",
    ]


def test_the_library_of_plugins_is_there_as_well() -> None:
    code = "import ctypes, tensorrt; print(ctypes.CDLL('libnvinfer_plugin.so', mode=ctypes.RTLD_GLOBAL).initLibNvInferPlugins(None, ''))"
    shims = [str(SOURCE / "camshaft/tensorrt/standins/path"), str(SOURCE), *filter(None, sys.path)]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(shims)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "1"
