"""CPU targets: what a kernel may assume about the machine it is compiled for.

The first stage of the CPU backend: tactics read vector width, register count, features and cache
sizes from here, the compiler reads triple, CPU name and feature string.  A preset describes a class
of machines, so that code for one runs on all of them; `processor.host_target` is the best preset
with the cache sizes of the machine at hand, which steer what is worth timing and never what runs.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace

from llvmlite import binding

from camshaft.errors import BuildError
from camshaft.ir.types import DType


@dataclass(frozen=True)
class CpuTarget:
    """A class of CPUs to generate code for.

    name: distinguishes feature sets in caches and engine files.
    triple, cpu, features: LLVM's names; features is "+a,+b,-c".
    requires: CPU features (LLVM's names) that a machine must have to run the code.
    vector_bits, registers: width of the widest vector register and how many there are.
    has_fma: fused multiply-add in one instruction.  has_vnni: u8 x s8 four-way dot product.
    has_rounding: floor, ceil and round-half-even in one instruction.
    has_bf16: dot product of bf16 pairs with f32 sums, and f32 to bf16, in one instruction.
    has_fp16: arithmetic on f16.  has_amx: tile products of bf16 and of 8-bit integers.
    l1_bytes, l1_ways, l2_bytes: caches that serve one core, for blocking decisions.
    """

    name: str
    triple: str
    cpu: str
    features: str
    requires: tuple[str, ...]
    vector_bits: int
    registers: int
    has_fma: bool
    has_vnni: bool
    has_rounding: bool
    has_bf16: bool = False
    has_fp16: bool = False
    has_amx: bool = False
    l1_bytes: int = 32 << 10
    l1_ways: int = 8
    l2_bytes: int = 1 << 20

    @property
    def caches(self) -> tuple[int, int, int]:
        """What steers blocking: bytes and ways of the first cache, bytes of the second."""
        return self.l1_bytes, self.l1_ways, self.l2_bytes

    def lanes(self, dtype: DType) -> int:
        """Elements of `dtype` in one vector register."""
        return self.vector_bits // (8 * dtype.bytes)

    @property
    def for_word_products(self) -> CpuTarget:
        """The same for code with `dot_words`: LLVM makes two instructions of vpdpwssd, for the same ports, unless
        it is told that one is fast."""
        if not self.has_vnni:
            return self
        return replace(self, features=f"{self.features},+fast-dpwssd")

    @property
    def is_x86(self) -> bool:
        """Whether x86 intrinsics may be used."""
        return self.triple.startswith("x86_64")


_X86_TRIPLE = "x86_64-unknown-linux-gnu"
_AVX2 = ("avx", "avx2", "fma", "bmi", "bmi2", "lzcnt", "movbe", "popcnt", "f16c")
_AVX512 = _AVX2 + ("avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512cd", "avx512vnni")


def _features(names: tuple[str, ...]) -> str:
    return ",".join("+" + name for name in names)


AVX512_VNNI = CpuTarget(
    name="avx512vnni",
    triple=_X86_TRIPLE,
    cpu="x86-64-v4",
    features=_features(_AVX512) + ",-prefer-256-bit",
    requires=_AVX512,
    vector_bits=512,
    registers=32,
    has_fma=True,
    has_vnni=True,
    has_rounding=True,
)


def _extended(base: CpuTarget, name: str, *more: str, **flags: bool) -> CpuTarget:
    """`base` with more features."""
    features = f"{_features(more)},{base.features}"
    requires = (*base.requires, *more)
    return replace(base, name=name, features=features, requires=requires, **flags)  # type: ignore[arg-type]


AVX512_BF16 = _extended(AVX512_VNNI, "avx512bf16", "avx512bf16", has_bf16=True)
"""Zen 4 and 5, Cooper Lake, Sapphire Rapids."""

AVX512_FP16 = _extended(AVX512_BF16, "avx512fp16", "avx512fp16", has_fp16=True)
"""Sapphire Rapids where the system, or a virtual machine, keeps its tiles from programs."""

AMX = _extended(AVX512_FP16, "amx", "amx-tile", "amx-bf16", "amx-int8", has_amx=True)
"""Sapphire Rapids and later."""

AVX2 = CpuTarget(
    name="avx2",
    triple=_X86_TRIPLE,
    cpu="x86-64-v3",
    features=_features(_AVX2),
    requires=_AVX2,
    vector_bits=256,
    registers=16,
    has_fma=True,
    has_vnni=False,
    has_rounding=True,
    l2_bytes=512 << 10,
)


def _portable() -> CpuTarget:
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    return CpuTarget(
        name="portable",
        triple=binding.get_default_triple(),
        cpu="x86-64" if is_x86 else "generic",
        features="",
        requires=("sse2",) if is_x86 else (),
        vector_bits=128,
        registers=16,
        has_fma=False,
        has_vnni=False,
        has_rounding=False,
        l2_bytes=256 << 10,
    )


PORTABLE = _portable()

TARGETS = (AMX, AVX512_FP16, AVX512_BF16, AVX512_VNNI, AVX2, PORTABLE)
"""Presets, best first."""


def target_named(name: str) -> CpuTarget:
    """The preset called `name`; BuildError lists the presets if there is none."""
    for target in TARGETS:
        if target.name == name:
            return target
    known = ", ".join(t.name for t in TARGETS)
    raise BuildError(f"unknown CPU target {name!r}; use one of: {known}")
