"""The compiler: threads compile at the same time, equal text gives equal bytes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from llvmlite.binding import ffi

from camshaft.backends.cpu import compile as compiling
from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.lang import Module
from camshaft.backends.cpu.target import PORTABLE


def _module(n: int = 1):
    m = Module(PORTABLE)
    with m.phase("count", 1, []) as k, k.loop(0, n):
        pass
    return m.source()


def test_the_costly_parts_of_llvm_run_while_another_thread_holds_llvmlites_lock():
    compiler, source = CpuCompiler(PORTABLE), _module()
    machine = compiler._machine()
    module = compiler._optimized(source, machine)
    emit = compiling._unlocked("LLVMPY_TargetMachineEmitToMemory")
    with ffi.OutputString() as error, ThreadPoolExecutor(1) as pool:
        with ffi.lib._lock:
            buffer = pool.submit(emit, machine, module, 1, error).result(timeout=60)
        assert ffi.lib.LLVMPY_GetBufferSize(buffer) > 0
        ffi.lib.LLVMPY_DisposeMemoryBuffer(buffer)


@pytest.mark.usefixtures("compiled_anew")
def test_threads_give_the_same_bytes_as_one():
    compiler = CpuCompiler(PORTABLE)
    sources = [_module(n) for n in range(1, 40)]
    alone = [compiler.compile(s).code for s in sources]
    with ThreadPoolExecutor(4) as pool:
        assert [k.code for k in pool.map(compiler.compile, sources)] == alone
