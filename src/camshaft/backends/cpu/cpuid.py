"""The CPUID instruction of x86 processors: who made them, and how large their caches are.

The instruction is a line of inline assembly in a phase compiled for this machine, so it needs neither
an operating system's files nor another package.  Bit fields are those of Intel's Software Developer's
Manual (volume 2, CPUID) and AMD's Architecture Programmer's Manual (volume 3, appendix E).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import numpy as np
from llvmlite import binding

from camshaft.backends.base import Source
from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.link import call, link, pointer_table
from camshaft.backends.cpu.target import PORTABLE
from camshaft.program.program import Phase

Registers = tuple[int, int, int, int]
"""EAX, EBX, ECX, EDX."""
Leaf = Callable[[int, int], Registers]
"""(leaf, subleaf) -> what CPUID answers."""

_VENDOR, _VERSION, _CACHES = 0, 1, 4
_MOST_EXTENDED, _BRAND, _AMD_CACHES = 0x80000000, 0x80000002, 0x8000001D
_INSTRUCTION = """
define void @cpuid(ptr %args, i64 %begin, i64 %end, i64 %worker) {
  %words = load ptr, ptr %args
  %second = getelementptr i32, ptr %words, i64 1
  %leaf = load i32, ptr %words
  %subleaf = load i32, ptr %second
  %answer = call { i32, i32, i32, i32 } asm sideeffect "cpuid",
    "={ax},={bx},={cx},={dx},{ax},{cx}"(i32 %leaf, i32 %subleaf)
  store { i32, i32, i32, i32 } %answer, ptr %words
  ret void
}
"""


def instruction() -> Leaf:
    """CPUID on this machine, which must be an x86."""
    binding.initialize_native_asmparser()  # without it LLVM ends the process at inline assembly
    phase = Phase("cpuid", 1)
    code = CpuCompiler(PORTABLE).compile(Source(_INSTRUCTION, (phase,))).code
    library = link(code, ["cpuid"])
    words = np.zeros(4, np.uint32)
    table = pointer_table([words.ctypes.data])

    def leaf(number: int, subleaf: int) -> Registers:
        words[:2] = number, subleaf
        call(library["cpuid"], table, 0, 1)
        a, b, c, d = words.tolist()
        return a, b, c, d

    return leaf


def vendor(leaf: Leaf) -> str:
    """The maker, e.g. "AuthenticAMD"."""
    _, b, c, d = leaf(_VENDOR, 0)
    return struct.pack("<3I", b, d, c).decode("ascii", "replace")


def signature(leaf: Leaf) -> tuple[int, int, int]:
    """Family, model and stepping, as Linux and the makers count them."""
    word = leaf(_VERSION, 0)[0]
    stepping, model, family = word & 15, word >> 4 & 15, word >> 8 & 15
    if family in (6, 15):
        model += (word >> 16 & 15) << 4
    if family == 15:
        family += word >> 20 & 255
    return family, model, stepping


def brand(leaf: Leaf) -> str:
    """The marketing name; empty where the processor has none."""
    if leaf(_MOST_EXTENDED, 0)[0] < _BRAND + 2:
        return ""
    words = [w for n in range(3) for w in leaf(_BRAND + n, 0)]
    return " ".join(struct.pack("<12I", *words).split(b"\0")[0].decode("ascii", "replace").split())


def caches(leaf: Leaf) -> Iterator[tuple[int, int, int]]:
    """(level, bytes, ways) of each data or unified cache; nothing where CPUID does not list them."""
    for number in (_CACHES, _AMD_CACHES):
        most = leaf(_MOST_EXTENDED, 0)[0] if number == _AMD_CACHES else leaf(_VENDOR, 0)[0]
        for subleaf in range(16 if number <= most else 0):
            a, b, c, _ = leaf(number, subleaf)
            kind, level = a & 31, a >> 5 & 7
            if kind == 0:  # no more caches
                break
            line, parts, ways = (b & 4095) + 1, (b >> 12 & 1023) + 1, (b >> 22) + 1
            if kind != 2:  # not of instructions alone
                yield level, line * parts * ways * (c + 1), ways
