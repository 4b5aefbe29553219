"""Devices and contexts."""

from __future__ import annotations

from typing import Any

from camshaft.tensorrt import memory
from camshaft.tensorrt.standins import contexts
from camshaft.tensorrt.standins import device as cpu
from camshaft.tensorrt.standins.cuda.driver.answers import call
from camshaft.tensorrt.standins.cuda.types import CUcontext, CUdevice

CUDA_VERSION = cpu.CUDA_VERSION


@call()
def cuInit(Flags: int) -> None:
    """Does nothing."""


@call(1)
def cuDriverGetVersion() -> int:
    """1000 times the major version and 10 times the minor."""
    return cpu.CUDA_VERSION


@call(1)
def cuDeviceGetCount() -> int:
    """1."""
    return 1


@call(1)
def cuDeviceGet(ordinal: int) -> CUdevice:
    """The device by its number, 0."""
    cpu.check_device(ordinal)
    return CUdevice(ordinal)


@call(1)
def cuDeviceGetName(length: int, dev: Any) -> bytes:
    """The processor's name in at most `length` bytes, the closing zero counted."""
    cpu.check_device(int(dev))
    return cpu.name().encode()[: max(0, length - 1)]


@call(1)
def cuDeviceTotalMem(dev: Any) -> int:
    """Bytes of the machine's memory."""
    cpu.check_device(int(dev))
    return cpu.memory_sizes()[1]


@call(1)
def cuDeviceGetAttribute(attrib: int, dev: Any) -> int:
    """An attribute of the device; 0 where it has no meaning here."""
    cpu.check_device(int(dev))
    return cpu.attribute(int(attrib))


@call(1)
def cuCtxCreate(*args: Any) -> CUcontext:
    """A new context, current in this thread. Takes (flags, dev), as to CUDA 12, or (params, flags, dev)."""
    if len(args) not in (2, 3):
        raise TypeError(
            f"cuCtxCreate takes (flags, dev) or (params, flags, dev), not {len(args)} arguments"
        )
    cpu.check_device(int(args[-1]))
    return CUcontext(contexts.create())


@call()
def cuCtxDestroy(ctx: Any) -> None:
    """Destroys a context. Memory stays."""
    contexts.destroy(int(ctx))


@call(1)
def cuCtxGetCurrent() -> CUcontext:
    """This thread's context; 0 for none."""
    return CUcontext(contexts.current())


@call()
def cuCtxSetCurrent(ctx: Any) -> None:
    """Puts a context in the place of this thread's current one."""
    contexts.make_current(int(ctx))


@call()
def cuCtxPushCurrent(ctx: Any) -> None:
    """Makes a context this thread's current one."""
    contexts.push(int(ctx))


@call(1)
def cuCtxPopCurrent() -> CUcontext:
    """Takes this thread's current context off."""
    return CUcontext(contexts.pop())


@call(1)
def cuCtxGetDevice() -> CUdevice:
    """The device."""
    return CUdevice(0)


@call()
def cuCtxSynchronize() -> None:
    """Returns when the work of all streams is done."""
    memory.synchronize()


@call(1)
def cuDevicePrimaryCtxRetain(dev: Any) -> CUcontext:
    """The device's own context."""
    cpu.check_device(int(dev))
    return CUcontext(contexts.PRIMARY)


@call()
def cuDevicePrimaryCtxRelease(dev: Any) -> None:
    """Does nothing: the device's own context stays."""
    cpu.check_device(int(dev))
