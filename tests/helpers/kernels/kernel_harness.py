"""Runs one tactic on arrays the way the runtime would, with every trap armed.

Inputs lie so that the byte after the last element is in an inaccessible page, with poison in the
gaps between pixels; outputs start poisoned and are surrounded by guard bytes.  A kernel that reads
behind an input crashes, one that writes outside its output or skips an element fails.
"""

from __future__ import annotations

import ctypes
import mmap
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from camshaft.backends.base import Kernel, KernelSpec, Operand, Params
from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.link import Library, call, link, pointer_table
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.expr import Expr
from camshaft.ir.expr import at_sizes as sized_expr
from camshaft.ir.extents.extent import Dim
from camshaft.ir.extents.sizes import evaluate
from camshaft.program.program import Phase
from targets import skip_unless_runnable

POISON = 0xCD
GUARD = 4096
_COMPILERS: dict[str, CpuCompiler] = {}
_LIBC = ctypes.CDLL(None)


class Region:
    """`nbytes` of memory filled with poison; `address` is where the operand starts."""

    def __init__(self, nbytes: int, *, fenced: bool, align: int = 1) -> None:
        page = mmap.PAGESIZE
        used = -(-nbytes // align) * align
        pages = -(-(used + 2 * GUARD) // page)
        self.map = mmap.mmap(-1, (pages + 1) * page)
        self.bytes = np.frombuffer(self.map, np.uint8)
        self.bytes[:] = POISON
        base = self.bytes.ctypes.data
        fence = base + pages * page
        if fenced:
            # PROT_NONE (0): a read behind the operand faults.
            if _LIBC.mprotect(ctypes.c_void_p(fence), page, 0):
                raise OSError("mprotect failed")
            self.start = pages * page - used
        else:
            self.start = GUARD
        self.nbytes = nbytes
        self.fenced = fenced
        self.limit = pages * page
        self.address = base + self.start

    def view(self, operand: Operand) -> np.ndarray:
        """The operand's elements in this memory."""
        dtype = operand.dtype.numpy
        flat = self.bytes[self.start : self.start + self.nbytes].view(dtype)
        strides = tuple(s * dtype.itemsize for s in operand.strides)
        return np.lib.stride_tricks.as_strided(flat, operand.shape, strides)

    def assert_untouched(self, operand: Operand, what: str) -> None:
        """Every byte outside the operand's elements still holds poison."""
        mask = np.ones(self.limit, bool)
        inside = mask[self.start : self.start + self.nbytes]
        size = operand.dtype.bytes
        offsets = np.zeros(operand.shape, np.int64)
        for axis, (extent, stride) in enumerate(zip(operand.shape, operand.strides, strict=True)):
            steps = np.arange(extent) * stride * size
            offsets += steps.reshape([-1 if a == axis else 1 for a in range(len(operand.shape))])
        for byte in range(size):
            inside[offsets.ravel() + byte] = False
        wrong = np.flatnonzero(mask & (self.bytes[: self.limit] != POISON))
        assert wrong.size == 0, f"{what}: byte {wrong[0] - self.start} outside it was written"


def span(operand: Operand) -> int:
    """Bytes from the operand's first element to the end of its last."""
    if 0 in operand.shape:
        return 0
    last = sum((d - 1) * s for d, s in zip(operand.shape, operand.strides, strict=True))
    return (last + 1) * operand.dtype.bytes


def operand_of(array: np.ndarray, *, const: bool = False, pitch: int = 0) -> Operand:
    """A row-major operand like `array`; `pitch` elements between pixels of the last axis."""
    from camshaft.ir.types import dtype_of

    shape = tuple(int(d) for d in array.shape)
    if not pitch:
        return Operand.dense(dtype_of(array), shape, const)
    strides = [1, pitch]
    for extent in reversed(shape[1:-1]):
        strides.append(strides[-1] * extent)
    return Operand(dtype_of(array), shape, tuple(reversed(strides)), const)


@dataclass
class Prepared:
    """A compiled candidate with its memory in place; `run` computes, `outputs` copies results."""

    spec: KernelSpec
    kernel: Kernel
    library: Library
    inputs: list[Region]
    results: list[Region]
    others: list[Region]
    table: Any = field(repr=False)
    threads: int

    def run(self, *, parallel: bool = False) -> None:
        """Run every phase, split over `threads` workers (one after the other unless parallel)."""
        for phase in self.kernel.phases:
            n, t = phase.items, self.threads
            jobs = [
                (self.library[phase.symbol], self.table, n * w // t, n * (w + 1) // t, w)
                for w in range(t)
            ]
            if not parallel or t == 1:
                for job in jobs:
                    call(*job)
                continue
            crew = [threading.Thread(target=call, args=job) for job in jobs]
            for thread in crew:
                thread.start()
            for thread in crew:
                thread.join()

    def outputs(self) -> list[np.ndarray]:
        """The outputs as dense arrays."""
        return [
            np.array(region.view(operand))
            for region, operand in zip(self.results, self.spec.outputs, strict=True)
        ]

    def check_guards(self) -> None:
        """Assert that nothing outside the outputs was written."""
        for region, operand in zip(self.results, self.spec.outputs, strict=True):
            region.assert_untouched(operand, f"output {operand}")
        places = [o for o in self.spec.inputs if not o.const]
        for region, operand in zip(self.inputs, places, strict=True):
            region.assert_untouched(operand, f"input {operand}")

    def seconds(self, rounds: int = 20, calls: int = 1) -> float:
        """Least time of one run over `rounds` rounds of `calls` runs, on one thread."""
        best = float("inf")
        phases = [(self.library[p.symbol], p.items) for p in self.kernel.phases]
        for _ in range(rounds):
            start = time.perf_counter()
            for _ in range(calls):
                for address, items in phases:
                    call(address, self.table, 0, items)
            best = min(best, (time.perf_counter() - start) / calls)
        return best


def params_of(tactic: Any, spec: KernelSpec, target: CpuTarget, threads: int) -> list[Params]:
    """The parameters of all candidates, the best guess first."""
    return [c.params for c in tactic.plan(spec, target, threads)]


def candidate_with(
    tactic: Any, spec: KernelSpec, params: Params, target: CpuTarget, threads: int = 1
) -> Any:
    """The tactic's candidate with these parameters, whether or not `plan` would choose them."""
    plan = tactic.plan(spec, target, threads)
    assert plan, f"{tactic.name} does not support {spec}"
    return replace(plan[0], params=params)


def prepare(
    tactic: Any,
    spec: KernelSpec,
    params: Params,
    target: CpuTarget,
    arrays: Sequence[np.ndarray],
    consts: Sequence[np.ndarray],
    threads: int = 1,
    fenced: bool = True,
) -> Prepared:
    """Compile and link a candidate, pack its constants, lay out its operands.

    Skips the test, after compiling, if this machine cannot run the code.
    arrays: the non-constant inputs in order (logical shapes); consts: the constant ones.
    """
    candidate = candidate_with(tactic, spec, params, target, threads)
    return SymbolicKernel(candidate, target).laid_out({}, arrays, consts, threads, fenced)


class SymbolicKernel:
    """A candidate compiled and linked once, to be run at many sizes of its symbols.

    Skips the test, after compiling, if this machine cannot run the code.
    """

    def __init__(self, candidate: Any, target: CpuTarget) -> None:
        self.candidate = candidate
        compiler = _COMPILERS.setdefault(target.name, CpuCompiler(target))
        self.kernel = compiler.compile(candidate.emit())
        made = [e.phase for e in self.kernel.expansions]
        self.library = link(self.kernel.code, [p.symbol for p in (*self.kernel.phases, *made)])
        skip_unless_runnable(target)

    def laid_out(
        self,
        sizes: Mapping[str, int],
        arrays: Sequence[np.ndarray],
        consts: Sequence[np.ndarray],
        threads: int = 1,
        fenced: bool = True,
    ) -> Prepared:
        """The kernel at these sizes (symbol -> size) with its operands in place."""
        spec = at_sizes(self.candidate.spec, sizes)
        kernel = self.kernel
        phases = tuple(Phase(p.symbol, evaluate(p.items, sizes)) for p in kernel.phases)
        kernel = replace(kernel, phases=phases)
        inputs = []
        variable = [operand for operand in spec.inputs if not operand.const]
        for operand, array in zip(variable, arrays, strict=True):
            assert tuple(array.shape) == operand.shape, (array.shape, operand)
            assert array.dtype == operand.dtype.numpy, (array.dtype, operand)
            region = Region(span(operand), fenced=fenced, align=operand.dtype.bytes)
            region.view(operand)[...] = array
            inputs.append(region)
        results = [Region(span(o), fenced=False) for o in spec.outputs]
        others = []
        for array in self.candidate.prepack(consts):
            region = Region(array.nbytes, fenced=True, align=64)
            region.bytes[region.start : region.start + array.nbytes] = np.frombuffer(
                np.ascontiguousarray(array).tobytes(), np.uint8
            )
            others.append(region)
        for e in kernel.expansions:
            region = Region(e.nbytes, fenced=True, align=64)
            table = pointer_table([others[e.packed].address, region.address])
            call(self.library[e.phase.symbol], table, 0, e.phase.items)
            others[e.packed] = region
        workspace = evaluate(self.candidate.workspace(threads), sizes)
        others.append(Region(workspace, fenced=True, align=64))
        if kernel.dims:
            dims = np.array([evaluate(e, sizes) for e in kernel.dims], np.int64)
            others.append(Region(dims.nbytes, fenced=True, align=8))
            others[-1].bytes[others[-1].start :][: dims.nbytes] = dims.view(np.uint8)
        table = pointer_table([r.address for r in (*inputs, *results, *others)])
        return Prepared(spec, kernel, self.library, inputs, results, others, table, threads)


def at_sizes(spec: KernelSpec, sizes: Mapping[str, int]) -> KernelSpec:
    """The spec with its symbols replaced by sizes."""

    def sized(o: Operand) -> Operand:
        shape = tuple(evaluate(e, sizes) for e in o.shape)
        return Operand(o.dtype, shape, tuple(evaluate(e, sizes) for e in o.strides), o.const)

    def value(attr: Any) -> Any:
        if isinstance(attr, Expr):
            return sized_expr(attr, lambda e: evaluate(e, sizes))
        if isinstance(attr, tuple):
            return tuple(map(value, attr))
        return evaluate(attr, sizes) if isinstance(attr, Dim) else attr

    inputs, outputs = map(sized, spec.inputs), map(sized, spec.outputs)
    attrs = tuple((name, value(attr)) for name, attr in spec.attrs)
    return KernelSpec(spec.op, tuple(inputs), tuple(outputs), attrs)


def run_kernel(
    tactic: Any,
    spec: KernelSpec,
    params: Mapping[str, int | str | bool],
    target: CpuTarget,
    arrays: Sequence[np.ndarray],
    consts: Sequence[np.ndarray],
    threads: int = 1,
    guard: bool = True,
    parallel: bool = False,
) -> list[np.ndarray]:
    """Compute `spec` by one candidate and return its outputs; asserts that the guards hold."""
    prepared = prepare(tactic, spec, params, target, arrays, consts, threads)
    prepared.run(parallel=parallel)
    if guard:
        prepared.check_guards()
    return prepared.outputs()
