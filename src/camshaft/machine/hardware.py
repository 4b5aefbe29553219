"""What this machine computes fast: `camshaft.hardware`, read off the machine and measured on it.

It answers what TensorRT answers with `platform_has_fast_fp16` and `platform_has_fast_int8`: whether a
precision is worth permitting here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from camshaft.backends.cpu.measured.bandwidth import bandwidth
from camshaft.backends.cpu.measured.peak import peak
from camshaft.backends.cpu.processor import host_processor, host_target, missing_features
from camshaft.backends.cpu.target import TARGETS, CpuTarget
from camshaft.cpus import available_cpus
from camshaft.machine.description import memory_bytes

_LEAST_READ = 256 << 20


@dataclass(frozen=True)
class Arithmetic:
    """How one core multiplies and adds numbers of one precision.

    precision: "fp32", "int8" (u8 x s8, exact sums in 32 bits), "bf16" or "fp16".
    instructions: what kernels use for it, for example ("AVX512-VNNI",); empty where the machine has
        nothing and numbers are widened first, which saves memory and no time in the arithmetic.
    peak: measured, of one core, GFLOP/s or for int8 GOP/s; a multiply-add counts 2.  None if not
        measured.  It is that of vector instructions: AMX tiles are not measured.
    """

    precision: str
    instructions: tuple[str, ...]
    peak: float | None

    @property
    def is_fast(self) -> bool:
        """Whether the machine has instructions for it."""
        return bool(self.instructions)


@dataclass(frozen=True)
class Hardware:
    """A machine, as kernels see it.

    processor: in words.  vendor, family, model, microarchitecture: as CPUID reports them; empty and 0
        where unknown.
    cpus: that this process may use.
    l1_bytes, l2_bytes, l3_bytes: caches of data that serve one core.
    memory_bytes: of the machine.
    targets: names of the targets whose code runs here, the best first.
    fp32, int8, bf16, fp16: see `Arithmetic`.
    bandwidth_one, bandwidth_all: GB/s (10^9 bytes) at which one core, and all `cpus` at once, read
        memory; None if not measured.
    """

    processor: str
    vendor: str
    family: int
    model: int
    microarchitecture: str
    cpus: int
    l1_bytes: int
    l2_bytes: int
    l3_bytes: int
    memory_bytes: int
    targets: tuple[str, ...]
    fp32: Arithmetic
    int8: Arithmetic
    bf16: Arithmetic
    fp16: Arithmetic
    bandwidth_one: float | None
    bandwidth_all: float | None

    @property
    def arithmetic(self) -> tuple[Arithmetic, ...]:
        """Of all precisions."""
        return self.fp32, self.int8, self.bf16, self.fp16


def hardware(measure: bool = True) -> Hardware:
    """What this machine computes fast.

    measure: also measure peaks and bandwidths, which takes about a second the first time; a process
    measures once.  What other programs do meanwhile shows in the figures.

        camshaft.hardware().int8.is_fast     # TensorRT: builder.platform_has_fast_int8
        camshaft.hardware().fp16.is_fast     # TensorRT: builder.platform_has_fast_fp16
    """
    return _measured() if measure else _described()


@cache
def _described() -> Hardware:
    p, target = host_processor(), host_target()
    fp32, int8, bf16, fp16 = (
        Arithmetic(kind, instructions(kind, target), None)
        for kind in ("fp32", "int8", "bf16", "fp16")
    )
    return Hardware(
        processor=str(p),
        vendor=p.vendor,
        family=p.family,
        model=p.model,
        microarchitecture=p.microarchitecture,
        cpus=available_cpus(),
        l1_bytes=p.l1.nbytes,
        l2_bytes=p.l2.nbytes,
        l3_bytes=p.l3.nbytes,
        memory_bytes=memory_bytes(),
        targets=tuple(t.name for t in TARGETS if not missing_features(t)),
        fp32=fp32,
        int8=int8,
        bf16=bf16,
        fp16=fp16,
        bandwidth_one=None,
        bandwidth_all=None,
    )


@cache
def _measured() -> Hardware:
    plain, target = _described(), host_target()
    fp32, int8, bf16, fp16 = (replace(a, peak=peak(a.precision, target)) for a in plain.arithmetic)
    read = min(max(_LEAST_READ, 4 * plain.l3_bytes), plain.memory_bytes // 4)
    one, every = (bandwidth(target, threads, read) for threads in (1, plain.cpus))
    return replace(
        plain,
        fp32=fp32,
        int8=int8,
        bf16=bf16,
        fp16=fp16,
        bandwidth_one=one,
        bandwidth_all=every,
    )


def instructions(precision: str, target: CpuTarget) -> tuple[str, ...]:
    """The instruction sets that `target`'s kernels use to multiply and add in a precision."""
    offers = {
        "fp32": (("FMA", target.has_fma),),
        "int8": (("AVX512-VNNI", target.has_vnni), ("AMX-INT8", target.has_amx)),
        "bf16": (("AVX512-BF16", target.has_bf16), ("AMX-BF16", target.has_amx)),
        "fp16": (("AVX512-FP16", target.has_fp16),),
    }
    return tuple(name for name, has in offers[precision] if has)
