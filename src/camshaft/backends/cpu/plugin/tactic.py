"""Tactics for plugins: one for each kind of kernel that users write.  They compete like any others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from inspect import signature
from typing import Any

from camshaft.backends.base import KernelSpec, Source
from camshaft.backends.cpu.abi import phase_args
from camshaft.backends.cpu.candidate import CpuCandidate
from camshaft.backends.cpu.compile import defined
from camshaft.backends.cpu.lang import FunctionBuilder, Module, Pointer
from camshaft.backends.cpu.lang.values import literal
from camshaft.backends.cpu.plugin.dense import gathered, place_of, scattered
from camshaft.backends.cpu.plugin.problem import ALIGNMENT, PluginProblem
from camshaft.backends.cpu.target import CpuTarget
from camshaft.errors import BuildError, CamshaftError
from camshaft.ir.extents.bounds import bounds
from camshaft.ir.extents.extent import Dim, Extent, ceil_div
from camshaft.ir.extents.sizes import is_positive
from camshaft.ir.plugins.attributes import plain
from camshaft.ir.plugins.kernels import (
    AddressKernel,
    Kernel,
    LanguageKernel,
    Params,
    TextKernel,
    Work,
)
from camshaft.ir.plugins.registry import reference_of, symbol_of
from camshaft.ir.plugins.signatures import Parameter, mismatch
from camshaft.ir.types import f64


class PluginTactic:
    """Offers the plugins' kernels of one kind."""

    version = 1

    def __init__(self, name: str, kind: type[Kernel], candidate: type[PluginCandidate]) -> None:
        self.name, self.kind, self.candidate = name, kind, candidate

    def plan(self, spec: KernelSpec, target: CpuTarget, threads: int) -> Sequence[PluginCandidate]:
        """All variants of all kernels that take the operands; none where an operand may be empty."""
        operands = (*spec.inputs, *spec.outputs)
        if spec.op != "plugin" or not all(is_positive(d) for o in operands for d in o.shape):
            return ()
        problem = PluginProblem.of(spec)
        return [
            self.candidate(spec, target, problem, {"kernel": kernel.name, **params})
            for kernel in problem.plugin.kernels
            if isinstance(kernel, self.kind)
            for params in kernel.params
            if _fits(problem, kernel, params)
        ]


def _fits(problem: PluginProblem, kernel: Kernel, params: Params) -> bool:
    """Whether a variant can do the work; BuildError if the kernel's function fails to say so."""
    try:
        return kernel.fits(problem.variant(params))
    except Exception as error:  # a user's function may raise anything
        raise BuildError(
            f"kernel {kernel.name!r} of plugin {problem.plugin.name!r}: when failed: {type(error).__name__}: {error}"
        ) from error


