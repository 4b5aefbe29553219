"""Phases that copy strided operands to row-major memory for users' kernels, and back."""

from __future__ import annotations

from math import prod

from camshaft.backends.cpu.lang import Arg, FunctionBuilder, Index, Module, Pointer, Value
from camshaft.backends.cpu.plugin.problem import PluginProblem, Spread
from camshaft.ir.extents.extent import Extent


def gathered(m: Module, p: PluginProblem, args: list[Arg]) -> None:
    """A phase for each strided input: its elements to the workspace."""
    for n, spread in enumerate(p.inputs):
        with m.phase(f"gather{n}", _rows(spread), args) as k:
            _copied(k, spread, to_workspace=True)


def scattered(m: Module, p: PluginProblem, args: list[Arg]) -> None:
    """A phase for each strided output: its elements from the workspace."""
    for n, spread in enumerate(p.outputs):
        with m.phase(f"scatter{n}", _rows(spread), args) as k:
            _copied(k, spread, to_workspace=False)


def place_of(k: FunctionBuilder, p: PluginProblem, name: str | None) -> Pointer | None:
    """Where a kernel finds the row-major operand whose pointer is called so."""
    if name is None:
        return None
    for spread in (*p.inputs, *p.outputs):
        if spread.name == name:
            return _copy_of(k, spread)
    return k.args[name]


def _rows(spread: Spread) -> Extent:
    return prod(spread.operand.shape[:-1])


def _copy_of(k: FunctionBuilder, spread: Spread) -> Pointer:
    return k.args["workspace"].at(spread.offset).as_type(spread.operand.dtype)


def _copied(k: FunctionBuilder, spread: Spread, *, to_workspace: bool) -> None:
    """Rows begin..end-1, element by element."""
    operand, copy, strided = spread.operand, _copy_of(k, spread), k.args[spread.name]
    width = operand.shape[-1] if operand.shape else 1
    step = operand.strides[-1] if operand.strides else 1
    with k.loop(k.begin, k.end) as row:
        line, there = copy.at(row * width), strided.at(_offset(spread, row))
        with k.loop(0, width) as column:
            ends: tuple[Index, Index] = (column * step, column)
            if to_workspace:
                k.store(k.load(there.at(ends[0])), line.at(ends[1]))
            else:
                k.store(k.load(line.at(ends[1])), there.at(ends[0]))


def _offset(spread: Spread, row: Value) -> Index:
    """Elements from the operand's start to that row's."""
    axes = list(zip(spread.operand.shape[:-1], spread.operand.strides[:-1], strict=True))
    offset: Index = 0
    rest: Value = row
    for n, (size, stride) in enumerate(reversed(axes)):
        last = n == len(axes) - 1
        index = rest if last else rest % size
        offset = index * stride + offset
        rest = rest if last else rest // size
    return offset
