"""Linking object code into this process."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest
from llvmlite import binding

from camshaft.backends.cpu.compile import start_llvm
from camshaft.backends.cpu.link import call, link, pointer_table

IN_HOLES = """
import ctypes
from test_link import add_table

libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def reserve(size):
    return libc.mmap(None, size, 0, 0x4022, -1, 0)  # PROT_NONE; private, anonymous, without memory behind it


add_table()
gulf = reserve(3 << 30)
filled = []
size = 1 << 30
while size > 4096:  # the gaps above, down to those of two pages
    taken = reserve(size)
    if taken < gulf:
        libc.munmap(taken, size)
        size //= 2
    else:
        filled.append(taken)
for page in filled[-400::2]:
    libc.munmap(page, 4096)
print(*(add_table() for _ in range(20)))
"""
"""Leaves holes of a page, which hold constants and no code, 3 GiB above the next place that holds code."""


def add_table() -> float:
    """Link code of some pages that reads a table of constants, and run it."""
    start_llvm()
    work = "\n".join(
        f"store volatile float {i}.0, ptr %x\n%v{i} = load volatile float, ptr %x" for i in range(1000)
    )  # fmt: skip
    module = binding.parse_assembly(f"""
        @table = private constant [4 x float] [float 1.0, float 2.0, float 4.0, float 8.0]
        define void @add(ptr %args, i64 %begin, i64 %end, i64 %worker) {{
        %x = load ptr, ptr %args
        {work}
        %at = getelementptr [4 x float], ptr @table, i64 0, i64 %begin
        %value = load float, ptr %at
        store float %value, ptr %x
        ret void
        }}""")
    target = binding.Target.from_default_triple()
    machine = target.create_target_machine(reloc="pic", codemodel="small")
    library = link(machine.emit_object(module), ["add"])
    result = ctypes.c_float()
    call(library["add"], pointer_table([ctypes.addressof(result)]), 2, 3)
    return result.value


def test_code_reads_its_constants() -> None:
    assert add_table() == 4.0


@pytest.mark.skipif(sys.platform != "linux", reason="reserves memory with Linux's own flags")
def test_code_reaches_its_constants_where_memory_is_in_pieces() -> None:
    """A process in which only holes of a page are left near the code (a fault met after many large nets in one process)."""
    folder = str(__file__).rpartition("/")[0]
    done = subprocess.run(
        [sys.executable, "-c", IN_HOLES], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["4.0"] * 20
