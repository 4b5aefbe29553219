"""A trial: one spec's operands, its reference result, and candidates run and timed on them.

Each candidate becomes a small engine whose program is the kernel repeated on *different copies of
its weights*: in a net, weights come from beyond the L2 cache while activations were just
written, and repeating on one copy would time something that never happens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter

import numpy as np

from camshaft.backends.base import Candidate, Kernel, KernelSpec, Operand, Params
from camshaft.builder.spec_attrs import valid_integers
from camshaft.builder.tuning.reference import references
from camshaft.errors import BuildError
from camshaft.ir.extents.sizes import evaluate, fixed, fixed_extent, typical_sizes
from camshaft.ir.strides import span
from camshaft.ir.types import DType, TensorType, dtype_of, f8e8m0, u8
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

BEYOND_L2 = 4 << 20
"""Bytes of weights after which earlier ones have left any L2 cache."""
MOST_COPIES = 64
LONGEST_RUN_US = 6000.0
POISON = 0xCD


class Trial:
    """Operands of one spec and the reference's answer on them."""

    def __init__(
        self,
        spec: KernelSpec,
        constants: Sequence[np.ndarray],
        threads: int,
        fingerprint: Fingerprint,
        spread: int = BEYOND_L2,
        expected_us: float = 0.0,
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        """constants: the constant operands as some task really has them, in operand order.

        spread: bytes of other weights that a net reads before it comes back to the same ones.
        expected_us: about how long one kernel runs; bounds how often it is repeated.
        sizes: of the spec's symbols (default: the typical ones).
        """
        self.sizes = typical_sizes(spec.symbols) if sizes is None else dict(sizes)
        spec = spec.at(self.sizes)
        self.spec, self.constants, self.threads = spec, list(constants), threads
        self.fingerprint = fingerprint
        self.spread = spread
        self.most_copies = MOST_COPIES
        if expected_us:
            self.most_copies = max(2, min(MOST_COPIES, int(LONGEST_RUN_US / expected_us)))
        rng = np.random.default_rng(0)
        valid = valid_integers(spec)
        self.feeds = {
            f"x{i}": random_values(o.dtype, _elements(o), rng, valid.get(i))
            for i, o in enumerate(spec.inputs)
            if not o.const
        }
        self.results = {
            f"y{i}": np.empty(_elements(o), o.dtype.numpy) for i, o in enumerate(spec.outputs)
        }
        rest = iter(self.constants)
        self.expected = references(
            spec,
            [
                next(rest) if o.const else _view(self.feeds[f"x{i}"], o)
                for i, o in enumerate(spec.inputs)
            ],
        )

    def prepare(self, candidate: Candidate, kernel: Kernel) -> BoundCandidate:
        """A candidate ready to run."""
        packed = list(candidate.prepack(self.constants))
        expansions = {e.packed: e for e in kernel.expansions}
        sizes = [
            expansions[i].nbytes if i in expansions else a.nbytes for i, a in enumerate(packed)
        ]
        weight_bytes = sum(sizes)
        copies = 1
        if weight_bytes:
            copies = min(self.most_copies, max(1, -(-self.spread // weight_bytes)))
        constants = {
            f"w{c}:{i}": a if c == 0 else a.copy()
            for c in range(copies)
            for i, a in enumerate(packed)
            if i not in expansions
        }
        constants |= {f"stored:{i}": packed[i] for i in expansions}
        expanded = tuple(
            Expanded(f"w{c}:{i}", f"stored:{i}", e.nbytes, "code", e.phase)
            for c in range(copies)
            for i, e in expansions.items()
        )
        room = evaluate(candidate.workspace(self.threads), self.sizes)
        weights = [
            tuple(_whole(f"w{c}:{i}", u8, size, "constant") for i, size in enumerate(sizes))
            for c in range(copies)
        ]
        phases = tuple(Phase(p.symbol, evaluate(p.items, self.sizes)) for p in kernel.phases)
        dims = tuple(evaluate(d, self.sizes) for d in kernel.dims)
        program = self._program(weights, room, phases, dims, expanded)
        notes = tuple(Note(f"trial {c}", self.spec.op) for c in range(copies))
        manifest = Manifest(self.fingerprint, program, notes)
        return BoundCandidate(self, Engine(manifest, constants, {"code": kernel.code}), copies)

    def _program(
        self,
        weights: Sequence[tuple[View, ...]],
        room: int,
        phases: tuple[Phase, ...],
        dims: tuple[int, ...],
        expanded: tuple[Expanded, ...],
    ) -> Program:
        """The kernel launched once with each copy of its weights.  room: bytes of workspace.  dims:
        what its last pointer points to."""
        arrays = [_whole(n, dtype_of(a), a.size, "input") for n, a in self.feeds.items()]
        arrays += [_whole(n, dtype_of(a), a.size, "output") for n, a in self.results.items()]
        workspace = _whole("workspace", u8, room, "scratch") if room else None
        views = [*arrays, *(v for copy in weights for v in copy), workspace]
        args = args_of((*arrays, *weights[0], workspace), len(self.feeds), len(self.results))
        return Program(
            inputs=_bindings(self.feeds, [o for o in self.spec.inputs if not o.const]),
            outputs=_bindings(self.results, self.spec.outputs),
            buffers=tuple(v.buffer for v in views if v is not None),
            kernels=(KernelCode("code", phases, args, len(dims)),),
            body=Block(tuple(Launch(0, (*arrays, *copy, workspace), dims) for copy in weights)),
            arena=Arena((Slot(workspace.buffer, 0),), room, room) if workspace else Arena(),
            expanded=expanded,
            max_threads=self.threads,
        )

    def check(self, runner: BoundCandidate) -> str:
        """Empty if the candidate's outputs are right, else what is wrong with them."""
        for a in self.results.values():
            a.view(np.uint8).fill(POISON)
        runner.run()
        for i, (o, want) in enumerate(zip(self.spec.outputs, self.expected, strict=True)):
            problem = want.check(_view(self.results[f"y{i}"], o))
            if problem:
                return f"output {i}: {problem}"
        return ""


class BoundCandidate:
    """One candidate, bound to its trial's operands."""

    def __init__(self, trial: Trial, engine: Engine, copies: int) -> None:
        self._trial, self._copies = trial, copies
        self._context = engine.create_context(threads=trial.threads, check_finite=False)

    def run(self) -> None:
        """Run the whole program once."""
        self._context.run_into(self._trial.feeds, self._trial.results)

    def time_us(self, seconds: float) -> float:
        """Microseconds a kernel run: the least over repetitions during about `seconds`."""
        best = float("inf")
        end = perf_counter() + seconds
        while True:
            start = perf_counter()
            self.run()
            now = perf_counter()
            best = min(best, now - start)
            if now >= end:
                return best * 1e6 / self._copies

    def close(self) -> None:
        """Release the context and its threads."""
        self._context.close()


def random_values(
    dtype: DType, count: int, rng: np.random.Generator, valid: tuple[int, int] | None = None
) -> np.ndarray:
    """Plausible operand values: normal floats, integers of a range that is typical of the type.

    valid: the least and the greatest integer that the operand may hold; None if it may hold any.
    BuildError if it may hold none.
    """
    if dtype.is_float:
        drawn = rng.standard_normal(count, np.float32)
        return np.asarray(np.abs(drawn) if dtype == f8e8m0 else drawn, dtype.numpy)
    if dtype.kind == "b":
        return np.asarray(rng.integers(0, 2, count), np.bool_)
    low, high = dtype.range if dtype.bits <= 16 else (-1000, 1000)
    if valid is not None:
        low, high = max(valid[0], dtype.range[0]), min(valid[1], dtype.range[1])
    low = max(low, -(1 << 15)) if valid is None else low
    if low > high:
        raise BuildError(f"an operand of {count} integers must lie between {low} and {high}")
    return np.asarray(rng.integers(low, high, count, endpoint=True), dtype.numpy)


def _elements(operand: Operand) -> int:
    """Elements of the memory that holds an operand without symbols."""
    return fixed_extent(span(operand.shape, operand.strides), "the size of an operand")


def _view(memory: np.ndarray, operand: Operand) -> np.ndarray:
    shape = fixed(operand.shape, "the shape of an operand")
    strides = fixed(operand.strides, "the strides of an operand")
    return np.lib.stride_tricks.as_strided(memory, shape, [s * memory.itemsize for s in strides])


def _whole(name: str, dtype: DType, elements: int, space: Space) -> View:
    return View.dense(Buffer(name, dtype, elements, space), (elements,))


def _bindings(arrays: dict[str, np.ndarray], operands: Sequence[Operand]) -> tuple[Binding, ...]:
    pairs = zip(arrays.items(), operands, strict=True)
    return tuple(Binding(n, TensorType(o.dtype, (a.size,))) for (n, a), o in pairs)


def failed(spec: KernelSpec, tactic: str, params: Params, problem: str) -> BuildError:
    """The error for a kernel that computes the wrong thing (a fault of camshaft)."""
    return BuildError(
        f"tactic {tactic} {dict(params)} computes a wrong result for {spec.key()}: {problem}; "
        "please report this with the model"
    )
