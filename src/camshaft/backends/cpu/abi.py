"""The pointer table of a kernel, by name: which argument of a phase is which operand.

`backends.base` fixes the order (non-constant inputs, outputs, packed constants, workspace); tactics
ask here instead of counting.
"""

from __future__ import annotations

from collections.abc import Sequence

from camshaft.backends.base import KernelSpec
from camshaft.backends.cpu.lang import Arg, FunctionBuilder, Pointer
from camshaft.ir.types import DType, u8


def phase_args(spec: KernelSpec, packed: Sequence[DType] | None = None) -> list[Arg]:
    """Arguments named in0, in1, ... (by operand number), out0, ..., packed0, ..., workspace.

    packed: element types of the packed constants; None if they are the constant operands as they
    are.  Constant operands have no argument.  Inputs may share memory with outputs (in-place
    updates), packed constants never do.
    """
    if packed is None:
        packed = [operand.dtype for operand in spec.inputs if operand.const]
    args = [
        Arg(f"in{n}", operand.dtype, readonly=True)
        for n, operand in enumerate(spec.inputs)
        if not operand.const
    ]
    args += [Arg(f"out{n}", operand.dtype) for n, operand in enumerate(spec.outputs)]
    args += [
        Arg(f"packed{n}", dtype, align=64, readonly=True, noalias=True)
        for n, dtype in enumerate(packed)
    ]
    return [*args, Arg("workspace", u8, align=64)]


def constant_numbers(spec: KernelSpec, first: int = 0) -> dict[int, int]:
    """For each constant operand from number `first` on: its place among all constant operands."""
    constants = [n for n, operand in enumerate(spec.inputs) if operand.const]
    return {n: place for place, n in enumerate(constants) if n >= first}


def operand_pointer(
    k: FunctionBuilder, spec: KernelSpec, number: int, packed: dict[int, int]
) -> Pointer:
    """Where operand `number` lies; `packed` maps constant operands to packed constants."""
    if spec.inputs[number].const:
        return k.args[f"packed{packed[number]}"]
    return k.args[f"in{number}"]
