"""What figures were measured on: processor, system, versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from pathlib import Path

from camshaft.version import VERSION

PACKAGES = ("llvmlite", "numpy", "onnx", "onnxruntime", "openvino", "nncf", "torch")
_FEATURES = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "asimddp", "i8mm")


def describe() -> dict[str, object]:
    """Processor, its features that matter here, cores, memory, system and package versions."""
    info = _cpuinfo()
    flags = set(info.get("flags", info.get("Features", "")).split())
    return {
        "processor": info.get("model name", platform.processor() or platform.machine()),
        "features": [f for f in _FEATURES if f in flags],
        "cpus": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": {"camshaft": VERSION, **versions(PACKAGES)},
    }


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Installed versions; what is not installed is left out."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _cpuinfo() -> dict[str, str]:
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return {}
    first = path.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    lines = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}
