"""What every backend shares: the kernel spec (what to compute), tactics (how), compiled kernels.

A `KernelSpec` is built from one graph node by the build; a backend's tactics answer with the
candidates they have for it.  Nothing here knows about LLVM, threads or files.

Calling convention of compiled code (one *phase* of a kernel):

    void phase(i8** args, i64 begin, i64 end, i64 worker)

computes work items begin..end-1 (0 <= begin <= end <= Phase.items) on behalf of worker number
`worker`.  Items of one phase are independent and may run on any thread in any order; all items of
a phase finish before the next phase starts.  The pointers in `args` are, in this order:

    spec.inputs that are not replaced by packed constants (in order), spec.outputs,
    packed constants (as returned by Candidate.prepack, in order), workspace (one pointer),
    dims (only for kernels that read run-time extents: `Kernel.dims` is not empty).

Extents of a spec may be symbolic.  `dims` points to one i64 for each expression of `Kernel.dims`, its
value at the sizes of this run, computed when the sizes are set.  `Phase.items` and the size of the
workspace may be symbolic too.  A kernel of plain ints has none of this.

A constant operand (Operand.const) never appears as an input pointer: a candidate's `prepack` turns
all constant operands into the packed constants it wants (possibly unchanged).  Where the kernel
wants more bytes than the weights have (Winograd's transformed filters), the packed constant is the
small form, which the engine file stores, and an `Expansion` makes the large one when the code is
linked.
Every pointer is 64-byte aligned except where a non-const operand is a view (then: element aligned)
or a user's own array (element aligned).  Kernels must not read outside their operands nor write
outside their outputs; strides give the positions of elements.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from camshaft.errors import BuildError
from camshaft.ir.attrs import attr_at, symbolic_in
from camshaft.ir.expr import Expr, text
from camshaft.ir.extents.extent import Extent, symbols_of
from camshaft.ir.extents.sizes import evaluate
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.op import Attr
from camshaft.ir.strides import Strides
from camshaft.ir.types import DType, Shape, TensorType, row_major_strides
from camshaft.program.program import Phase
from camshaft.program.shape import Sizing

Params = Mapping[str, int | str | bool]
Packing = tuple[int | str, ...]


@dataclass(frozen=True)
class Operand:
    """An array as a kernel sees it: logical shape and element strides (0 where broadcast), both
    of ints or symbolic extents."""

    dtype: DType
    shape: Shape
    strides: Strides
    const: bool = False

    @staticmethod
    def dense(dtype: DType, shape: Shape, const: bool = False) -> Operand:
        """A row-major operand without gaps."""
        return Operand(dtype, shape, row_major_strides(shape), const)

    def strides_over(self, rank: int) -> Strides:
        """Element strides per axis of an array of `rank` axes over which the operand is broadcast:
        right-aligned, 0 where it repeats.  BuildError if the operand has more axes."""
        missing = rank - len(self.shape)
        if missing < 0:
            raise BuildError(
                f"operand {self} has more axes than the array it is spread over ({rank})"
            )
        own: Strides = tuple(
            0 if d == 1 else s for d, s in zip(self.shape, self.strides, strict=True)
        )
        return (0,) * missing + own

    def __repr__(self) -> str:
        lie = "" if self.strides == row_major_strides(self.shape) else f"@{self.strides}"
        return f"{'const ' if self.const else ''}{self.dtype}{list(self.shape)}{lie}"


@dataclass(frozen=True)
class KernelSpec:
    """What a kernel computes: an anchor op, its operands, and the expression applied to its result.

    inputs: the anchor's operands first (x, w for "conv"), then the epilogue's operands.
    attrs: the op's attributes; "epilogue" is an Expr whose input 0 is the anchor's result and
    whose input i >= 1 is epilogue operand i-1, broadcast to the output shape.
    """

    op: str
    inputs: tuple[Operand, ...]
    outputs: tuple[Operand, ...]
    attrs: tuple[tuple[str, Attr], ...] = ()

    def attr(self, name: str) -> Attr:
        """The attribute's value; KeyError when absent (a programming mistake)."""
        return dict(self.attrs)[name]

    def key(self) -> str:
        """Canonical one-line text: equal for equal work.  Part of the timing cache's key."""
        attrs = ",".join(
            f"{k}={text(v) if isinstance(v, Expr) else v!r}" for k, v in sorted(self.attrs)
        )
        ins, outs = ";".join(map(repr, self.inputs)), ";".join(map(repr, self.outputs))
        ranges = ",".join(f"{s.name}={s.range}~{s.typical}" for s in self.symbols)
        return f"{self.op}({ins})->{outs}{{{attrs}}}{ranges and f'[{ranges}]'}"

    @property
    def is_static(self) -> bool:
        """Whether all extents and strides are ints."""
        return not self.symbols

    def at(self, sizes: Mapping[str, int]) -> KernelSpec:
        """The same work at these sizes (symbol name -> size), without symbols."""
        return self.mapped(lambda e: evaluate(e, sizes)) if self.symbols else self

    def mapped(self, size: Callable[[Extent], Extent]) -> KernelSpec:
        """The same work with `size` applied to every extent and stride."""

        def sized(o: Operand) -> Operand:
            shape, strides = (tuple(map(size, extents)) for extents in (o.shape, o.strides))
            return Operand(o.dtype, shape, strides, o.const)

        attrs = tuple((name, attr_at(value, size)) for name, value in self.attrs)
        return KernelSpec(
            self.op, tuple(map(sized, self.inputs)), tuple(map(sized, self.outputs)), attrs
        )

    @property
    def symbols(self) -> tuple[Symbol, ...]:
        """The symbols in its extents, strides and attributes."""
        operands = (*self.inputs, *self.outputs)
        own = [e for o in operands for e in (*o.shape, *o.strides)]
        return symbols_of(*own, *(e for _, v in self.attrs for e in symbolic_in(v)))


