"""LLVM IR text to machine code: the CPU backend's `Compiler`.

Needs no device of the target kind.  Equal text gives equal bytes, which the timing cache and
reproducible engine files rely on.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from contextlib import closing
from functools import cache
from typing import Any

from llvmlite import binding
from llvmlite.binding import ffi

from camshaft.backends.base import Kernel, Source
from camshaft.backends.cpu.target import CpuTarget
from camshaft.errors import BuildError

_Manager = binding.ModulePassManager
_PIPELINE = (
    _Manager.add_always_inliner_pass,
    _Manager.add_simplify_cfg_pass,
    _Manager.add_instruction_combine_pass,
    _Manager.add_new_gvn_pass,
    _Manager.add_simplify_cfg_pass,
    _Manager.add_instruction_combine_pass,
)
_START_LOCK = threading.Lock()


@cache
def start_llvm() -> None:
    """Prepare LLVM for this machine (once a process)."""
    # Loop strength reduction weighs every address of a tile against every other: nine tenths of
    # the time of code generation, and no gain where tactics keep addresses simple.
    binding.set_option("camshaft", "--disable-lsr")
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()


class CpuCompiler:
    """Compiles kernels for one target.

    Runs inlining, simplification and global value numbering only: tactics vectorise, unroll and
    hoist themselves, and all of -O3 takes three times as long for the same speed.
    """

    def __init__(self, target: CpuTarget) -> None:
        self.target = target
        self._local = threading.local()

    def compile(self, source: Source) -> Kernel:
        """Object code of `source`; BuildError with LLVM's message if it is not valid IR."""
        machine = self._machine()
        code = _object_code(machine, self._optimized(source, machine))
        return Kernel(code, source.phases, source.expansions, source.dims, source.imports)

    def assembly(self, source: Source) -> str:
        """The machine code as text, to look at."""
        machine = self._machine()
        return str(machine.emit_assembly(self._optimized(source, machine)))

    def _machine(self) -> binding.TargetMachine:
        machine = getattr(self._local, "machine", None)
        if machine is None:
            with _START_LOCK:
                start_llvm()
            target = binding.Target.from_triple(self.target.triple)
            machine = target.create_target_machine(
                cpu=self.target.cpu,
                features=self.target.features,
                opt=3,
                reloc="pic",
                codemodel="small",
            )
            self._local.machine = machine
        return machine

    def _optimized(self, source: Source, machine: binding.TargetMachine) -> binding.ModuleRef:
        try:
            module = _parsed(source.text)
        except RuntimeError as error:
            symbols = ", ".join(p.symbol for p in source.phases)
            raise BuildError(f"kernel {symbols}: invalid LLVM IR: {error}") from error
        module.data_layout = str(machine.target_data)
        options = binding.create_pipeline_tuning_options(speed_level=3)
        builder = binding.create_pass_builder(machine, options)
        manager = binding.create_new_module_pass_manager()
        for add_pass in _PIPELINE:
            add_pass(manager)
        _unlocked("LLVMPY_RunNewModulePassManager")(manager, module, builder)
        return module


def defined(text: str, symbol: str) -> list[str]:
    """The types of the parameters of a function of LLVM IR that returns nothing, as LLVM spells them.

    BuildError if the text is not valid, or defines no such function.
    """
    # Closed here: garbage collection, by way of an error's traceback, might free the module's context before it.
    try:
        with closing(_parsed(text)) as module:
            function = module.get_function(symbol)
            kind, defines = str(function.global_value_type), not function.is_declaration
            kinds = [str(a.type) for a in function.arguments]
    except RuntimeError as error:
        raise BuildError(f"invalid LLVM IR: {error}") from error
    except NameError as error:
        raise BuildError(f"the LLVM IR defines no function @{symbol}") from error
    if not defines or not kind.startswith("void (") or kind.endswith("...)"):
        raise BuildError(
            f"the LLVM IR must define a function @{symbol} of type void (...), and has {kind}"
        )
    return kinds


def _parsed(text: str) -> binding.ModuleRef:
    """A module of valid LLVM IR; RuntimeError with LLVM's message."""
    module = binding.parse_assembly(text, context=binding.create_context())
    try:
        module.verify()
    except RuntimeError:
        module.close()
        raise
    return module


def _object_code(machine: binding.TargetMachine, module: binding.ModuleRef) -> bytes:
    """As `machine.emit_object`, without llvmlite's lock."""
    with ffi.OutputString() as error:
        emit = _unlocked("LLVMPY_TargetMachineEmitToMemory")
        buffer = emit(machine, module, 1, error)
        if not buffer:
            raise BuildError(f"LLVM makes no object code of a kernel: {error}")
    try:
        start = ffi.lib.LLVMPY_GetBufferStart(buffer)
        return ctypes.string_at(start, ffi.lib.LLVMPY_GetBufferSize(buffer))
    finally:
        ffi.lib.LLVMPY_DisposeMemoryBuffer(buffer)


def _unlocked(name: str) -> Callable[..., Any]:
    """llvmlite's C function `name` without the lock that lets one thread at a time into LLVM.

    The lock guards contexts and target machines that threads share, and here every thread has its own, which
    is all that LLVM asks for.  A llvmlite without that wrapper gives its function as it is.
    """
    function = getattr(ffi.lib, name)
    return getattr(function, "_cfn", function)  # type: ignore[no-any-return]
