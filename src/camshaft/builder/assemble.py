"""From tasks and chosen kernels to an executable plan: constants, arena, steps.

Everything here is bookkeeping and deterministic: equal tasks and choices give equal plans, names
and bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from camshaft.backends.base import Candidate, Expansion, Kernel
from camshaft.builder.memory import ArenaPlan, Lifetime, plan_arena
from camshaft.builder.tasks import Task
from camshaft.errors import BuildError
from camshaft.ir.graph import Graph, Tensor
from camshaft.ir.types import row_major_strides
from camshaft.ops.execute import payload
from camshaft.program.view import View
from camshaft.runtime.plan import (
    NULL,
    Binding,
    Expanded,
    Fingerprint,
    HostCall,
    KernelCode,
    Plan,
    Ref,
    Step,
)
from camshaft.runtime.plan import Buffer as PlanBuffer
from camshaft.runtime.plan import View as HostView

HOST_EXECUTOR = "camshaft.ops.execute:executor"


@dataclass(frozen=True)
class Choice:
    """The kernel chosen for a task, and why."""

    tactic: str
    candidate: Candidate
    kernel: Kernel
    time_us: float
    reason: str


@dataclass
class Parts:
    """What an engine is made of."""

    plan: Plan
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    code: dict[str, bytes] = field(default_factory=dict)


class Assembler:
    """Assembles one plan.  choices[i] belongs to tasks[i]; None for a host step."""

    def __init__(
        self,
        graph: Graph,
        tasks: Sequence[Task],
        choices: Sequence[Choice | None],
        threads: int,
        fingerprint: Fingerprint,
    ) -> None:
        self.graph, self.tasks, self.choices = graph, tasks, choices
        self.threads, self.fingerprint = threads, fingerprint
        self.constants: dict[str, np.ndarray] = {}
        self.code: dict[str, bytes] = {}
        self.expanded: dict[str, Expanded] = {}
        self.kernels: dict[KernelCode, int] = {}

    def run(self, reasons: Mapping[str, str]) -> Parts:
        """The finished parts.  reasons: source layer -> extra words on its precision."""
        packed = [self._packed(t, c) for t, c in zip(self.tasks, self.choices, strict=True)]
        arena = plan_arena(self._lifetimes())
        steps = [self._step(i, packed[i], arena, reasons) for i in range(len(self.tasks))]
        touched = [self._touched(i, arena) for i in range(len(self.tasks))]
        plan = Plan(
            fingerprint=self.fingerprint,
            inputs=tuple(Binding(t.name, t.type) for t in self.graph.inputs),
            outputs=tuple(
                Binding(n, t.type)
                for n, t in zip(self.graph.output_names, self.graph.outputs, strict=True)
            ),
            kernels=tuple(self.kernels),
            steps=tuple(without_needless_waits(steps, touched)),
            arena_bytes=arena.nbytes,
            lower_bound_bytes=arena.lower_bound,
            buffers=tuple(
                PlanBuffer(b.name, arena.offsets[b.name], b.nbytes) for b in self._lifetimes()
            ),
            expanded=tuple(self.expanded.values()),
            max_threads=self.threads,
        )
        return Parts(plan, self.constants, self.code)

    # -- constants and code ------------------------------------------------------------------

    def _constant(self, array: np.ndarray) -> str:
        """Store an array once; its name is the hash of its type and content."""
        array = np.ascontiguousarray(array)
        digest = hashlib.sha256(f"{array.dtype}{array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data if array.size else b"")
        name = f"c{digest.hexdigest()[:20]}"
        self.constants.setdefault(name, array)
        return name

    def _packed(self, task: Task, choice: Choice | None) -> list[tuple[str, int]]:
        if choice is None or task.spec is None:
            return []
        arrays = choice.candidate.prepack([t.array for t in task.constants])
        packed = [(self._constant(a), a.nbytes) for a in arrays]
        for e in choice.kernel.expansions:
            packed[e.packed] = self._expansion(choice.kernel, e, packed[e.packed][0])
        return packed

    def _expansion(self, kernel: Kernel, e: Expansion, stored: str) -> tuple[str, int]:
        """Name and size of the constant that `kernel` makes of the stored one."""
        code = _code_name(kernel)
        digest = hashlib.sha256(f"{stored} {code} {e.phase.symbol}".encode()).hexdigest()
        name = f"e{digest[:20]}"
        self.expanded.setdefault(name, Expanded(name, stored, e.nbytes, code, e.phase))
        return name, e.nbytes

    def _kernel(self, kernel: Kernel) -> int:
        entry = KernelCode(_code_name(kernel), kernel.phases)
        if entry not in self.kernels:
            # Equal code may serve layers with different numbers of items.
            self.kernels[entry] = len(self.kernels)
            self.code[entry.code] = kernel.code
        return self.kernels[entry]

    # -- memory ------------------------------------------------------------------------------

    def _workspace(self, index: int) -> int:
        choice = self.choices[index]
        return 0 if choice is None else choice.candidate.workspace(self.threads)

    def _lifetimes(self) -> list[Lifetime]:
        first: dict[str, int] = {}
        last: dict[str, int] = {}
        sizes: dict[str, int] = {}
        for i, task in enumerate(self.tasks):
            for p in (*task.inputs, *task.outputs):
                if isinstance(p, View) and p.buffer.space == "arena":
                    first.setdefault(p.buffer.name, i)
                    last[p.buffer.name] = i
                    sizes[p.buffer.name] = p.buffer.nbytes
            if self._workspace(i):
                name = _workspace_name(i)
                first[name] = last[name] = i
                sizes[name] = self._workspace(i)
        return [Lifetime(n, sizes[n], first[n], last[n]) for n in sizes]

    def _scratch(self, index: int, arena: ArenaPlan) -> Ref:
        size, name = self._workspace(index), _workspace_name(index)
        return Ref("arena", name, arena.offsets[name], size) if size else NULL

    def _touched(self, index: int, arena: ArenaPlan) -> tuple[list[Ref], list[Ref]]:
        task = self.tasks[index]
        reads = [_ref(p, arena) for p in task.inputs if isinstance(p, View)]
        writes = [_ref(p, arena) for p in task.outputs]
        return reads, [*writes, self._scratch(index, arena)]

    # -- steps -------------------------------------------------------------------------------

    def _step(
        self,
        index: int,
        packed: Sequence[tuple[str, int]],
        arena: ArenaPlan,
        reasons: Mapping[str, str],
    ) -> Step:
        task, choice = self.tasks[index], self.choices[index]
        reason = next((reasons[layer] for layer in task.origin if layer in reasons), "")
        if choice is None:
            return self._host_step(task, arena)
        places = [p for p in (*task.inputs, *task.outputs) if isinstance(p, View)]
        args = [_ref(p, arena) for p in places]
        args += [Ref("constant", name, 0, nbytes) for name, nbytes in packed]
        args.append(self._scratch(index, arena))
        return Step(
            name=task.name,
            op=task.op,
            kernel=self._kernel(choice.kernel),
            args=tuple(args),
            origin=task.origin,
            tactic=choice.tactic,
            params=tuple(sorted(choice.candidate.params.items())),
            precision=task.precision,
            reason="; ".join(r for r in (reason, choice.reason) if r),
            time_us=choice.time_us,
            macs=task.macs,
            bytes=task.bytes,
        )

    def _host_step(self, task: Task, arena: ArenaPlan) -> Step:
        node = task.node
        if node is None:
            raise BuildError(f"step {task.name!r} has neither a kernel nor a reference")
        code = np.frombuffer(payload(node.op, node.attrs), np.uint8)
        operands = iter(task.inputs)
        inputs = tuple(
            None if t is None else self._view(next(operands), arena) for t in node.inputs
        )
        outputs = tuple(self._view(p, arena) for p in task.outputs)
        return Step(
            name=task.name,
            op=task.op,
            host=HostCall(HOST_EXECUTOR, self._constant(code), inputs, outputs),
            origin=task.origin,
            precision="f32",
            reason="no kernel for this op: its reference runs in Python",
            bytes=task.bytes,
        )

    def _view(self, operand: View | Tensor, arena: ArenaPlan) -> HostView:
        if isinstance(operand, Tensor):
            ref = Ref("constant", self._constant(operand.array), 0, operand.type.nbytes)
            return HostView(ref, operand.type, row_major_strides(operand.shape))
        return HostView(_ref(operand, arena), operand.type, operand.strides)


def _code_name(kernel: Kernel) -> str:
    return f"k{hashlib.sha256(kernel.code).hexdigest()[:20]}"


def _workspace_name(index: int) -> str:
    return f"workspace:{index}"


def _ref(place: View, arena: ArenaPlan) -> Ref:
    buffer = place.buffer
    if buffer.space == "arena":
        offset = arena.offsets[buffer.name] + place.first_byte
        return Ref("arena", buffer.name, offset, place.nbytes)
    if buffer.space == "input":
        return Ref("input", buffer.name, place.first_byte, place.nbytes)
    return Ref("output", buffer.name, place.first_byte, place.nbytes)


def without_needless_waits(
    steps: Sequence[Step], touched: Sequence[tuple[Sequence[Ref], Sequence[Ref]]]
) -> list[Step]:
    """Clear `waits` where a step may run beside all steps since the last barrier.

    touched[i] is what step i reads and what it writes; a step may go on at once if it reads
    nothing written since, and writes nothing read or written since.  Host steps always wait.
    """
    result: list[Step] = []
    reads: list[Ref] = []
    writes: list[Ref] = []
    for step, (r, w) in zip(steps, touched, strict=True):
        free = (
            bool(result)
            and step.host is None
            and result[-1].host is None
            and not any(_overlap(a, b) for a in (*r, *w) for b in writes)
            and not any(_overlap(a, b) for a in w for b in reads)
        )
        if free:
            step = replace(step, waits=False)
        else:
            reads, writes = [], []
        reads = [*reads, *r]
        writes = [*writes, *w]
        result.append(step)
    return result


def _overlap(a: Ref, b: Ref) -> bool:
    if a.space != b.space or (a.space != "arena" and a.name != b.name) or a.space == "null":
        return False
    return a.offset < b.offset + b.nbytes and b.offset < a.offset + a.nbytes
