"""What depends on the sizes of a call: the order in which code that sets a shape computes it.

Both the build, which makes that code, and the runtime, which calls it, derive the order from the
program, so it is stored nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from camshaft.ir.extents.extent import Dim, Extent
from camshaft.program.program import Launch, Phase, Program, When

SET_SHAPE = "set_shape"
"""Name of the object code, and of the function in it (see `backends.cpu.set_shape`)."""


@dataclass(frozen=True)
class Items:
    """Work items of a launch that has some only at certain sizes: `count` of them, else none."""

    count: Extent
    when: When


def items_of(launch: Launch, phase: Phase) -> Extent | Items:
    """Work items of one phase of a launch."""
    return phase.items if launch.when is None else Items(phase.items, launch.when)


def shape_extents(program: Program) -> tuple[Dim | Items, ...]:
    """Everything that varies with sizes and that rows, arguments, bindings, kernels and constraints
    need, each once."""
    found: dict[Dim | Items, None] = {}

    def add(*extents: Extent | Items) -> None:
        found.update((e, None) for e in extents if not isinstance(e, int))

    for binding in (*program.inputs, *program.outputs):
        add(binding.type.nbytes, *binding.type.shape)
    for instruction in program.instructions:
        if isinstance(instruction, Launch):
            kernel = program.kernels[instruction.kernel]
            add(*(items_of(instruction, phase) for phase in kernel.phases))
            add(*(view.first_byte for view in instruction.views if view is not None))
            add(*instruction.dims)
    for constraint in program.constraints:
        add(constraint.left, constraint.right)
    return tuple(found)


def shape_slots(program: Program) -> Sequence[tuple[Extent, Sequence[int]]]:
    """For each slot of the arena its bytes and the earlier slots that it lies above."""
    return [(slot.buffer.nbytes, slot.above) for slot in program.arena.slots]
