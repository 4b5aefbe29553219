"""Linking object code into this process."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest
from llvmlite import binding

from camshaft.backends.cpu.compile import start_llvm
from camshaft.backends.cpu.link import call, link, pointer_table
from camshaft.ir.plugins.registry import symbol_of

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
print(*(add_table(number) for number in range(20)))
"""
"""Leaves holes of a page, which hold constants and no code, 3 GiB above the next place that holds code."""


def compiled(text: str) -> bytes:
    """The object file of LLVM IR."""
    start_llvm()
    target = binding.Target.from_default_triple()
    machine = target.create_target_machine(reloc="pic", codemodel="small")
    code: bytes = machine.emit_object(binding.parse_assembly(text))
    return code


def add_table(number: int = 0) -> float:
    """Link code of some pages that reads a table of constants, and run it.  number: makes the code another."""
    work = "\n".join(
        f"store volatile float {i}.0, ptr %x\n%v{i} = load volatile float, ptr %x" for i in range(1000)
    )  # fmt: skip
    code = compiled(f"""
        @table = private constant [4 x float] [float 1.0, float 2.0, float 4.0, float 8{number}.0]
        define void @add(ptr %args, i64 %begin, i64 %end, i64 %worker) {{
        %x = load ptr, ptr %args
        {work}
        %at = getelementptr [4 x float], ptr @table, i64 0, i64 %begin
        %value = load float, ptr %at
        store float %value, ptr %x
        ret void
        }}""")
    library = link(code, ["add"])
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


def test_code_that_was_linked_lately_is_not_linked_again() -> None:
    """LLVM keeps some of each object file for good, and engines are loaded again and again."""
    code = compiled("define void @f() { ret void }\ndefine void @g() { ret void }")
    known = link(code, ["f"])
    assert link(bytes(bytearray(code)), ("f",)) is known
    assert link(code, ["g"]) is not known and link(code, ["g"])["g"]


def test_functions_of_users_are_looked_up_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """They may be registered anew, at another address."""
    code = compiled(f"""
        declare i64 @{symbol_of("a::b/c")}()
        define void @f(ptr %args, i64 %begin, i64 %end, i64 %worker) {{
        %x = load ptr, ptr %args
        %value = call i64 @{symbol_of("a::b/c")}()
        store i64 %value, ptr %x
        ret void
        }}""")
    made = ctypes.CFUNCTYPE(ctypes.c_int64)
    for number in (3, 5):
        function = made(lambda number=number: number)
        address = ctypes.cast(function, ctypes.c_void_p).value
        monkeypatch.setattr("camshaft.backends.cpu.link.resolved", lambda _, at=address: at)
        result = ctypes.c_int64()
        library = link(code, ["f"], ["a::b/c"])
        call(library["f"], pointer_table([ctypes.addressof(result)]), 0, 1)
        assert result.value == number
