"""Writes LLVM IR text: registers, basic blocks, constants, declarations.

The bottom of the kernel language.  Text is written directly because a large unrolled tile has
thousands of instructions and an object per instruction costs more time than LLVM's parser.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import gcd, inf

from camshaft.backends.cpu.lang.values import Index, Value, literal, llvm_type
from camshaft.backends.cpu.target import CpuTarget
from camshaft.errors import BuildError
from camshaft.ir.extents.bounds import bounds
from camshaft.ir.extents.extent import Dim, Extent, symbols_of
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.types import DType, i64

Declarations = dict[str, str]


class RuntimeExtents:
    """The run-time extents that a module's functions ask for, in order of first use.

    Extent number n is the n-th i64 behind a phase's last pointer, `dims`.
    readers: the module's other functions that are given that pointer too, as their last argument.
    """

    def __init__(self) -> None:
        self._slots: dict[Dim, int] = {}
        self.readers: set[str] = set()

    def slot(self, e: Dim) -> int:
        """The number of an extent."""
        return self._slots.setdefault(e, len(self._slots))

    @property
    def all(self) -> tuple[Extent, ...]:
        """In the order of their numbers."""
        return tuple(self._slots)


def base_of(e: Dim, factor: int) -> Dim:
    """`e` divided by a factor of all its coefficients."""
    return Dim(tuple((m, c // factor) for m, c in e.terms))


class Emitter:
    """Appends instructions to one function; subclasses add the vocabulary.

    extents: the module's run-time extents, None where the function is not given `dims`.
    prologue: instructions at the function's very start, which load them.
    needs_dims: whether it loads some or calls a function that does.
    """

    extents: RuntimeExtents | None = None

    def __init__(self, target: CpuTarget, declarations: Declarations) -> None:
        self.prologue: list[str] = []
        self.needs_dims = False
        self._loaded: dict[Dim, Value] = {}
        self._here: dict[Symbol, Value] = {}
        self.target = target
        self.lines: list[str] = []
        self.block = "entry"
        self.declarations = declarations
        self._registers = 0
        self._blocks = 0

    def register(self) -> str:
        """A fresh register name."""
        self._registers += 1
        return f"%v{self._registers}"

    def emit(self, instruction: str) -> str:
        """Append `instruction`, return the register that holds its result."""
        self._registers += 1
        ref = f"%v{self._registers}"
        self.lines.append(f"  {ref} = {instruction}")
        return ref

    def effect(self, instruction: str) -> None:
        """Append an instruction without a result."""
        self.lines.append("  " + instruction)

    def value(self, instruction: str, dtype: DType, lanes: int = 1) -> Value:
        """Append `instruction` and name its result."""
        self._registers += 1
        ref = f"%v{self._registers}"
        self.lines.append(f"  {ref} = {instruction}")  # `emit`, without a call for each instruction
        return Value(self, ref, dtype, lanes)  # type: ignore[arg-type]

    def const(self, number: float | bool, dtype: DType, lanes: int = 1) -> Value:
        """The constant `number`, in every lane."""
        ref = literal(number, dtype)
        if lanes > 1:
            ref = f"splat ({llvm_type(dtype)} {ref})"
        return Value(self, ref, dtype, lanes)  # type: ignore[arg-type]

    def const_vector(self, numbers: Sequence[float | int | bool], dtype: DType) -> Value:
        """A vector constant, lane by lane."""
        scalar = llvm_type(dtype)
        body = ", ".join(f"{scalar} {literal(n, dtype)}" for n in numbers)
        return Value(self, f"<{body}>", dtype, len(numbers))  # type: ignore[arg-type]

    def index(self, number: Index) -> Value:
        """An i64 scalar from a Python int or a run-time extent (a value passes through)."""
        if isinstance(number, Value):
            if number.dtype != i64 or number.lanes != 1:
                raise BuildError(f"an index is an i64 scalar, not {number.type}")
            return number
        if isinstance(number, Dim):
            if self._here and not self._here.keys().isdisjoint(symbols_of(number)):
                return self._computed(number)
            return self._loaded.get(number) or self._load(number)
        return self.const(number, i64)

    @contextmanager
    def known_here(self, symbol: Symbol, value: Value) -> Iterator[None]:
        """Within it, extents over a symbol that `dims` does not hold are computed from its value, an i64."""
        self._here[symbol] = value
        yield
        del self._here[symbol]

    @abstractmethod
    def _computed(self, e: Extent) -> Value:
        """The value of an extent over symbols that are known here, and others."""

    def extent(self, e: Extent) -> Index:
        """An int as it is; a run-time extent as the i64 that the caller has put into `dims`."""
        return e if isinstance(e, int) else self.index(e)

    def _load(self, e: Dim) -> Value:
        if self.extents is None:
            raise BuildError(f"no run-time extents are given to expansions, and {e} is one")
        self.needs_dims = True
        factor = gcd(*(c for _, c in e.terms))
        if factor > 1:  # a multiplication costs less than another extent
            base = self._loaded.get(base_of(e, factor)) or self._load(base_of(e, factor))
            name = f"%dim.{self.register()[1:]}"
            self.prologue.append(f"  {name} = mul nsw i64 {base.ref}, {factor}")
            self._loaded[e] = Value(self, name, i64)  # type: ignore[arg-type]
            return self._loaded[e]
        n = self.extents.slot(e)
        low, high = bounds(e)
        least = int(low) if low > -inf else -(1 << 62)
        most = int(high) if high < inf else 1 << 62
        self.prologue += [
            f"  %dim.{n}.at = getelementptr inbounds i64, ptr %dims, i64 {n}",
            f"  %dim.{n} = load i64, ptr %dim.{n}.at, align 8, !range !{{i64 {least}, "
            f"i64 {most + 1}}}, !noundef !{{}}, !invariant.load !{{}}",
        ]
        self._loaded[e] = Value(self, f"%dim.{n}", i64)  # type: ignore[arg-type]
        return self._loaded[e]

    def intrinsic(self, name: str, result: str, params: Sequence[str]) -> str:
        """Declare an LLVM intrinsic once; returns "result @name" ready for a call."""
        self.declarations[name] = f"declare {result} @{name}({', '.join(params)})"
        return f"{result} @{name}"

    def call_intrinsic(
        self, name: str, dtype: DType, lanes: int, *args: Value, immediates: Sequence[str] = ()
    ) -> Value:
        """Call intrinsic `name`; `immediates` are extra literal arguments such as "i32 4"."""
        kinds = [a.type for a in args] + [text.split()[0] for text in immediates]
        callee = self.intrinsic(name, llvm_type(dtype, lanes), kinds)
        operands = [f"{a.type} {a.ref}" for a in args] + list(immediates)
        return self.value(f"call {callee}({', '.join(operands)})", dtype, lanes)

    # --- blocks ---------------------------------------------------------------------------

    def new_block(self, hint: str) -> str:
        """A fresh block label."""
        self._blocks += 1
        return f"{hint}{self._blocks}"

    def open_block(self, label: str) -> None:
        """Start writing into block `label`."""
        self.lines.append(f"{label}:")
        self.block = label

    def jump(self, label: str) -> None:
        """End the block with an unconditional branch."""
        self.effect(f"br label %{label}")

    def branch(self, condition: Value, if_true: str, if_false: str) -> None:
        """End the block with a conditional branch."""
        self.effect(f"br i1 {condition.ref}, label %{if_true}, label %{if_false}")

    def placeholder(self) -> int:
        """Reserve a line to be written later with `fill` (phis know their operands late)."""
        self.lines.append("")
        return len(self.lines) - 1

    def fill(self, place: int, line: str) -> None:
        """Write a reserved line."""
        self.lines[place] = "  " + line
