"""Modules and functions of the kernel language: the frame around a tactic's code.

A phase (see `backends.base`) becomes two functions: the exported one unpacks the pointer table,
the internal one holds the code and takes each pointer with what is known about it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from camshaft.backends.base import Expansion, Source
from camshaft.backends.cpu.lang.emitter import Declarations, RuntimeExtents
from camshaft.backends.cpu.lang.matrix_tiles import MatrixTiles
from camshaft.backends.cpu.lang.values import Index, Pointer, Value, llvm_type
from camshaft.backends.cpu.target import CpuTarget
from camshaft.errors import BuildError
from camshaft.ir.extents.extent import Extent
from camshaft.ir.types import DType, i64
from camshaft.program.program import Phase

_DIMS = "ptr noalias readonly align 8 %dims"


@dataclass(frozen=True)
class Arg:
    """One pointer of a phase or function, and what the code may rely on.

    dtype: elements it points to.  align: bytes (0: one element).
    readonly: never written through.  noalias: nothing reached through it is written through
    another pointer while the function runs (leave it off where the build may update in place).
    """

    name: str
    dtype: DType
    align: int = 0
    readonly: bool = False
    noalias: bool = False

    def text(self) -> str:
        """LLVM's parameter with its attributes."""
        words = ["ptr"]
        words += ["noalias"] * self.noalias + ["readonly"] * self.readonly
        return " ".join([*words, f"align {self.alignment}", "%" + self.name])

    @property
    def alignment(self) -> int:
        """Bytes."""
        return self.align or self.dtype.bytes


@dataclass(frozen=True)
class Scalar:
    """One scalar parameter of a function."""

    name: str
    dtype: DType = i64

    def text(self) -> str:
        """LLVM's parameter."""
        return f"{llvm_type(self.dtype)} %{self.name}"


Parameter = Arg | Scalar


class FunctionBuilder(MatrixTiles):
    """Writes the body of one function.

    args: its pointers by name.  scalars: its scalars by name.
    begin, end, worker: work items to do and the worker doing them (phases only).
    """

    def __init__(
        self, target: CpuTarget, declarations: Declarations, params: Sequence[Parameter]
    ) -> None:
        super().__init__(target, declarations)
        self.args = {
            p.name: Pointer(self, f"%{p.name}", p.dtype, 0, p.alignment)
            for p in params
            if isinstance(p, Arg)
        }
        self.scalars = {
            p.name: Value(self, f"%{p.name}", p.dtype) for p in params if isinstance(p, Scalar)
        }

    @property
    def begin(self) -> Value:
        """First work item."""
        return self.scalars["begin"]

    @property
    def end(self) -> Value:
        """One past the last work item."""
        return self.scalars["end"]

    @property
    def worker(self) -> Value:
        """Number of the worker, below the thread count."""
        return self.scalars["worker"]

    def call(self, symbol: str, *operands: Pointer | Index) -> None:
        """Call a function of this module (made by `Module.function`) with pointers and indices."""
        words = []
        for x in operands:
            if isinstance(x, Pointer):
                words.append(f"ptr {x.address()}")
            else:
                value = self.index(x) if not isinstance(x, Value) else x
                words.append(f"{value.type} {value.ref}")
        if self.extents is not None and symbol in self.extents.readers:
            self.needs_dims = True
            words.append("ptr %dims")
        self.effect(f"call void @{symbol}({', '.join(words)})")


