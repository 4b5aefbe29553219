"""What figures were measured on: processor, system, versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict

from camshaft.backends.cpu.processor import host_processor
from camshaft.cpus import available_cpus
from camshaft.version import VERSION

PACKAGES = ("llvmlite", "numpy", "onnx", "onnxruntime", "openvino", "nncf", "torch")
_FEATURES = ("avx2", "fma", "avx512f", "avx512vnni", "avx512bf16", "amx-int8", "dotprod", "i8mm")


def describe() -> dict[str, object]:
    """Processor, its features that matter here, cores, memory, system and package versions.

    processor: in words, different for machines whose figures must not be mixed.  cpu: the same as
    numbers.
    """
    processor = host_processor()
    numbers = asdict(processor)
    del numbers["features"]
    return {
        "processor": str(processor),
        "cpu": numbers,
        "features": [f for f in _FEATURES if f in processor.features],
        "cpus": available_cpus(),
        "memory_gib": round(memory_bytes() / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {"camshaft": VERSION, **versions(PACKAGES)},
    }


def memory_bytes() -> int:
    """Bytes of this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Installed versions; what is not installed is left out."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
