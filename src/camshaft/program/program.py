"""The executable program: everything an engine runs besides weights and machine code.

The build writes a `Program`, the engine file stores it as JSON, and the runtime turns it into a
table of pointers.  All classes are frozen and compare by value, so that equal builds give equal
bytes.  `program.check` says whether a program is safe to run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from camshaft.ir.extents.bounds import bounds
from camshaft.ir.extents.extent import Dim, Extent, sole_symbol
from camshaft.ir.extents.fitting import fitted
from camshaft.ir.extents.kept import Kept
from camshaft.ir.extents.sizes import Constraint, evaluate, typical_sizes
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.types import TensorType
from camshaft.program.arena import stacked
from camshaft.program.state import StateSpec
from camshaft.program.view import Buffer, View

MAX_THREADS = 256
"""Most workers of a context."""


@dataclass(frozen=True, slots=True)
class Binding:
    """An input or output array of the engine: C-contiguous, owned by the caller.

    values: of an input whose elements say sizes, these in row-major order: numbers, or symbols, which
    are read from the array when sizes are set; else ().
    kept: of a mask of rows, the size that it says; else None.
    """

    name: str
    type: TensorType
    values: tuple[Extent, ...] = ()
    kept: Kept | None = None


@dataclass(frozen=True, slots=True)
class FixedInput:
    """An input of the model that the build was given the values of.  A call may bring it along, if
    it holds these.

    constant: name of the stored constant that holds them.  position: among all inputs that the model
    declares, but for states.
    """

    name: str
    type: TensorType
    constant: str
    position: int = 0


@dataclass(frozen=True)
class Phase:
    """One function of a kernel: its symbol in the module and how many work items it has (symbolic
    where the kernel's spec is)."""

    symbol: str
    items: Extent


Role = Literal["in", "out", "packed", "workspace"]
"""What a pointer of a kernel leads to: an operand that it reads, one that it writes, a packed
constant (on a 64-byte boundary), or scratch memory or a report (null if it has no bytes)."""


@dataclass(frozen=True, slots=True)
class KernelCode:
    """One compiled kernel.

    code: name of its object code among the engine's code tensors.
    phases: its functions in order; all items of a phase finish before the next one starts.
    args: what its pointers are, in the calling convention's order (`backends.base`), and how many bytes
    it may touch from each on; the pointer to dims is not among them.
    dims: how many numbers that one, the last, leads to; 0 where there is none.
    imports: functions of the process that the code calls, by the references of `ir.plugins.registry`.
    """

    code: str
    phases: tuple[Phase, ...]
    args: tuple[tuple[Role, Extent], ...]
    dims: int = 0
    imports: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Expanded:
    """A constant that the file does not hold: code makes it from a stored one on linking.

    name: what constant buffers call it.  stored: name of the constant it is made from.
    nbytes: its size.  code, phase: the function, called with pointers to the stored and the
    expanded constant (`backends.base.Expansion`).
    """

    name: str
    stored: str
    nbytes: int
    code: str
    phase: Phase


@dataclass(frozen=True, slots=True)
class When:
    """The sizes at which a launch has work: low <= extent < high (None: no end)."""

    extent: Extent
    low: int
    high: int | None = None

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Whether it holds at these sizes (symbol name -> size)."""
        value = evaluate(self.extent, sizes)
        return self.low <= value and (self.high is None or value < self.high)

    def excludes(self, other: When) -> bool:
        """Whether at no sizes both hold, as far as their limits tell."""
        if self.extent != other.extent:
            return False
        first, second = sorted((self, other), key=lambda w: w.low)
        return first.high is not None and first.high <= second.low

    def __str__(self) -> str:
        if self.high is None:
            return f"{self.extent} >= {self.low}"
        if self.low <= 0:
            return f"{self.extent} < {self.high}"
        return f"{self.low} <= {self.extent} < {self.high}"


@dataclass(frozen=True, slots=True)
class Launch:
    """Run a kernel.

    kernel: index into `Program.kernels`.
    views: what its pointers point to, in the calling convention's order (`backends.base`): inputs,
    outputs, packed constants, workspace.  None is a null pointer: a workspace of zero bytes.
    dims: values for the kernel's last pointer, a block of i64; empty where a kernel has no such
    pointer because its extents are in its code.
    waits: whether all earlier instructions must have finished first.  False lets a worker go on
    from the previous one at once; only right if the two touch nothing in common but what they read.
    when: at which sizes it runs (None: at all); at others its phases have no work items.  So one
    layer can have several kernels, of which each call runs one.
    """

    kernel: int
    views: tuple[View | None, ...]
    dims: tuple[Extent, ...] = ()
    waits: bool = True
    when: When | None = None

    def runs(self, sizes: Mapping[str, int]) -> bool:
        """Whether it has work at these sizes (symbol name -> size)."""
        return self.when is None or self.when.holds(sizes)


def args_of(
    views: Sequence[View | None], inputs: int, outputs: int
) -> tuple[tuple[Role, Extent], ...]:
    """`KernelCode.args` of a kernel that is launched on these views: inputs, outputs, packed constants
    and the workspace, None if it needs none."""
    packed = len(views) - inputs - outputs - 1
    counts: tuple[tuple[Role, int], ...]
    counts = (("in", inputs), ("out", outputs), ("packed", packed), ("workspace", 1))
    roles = [role for role, count in counts for _ in range(count)]
    return tuple(
        (role, 0 if view is None else view.nbytes) for role, view in zip(roles, views, strict=True)
    )


@dataclass(frozen=True, slots=True)
class HostCall:
    """Run an operator without a kernel in Python, by its reference.

    name: what errors call it.
    executor: "module:function" that turns payload bytes into a callable
    `f(inputs: Sequence[ndarray | None], dims: Sequence[int]) -> Sequence[ndarray]`; imported only
    when such a step runs.
    payload: name of the constant (u8) that describes the operator in the executor's own form.
    inputs: None stands for an absent optional operand.  outputs: None is a result nobody reads.
    dims: what `dims` will be, at the sizes of a call.
    asks: whether the callable is made when the engine is linked, since what it needs may be missing.
    """

    name: str
    executor: str
    payload: str
    inputs: tuple[View | None, ...]
    outputs: tuple[View | None, ...]
    dims: tuple[Extent, ...] = ()
    asks: bool = False

    @property
    def views(self) -> tuple[View | None, ...]:
        """All operands, inputs first."""
        return (*self.inputs, *self.outputs)


Instruction = Launch | HostCall


@dataclass(frozen=True, slots=True)
class Block:
    """Instructions in order."""

    instructions: tuple[Instruction, ...] = ()


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a buffer of space "arena" or "scratch" lies.

    offset: bytes from the start of the arena, at typical sizes.
    above: the earlier slots, by number, that this one lies above at any sizes; see `program.arena`.
    Empty in programs without symbols, whose offsets are final.
    """

    buffer: Buffer
    offset: int
    above: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Arena:
    """Memory of a context.  nbytes: its size, lower_bound: the most bytes live at once, both at
    typical sizes."""

    slots: tuple[Slot, ...] = ()
    nbytes: int = 0
    lower_bound: int = 0


@dataclass(frozen=True)
class Program:
    """A whole program.

    buffers: every buffer that a view names.
    expanded: constants that are made from stored ones on linking.
    max_threads: how many workers the workspaces have room for; a context may use fewer, never more.
    symbols: the sizes that a call brings along.  constraints: what must hold between them.
    fixed: inputs of the model that are none of the program's.  states: pairs of an input and an output that are
    neither: what contexts keep from call to call.
    """

    inputs: tuple[Binding, ...]
    outputs: tuple[Binding, ...]
    buffers: tuple[Buffer, ...]
    kernels: tuple[KernelCode, ...]
    body: Block
    arena: Arena = Arena()
    expanded: tuple[Expanded, ...] = ()
    max_threads: int = 1
    symbols: tuple[Symbol, ...] = ()
    constraints: tuple[Constraint, ...] = ()
    fixed: tuple[FixedInput, ...] = ()
    states: tuple[StateSpec, ...] = ()

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        return self.body.instructions

    @property
    def valued(self) -> tuple[Binding, ...]:
        """The inputs whose elements say sizes."""
        return tuple(b for b in self.inputs if b.values)

    @property
    def masks(self) -> tuple[tuple[Binding, Kept], ...]:
        """The inputs that say by their values how many rows are kept."""
        return tuple((b, b.kept) for b in self.inputs if b.kept is not None)

    @cached_property
    def growing(self) -> tuple[StateSpec, ...]:
        """The states that grow from call to call; how long each is, a context says."""
        return tuple(s for s in self.states if s.axis is not None)

    def with_room(self, sizes: Mapping[str, int], said: Collection[str] = ()) -> dict[str, int]:
        """These sizes (symbol name -> size), with states short enough that what a call leaves has room, and others,
        such as a mask's, moved to what fits these.  said: those that stay."""
        found, kept = dict(sizes), set(said)
        for state in self.growing:
            symbol = sole_symbol(state.length)
            if symbol is not None:
                room = state.capacity - evaluate(state.length_after, found) + found[symbol.name]
                found[symbol.name] = max(symbol.low, min(found[symbol.name], room))
                kept.add(symbol.name)
        return fitted(self.constraints, found, found.keys() - kept)

    @cached_property
    def declared(self) -> tuple[str, ...]:
        """The names of all inputs that the model declares but for states, fixed ones included, in its order."""
        names = [b.name for b in self.inputs]
        for f in sorted(self.fixed, key=lambda f: f.position):
            names.insert(f.position, f.name)
        return tuple(names)

    @cached_property
    def buffer_set(self) -> frozenset[Buffer]:
        """The buffers, to look one up."""
        return frozenset(self.buffers)

    @cached_property
    def typical(self) -> dict[str, int]:
        """The sizes that the engine was tuned for: symbol name -> size."""
        return typical_sizes(self.symbols)

    @cached_property
    def unproven(self) -> dict[Dim, str]:
        """Extents of buffers and views that neither ranges nor constraints prove to be at least 0,
        each with the name of a buffer that has it: looked at when sizes are set."""
        proven = {c.left for c in self.constraints if c.kind == ">=" and bounds(c.right)[0] >= 0}
        views = [v for i in self.instructions for v in i.views if v is not None]
        found: dict[Dim, str] = {}
        for name, extents in (
            *((b.name, b.type.shape) for b in self.outputs),
            *((b.name, (b.elements,)) for b in self.buffers),
            *((v.buffer.name, (v.offset, *v.shape)) for v in views),
        ):
            for e in extents:
                if isinstance(e, Dim) and e not in proven and bounds(e)[0] < 0:
                    found.setdefault(e, name)
        return found

    def active(self, sizes: Mapping[str, int]) -> list[bool]:
        """Whether each instruction has work at these sizes (symbol name -> size): of a layer that
        has several kernels, one runs."""
        return [isinstance(i, HostCall) or i.runs(sizes) for i in self.instructions]

    def arena_bytes(self, sizes: Mapping[str, int]) -> int:
        """Bytes of a context's arena at these sizes (symbol name -> size)."""
        if not self.symbols:
            return self.arena.nbytes
        slots = self.arena.slots
        nbytes = [max(0, evaluate(slot.buffer.nbytes, sizes)) for slot in slots]
        return stacked([slot.above for slot in slots], nbytes)[1]

    @cached_property
    def offsets(self) -> dict[Buffer, int]:
        """Byte offset in the arena of every buffer that lies there, at typical sizes."""
        return {slot.buffer: slot.offset for slot in self.arena.slots}


@dataclass(frozen=True, slots=True)
class Note:
    """What one instruction is and why, for people.  Nothing that executes reads it.

    name: the fused layer's name (`conv1 + relu1`).  op: the anchor operator.
    origin: names of the source model's nodes.  tactic, params: what was chosen.
    precision: element type of the arithmetic ("f32", "i8", ...).  reason: why this tactic and
    precision, in words.  time_us: microseconds measured in tuning (0 when not timed).
    macs, bytes: multiply-accumulates and bytes moved, at any sizes.
    at: the sizes that the time is of, by the symbols' names, where they are not the typical ones.
    apart: input channels of an INT8 product that are carried apart in floats.
    """

    name: str
    op: str
    origin: tuple[str, ...] = ()
    tactic: str = ""
    params: tuple[tuple[str, int | str | bool], ...] = ()
    precision: str = ""
    reason: str = ""
    time_us: float = 0.0
    macs: Extent = 0
    bytes: Extent = 0
    at: tuple[tuple[str, int], ...] = ()
    apart: int = 0