@dataclass(frozen=True)
class Expansion:
    """A packed constant that is made once, when code is linked, from the one that is stored.

    packed: which of the constants that `Candidate.prepack` returned; the kernel's phases get the
    expanded one in its place.  nbytes: size of the expanded constant; every byte gets written.
    phase: the function that writes it, called with args = (stored constant, expanded constant).
    """

    packed: int
    nbytes: int
    phase: Phase


@dataclass(frozen=True)
class Source:
    """A backend's program text for one kernel (LLVM IR for the CPU), its phases in order, the
    expansions of its constants, the run-time extents that its phases read, and the functions of the process
    that it calls (references of `ir.plugins.registry`)."""

    text: str
    phases: tuple[Phase, ...]
    expansions: tuple[Expansion, ...] = ()
    dims: tuple[Extent, ...] = ()
    imports: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kernel:
    """Compiled code: an object file that can be stored and linked later; the rest as in Source."""

    code: bytes = field(repr=False)
    phases: tuple[Phase, ...]
    expansions: tuple[Expansion, ...] = ()
    dims: tuple[Extent, ...] = ()
    imports: tuple[str, ...] = ()


class Target(Protocol):
    """A machine to compile for.  `name` distinguishes feature sets in caches and engine files."""

    @property
    def name(self) -> str: ...


class Candidate(Protocol):
    """One kernel that a tactic offers for a spec on a target: everything derived from them once."""

    @property
    def spec(self) -> KernelSpec:
        """What it was planned for."""
        ...

    @property
    def params(self) -> Params:
        """What distinguishes it from the tactic's other candidates for the spec: recorded in the
        timing cache and the engine, so plain values only."""
        ...

    @property
    def reports(self) -> bool:
        """Whether its workspace is a report (`program.view.REPORT_BYTES`), because it may read
        operands outside its op's domain."""
        ...

    @property
    def approximate(self) -> bool:
        """Whether its rounding error is so much larger than a plain sum's that a build must measure
        what it does to the net's outputs (`builder.error_budget`)."""
        ...

    def features(self, threads: int) -> Mapping[str, float]:
        """What its time depends on when run by `threads` workers, as numbers by name for the build's
        cost model; empty where nobody knows, and then it is always timed."""
        ...

    @property
    def packing(self) -> Packing:
        """How `prepack` lays out the weights: candidates for one spec, of whatever tactics, that have equal ones
        share them (smaller constants may differ)."""
        ...

    def prepack(self, constants: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """Packed constants from the constant operands (given in operand order); of those that
        the emitted code expands, the form to store."""
        ...

    def workspace(self, threads: int) -> Extent:
        """Bytes of scratch memory needed when run by `threads` workers; may be symbolic."""
        ...

    def emit(self) -> Source:
        """The kernel's program."""
        ...


T = TypeVar("T", contravariant=True)


class Tactic(Protocol[T]):
    """One way to compute some specs on target type T.  Stateless; listed in a tuple per backend."""

    name: str
    version: int  # raised when emitted code changes; part of the timing cache's key

    def plan(self, spec: KernelSpec, target: T, threads: int) -> Sequence[Candidate]:
        """Candidates worth timing with `threads` workers, the best guess first.

        Empty where the tactic cannot compute `spec` correctly on `target`.
        """
        ...


class Compiler(Protocol):
    """Turns source into a kernel; needs no device."""

    def compile(self, source: Source) -> Kernel: ...


def _dense_operands(op: str, operand: int, type: TensorType) -> bool:
    return False


def _own_order(op: str) -> bool:
    return False


@dataclass(frozen=True)
class Preferences:
    """What a backend's kernels want of the views that the build gives them.

    takes_any_strides: (op, operand, its type) -> whether kernels read that operand through any
        strides, such that no copy has to make the last axis adjacent.
    writes_any_order: op -> whether kernels write results whose axes, but for the last, lie in any order.
    """

    takes_any_strides: Callable[[str, int, TensorType], bool] = _dense_operands
    writes_any_order: Callable[[str], bool] = _own_order


F = TypeVar("F")


@dataclass(frozen=True)
class Backend(Generic[F]):
    """What the build needs of a backend: its tactics, a target and a way to compile.

    identity: target, processor and versions; part of every cache key.  machine: the processor in
    words, for messages.  kind: target and microarchitecture, by which the cost model is chosen.
    fingerprint: what an engine of this backend records of its making.
    set_shape: code that computes what depends on the sizes of a call and writes it where it belongs;
    see `backends.cpu.set_shape`.
    last_level_cache: bytes of the largest cache, which decides where a net's weights come from.
    """

    tactics: Sequence[Tactic[Any]]
    target: Any
    compile: Callable[[Any], Kernel]
    identity: str
    machine: str
    kind: str
    fingerprint: F
    set_shape: Callable[[Sizing], Source]
    preferences: Preferences
    last_level_cache: int = 32 << 20
