"""Memory pools: allocations that a stream orders. Memory goes back to the system at once."""

from __future__ import annotations

from typing import Any

from camshaft.tensorrt import memory
from camshaft.tensorrt.memory import Handles
from camshaft.tensorrt.standins import device as cpu
from camshaft.tensorrt.standins.cuda.enums import cudaMemPoolAttr
from camshaft.tensorrt.standins.cuda.runtime.answers import call
from camshaft.tensorrt.standins.cuda.types import cudaMemPool_t, cudaMemPoolProps

_POOLS: Handles[dict[int, int]] = Handles("memory pool")
"""Attributes of pools, by number: they are kept and have no effect."""
_DEFAULT = _POOLS.add({})


@call(1)
def cudaMemPoolCreate(poolProps: cudaMemPoolProps) -> cudaMemPool_t:
    """A new pool."""
    return cudaMemPool_t(_POOLS.add({}))


@call()
def cudaMemPoolDestroy(memPool: Any) -> None:
    """Destroys a pool; its allocations stay until they are freed."""
    _POOLS.remove(int(memPool))


@call(1)
def cudaDeviceGetDefaultMemPool(device: int) -> cudaMemPool_t:
    """The device's pool."""
    cpu.check_device(device)
    return cudaMemPool_t(_DEFAULT)


@call()
def cudaMemPoolSetAttribute(memPool: Any, attr: int, value: Any) -> None:
    """Keeps an attribute, which has no effect."""
    _POOLS.get(int(memPool))[cudaMemPoolAttr(attr)] = int(value)


@call(1)
def cudaMemPoolGetAttribute(memPool: Any, attr: int) -> int:
    """What was kept; 0 where nothing was."""
    return _POOLS.get(int(memPool)).get(cudaMemPoolAttr(attr), 0)


@call()
def cudaMemPoolTrimTo(memPool: Any, minBytesToKeep: int) -> None:
    """Does nothing: pools keep no memory."""
    _POOLS.get(int(memPool))


@call(1)
def cudaMallocFromPoolAsync(size: int, memPool: Any, stream: Any) -> int:
    """Device memory: its address, at once."""
    _POOLS.get(int(memPool))
    memory.stream(stream)
    return memory.allocate(size)
