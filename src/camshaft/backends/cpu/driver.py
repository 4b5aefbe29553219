"""The CPU backend as the runtime sees it: `runtime.driver.Driver`, found by name, imported late."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Mapping, Sequence

from camshaft.backends.cpu.link import Library, bound, call, link, pointer_table
from camshaft.backends.cpu.processor import host_features
from camshaft.backends.cpu.runner.functions import compile_runner, runner_from
from camshaft.backends.cpu.runner.program import LinkedProgram
from camshaft.backends.cpu.target import target_named
from camshaft.errors import BuildError
from camshaft.ir.types import TensorType
from camshaft.program.rows import Row

_ELF_MACHINES = {"x86_64": 62, "aarch64": 183}  # e_machine of the ELF header


class LinkedKernels:
    """Kernels linked into this process, with the runner that walks them."""

    def __init__(self, libraries: Mapping[str, Library], runner_code: bytes) -> None:
        self._libraries = dict(libraries)
        self._runner = runner_from(runner_code)

    def address(self, code: str, symbol: str) -> int:
        """Address of function `symbol` of the object called `code`, valid as long as this object
        exists."""
        return self._libraries[code][symbol]

    def call(self, address: int, pointers: Sequence[int], begin: int, end: int) -> None:
        """See `runtime.driver.LinkedCode.call`."""
        call(address, pointer_table(pointers), begin, end)

    def bound(
        self, address: int, pointers: Sequence[int], begin: int, end: int
    ) -> Callable[[], None]:
        """See `runtime.driver.LinkedCode.bound`."""
        return bound(address, pointer_table(pointers), begin, end)

    def program(
        self,
        rows: Sequence[Row],
        bindings: Sequence[TensorType],
        first_output: int,
        threads: int,
        check_finite: bool,
        saying: Sequence[int],
    ) -> LinkedProgram:
        """See `runtime.driver.LinkedCode.program`."""
        return LinkedProgram(
            self._runner, rows, bindings, first_output, threads, check_finite, saying
        )


class CpuDriver:
    """Links and runs object code on this machine's CPU."""

    def missing_features(self, features: Sequence[str]) -> tuple[str, ...]:
        """Those of `features` (LLVM's names) that this CPU lacks."""
        return tuple(f for f in features if f not in host_features())

    def runner_code(self, target: str) -> bytes:
        """Object code of the step loop for the target of that name."""
        return compile_runner(target_named(target))

    def link(
        self,
        code: Mapping[str, bytes],
        symbols: Mapping[str, Sequence[str]],
        runner_code: bytes,
        imports: Mapping[str, Sequence[str]],
    ) -> LinkedKernels:
        """Link the objects named by `symbols` (name -> functions); BuildError names the culprit.  imports: of objects
        that call functions of the process, these (see `link.link`)."""
        for name in (*symbols, "runner"):
            data = runner_code if name == "runner" else code[name]
            if not is_native(data):
                raise BuildError(f"object code {name!r} is not for this system and processor")
        libraries = {
            name: link(code[name], wanted, imports.get(name, ()))
            for name, wanted in symbols.items()
        }
        return LinkedKernels(libraries, runner_code)


def is_native(code: bytes) -> bool:
    """Whether object code has the format and processor type of this system: LLVM aborts on some
    that has not."""
    if sys.platform == "darwin":
        return code[:4] == b"\xcf\xfa\xed\xfe"
    machine = _ELF_MACHINES.get(platform.machine().lower())
    known = machine is None or int.from_bytes(code[18:20], "little") == machine
    return len(code) >= 64 and code[:4] == b"\x7fELF" and known


DRIVER = CpuDriver()
