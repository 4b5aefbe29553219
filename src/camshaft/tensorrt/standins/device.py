"""The device of the stand-ins: this machine's CPU, with what CUDA's and pycuda's functions say of devices."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from camshaft.cpus import available_cpus
from camshaft.tensorrt.memory import Code, CudaFault

CUDA_VERSION = 12090
"""The version that is answered: of CUDA 12.9, whose functions these are."""

COMPUTE_CAPABILITY = (8, 0)
"""A CPU has none. Scripts compare it with the least that a type needs: this one has half floats, bfloat16 and bytes."""

PCI_BUS_ID = "0000:00:00.0"

ATTRIBUTES = {
    1: 1024,  # max threads per block
    8: 0,  # shared memory per block
    10: 32,  # warp size
    19: 1,  # can map host memory
    31: 1,  # concurrent kernels
    33: 0,  # PCI bus id
    34: 0,  # PCI device id
    40: 0,  # async engines
    41: 1,  # unified addressing
    75: COMPUTE_CAPABILITY[0],
    76: COMPUTE_CAPABILITY[1],
    83: 1,  # managed memory
    88: 1,  # pageable memory access
    115: 1,  # memory pools
}
"""Values by CUDA's numbers of device attributes, where they hang on nothing; 0 for others."""

_MULTIPROCESSORS = 16
_INTEGRATED = 18


def check_device(ordinal: int) -> None:
    """CudaFault (INVALID_DEVICE) for any device but 0."""
    if ordinal != 0:
        raise CudaFault(Code.INVALID_DEVICE, f"there is no device {ordinal}: use device 0, the CPU")


def attribute(number: int) -> int:
    """A device attribute by CUDA's number."""
    if number == _MULTIPROCESSORS:
        return available_cpus()
    if number == _INTEGRATED:
        return 1  # memory is the host's
    return ATTRIBUTES.get(number, 0)


def name() -> str:
    """What the system calls the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def memory_sizes() -> tuple[int, int]:
    """Bytes of memory of the machine: (what can still be had, all)."""
    page = os.sysconf("SC_PAGE_SIZE")
    return os.sysconf("SC_AVPHYS_PAGES") * page, os.sysconf("SC_PHYS_PAGES") * page
