"""LLVM IR of the program runner: the loop that walks an engine's step table on several threads.

Stands between the runtime's contexts and the kernels: Python enters `call` (or `enter`) once per
inference, and everything else (checking the arrays, patching their addresses into argument
blocks, waking workers, running every step, barriers) happens in the code below, with the GIL
released.  Nothing here allocates.

A program is one block of 8-byte words (`Word`), a table of rows (`Row`) and the tables those
words point to.  All integers shared between threads are 32 bits wide, because futexes are.
"""

from __future__ import annotations

from camshaft.backends.cpu.runner.ir import layout
from camshaft.backends.cpu.runner.ir.checking import checking_ir
from camshaft.backends.cpu.runner.ir.contention import CONTENTION
from camshaft.backends.cpu.runner.ir.entering import ENTERING
from camshaft.backends.cpu.runner.ir.layout import Word
from camshaft.backends.cpu.runner.ir.placing import NOT_PLACING, PLACING
from camshaft.backends.cpu.runner.ir.waiting import WAITING
from camshaft.backends.cpu.runner.ir.walking import WALKING
from camshaft.program.rows import Outcome

_PRELUDE = """
declare i32 @clock_gettime(i32, ptr)
declare i32 @sched_yield()
declare ptr @PyCapsule_GetPointer(ptr, ptr)
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
declare ptr @PyLong_FromLongLong(i64)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare i64 @llvm.umax.i64(i64, i64)
declare i64 @llvm.umin.i64(i64, i64)

; A word of the program block, as a number and as an address.
define internal i64 @word(ptr %p, i64 %field) alwaysinline {
  %at = getelementptr i64, ptr %p, i64 %field
  %word = load i64, ptr %at
  ret i64 %word
}

define internal ptr @pointer(ptr %p, i64 %field) alwaysinline {
  %at = getelementptr i64, ptr %p, i64 %field
  %pointer = load ptr, ptr %at
  ret ptr %pointer
}

define internal i64 @now() {
  %ts = alloca { i64, i64 }, align 8
  %rc = call i32 @clock_gettime(i32 1, ptr %ts)
  %s = load i64, ptr %ts
  %pn = getelementptr i64, ptr %ts, i64 1
  %n = load i64, ptr %pn
  %ns = mul i64 %s, 1000000000
  %t = add i64 %ns, %n
  ret i64 %t
}
"""

_PAUSES = {
    "x86_64": ("declare void @llvm.x86.sse2.pause()", "call void @llvm.x86.sse2.pause()"),
    "aarch64": ("declare void @llvm.aarch64.hint(i32)", "call void @llvm.aarch64.hint(i32 1)"),
}
_NUMBERS = (
    "SLOT_WORDS",
    "MASK_WORDS",
    "ROW_WORDS",
    "EXPECTED_WORDS",
    "IN_CALL",
    "IN_TURN",
    "SERIAL",
    "STALL_NS",
    "WINDOW_NS",
    "WINDOW_CALLS",
    "LONGEST_SERIAL_NS",
    "REST_NS",
)
_FUTEX = {"x86_64": 202, "aarch64": 98}  # Linux system call numbers


def runner_ir(machine: str, linux: bool) -> str:
    """The runner's LLVM IR.

    machine: "x86_64" or "aarch64" choose their pause instruction, any other has none.
    linux: sleep by futex (needs a machine above) and keep workers on different cores; otherwise
    sleep by 50 us naps and leave placement to the system.
    """
    declaration, pause = _PAUSES.get(machine, ("", ""))
    if linux and machine in _FUTEX:
        call = f"call i64 (i64, ...) @syscall(i64 {_FUTEX[machine]}, ptr %word, i32 "
        declaration += "\ndeclare i64 @syscall(i64, ...)"
        wait = f"%rc = {call}128, i32 %v2, ptr null, ptr null, i32 0)"
        wake = f"%rc = {call}129, i32 2147483647, ptr null, ptr null, i32 0)"
    else:
        declaration += "\ndeclare i32 @usleep(i32)"
        wait, wake = "%rc = call i32 @usleep(i32 50)", ""
    names = {word.name: str(int(word)) for word in Word}
    names |= {outcome.name: str(int(outcome)) for outcome in Outcome}
    names |= {name: str(getattr(layout, name)) for name in _NUMBERS}
    names |= {
        "PAUSE": pause,
        "WAIT": wait,
        "WAKE": wake,
        "MASK_BYTES": str(8 * layout.MASK_WORDS),
        "MASK_BITS": str(64 * layout.MASK_WORDS),
    }
    parts = [_PRELUDE, declaration]
    parts.append(PLACING.substitute(names) if linux else NOT_PLACING)
    parts += [part.substitute(names) for part in (WAITING, WALKING, CONTENTION, ENTERING)]
    parts += [checking_ir(bits) for bits in (16, 32, 64)]
    return "\n".join(parts)
