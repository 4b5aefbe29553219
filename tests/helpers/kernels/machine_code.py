"""Looks at assembly: the innermost loop of a kernel, and what it saves to memory."""

from __future__ import annotations

import re
from collections.abc import Sequence

_LABEL = re.compile(r"(\.LBB\w+):")
_JUMP = re.compile(r"\s+j\w+\s+(\.LBB\w+)")
_SPILL = re.compile(r"vmov\w+\s+%[xyz]mm\d+, .*%rs[bp]")


def inner_loop(assembly: str, instruction: str) -> list[str]:
    """The lines of the loop without a loop inside (a label, and a jump back to it) that has most of an
    instruction."""
    lines = assembly.splitlines()
    labels = {m[1]: n for n, line in enumerate(lines) if (m := _LABEL.match(line))}
    loops = []
    for n, line in enumerate(lines):
        jump = _JUMP.match(line)
        if jump and labels.get(jump[1], n) < n:
            body = lines[labels[jump[1]] : n]
            if not any(_LABEL.match(other) for other in body[1:]):
                loops.append(body)
    return max(loops, key=lambda body: sum(instruction in line for line in body))


def spills(lines: Sequence[str]) -> list[str]:
    """The lines that save a vector register to the stack."""
    return [line for line in lines if _SPILL.search(line)]
