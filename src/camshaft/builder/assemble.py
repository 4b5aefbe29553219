"""From tasks and chosen kernels to an executable program: constants, arena, instructions, notes.

Everything here is bookkeeping and deterministic: equal tasks and choices give equal programs,
names and bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from camshaft.backends.base import Backend, Candidate, Expansion, Kernel
from camshaft.builder.barriers import elide_barriers
from camshaft.builder.memory import ArenaPlan, Lifetime, plan_arena
from camshaft.builder.refit.packing import PACKED, packing_params
from camshaft.builder.refit.plan import Planner, Ref, RefitPlan
from camshaft.builder.tasks import Task
from camshaft.errors import BuildError
from camshaft.ir.extents.bounds import bounds
from camshaft.ir.extents.extent import Extent, extent_of, symbols_of
from camshaft.ir.extents.sizes import Constraint, typical
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.graph import Graph, Tensor
from camshaft.ir.recipe import Known, Recipe, Source
from camshaft.ir.types import dtype_of, u8
from camshaft.ops.execute import open_extents, payload
from camshaft.program.program import (
    Arena,
    Binding,
    Block,
    Expanded,
    FixedInput,
    HostCall,
    Instruction,
    KernelCode,
    Launch,
    Note,
    Program,
    Role,
    Slot,
    When,
    args_of,
)
from camshaft.program.shape import SET_SHAPE, Sizing
from camshaft.program.state import StateSpec
from camshaft.program.view import PLACED, REPORT_BYTES, Buffer, View
from camshaft.runtime.file.engine_file import aligned
from camshaft.runtime.file.manifest import Fingerprint, Manifest

HOST_EXECUTOR = "camshaft.ops.execute:executor"


@dataclass(frozen=True)
class Choice:
    """The kernel chosen for a task, and why.

    compiled: gives the kernel, the same at every call.  It is asked for when the kernel is needed:
    most choices of a build are for graphs that lose.
    when: the sizes for which it is, None if for all; then `others` are for the rest.  Of a task's
    choices this one is for typical sizes.  time_us: there, or for one of `others` at sizes of its, `at`.
    """

    tactic: str
    candidate: Candidate
    compiled: Callable[[], Kernel]
    time_us: float
    reason: str
    when: When | None = None
    others: tuple[Choice, ...] = ()
    at: tuple[tuple[str, int], ...] = ()

    @property
    def kernel(self) -> Kernel:
        """The compiled kernel."""
        return self.compiled()

    @property
    def variants(self) -> tuple[Choice, ...]:
        """It and the others, those for less work first."""
        return tuple(sorted((self, *self.others), key=lambda c: c.when.low if c.when else 0))

    @property
    def approximate(self) -> bool:
        """Whether a candidate is."""
        return any(c.candidate.approximate for c in self.variants)


@dataclass
class Parts:
    """What an engine is made of.  plan: how constants come of weights that may change, if any do."""

    manifest: Manifest
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    code: dict[str, bytes] = field(default_factory=dict)
    plan: RefitPlan | None = None


class Assembler:
    """Assembles one program.  choices[i] belongs to tasks[i]; None for a host step."""

    def __init__(
        self,
        graph: Graph,
        tasks: Sequence[Task],
        choices: Sequence[Choice | None],
        threads: int,
        fingerprint: Fingerprint,
        backend: Backend[Fingerprint],
        viewed: Mapping[str, Tensor],
        states: Sequence[StateSpec] = (),
        weights: Sequence[Source] = (),
        part: int = 0,
    ) -> None:
        """viewed: constants that views of tasks lie in, by name of their buffers.  weights: those that may change.  part: which
        graph of the model it is."""
        self.graph = graph
        steps = [
            (task, variant)
            for task, choice in zip(tasks, choices, strict=True)
            for variant in (choice.variants if choice else (None,))
        ]
        self.tasks, self.choices = [t for t, _ in steps], [c for _, c in steps]
        self.threads, self.fingerprint = threads, fingerprint
        self.backend, self.viewed, self.states = backend, viewed, tuple(states)
        self.constants: dict[str, np.ndarray] = {}
        self.code: dict[str, bytes] = {}
        self.expanded: dict[str, Expanded] = {}
        self.kernels: dict[KernelCode, int] = {}
        self.recipes: dict[Ref, str] = {}
        self.planner, self.part = Planner(weights), part

    def run(self, reasons: Mapping[str, str], apart: Mapping[str, int]) -> Parts:
        """The finished parts.  reasons: source layer -> extra words on its precision.  apart: source layer -> input
        channels that its INT8 product leaves to floats."""
        made = [self._instruction(i) for i in range(len(self.tasks))]
        inputs, results = self._bindings()
        buffers = _buffers(inputs, results, made)
        symbols = self._symbols(inputs, results)
        arena = _arena(buffers, plan_arena(self._lifetimes(made)), bool(symbols))
        touched = [self._touched(i, made[i]) for i in range(len(made))]
        program = Program(
            inputs=inputs,
            outputs=results,
            buffers=buffers,
            kernels=tuple(self.kernels),
            body=Block(tuple(elide_barriers(made, touched, arena))),
            arena=arena,
            expanded=tuple(self.expanded.values()),
            max_threads=self.threads,
            symbols=symbols,
            constraints=(*self.graph.constraints, *self._rooms()),
            fixed=tuple(
                FixedInput(
                    t.name, t.type, self._constant(t.array).buffer.name, self._position(t.name)
                )
                for t in self.graph.fixed
            ),
            states=self.states,
        )
        self._set_shape(program)
        notes = tuple(
            _note(task, choice, reasons, apart)
            for task, choice in zip(self.tasks, self.choices, strict=True)
        )
        plan = self.planner.finish() if self.planner.values else None
        return Parts(Manifest(self.fingerprint, program, notes), self.constants, self.code, plan)

    def _bindings(self) -> tuple[tuple[Binding, ...], tuple[Binding, ...]]:
        """The inputs and outputs of calls, which states are none of."""
        kept = {s.name for s in self.states}
        left = {s.output for s in self.states}
        outputs = zip(self.graph.output_names, self.graph.outputs, strict=True)
        return (
            tuple(
                Binding(t.name, t.type, t.values, t.kept)
                for t in self.graph.inputs
                if t.name not in kept
            ),
            tuple(Binding(n, t.type) for n, t in outputs if n not in left),
        )

    def _symbols(self, inputs: Sequence[Binding], outputs: Sequence[Binding]) -> tuple[Symbol, ...]:
        """All sizes that a call brings along, or finds."""
        extents = [d for b in (*inputs, *outputs) for d in (*b.type.shape, *b.values)]
        extents += [extent_of(b.kept.symbol) for b in inputs if b.kept is not None]
        return symbols_of(*extents, *(d for s in self.states for d in (*s.type.shape, *s.after)))

    def _rooms(self) -> list[Constraint]:
        """What keeps states within their memory, unless ranges or the graph do; once of equal ones."""
        known = {(c.left, c.kind, c.right) for c in self.graph.constraints}
        rooms = {
            (s.capacity, ">=", s.length_after): s.room for s in self.states if s.axis is not None
        }
        return [
            room
            for key, room in rooms.items()
            if key not in known and bounds(room.right)[1] > key[0]
        ]

    def _position(self, fixed: str) -> int:
        """Where the input stands among those that the model declares, but for states."""
        names = [t.name for t in self.graph.inputs]
        for t in sorted(self.graph.fixed, key=lambda t: t.position):
            names.insert(t.position, t.name)
        kept = {s.name for s in self.states}
        return [n for n in names if n not in kept].index(fixed)

    def _set_shape(self, program: Program) -> None:
        """Add the code that sets shapes, where there are any to set."""
        if program.symbols:
            made = self.backend.set_shape(Sizing.of(program))
            self.code[SET_SHAPE] = self.backend.compile(made).code

    # -- constants and code ------------------------------------------------------------------

    def _constant(self, array: np.ndarray) -> View:
        """Store an array once, in whatever shapes it is asked for; its name is the hash of its type and content."""
        array = np.asarray(array, order="C")  # which leaves a scalar one
        name = constant_name(array)
        if name not in self.constants:
            self.constants[name] = aligned(array)  # as engines want it: no second copy of all
        return View.dense(Buffer(name, dtype_of(array), array.size, "constant"), array.shape)

    def _of_weights(self, array: np.ndarray, known: Known) -> View:
        """As `_constant`, of one that comes of weights that may change: equal ones may differ later."""
        array, ref = np.asarray(array, order="C"), self.planner.ref(known)
        name = self.recipes.get(ref)
        if name is None:
            name = self.recipes[ref] = f"{constant_name(array)}w{self.part}.{len(self.recipes)}"
            self.constants[name] = aligned(array.copy())  # which is written to
            self.planner.add(name, ref, array)
        return View.dense(Buffer(name, dtype_of(array), array.size, "constant"), array.shape)

    def _stored_constant(self, tensor: Tensor) -> View:
        if tensor.recipe is not None:
            return self._of_weights(tensor.content, tensor.recipe)
        return self._constant(tensor.content)

    def _packed(self, task: Task, choice: Choice) -> list[View]:
        arrays = choice.candidate.prepack([t.content for t in task.constants])
        if any(t.changes for t in task.constants):
            known = tuple(t.recipe or t.content for t in task.constants)
            params = packing_params(
                choice.tactic, choice.candidate, self.backend.target, self.threads
            )
            packed = [
                self._of_weights(a, Recipe(PACKED, known, params, i)) for i, a in enumerate(arrays)
            ]
        else:
            packed = [self._constant(a) for a in arrays]
        for e in choice.kernel.expansions:
            packed[e.packed] = self._expansion(choice.kernel, e, packed[e.packed].buffer.name)
        return packed

    def _expansion(self, kernel: Kernel, e: Expansion, stored: str) -> View:
        """The constant that `kernel` makes of the stored one."""
        code = kernel_id(kernel)
        digest = hashlib.sha256(f"{stored} {code} {e.phase.symbol}".encode()).hexdigest()
        name = f"e{digest[:20]}"
        self.expanded.setdefault(name, Expanded(name, stored, e.nbytes, code, e.phase))
        return View.dense(Buffer(name, u8, e.nbytes, "constant"), (e.nbytes,))

    def _kernel(self, kernel: Kernel, args: tuple[tuple[Role, Extent], ...]) -> int:
        entry = KernelCode(kernel_id(kernel), kernel.phases, args, len(kernel.dims), kernel.imports)
        if entry not in self.kernels:
            # Equal code may serve layers with different numbers of items.
            self.kernels[entry] = len(self.kernels)
            self.code[entry.code] = kernel.code
        return self.kernels[entry]

    # -- instructions ------------------------------------------------------------------------

    def _instruction(self, index: int) -> Instruction:
        task, choice = self.tasks[index], self.choices[index]
        if choice is None:
            return self._host_call(task)
        inputs = [self._stored(v) for v in task.inputs if isinstance(v, View)]
        outputs = [self._stored(v) for v in task.outputs]
        packed, workspace = self._packed(task, choice), self._workspace(index, choice)
        views = (*inputs, *outputs, *packed, workspace)
        kernel = self._kernel(choice.kernel, args_of(views, len(inputs), len(outputs)))
        return Launch(kernel, views, choice.kernel.dims, when=choice.when)

    def _workspace(self, index: int, choice: Choice) -> View | None:
        nbytes = choice.candidate.workspace(self.threads)
        if nbytes == 0:
            return None
        if choice.candidate.reports:
            name = f"{index}:{self.tasks[index].name}"
            return View.dense(Buffer(name, u8, REPORT_BYTES, "report"), (REPORT_BYTES,))
        return View.dense(Buffer(f"workspace:{index}", u8, nbytes, "scratch"), (nbytes,))

    def _host_call(self, task: Task) -> HostCall:
        node = task.node
        if node is None:
            raise BuildError(f"step {task.name!r} has neither a kernel nor a reference")
        code = np.frombuffer(payload(node.op, node.attrs), np.uint8)
        operands = iter(task.inputs)
        return HostCall(
            name=f"{task.name!r} ({task.op})",
            executor=HOST_EXECUTOR,
            payload=self._constant(code).buffer.name,
            inputs=tuple(None if t is None else self._operand(next(operands)) for t in node.inputs),
            outputs=task.outputs,
            dims=open_extents(node.attrs),
            asks=node.op.requires is not None,
        )

    def _operand(self, operand: View | Tensor) -> View:
        if isinstance(operand, Tensor):
            return self._stored_constant(operand)
        return self._stored(operand)

    def _stored(self, view: View) -> View:
        """The view; one of a constant as a view of where that is stored."""
        if view.buffer.space != "constant":
            return view
        return replace(view, buffer=self._stored_constant(self.viewed[view.buffer.name]).buffer)

    # -- memory ------------------------------------------------------------------------------

    def _lifetimes(self, made: Sequence[Instruction]) -> list[Lifetime]:
        first: dict[Buffer, int] = {}
        last: dict[Buffer, int] = {}
        for i, instruction in enumerate(made):
            for view in instruction.views:
                if view is not None and view.buffer.space in PLACED:
                    first.setdefault(view.buffer, i)
                    last[view.buffer] = i
        return [Lifetime(b.name, typical(b.nbytes), first[b], last[b]) for b in first]

    def _touched(self, index: int, made: Instruction) -> tuple[list[View], list[View]]:
        """What an instruction reads and what it writes; constants do not matter."""
        task = self.tasks[index]
        reads = [v for v in task.inputs if isinstance(v, View)]
        scratch = [v for v in made.views if v is not None and v.buffer.space == "scratch"]
        return reads, [*task.outputs, *scratch]


def _buffers(
    inputs: Sequence[Binding], outputs: Sequence[Binding], made: Sequence[Instruction]
) -> tuple[Buffer, ...]:
    """Every buffer once: those of a call, then others as instructions name them."""
    found = [Buffer(b.name, b.type.dtype, b.type.size, "input") for b in inputs]
    found += [Buffer(b.name, b.type.dtype, b.type.size, "output") for b in outputs]
    found += [view.buffer for i in made for view in i.views if view is not None]
    return tuple(dict.fromkeys(found))


def _arena(buffers: Sequence[Buffer], plan: ArenaPlan, has_symbols: bool) -> Arena:
    placed = {b.name: b for b in buffers if b.space in PLACED}
    slots = tuple(
        Slot(placed[name], plan.offsets[name], above if has_symbols else ())
        for name, above in zip(plan.order, plan.above, strict=True)
    )
    return Arena(slots, plan.nbytes, plan.lower_bound)


def _note(
    task: Task, choice: Choice | None, reasons: Mapping[str, str], apart: Mapping[str, int]
) -> Note:
    """reasons, apart: as `Assembler.run` takes them."""
    if choice is None:
        reason = "no kernel for this op: its reference runs in Python"
        return Note(task.name, task.op, task.origin, precision=task.precision, reason=reason,
                    bytes=task.bytes)  # fmt: skip
    reason = next((reasons[layer] for layer in task.origin if layer in reasons), "")
    in_int8 = task.is_int8
    return Note(
        name=task.name,
        op=task.op,
        origin=task.origin,
        tactic=choice.tactic,
        params=tuple(sorted(choice.candidate.params.items())),
        precision=task.precision,
        reason="; ".join(r for r in (reason, choice.reason) if r),
        time_us=choice.time_us,
        macs=task.macs,
        bytes=task.bytes,
        at=choice.at,
        apart=max((apart.get(layer, 0) for layer in task.origin), default=0) if in_int8 else 0,
    )


def constant_name(array: np.ndarray) -> str:
    """What an engine calls a stored constant (C-contiguous): a hash of its type and content, not of its shape,
    which whoever reads it knows: kernels of two tactics may hold the same weights in differently nested panels."""
    digest = hashlib.sha256(str(array.dtype).encode())
    digest.update(array.reshape(-1).view(np.uint8).data if array.size else b"")
    return f"c{digest.hexdigest()[:20]}"


def kernel_id(kernel: Kernel) -> str:
    """What an engine calls the kernel's object code: a hash of it."""
    return f"k{hashlib.sha256(kernel.code).hexdigest()[:20]}"
