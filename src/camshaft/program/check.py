"""Whether a program is safe to run: every pointer a kernel gets lies in memory that exists.

Run on every program before its code is linked: one that a build got wrong is a `BuildError`, and
one from a damaged engine file must not crash the process.  Symbolic extents are evaluated at the
least, the typical and the largest sizes.  What kernels do within the views they are given is the
tactics' responsibility.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from camshaft.errors import BuildError, ModelError
from camshaft.ir.extents.bounds import bounds
from camshaft.ir.extents.extent import Extent, sole_symbol
from camshaft.ir.extents.kept import Kept
from camshaft.ir.extents.sizes import evaluate, is_static
from camshaft.ir.strides import span
from camshaft.ir.types import NARROW_FLOATS, string
from camshaft.program.arena import ALIGNMENT, stacked
from camshaft.program.program import (
    MAX_THREADS,
    Binding,
    Expanded,
    FixedInput,
    HostCall,
    Instruction,
    Phase,
    Program,
    Role,
)
from camshaft.program.state import StateSpec
from camshaft.program.view import PLACED, REPORT_BYTES, Buffer, Space, View

MAX_EXPANSION = 64
"""How many times larger than the stored constant an expanded one may be."""
_MAX_BYTES = 1 << 46
_MAX_ITEMS = 1 << 40
_MAX_RANK = 32
_MOST_NUMBER = 1 << 62
_SPACES: Mapping[Role, tuple[Space, ...]] = {
    "in": ("input", "output", "arena", "constant", "state"),
    "out": ("output", "arena", "state"),
    "packed": ("constant",),
    "workspace": ("scratch", "report"),
}
"""Where what a kernel's pointers lead to may lie."""
_SYMBOL = re.compile(r"[A-Za-z_.$][A-Za-z0-9_.$]*\Z")
_EXECUTOR = re.compile(r"camshaft(\.[a-z_][a-z0-9_]*)+:[a-z_][a-z0-9_]*\Z")

Sizes = Mapping[str, int]


def check_program(
    program: Program,
    constants: Mapping[str, int],
    code: Collection[str],
    names: Sequence[str] | None = None,
) -> None:
    """Raise BuildError, naming the instruction and the fault, unless the program is sound.

    constants: name -> bytes of the stored tensors.  code: names of the objects.
    names: what messages call the instructions.
    """
    if not 1 <= program.max_threads <= MAX_THREADS:
        raise BuildError(f"max_threads is {program.max_threads}, not within 1 to {MAX_THREADS}")
    for i, kernel in enumerate(program.kernels):
        _check_code(f"kernel {i}", kernel.code, kernel.phases, code)
    nbytes = dict(constants)
    for e in program.expanded:
        _check_expanded(e, constants, nbytes, code)
        nbytes[e.name] = e.nbytes
    for fixed in program.fixed:
        _check_fixed(fixed, program, constants)
    for state in program.states:
        _check_state(state, program)
    names = [""] * len(program.instructions) if names is None else names
    if len(names) != len(program.instructions):
        raise BuildError(f"{len(names)} notes for {len(program.instructions)} instructions")
    labels = [f"instruction {i} ({name:.80})" for i, name in enumerate(names)]
    for sizes in points(program):
        limited = all(sizes[s.name] <= s.typical for s in program.symbols)
        try:
            _AtSizes(program, nbytes, sizes, limited).check(labels)
        except ModelError as error:
            raise BuildError(f"the program has an impossible extent: {error}") from error


def points(program: Program) -> Iterator[Sizes]:
    """About the least sizes, the typical ones, and about the largest where they are bounded, such
    that what the program requires of sizes holds; {} once for a program without symbols."""
    if not program.symbols:
        yield {}
        return
    least = {s.name: s.low for s in program.symbols}
    typical = program.typical
    most = program.with_room(
        {s.name: s.typical if s.high is None else s.high for s in program.symbols}
    )
    for wanted, up in ((least, True), (typical, True), (most, False)):
        found = _nearest(program, wanted, up)
        if found is not None:
            yield found


