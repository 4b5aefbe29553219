"""The processor of this machine, read off the machine, and the target that suits it.

Timing caches and measured figures are keyed by it, the host's target takes the sizes of its caches from
it, and reports name it.  Brands are not enough for that: Zen 3, Zen 4 and Zen 5 servers may all call
themselves "AMD EPYC".
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from llvmlite import binding

from camshaft.backends.cpu import cpuid
from camshaft.backends.cpu.target import PORTABLE, TARGETS, CpuTarget

_AMD = (
    (0x17, 0x00, 0x2F, "Zen"),
    (0x17, 0x30, 0x4F, "Zen 2"),
    (0x17, 0x50, 0x5F, "Zen"),
    (0x17, 0x60, 0xAF, "Zen 2"),
    (0x19, 0x00, 0x0F, "Zen 3"),
    (0x19, 0x10, 0x1F, "Zen 4"),
    (0x19, 0x20, 0x5F, "Zen 3"),
    (0x19, 0x60, 0xAF, "Zen 4"),
    (0x1A, 0x00, 0x4F, "Zen 5"),
    (0x1A, 0x60, 0x7F, "Zen 5"),
)
"""Family, first and last model, microarchitecture (Linux, arch/x86/kernel/cpu/amd.c)."""

_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA = 158, 0x1023, 18

SYSTEM_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


@dataclass(frozen=True)
class Cache:
    """A cache of data, or of data and instructions: its size in bytes and how many ways it has."""

    nbytes: int
    ways: int


USUAL_CACHES: Mapping[int, Cache] = {
    1: Cache(32 << 10, 8),
    2: Cache(512 << 10, 8),
    3: Cache(32 << 20, 16),
}
"""Level -> what is assumed where a machine does not describe its caches."""


@dataclass(frozen=True)
class Processor:
    """What a processor is.

    vendor, family, model, stepping: as CPUID reports them; empty and 0 on other architectures.
    brand: the marketing name.  microarchitecture: its name where known, else empty.
    features: LLVM's names of what it can do and the system lets programs use.
    l1, l2, l3: the caches that serve one core; a level that is missing equals the one before it.
    """

    vendor: str
    family: int
    model: int
    stepping: int
    brand: str
    microarchitecture: str
    features: frozenset[str]
    l1: Cache
    l2: Cache
    l3: Cache

    def __str__(self) -> str:
        """For example: AMD EPYC (family 25, model 1: Zen 3), L1d 32 KiB, L2 512 KiB."""
        numbers = [f"family {self.family}, model {self.model}"] if self.vendor else []
        names = [self.microarchitecture] if self.microarchitecture else []
        which = ": ".join(numbers + names)
        sizes = f"L1d {self.l1.nbytes >> 10} KiB, L2 {self.l2.nbytes >> 10} KiB"
        return f"{self.brand}{f' ({which})' if which else ''}, {sizes}"

    @property
    def identity(self) -> str:
        """Equal for processors whose timings may stand for each other: part of cache keys."""
        core = f"{self.vendor or self.brand} {self.family}.{self.model} {self.microarchitecture}"
        sizes = "/".join(f"{c.nbytes}:{c.ways}" for c in (self.l1, self.l2))
        return f"{core} {sizes} {','.join(sorted(self.features))}"


@cache
def host_features() -> frozenset[str]:
    """LLVM's names of the features that this machine has and that the system lets this process use.

    Engines and builds ask before they start a thread that runs kernels: where there are AMX tiles, asking
    is what permits them.
    """
    has = frozenset(name for name, has in binding.get_host_cpu_features().items() if has)
    if any(name.startswith("amx-") for name in has) and not request_tiles():
        has = frozenset(name for name in has if not name.startswith("amx-"))
    return has


@cache
def request_tiles() -> bool:
    """Ask Linux, once a process, to let all its threads use AMX's tiles; whether it does.

    Linux reserves room for them in a thread's saved state (8 KiB) for processes that asked only:
    arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA), Linux 5.16 (Documentation/arch/x86/xstate.rst).
    """
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "AMD64"):
        return False
    return bool(ctypes.CDLL(None).syscall(_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA) == 0)


@cache
def host_processor() -> Processor:
    """The processor this process runs on."""
    leaf = cpuid.instruction() if "sse2" in host_features() else None  # every x86-64 has that
    caches = system_caches(SYSTEM_CACHES)
    if not caches and leaf:
        caches = {level: Cache(size, ways) for level, size, ways in cpuid.caches(leaf)}
    if 1 not in caches:
        caches = dict(USUAL_CACHES)
    l2 = caches.get(2, caches[1])
    sizes = caches[1], l2, caches.get(3, l2)
    if leaf is None:
        brand = platform.processor() or platform.machine()
        name = str(binding.get_host_cpu_name())
        return Processor("", 0, 0, 0, brand, name, host_features(), *sizes)
    vendor, (family, model, stepping) = cpuid.vendor(leaf), cpuid.signature(leaf)
    name = microarchitecture(vendor, family, model)
    brand = cpuid.brand(leaf) or vendor
    return Processor(vendor, family, model, stepping, brand, name, host_features(), *sizes)


def missing_features(target: CpuTarget) -> tuple[str, ...]:
    """Features that `target` requires and this machine lacks (empty: its code runs here)."""
    lacking = [feature for feature in target.requires if feature not in host_features()]
    host_is_x86 = binding.get_default_triple().startswith("x86_64")
    if target.is_x86 != host_is_x86:
        lacking.insert(0, target.triple.split("-")[0])
    return tuple(lacking)


def host_target() -> CpuTarget:
    """The best preset whose code this machine can run, with the sizes of this machine's caches."""
    preset = next((t for t in TARGETS if not missing_features(t)), PORTABLE)
    p = host_processor()
    return replace(preset, l1_bytes=p.l1.nbytes, l1_ways=p.l1.ways, l2_bytes=p.l2.nbytes)


def microarchitecture(vendor: str, family: int, model: int) -> str:
    """The name of a processor's microarchitecture; empty if it is not in the table."""
    if vendor == "AuthenticAMD":
        for number, first, last, name in _AMD:
            if family == number and first <= model <= last:
                return name
    return ""


def system_caches(folder: Path) -> dict[int, Cache]:
    """Level -> data or unified cache, from Linux's description of a core; empty if there is none.

    A description without number of ways, as some virtual machines give, counts as none.
    """
    found = {}
    for entry in sorted(folder.glob("index*")):
        try:
            names = ("level", "type", "size", "ways_of_associativity")
            level, kind, size, ways = ((entry / n).read_text().strip() for n in names)
        except FileNotFoundError:
            continue
        if kind != "Instruction" and size.endswith("K") and int(ways) > 0:
            found[int(level)] = Cache(int(size[:-1]) << 10, int(ways))
    return found