class PluginCandidate(CpuCandidate[PluginProblem]):
    """One variant of one kernel.  Strided operands are copied before and behind it."""

    @property
    def kernel(self) -> Kernel:
        """The user's kernel."""
        return next(k for k in self.problem.plugin.kernels if k.name == self.params["kernel"])

    @property
    def work(self) -> Work:
        """What it does."""
        return self.problem.variant({k: v for k, v in self.params.items() if k != "kernel"})

    def workspace(self, threads: int) -> Extent:
        """Bytes of row-major copies, and behind them of each worker's scratch memory."""
        return self.problem.room + threads * self._own

    @property
    def _own(self) -> Extent:
        """Bytes of a worker's scratch memory, in whole cache lines."""
        asks = self.kernel.scratch
        if asks is None:
            return 0
        nbytes = self._asked("scratch", lambda: asks(self.work))
        if isinstance(nbytes, bool) or not isinstance(nbytes, int | Dim) or bounds(nbytes)[0] < 0:
            raise self._wrong(f"scratch gives {nbytes!r:.60}, not an int or an extent from 0 on")
        return ceil_div(nbytes, ALIGNMENT) * ALIGNMENT

    def emit(self) -> Source:
        """The kernel as one phase, between those that copy."""
        m, args = Module(self.target), phase_args(self.spec)
        gathered(m, self.problem, args)
        items = self._asked("items", lambda: self.kernel.items(self.work))
        if isinstance(items, bool) or not isinstance(items, int | Dim) or bounds(items)[0] < 0:
            raise self._wrong(f"items gives {items!r:.60}, not an int or an extent from 0 on")
        with m.phase("plugin", items, args) as k:
            pointers = [place_of(k, self.problem, n) for n in self.problem.names]
            if self.kernel.scratch is not None:
                own = k.args["workspace"].at(self.problem.room).at(k.worker * self._own)
                pointers.append(own.aligned(ALIGNMENT))
            self.write(k, pointers)
        scattered(m, self.problem, args)
        return self.finished(m.source())

    def write(self, k: FunctionBuilder, pointers: Sequence[Pointer | None]) -> None:
        """Write the phase's code.  pointers: to inputs, then outputs, then scratch memory, if the kernel asks for some."""
        raise NotImplementedError

    def finished(self, source: Source) -> Source:
        """The source with what stands beside the phase."""
        return source

    def _asked(self, what: str, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except BuildError as error:  # of the kernel language
            raise self._wrong(f"{what} failed: {error}") from error
        except CamshaftError:
            raise
        except Exception as error:  # a user's function may raise anything
            raise self._wrong(f"{what} failed: {type(error).__name__}: {error}") from error

    def _wrong(self, what: str) -> BuildError:
        return BuildError(
            f"kernel {self.kernel.name!r} of plugin {self.problem.plugin.name!r}: {what}"
        )


class LanguageCandidate(PluginCandidate):
    """Code in the kernel language."""

    def write(self, k: FunctionBuilder, pointers: Sequence[Pointer | None]) -> None:
        """What the user's function writes."""
        kernel = self.kernel
        assert isinstance(kernel, LanguageKernel)
        try:
            signature(kernel.write).bind(k, self.work, *pointers)
        except TypeError as error:
            raise self._wrong(
                f"its function is called with the builder, the work and {len(pointers)} pointers: {error}"
            ) from error
        self._asked("its function", lambda: kernel.write(k, self.work, *pointers))


class FunctionCandidate(PluginCandidate):
    """A call of a function."""

    @property
    def symbol(self) -> str:
        """What is called."""
        raise NotImplementedError

    def write(self, k: FunctionBuilder, pointers: Sequence[Pointer | None]) -> None:
        """One call with all work items."""
        kernel = self.kernel
        assert isinstance(kernel, TextKernel | AddressKernel)
        words = ["ptr null" if p is None else f"ptr {p.address()}" for p in pointers]
        for value in self._values:
            if isinstance(value, float):
                words.append(f"double {literal(value, f64)}")
            else:
                words.append(f"i64 {k.index(int(value) if isinstance(value, int) else value).ref}")
        words += [f"i64 {k.begin.ref}", f"i64 {k.end.ref}"]
        if self.declared:
            kinds = ", ".join(p.kind for p in self.parameters)
            k.declarations[self.symbol] = f"declare void @{self.symbol}({kinds})"
        k.effect(f"call void @{self.symbol}({', '.join(words)})")

    @property
    def _values(self) -> list[Extent | float]:
        """What `arguments` says."""
        kernel = self.kernel
        assert isinstance(kernel, TextKernel | AddressKernel)
        values = [
            plain(v) for v in self._asked("arguments", lambda: [*kernel.arguments(self.work)])
        ]
        for value in values:
            if not isinstance(value, int | float | Dim):
                raise self._wrong(f"argument {value!r:.60} is no int, extent or float")
        return values

    @property
    def parameters(self) -> list[Parameter]:
        """What it is called with."""
        work = self.work
        made = [
            Parameter("ptr", "" if t is None else t.dtype.name)
            for t in (*work.inputs, *work.outputs)
        ]
        made += [Parameter("ptr")] * (self.kernel.scratch is not None)
        made += [Parameter("double" if isinstance(v, float) else "i64") for v in self._values]
        return [*made, Parameter("i64"), Parameter("i64")]

    @property
    def declared(self) -> bool:
        """Whether the module has to declare the function."""
        return True


class TextCandidate(FunctionCandidate):
    """LLVM IR."""

    @property
    def symbol(self) -> str:
        """The function of the user's text."""
        assert isinstance(self.kernel, TextKernel)
        return self.kernel.symbol

    @property
    def declared(self) -> bool:
        """The text defines it."""
        return False

    def finished(self, source: Source) -> Source:
        """The user's text beside the phase."""
        kernel = self.kernel
        assert isinstance(kernel, TextKernel)
        text = self._asked("its text", lambda: kernel.text_for(self.work))
        if not isinstance(text, str):
            raise self._wrong(f"its text is {text!r:.60}, not LLVM IR")
        if f"@{kernel.symbol}(" not in text:
            raise self._wrong(f"the LLVM IR defines no function @{kernel.symbol}")
        whole = f"{source.text}\n{text}\n"
        self._require_signature(whole)
        return replace(source, text=whole)

    def _require_signature(self, text: str) -> None:
        """BuildError if the function of the text is none of these parameters: LLVM takes calls of any others."""
        try:
            kinds = defined(text, self.symbol)
        except BuildError as error:
            raise self._wrong(str(error)) from error
        if problem := mismatch([Parameter(kind) for kind in kinds], self.parameters):
            raise self._wrong(problem)


class AddressCandidate(FunctionCandidate):
    """A compiled function of the process."""

    @property
    def _reference(self) -> str:
        return reference_of(self.problem.plugin.name, self.kernel.name)

    @property
    def symbol(self) -> str:
        """What the linker resolves."""
        return symbol_of(self._reference)

    def finished(self, source: Source) -> Source:
        """The source with the function that it imports."""
        kernel = self.kernel
        assert isinstance(kernel, AddressKernel)
        if kernel.parameters and (problem := mismatch(kernel.parameters, self.parameters)):
            raise self._wrong(problem)
        return replace(source, imports=(self._reference,))


PLUGIN_TACTICS = (
    PluginTactic("plugin", LanguageKernel, LanguageCandidate),
    PluginTactic("plugin_llvm", TextKernel, TextCandidate),
    PluginTactic("plugin_function", AddressKernel, AddressCandidate),
)