class Module:
    """Functions compiled together for one target; `source` gives what the compiler takes."""

    def __init__(self, target: CpuTarget) -> None:
        self.target = target
        self._declarations: Declarations = {}
        self._functions: list[str] = []
        self._phases: list[Phase] = []
        self._expansions: list[Expansion] = []
        self._extents = RuntimeExtents()

    @contextmanager
    def function(
        self, symbol: str, params: Sequence[Parameter], *, inline: bool = False
    ) -> Iterator[FunctionBuilder]:
        """An internal function; kept out of line unless `inline`."""
        k = FunctionBuilder(self.target, self._declarations, params)
        k.extents = self._extents
        yield k
        texts = [p.text() for p in params]
        if k.needs_dims:
            self._extents.readers.add(symbol)
            texts.append(_DIMS)
        self._define(k, symbol, texts, "alwaysinline" if inline else "noinline")

    def _define(self, k: FunctionBuilder, symbol: str, params: Sequence[str], flag: str) -> None:
        k.effect("ret void")
        body = "\n".join([*k.prologue, *k.lines])
        self._functions.append(
            f"define internal void @{symbol}({', '.join(params)}) {flag} #0 {{\nentry:\n{body}\n}}\n"
        )

    @contextmanager
    def phase(self, symbol: str, items: Extent, args: Sequence[Arg]) -> Iterator[FunctionBuilder]:
        """One phase of the kernel with `items` work items; `args` in the order of the contract."""
        with self._exported(symbol, args, self._extents) as k:
            yield k
        self._phases.append(Phase(symbol, items))

    @contextmanager
    def expansion(
        self, symbol: str, items: int, packed: int, stored: DType, expanded: DType, nbytes: int
    ) -> Iterator[FunctionBuilder]:
        """The function that makes packed constant number `packed` from its stored form.

        stored, expanded: element types of k.args["stored"] and k.args["expanded"], both 64-byte
        aligned.  nbytes: size of the expanded constant.
        """
        args = [
            Arg("stored", stored, align=64, readonly=True, noalias=True),
            Arg("expanded", expanded, align=64, noalias=True),
        ]
        with self._exported(symbol, args) as k:
            yield k
        self._expansions.append(Expansion(packed, nbytes, Phase(symbol, items)))

    @contextmanager
    def _exported(
        self, symbol: str, args: Sequence[Arg], extents: RuntimeExtents | None = None
    ) -> Iterator[FunctionBuilder]:
        """A function that takes a table of pointers, and work items to do.

        Where it asks for run-time extents, the table's last pointer is theirs.
        """
        taken = [*self._phases, *(e.phase for e in self._expansions)]
        if any(p.symbol == symbol for p in taken):
            raise BuildError(f"two phases are called {symbol!r}")
        names = [a.name for a in args]
        if len(set(names)) != len(names) or {"begin", "end", "worker", "dims", "table"} & set(
            names
        ):
            raise BuildError(f"phase {symbol!r}: argument names must be distinct, got {names}")
        scalars = [Scalar("begin"), Scalar("end"), Scalar("worker")]
        k = FunctionBuilder(self.target, self._declarations, [*args, *scalars])
        k.extents = extents
        yield k
        params = [a.text() for a in args] + [s.text() for s in scalars]
        if k.needs_dims:
            names.append("dims")
            params.insert(len(args), _DIMS)
        self._define(k, f"{symbol}.body", params, "alwaysinline")
        lines = []
        for n, name in enumerate(names):
            lines.append(f"  %at.{n} = getelementptr inbounds ptr, ptr %table, i64 {n}")
            lines.append(f"  %{name} = load ptr, ptr %at.{n}, align 8")
        passed = [f"ptr %{name}" for name in names] + [f"i64 %{s.name}" for s in scalars]
        body = "\n".join(lines)
        self._functions.append(
            f"define void @{symbol}(ptr readonly %table, i64 %begin, i64 %end, i64 %worker) #0 {{\n"
            f"entry:\n{body}\n  call void @{symbol}.body({', '.join(passed)})\n  ret void\n}}\n"
        )

    def text(self) -> str:
        """The module as LLVM IR."""
        t = self.target
        head = f'target triple = "{t.triple}"\n'
        # no-builtins: loops that look like memset must not become calls out of the kernel.
        attributes = (
            f'attributes #0 = {{ nounwind alignstack=64 "no-builtins" "target-cpu"="{t.cpu}" '
            f'"target-features"="{t.features}" "min-legal-vector-width"="{t.vector_bits}" '
            f'"prefer-vector-width"="{t.vector_bits}" }}\n'
        )
        declared = "\n".join(self._declarations[name] for name in sorted(self._declarations))
        return "\n".join([head, *self._functions, declared, attributes])

    def source(self) -> Source:
        """Text, phases, expansions and run-time extents, for `Compiler.compile`."""
        phases, expansions = tuple(self._phases), tuple(self._expansions)
        return Source(self.text(), phases, expansions, self._extents.all)
