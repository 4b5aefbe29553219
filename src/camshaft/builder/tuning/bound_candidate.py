"""One candidate as an engine of its own: a program of launches, one for each copy of its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter, thread_time

import numpy as np

from camshaft.backends.base import Expansion, Kernel, KernelSpec, Operand
from camshaft.ir.extents.sizes import evaluate
from camshaft.ir.types import DType, TensorType, dtype_of, u8
from camshaft.program.program import (
    Arena,
    Binding,
    Block,
    Expanded,
    KernelCode,
    Launch,
    Note,
    Phase,
    Program,
    Slot,
    args_of,
)
from camshaft.program.view import Buffer, Space, View
from camshaft.runtime.engine import Engine
from camshaft.runtime.file.manifest import Fingerprint, Manifest


class Operands:
    """Arrays that candidates for one spec run on.

    spec: without symbols, at `sizes` of those it had.  feeds, results: the memory of its inputs that
    are not constant and of its outputs, by name ("x0", "y0", ...), flat.
    """

    spec: KernelSpec
    sizes: Mapping[str, int]
    feeds: dict[str, np.ndarray]
    results: dict[str, np.ndarray]
    threads: int
    fingerprint: Fingerprint

    def bind(
        self,
        kernel: Kernel,
        room: int,
        copies: Sequence[Sequence[np.ndarray]],
        expansions: Sequence[Expansion] = (),
    ) -> BoundCandidate:
        """A kernel ready to run, with each copy of its packed constants in turn.

        room: bytes of workspace.  expansions: of the constants that its code makes of the arrays given.
        """
        made = {e.packed: e for e in expansions}
        names = [[f"w{c}:{i}" for i in range(len(arrays))] for c, arrays in enumerate(copies)]
        constants: dict[str, np.ndarray] = {}
        expanded: list[Expanded] = []
        views: list[tuple[View, ...]] = []
        for arrays, own in zip(copies, names, strict=True):
            sizes = [made[i].nbytes if i in made else a.nbytes for i, a in enumerate(arrays)]
            views.append(
                tuple(_whole(n, u8, s, "constant") for n, s in zip(own, sizes, strict=True))
            )
            for i, (name, array) in enumerate(zip(own, arrays, strict=True)):
                stored = f"stored:{name}" if i in made else name
                constants[stored] = array
                if i in made:
                    e = made[i]
                    expanded.append(Expanded(name, stored, e.nbytes, "code", e.phase))
        program = self._program(kernel, views, room, tuple(expanded))
        notes = tuple(Note(f"trial {c}", self.spec.op) for c in range(len(copies)))
        engine = Engine(
            Manifest(self.fingerprint, program, notes), constants, {"code": kernel.code}
        )
        return BoundCandidate(self, engine, len(copies))

    def _program(
        self,
        kernel: Kernel,
        weights: Sequence[tuple[View, ...]],
        room: int,
        expanded: tuple[Expanded, ...],
    ) -> Program:
        """The kernel launched once with each copy of its weights."""
        phases = tuple(Phase(p.symbol, evaluate(p.items, self.sizes)) for p in kernel.phases)
        dims = tuple(
            evaluate(d, self.sizes) for d in kernel.dims
        )  # its last pointer points to them
        arrays = [_whole(n, dtype_of(a), a.size, "input") for n, a in self.feeds.items()]
        arrays += [_whole(n, dtype_of(a), a.size, "output") for n, a in self.results.items()]
        workspace = _whole("workspace", u8, room, "scratch") if room else None
        views = [*arrays, *(v for copy in weights for v in copy), workspace]
        args = args_of((*arrays, *weights[0], workspace), len(self.feeds), len(self.results))
        return Program(
            inputs=_bindings(self.feeds, [o for o in self.spec.inputs if not o.const]),
            outputs=_bindings(self.results, self.spec.outputs),
            buffers=tuple(v.buffer for v in views if v is not None),
            kernels=(KernelCode("code", phases, args, len(dims), kernel.imports),),
            body=Block(tuple(Launch(0, (*arrays, *copy, workspace), dims) for copy in weights)),
            arena=Arena((Slot(workspace.buffer, 0),), room, room) if workspace else Arena(),
            expanded=expanded,
            max_threads=self.threads,
        )


class BoundCandidate:
    """One candidate, bound to its operands."""

    def __init__(self, operands: Operands, engine: Engine, copies: int) -> None:
        self._operands, self._copies = operands, copies
        self._context = engine.create_context(threads=operands.threads, check_finite=False)

    def run(self) -> None:
        """Run the whole program once."""
        self._context.run_into(self._operands.feeds, self._operands.results)

    def time_us(self, seconds: float) -> float:
        """Microseconds a kernel run: the least over repetitions during about `seconds`.

        With one worker, of the thread's own time: what else the machine does then counts little.
        """
        best = float("inf")
        clock = thread_time if self._operands.threads == 1 else perf_counter
        end = clock() + seconds
        while True:
            start = clock()
            self.run()
            now = clock()
            if now > start:  # a thread's clock may stand still where a hypervisor takes time away
                best = min(best, now - start)
            if now >= end and best < float("inf"):
                return best * 1e6 / self._copies

    def close(self) -> None:
        """Release the context and its threads."""
        self._context.close()


def _whole(name: str, dtype: DType, elements: int, space: Space) -> View:
    return View.dense(Buffer(name, dtype, elements, space), (elements,))


def _bindings(arrays: dict[str, np.ndarray], operands: Sequence[Operand]) -> tuple[Binding, ...]:
    pairs = zip(arrays.items(), operands, strict=True)
    return tuple(Binding(n, TensorType(o.dtype, (a.size,))) for (n, a), o in pairs)
