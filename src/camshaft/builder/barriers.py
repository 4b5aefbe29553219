"""Which instructions need not wait for the ones before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from camshaft.ir.extents.sizes import is_static
from camshaft.ir.extents.symbol import UndecidedExtent
from camshaft.program.program import Arena, HostCall, Instruction, Launch
from camshaft.program.view import Buffer, View


def elide_barriers(
    instructions: Sequence[Instruction],
    touched: Sequence[tuple[Sequence[View], Sequence[View]]],
    arena: Arena,
) -> list[Instruction]:
    """Clear `waits` where a launch may run beside everything since the last barrier.

    touched[i] is what instruction i reads and what it writes.  A launch may go on at once if it
    reads nothing written since, and writes nothing read or written since.  Of launches that exclude
    each other the first waits for all of them.  Host calls always wait.
    """
    memory = SharedMemory(arena)
    result: list[Instruction] = []
    reads: list[View] = []
    writes: list[View] = []
    for group in _alternatives(instructions):
        r = [view for i in group for view in touched[i][0]]
        w = [view for i in group for view in touched[i][1]]
        first = instructions[group[0]]
        free = (
            bool(result)
            and not isinstance(first, HostCall)
            and not isinstance(result[-1], HostCall)
            and not any(memory.overlap(a, b) for a in (*r, *w) for b in writes)
            and not any(memory.overlap(a, b) for a in w for b in reads)
        )
        if not free:
            reads, writes = [], []
        reads = [*reads, *r]
        writes = [*writes, *w]
        for i in group:
            instruction = instructions[i]
            if isinstance(instruction, Launch) and (free or i != group[0]):
                instruction = replace(instruction, waits=False)
            result.append(instruction)
    return result


def _alternatives(instructions: Sequence[Instruction]) -> Iterator[list[int]]:
    """Numbers of the instructions, those together of which each excludes all others."""
    group: list[int] = []
    for i, instruction in enumerate(instructions):
        if group and not all(_exclude(instruction, instructions[j]) for j in group):
            yield group
            group = []
        group.append(i)
    if group:
        yield group


def _exclude(a: Instruction, b: Instruction) -> bool:
    if not isinstance(a, Launch) or not isinstance(b, Launch):
        return False
    return a.when is not None and b.when is not None and a.when.excludes(b.when)


class SharedMemory:
    """Which views of a program may share bytes."""

    def __init__(self, arena: Arena) -> None:
        self._offsets = {slot.buffer: slot.offset for slot in arena.slots}
        self._static = is_static(buffer.elements for buffer in self._offsets)
        self._below: dict[Buffer, set[Buffer]] = {}
        for slot in arena.slots:
            direct = [arena.slots[j].buffer for j in slot.above]
            self._below[slot.buffer] = set(direct).union(*(self._below[b] for b in direct))

    def overlap(self, a: View, b: View) -> bool:
        """Whether the views may share bytes, at any sizes.

        Views of different buffers in the arena may where the buffers live at different times: their
        offsets decide it at known sizes, and at symbolic sizes only that one lies above the other.
        """
        if a.buffer == b.buffer:
            return _meet(a, b, 0, 0)
        if a.buffer not in self._offsets or b.buffer not in self._offsets:
            return False
        if self._static:
            return _meet(a, b, self._offsets[a.buffer], self._offsets[b.buffer])
        return a.buffer not in self._below[b.buffer] and b.buffer not in self._below[a.buffer]


def _meet(a: View, b: View, a_start: int, b_start: int) -> bool:
    """Whether two runs of bytes share any, or may: starts are those of the views' buffers."""
    first, second = a_start + a.first_byte, b_start + b.first_byte
    try:
        return first < second + b.nbytes and second < first + a.nbytes
    except UndecidedExtent:
        return True
