"""Programs as text, for people."""

from __future__ import annotations

from dataclasses import fields

from camshaft.program.program import HostCall, Note, Program


def instruction_text(program: Program, index: int) -> str:
    """One instruction, a view on each line."""
    instruction = program.instructions[index]
    if isinstance(instruction, HostCall):
        head = f"call {instruction.executor} for {instruction.name}"
    else:
        kernel = program.kernels[instruction.kernel]
        phases = ", ".join(f"{p.symbol} ({p.items} items)" for p in kernel.phases)
        head = f"launch kernel {instruction.kernel}: {phases}"
        head += f"; dims {', '.join(map(str, instruction.dims))}" if instruction.dims else ""
        head += "" if instruction.waits else "; at once"
        head += f"; where {instruction.when}" if instruction.when else ""
    return "\n".join([head, *(f"  {'null' if v is None else v}" for v in instruction.views)])


def note_text(note: Note) -> str:
    """A note, a field on each line; sizes that the time is of only where they are not typical."""
    shown = [f.name for f in fields(note) if f.name != "at" or note.at]
    return "\n".join(f"  {name:<9} {_words(getattr(note, name))}" for name in shown)


def _words(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"{v[0]}={v[1]}" if isinstance(v, tuple) else str(v) for v in value)
    return f"{value:.2f}" if isinstance(value, float) else str(value)
