"""Kernels of plugins: what each kind is, and what it sees of the work.

All kinds compute work items begin..end-1 of one node; items are independent and run on any worker in any order.
Operands are row-major.  Functions (of LLVM IR or by address) are called as

    void f(T0* input0, ..., U0* output0, ..., u8* scratch, arguments..., i64 begin, i64 end)

with a null pointer for an input that is left out, and without `scratch` where the kernel asks for none; arguments are
i64 where they are ints or extents, and double where they are floats.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from camshaft.errors import ModelError
from camshaft.ir.extents.extent import Extent
from camshaft.ir.plugins.signatures import Parameter
from camshaft.ir.types import TensorType

_C_FUNCTION: Any = ctypes.CFUNCTYPE(None).__mro__[1]
"""The class of all function pointers of ctypes."""

Params = Mapping[str, int | str | bool]


@dataclass(frozen=True)
class Work:
    """One node of a plugin, as its kernels see it.

    inputs: their types, None where one is left out.  outputs: their types.  attrs: the attributes' values.
    params: which of the kernel's variants this is.
    """

    inputs: tuple[TensorType | None, ...]
    outputs: tuple[TensorType, ...]
    attrs: Mapping[str, Any]
    params: Params = field(default_factory=dict)


Items = Callable[[Work], Extent]
Scratch = Callable[[Work], Extent]
Arguments = Callable[[Work], Sequence[Extent | float]]
Fits = Callable[[Work], bool]


def one_for_each_element(work: Work) -> Extent:
    """As many work items as the first output has elements."""
    return work.outputs[0].size


def no_arguments(work: Work) -> Sequence[Extent | float]:
    """Pointers and work items alone."""
    return ()


def always(work: Work) -> bool:
    """Any work of the kernel's types."""
    return True


@dataclass(frozen=True)
class Kernel:
    """What all kinds state.

    name: distinguishes the plugin's kernels, in builds' notes and engine files.
    types: names of the element types of the inputs that it takes, one tuple for each combination; None: all
        that the plugin takes.
    items: how many work items some work has; 1 is work for one thread.
    when: whether it can do some work of these types.
    params: its variants, each of which is tried.
    scratch: how many bytes of memory each worker has for itself while it computes items of some work: aligned to 64
        bytes, of any content; None: it asks for none.
    """

    name: str
    types: tuple[tuple[str, ...], ...] | None
    items: Items
    when: Fits
    params: tuple[Params, ...]
    scratch: Scratch | None

    def fits(self, work: Work) -> bool:
        """Whether it can do this work."""
        given = tuple(t.dtype.name for t in work.inputs if t is not None)
        return (self.types is None or given in self.types) and self.when(work)


@dataclass(frozen=True)
class LanguageKernel(Kernel):
    """A function (k, work, *pointers) that writes the code of a phase in the kernel language; pointers are of inputs
    (None where one is left out), then outputs, then scratch memory (elements of u8), if it asks for some."""

    write: Callable[..., None]


@dataclass(frozen=True)
class TextKernel(Kernel):
    """LLVM IR: a text, or a function of the work that gives it.  symbol: the function in it."""

    text: str | Callable[[Work], str]
    symbol: str
    arguments: Arguments

    def text_for(self, work: Work) -> str:
        """The LLVM IR."""
        return self.text if isinstance(self.text, str) else self.text(work)


@dataclass(frozen=True)
class AddressKernel(Kernel):
    """A compiled function of this process.  parameters: that it declares, None where they are not known.  keep: what keeps
    its code alive."""

    address: int
    arguments: Arguments
    parameters: tuple[Parameter, ...] | None
    keep: object = field(compare=False, repr=False)


def address_of(function: Any) -> int:
    """The address of compiled code: an int, a ctypes or cffi function pointer, or what has an `address`, as numba's
    `cfunc` has.  ModelError for anything else."""
    if isinstance(function, int) and not isinstance(function, bool):
        if not 0 <= function < 1 << 64:
            raise ModelError(f"{function} is no address of a function")
        return function
    if isinstance(getattr(function, "address", None), int):
        return int(function.address)
    if isinstance(function, _C_FUNCTION):
        return int(ctypes.cast(function, ctypes.c_void_p).value or 0)
    if type(function).__module__ == "_cffi_backend":
        return _cffi_address(function)
    raise ModelError(
        f"a kernel by address is an int, a ctypes or cffi function pointer or numba's cfunc, not a {type(function).__name__}"
    )


def _cffi_address(pointer: Any) -> int:
    """cffi's pointers give no number, but say it: `<cdata 'void(*)(...)' 0x7f...>`."""
    found = re.search(r"0x([0-9a-fA-F]+)>?$", repr(pointer))
    if found is None:
        raise ModelError(
            f"{pointer!r} is no function pointer; give int(ffi.cast('uintptr_t', pointer))"
        )
    return int(found[1], 16)
