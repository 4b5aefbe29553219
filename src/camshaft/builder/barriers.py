"""Which instructions need not wait for the ones before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from camshaft.ir.sizes import typical
from camshaft.program.program import HostCall, Instruction
from camshaft.program.view import Buffer, View


def elide_barriers(
    instructions: Sequence[Instruction],
    touched: Sequence[tuple[Sequence[View], Sequence[View]]],
    offsets: Mapping[Buffer, int],
) -> list[Instruction]:
    """Clear `waits` where a launch may run beside everything since the last barrier.

    touched[i] is what instruction i reads and what it writes.  offsets: bytes, of the buffers in
    the arena.  A launch may go on at once if it reads nothing written since, and writes nothing
    read or written since.  Host calls always wait.
    """
    result: list[Instruction] = []
    reads: list[View] = []
    writes: list[View] = []
    for instruction, (r, w) in zip(instructions, touched, strict=True):
        free = (
            bool(result)
            and not isinstance(instruction, HostCall)
            and not isinstance(result[-1], HostCall)
            and not any(overlap(a, b, offsets) for a in (*r, *w) for b in writes)
            and not any(overlap(a, b, offsets) for a in w for b in reads)
        )
        if free and not isinstance(instruction, HostCall):
            instruction = replace(instruction, waits=False)
        else:
            reads, writes = [], []
        reads = [*reads, *r]
        writes = [*writes, *w]
        result.append(instruction)
    return result


def overlap(a: View, b: View, offsets: Mapping[Buffer, int]) -> bool:
    """Whether two views may share bytes.  Views of different buffers in the arena do where the
    buffers live at different times."""
    if a.buffer in offsets and b.buffer in offsets:
        first, second = offsets[a.buffer], offsets[b.buffer]
    elif a.buffer == b.buffer:
        first = second = 0
    else:
        return False
    first += typical(a.first_byte)
    second += typical(b.first_byte)
    return first < second + typical(b.nbytes) and second < first + typical(a.nbytes)