def _nearest(program: Program, wanted: Sizes, up: bool) -> Sizes | None:
    """Sizes that the program takes: those wanted, or the next multiples of a power of two."""
    for step in (1, 2, 4, 8, 16, 32, 64, 128, 256):
        sizes = {
            s.name: max(
                s.low, (-(-wanted[s.name] // step) if up else wanted[s.name] // step) * step
            )
            for s in program.symbols
        }
        inside = all(s.high is None or sizes[s.name] <= s.high for s in program.symbols)
        if inside and all(c.holds(sizes) for c in program.constraints):
            return sizes
    return None


def _check_code(where: str, name: str, phases: Sequence[Phase], code: Collection[str]) -> None:
    if name not in code:
        raise BuildError(f"{where}: there is no object code called {name!r:.80}")
    for phase in phases:
        if not _SYMBOL.match(phase.symbol):
            raise BuildError(f"{where}: {phase.symbol!r:.80} is no symbol")


def _check_expanded(
    e: Expanded, stored: Mapping[str, int], known: Collection[str], code: Collection[str]
) -> None:
    where = f"expanded constant {e.name!r:.80}"
    _check_code(where, e.code, (e.phase,), code)
    if e.name in known:
        raise BuildError(f"{where}: there is another constant of this name")
    if e.stored not in stored:
        raise BuildError(f"{where}: there is no constant called {e.stored!r:.80} to make it from")
    if not 0 < e.nbytes <= MAX_EXPANSION * stored[e.stored]:
        raise BuildError(f"{where}: {e.nbytes} bytes from {stored[e.stored]}")


def _check_fixed(fixed: FixedInput, program: Program, constants: Mapping[str, int]) -> None:
    where = f"fixed input {fixed.name!r:.80}"
    names = [b.name for b in program.inputs] + [f.name for f in program.fixed]
    if names.count(fixed.name) > 1:
        raise BuildError(f"{where}: there is another input of this name")
    if fixed.type.dtype == string or not is_static(fixed.type.shape):
        raise BuildError(f"{where}: impossible type {fixed.type!r:.80}")
    if constants.get(fixed.constant) != fixed.type.nbytes:
        raise BuildError(f"{where}: its {fixed.type.nbytes} bytes are not what is stored for it")
    if not 0 <= fixed.position < len(names):
        raise BuildError(f"{where}: position {fixed.position} of {len(names)} inputs")


def _check_state(state: StateSpec, program: Program) -> None:
    """Its name is its own, and no call finds or leaves more than its memory holds."""
    where = f"state {state.name!r:.80}"
    names = [b.name for b in program.inputs] + [f.name for f in program.fixed]
    if state.name in names or [s.name for s in program.states].count(state.name) > 1:
        raise BuildError(f"{where}: there is another input of this name")
    found, after, axis = state.type.shape, state.after, state.axis
    if state.dtype == string or len(found) != len(after) or len(found) > _MAX_RANK:
        raise BuildError(f"{where}: impossible type {state.type!r:.80}")
    if axis is None:
        fits = found == after
    else:
        fits = 0 <= axis < len(found) and 0 <= state.capacity <= _MAX_BYTES
        fits = fits and all(a == b for i, (a, b) in enumerate(zip(found, after)) if i != axis)  # noqa: B905 (checked above)
        fits = fits and bounds(found[axis])[1] <= state.capacity and _has_room(state, program)
    if not fits:
        raise BuildError(f"{where}: {found} becomes {after}, and there is room for {state.held}")


def _has_room(state: StateSpec, program: Program) -> bool:
    """Whether a growing state holds what calls leave."""
    room, after = state.capacity, state.length_after
    needed = (c for c in program.constraints if c.kind == ">=" and c.right == after)
    return bounds(after)[1] <= room or any(c.left == room for c in needed)


@dataclass(frozen=True)
class _AtSizes:
    """The checks that depend on sizes.  constants: name -> bytes, expanded ones included.

    limited: whether memory and work must be within what a machine can have; not at the largest sizes,
    which no call needs to reach.
    """

    program: Program
    constants: Mapping[str, int]
    sizes: Sizes
    limited: bool
    _sound: set[tuple[int, Role, int]] = field(default_factory=set)
    """Arguments that were looked at: many launches share a view."""

    def check(self, labels: Sequence[str]) -> None:
        self._check_bindings()
        self._check_buffers()
        self._check_arena()
        for i, kernel in enumerate(self.program.kernels):
            self._check_items(f"kernel {i}", kernel.phases)
        for e in self.program.expanded:
            self._check_items(f"expanded constant {e.name!r:.80}", (e.phase,))
        for where, instruction in zip(labels, self.program.instructions, strict=True):
            self._check_instruction(where, instruction)

    def _value(self, extent: Extent) -> int:
        return evaluate(extent, self.sizes)

    def _shape(self, extents: Sequence[Extent]) -> tuple[int, ...]:
        return tuple(evaluate(e, self.sizes) for e in extents)

    def _fits(self, number: int, limit: int) -> bool:
        return number >= 0 and (number <= limit or not self.limited)

    # -- memory ----------------------------------------------------------------------------------

    def _check_bindings(self) -> None:
        for kind, bindings in (("input", self.program.inputs), ("output", self.program.outputs)):
            names = [b.name for b in bindings]
            if len(set(names)) != len(names):
                raise BuildError(f"two {kind}s have the same name, among {names}")
            for b in bindings:
                if b.type.dtype == string:
                    raise BuildError(f"{kind} {b.name!r}: strings are not supported as {kind}s")
                if len(b.type.shape) > _MAX_RANK or any(
                    not self._fits(d, _MAX_BYTES) for d in self._shape(b.type.shape)
                ):
                    raise BuildError(f"{kind} {b.name!r}: impossible shape {b.type!r:.80}")
                if b.values and not _may_say_sizes(kind, b):
                    raise BuildError(f"{kind} {b.name!r}: {b.type!r:.80} cannot say sizes")
                if b.kept is not None and not (kind == "input" and self._says_rows(b, b.kept)):
                    raise BuildError(
                        f"{kind} {b.name!r}: {b.type!r:.80} is neither a mask of rows nor lengths"
                    )

    def _says_rows(self, b: Binding, kept: Kept) -> bool:
        """Whether it is a mask of rows, or lengths whose places a number or an axis of an input says."""
        if kept.lengths is None:
            return b.type.rank >= 2 and b.type.dtype not in (string, *NARROW_FLOATS)
        if isinstance(kept.lengths, int):
            return kept.lengths >= 1 and b.type.dtype.is_int
        name, axis = kept.lengths
        axes = [i.type.rank for i in self.program.inputs if i.name == name]
        return bool(axes) and 0 <= axis < axes[0] and b.type.dtype.is_int

    def _check_items(self, where: str, phases: Sequence[Phase]) -> None:
        for phase in phases:
            items = self._value(phase.items)
            if not self._fits(items, _MAX_ITEMS):
                raise BuildError(f"{where}, {phase.symbol}: {items} work items")

    def _check_buffers(self) -> None:
        known = {("input", b.name): b.type.nbytes for b in self.program.inputs}
        known |= {("output", b.name): b.type.nbytes for b in self.program.outputs}
        known |= {("state", s.name): s.nbytes for s in self.program.states}
        known |= {("constant", name): nbytes for name, nbytes in self.constants.items()}
        seen: set[tuple[str, str]] = set()
        for buffer in self.program.buffers:
            key = (buffer.space, buffer.name)
            if key in seen:
                raise BuildError(f"two buffers are called {buffer.space} {buffer.name!r:.80}")
            seen.add(key)
            nbytes = self._value(buffer.nbytes)
            if not self._fits(nbytes, _MAX_BYTES) or buffer.dtype == string:
                raise BuildError(f"impossible buffer {_text(buffer)}")
            if buffer.space in PLACED:
                continue
            if buffer.space == "report" and nbytes == REPORT_BYTES:
                continue
            if key not in known:
                raise BuildError(f"there is no {buffer.space} called {buffer.name!r:.80}")
            if nbytes != self._value(known[key]):
                raise BuildError(
                    f"buffer {_text(buffer)} is not {buffer.space} {buffer.name!r:.80}, which has "
                    f"{self._value(known[key])} bytes"
                )

    def _check_arena(self) -> None:
        arena = self.program.arena
        placed = {b for b in self.program.buffers if b.space in PLACED}
        if len(arena.slots) != len(placed) or {s.buffer for s in arena.slots} != placed:
            raise BuildError("the arena has not one slot for each buffer that lies in it")
        for i, slot in enumerate(arena.slots):
            if any(not 0 <= j < i for j in slot.above):
                raise BuildError(f"buffer {_text(slot.buffer)} lies above a later one")
        size, offsets = arena.nbytes, [slot.offset for slot in arena.slots]
        nbytes = [self._value(slot.buffer.nbytes) for slot in arena.slots]
        if self.program.symbols:
            self._check_typical_arena()
            offsets, size = stacked([slot.above for slot in arena.slots], nbytes)
        if not self._fits(size, _MAX_BYTES):
            raise BuildError(f"arena of {size} bytes")
        for slot, offset, length in zip(arena.slots, offsets, nbytes, strict=True):
            if not 0 <= offset <= size - length or offset % ALIGNMENT:
                raise BuildError(
                    f"buffer {_text(slot.buffer)} of {length} bytes lies at {offset} in an arena of "
                    f"{size}"
                )

    def _check_typical_arena(self) -> None:
        """What is stored of the arena of a program with symbols: its bytes and offsets at typical
        sizes, with which a context begins."""
        arena = self.program.arena
        if arena.nbytes != self.program.arena_bytes(self.program.typical):
            raise BuildError(f"arena of {arena.nbytes} bytes, which is not what its buffers need")
        for slot in arena.slots:
            if not 0 <= slot.offset <= arena.nbytes or slot.offset % ALIGNMENT:
                raise BuildError(f"buffer {_text(slot.buffer)} lies at {slot.offset}")

    # -- instructions ----------------------------------------------------------------------------

    def _check_instruction(self, where: str, instruction: Instruction) -> None:
        if isinstance(instruction, HostCall):
            self._check_host(where, instruction)
            return
        if not 0 <= instruction.kernel < len(self.program.kernels):
            raise BuildError(f"{where}: kernel {instruction.kernel} of {len(self.program.kernels)}")
        kernel = self.program.kernels[instruction.kernel]
        if len(instruction.views) != len(kernel.args):
            raise BuildError(
                f"{where}: {len(instruction.views)} arguments, and its kernel takes {len(kernel.args)}"
            )
        if len(instruction.dims) != kernel.dims:
            raise BuildError(
                f"{where}: {len(instruction.dims)} dims, and its kernel takes {kernel.dims}"
            )
        for j, (view, (role, nbytes)) in enumerate(
            zip(instruction.views, kernel.args, strict=True)
        ):
            self._check_argument(f"{where}, argument {j}", view, role, self._value(nbytes))
        for dim in instruction.dims:
            self._check_number(where, dim)
        if instruction.when is not None:
            self._check_number(where, instruction.when.extent)

    def _check_argument(self, where: str, view: View | None, role: Role, nbytes: int) -> None:
        """A pointer and what lies behind it are what the kernel takes there."""
        if view is None:
            if role != "workspace" or nbytes:
                raise BuildError(f"{where}: nothing, and its kernel takes {nbytes} bytes ({role})")
            return
        key = (id(view), role, nbytes)
        if key in self._sound:
            return
        reach = self._check_view(where, view)
        if reach < nbytes and self._value(view.nbytes) < nbytes:  # of views of nothing it is more
            raise BuildError(
                f"{where}: {reach} bytes of {_text(view.buffer)}, and its kernel touches {nbytes}"
            )
        if view.buffer.space not in _SPACES[role] or (
            role not in ("in", "out") and view.offset != 0
        ):
            raise BuildError(
                f"{where}: {_text(view.buffer)} at {view.offset} is no {role!r} operand"
            )
        self._sound.add(key)

    def _check_number(self, where: str, extent: Extent) -> None:
        value = self._value(extent)
        if abs(value) > _MOST_NUMBER:
            raise BuildError(f"{where}: {extent!s:.80} is not within 64 bits")

    def _check_host(self, where: str, call: HostCall) -> None:
        if not _EXECUTOR.match(call.executor):
            raise BuildError(f"{where}: {call.executor!r:.80} is no executor of camshaft's")
        if call.payload not in self.constants:
            raise BuildError(f"{where}: there is no payload called {call.payload!r:.80}")
        for view in call.views:
            if view is not None:
                self._check_view(where, view)
        for dim in call.dims:
            self._check_number(where, dim)
        for view in call.outputs:
            if view is not None and view.buffer.space in ("constant", "input"):
                raise BuildError(f"{where}: writes to {_text(view.buffer)}")

    def _check_view(self, where: str, view: View) -> int:
        """The view lies in its buffer; returns the bytes from its first to its last element."""
        if view.buffer not in self.program.buffer_set:
            raise BuildError(f"{where}: {_text(view.buffer)} is no buffer of the program")
        shape, strides = self._shape(view.shape), self._shape(view.strides)
        if len(strides) != len(shape) or len(shape) > _MAX_RANK or min((0, *strides, *shape)) < 0:
            raise BuildError(f"{where}: impossible view {view.shape} by {view.strides}")
        first, size = self._value(view.offset), self._value(view.buffer.elements)
        reach = self._value(span(shape, strides))
        end = first + reach
        # A view of nothing may begin behind the end.
        if first < 0 or (end > size and 0 not in shape):
            raise BuildError(
                f"{where}: elements {first} to {end} of {_text(view.buffer)}, which has {size}"
            )
        return reach * view.dtype.bytes


def _may_say_sizes(kind: str, b: Binding) -> bool:
    """Whether `b.values` can be read off its array: a number, or one symbol, for each element."""
    return (
        kind == "input"
        and b.type.dtype.is_int
        and is_static(b.type.shape)
        and len(b.values) == b.type.size
        and all(isinstance(e, int) or sole_symbol(e) is not None for e in b.values)
    )


def _text(buffer: Buffer) -> str:
    return f"{buffer.space} {buffer.name!r:.80}"
