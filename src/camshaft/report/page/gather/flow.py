"""A program as the page shows it: its steps, what they read of one another, and its arena over time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod

from camshaft.ir.extents.sizes import evaluate
from camshaft.program.program import HostCall, Instruction, Note, Program, Role
from camshaft.program.view import PLACED, Buffer, View
from camshaft.report.page.data import Block, Box, Drawing, Memory, Step
from camshaft.report.page.figures import counted, time_text
from camshaft.runtime.profile import Profile

Sizes = Mapping[str, int]


def steps_of(
    program: Program, notes: Sequence[Note], first: int, profile: Profile | None
) -> tuple[Step, ...]:
    """The steps, numbered from `first` on.

    profile: measured times, and the sizes that all figures are of; else times are those of tuning, and sizes typical.
    """
    sizes = program.typical if profile is None else profile.sizes
    active = program.active(sizes)
    times = [note.time_us or None for note in notes]
    if profile is not None:
        measured = {layer.index: layer.median_us for layer in profile.layers}
        times = [measured.get(i) for i in range(len(notes))]
    return tuple(
        _step(
            program,
            index,
            replace(note, at=() if profile else note.at),
            Step(
                first + index, "step", note.name, note.op, runs=active[index], time_us=times[index]
            ),
            sizes,
        )
        for index, note in enumerate(notes)
    )


def _step(program: Program, index: int, note: Note, step: Step, sizes: Sizes) -> Step:
    """step: what does not hang on the instruction.  sizes: those of the figures, where `note` has none of its own."""
    instruction = program.instructions[index]
    sizes = {**sizes, **dict(note.at)}
    moved = {"in": 0, "out": 0, "packed": 0, "workspace": 0}
    for role, view in dict.fromkeys(_operands(program, instruction)):
        constant = view.buffer.space == "constant"
        moved["packed" if constant else role] += _touched(view, sizes)
    host = isinstance(instruction, HostCall)
    when = None if isinstance(instruction, HostCall) else instruction.when
    return replace(
        step,
        kind="host" if host else "step",
        how="in Python" if host else " ".join([note.tactic, *(f"{k}={v}" for k, v in note.params)]),
        origin=note.origin,
        precision=note.precision,
        reason=note.reason,
        where="" if when is None else str(when),
        read=moved["in"],
        written=moved["out"],
        weights=moved["packed"],
        macs=evaluate(note.macs, sizes),
    )


def _operands(program: Program, instruction: Instruction) -> Iterator[tuple[Role, View]]:
    """What a step reads and writes, absent operands left out."""
    if isinstance(instruction, HostCall):
        yield from (("in", v) for v in instruction.inputs if v is not None)
        yield from (("out", v) for v in instruction.outputs if v is not None)
        return
    args = program.kernels[instruction.kernel].args
    for (role, _), view in zip(args, instruction.views, strict=False):
        if view is not None:
            yield role, view


def _touched(view: View, sizes: Sizes) -> int:
    """Bytes of the elements in a view, each counted once."""
    elements = max(0, prod(evaluate(d, sizes) for d in view.shape))
    return min(elements * view.dtype.bytes, max(0, evaluate(view.nbytes, sizes)))


# -- what reads what -----------------------------------------------------------------------------


class _Writers:
    """Which box wrote last what bytes of each buffer."""

    def __init__(self, sizes: Sizes) -> None:
        self._sizes = sizes
        self._found: dict[Buffer, list[tuple[int, int, int]]] = {}

    def write(self, view: View, box: int) -> None:
        first, last = self._bytes(view)
        kept = [w for w in self._found.get(view.buffer, []) if w[0] < first or w[1] > last]
        self._found[view.buffer] = [*kept, (first, last, box)]

    def write_all(self, buffer: Buffer, box: int) -> None:
        self._found[buffer] = [(0, max(0, evaluate(buffer.nbytes, self._sizes)), box)]

    def of(self, view: View) -> list[int]:
        first, last = self._bytes(view)
        return [box for a, b, box in self._found.get(view.buffer, ()) if a < last and first < b]

    def of_all(self, buffer: Buffer) -> list[int]:
        return [box for _, _, box in self._found.get(buffer, ())]

    def _bytes(self, view: View) -> tuple[int, int]:
        first = evaluate(view.first_byte, self._sizes)
        return first, first + max(0, evaluate(view.nbytes, self._sizes))


def flow(program: Program, steps: Sequence[Step], title: str) -> Drawing:
    """The steps that run, between inputs, states and outputs.  steps: of each instruction."""
    writers = _Writers(program.typical)
    boxes: list[Box] = []
    for b in (b for b in program.buffers if b.space in ("input", "state")):
        writers.write_all(b, len(boxes))
        boxes.append(_end(program, b))
    for step, instruction in zip(steps, program.instructions, strict=True):
        if not step.runs:
            continue
        operands = list(_operands(program, instruction))
        data = [
            (r, v) for r, v in operands if v.buffer.space not in ("constant", "scratch", "report")
        ]
        reads = dict.fromkeys(w for r, v in data if r != "out" for w in writers.of(v))
        boxes.append(_box(step, operands, tuple(reads)))
        for role, view in data:
            if role == "out":
                writers.write(view, len(boxes) - 1)
    buffers = {(b.space, b.name): b for b in program.buffers}
    for binding in program.outputs:
        buffer = buffers.get(("output", binding.name))
        reads = dict.fromkeys(() if buffer is None else writers.of_all(buffer))
        text = str(binding.type)
        boxes.append(
            Box("output", binding.name, (text,), (f"{binding.name}: {text}",), tuple(reads))
        )
    return Drawing(title, tuple(boxes))


def _end(program: Program, buffer: Buffer) -> Box:
    types = {b.name: str(b.type) for b in program.inputs}
    types |= {s.name: str(s.type) for s in program.states if buffer.space == "state"}
    lines = (types.get(buffer.name, ""),)
    kept = "kept from call to call" if buffer.space == "state" else ""
    details = (f"{buffer.name}: {lines[0]}", *filter(None, [kept]))
    return Box("input", buffer.name, (*lines, *filter(None, [kept])), details)


def _box(step: Step, operands: Sequence[tuple[Role, View]], reads: tuple[int, ...]) -> Box:
    verbs = {"in": "reads", "out": "writes", "packed": "weights"}
    details = [step.name, f"step {step.number}: {step.op}, {step.precision or 'no arithmetic'}"]
    details += [step.how] * bool(step.how)
    details += [f"takes {time_text(step.time_us)}"] * (step.time_us is not None)
    for role, view in operands:
        if role in verbs and view.buffer.space != "scratch":
            verb = "weights" if view.buffer.space == "constant" else verbs[role]
            details.append(f"{verb} {view.buffer.name}: {view.type}")
    details += [step.reason] * bool(step.reason)
    return Box(
        step.kind,
        step.op,
        step.origin or (step.name,),
        tuple(details),
        reads,
        step.precision,
        (step.number,),
        step.time_us,
    )


# -- the arena -----------------------------------------------------------------------------------


def memory_of(program: Program, steps: Sequence[Step], title: str) -> Memory | None:
    """The arena at typical sizes; None where there is none."""
    lives: dict[Buffer, list[int]] = {}
    names: list[str] = []
    for step, instruction in zip(steps, program.instructions, strict=True):
        if not step.runs:
            continue
        for view in instruction.views:
            if view is not None and view.buffer.space in PLACED:
                lives.setdefault(view.buffer, []).append(len(names))
        names.append(f"step {step.number}: {step.name}")
    blocks = tuple(
        Block(
            slot.buffer.name,
            slot.offset,
            max(0, evaluate(slot.buffer.nbytes, program.typical)),
            min(lives[slot.buffer]),
            max(lives[slot.buffer]),
            slot.buffer.space == "scratch",
        )
        for slot in program.arena.slots
        if slot.buffer in lives
    )
    arena = program.arena
    if not blocks or not arena.nbytes:
        return None
    at = " at typical sizes" if program.symbols else ""
    title = f"{title}{counted(len(blocks), 'buffer')}{at}"
    return Memory(title, arena.nbytes, arena.lower_bound, tuple(names), blocks)
