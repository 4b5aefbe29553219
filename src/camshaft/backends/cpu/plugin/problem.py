"""A "plugin" spec as the user's kernels see it, and where its operands lie for them."""

from __future__ import annotations

from dataclasses import dataclass

from camshaft.backends.base import KernelSpec, Operand
from camshaft.ir.attrs import ints_attr
from camshaft.ir.extents.extent import Extent, ceil_div
from camshaft.ir.plugins.kernels import Params, Work
from camshaft.ir.plugins.plugin import Plugin
from camshaft.ir.plugins.registry import plugin_named
from camshaft.ir.plugins.values import from_text
from camshaft.ir.types import TensorType, row_major_strides

ALIGNMENT = 64


@dataclass(frozen=True, eq=False)
class Spread:
    """A strided operand that kernels see through a row-major copy in the workspace.

    name: of its pointer among a phase's.  offset: bytes from the workspace's start.
    """

    name: str
    operand: Operand
    offset: Extent


@dataclass(frozen=True, eq=False)
class PluginProblem:
    """The plugin, the work without variants, and its operands that are not row-major.

    names: of the pointers to its inputs, None where one is left out, then to its outputs.
    room: bytes of workspace.
    """

    plugin: Plugin
    work: Work
    names: tuple[str | None, ...]
    inputs: tuple[Spread, ...]
    outputs: tuple[Spread, ...]
    room: Extent

    @staticmethod
    def of(spec: KernelSpec) -> PluginProblem:
        """What the spec says.  ModelError if its plugin is not registered."""
        plugin = plugin_named(str(spec.attr("plugin")))
        packed = iter(range(len(spec.inputs)))
        pointers = [
            f"packed{next(packed)}" if o.const else f"in{n}" for n, o in enumerate(spec.inputs)
        ]
        there = iter(zip(pointers, spec.inputs, strict=True))
        given = [next(there) if g else None for g in ints_attr(spec, "given")]
        results = [f"out{n}" for n in range(len(spec.outputs))]
        work = Work(
            tuple(None if g is None else _type(g[1]) for g in given),
            tuple(map(_type, spec.outputs)),
            from_text(str(spec.attr("values"))),
        )
        inputs, room = _spread(list(zip(pointers, spec.inputs, strict=True)), 0)
        outputs, room = _spread(list(zip(results, spec.outputs, strict=True)), room)
        names = (*(None if g is None else g[0] for g in given), *results)
        return PluginProblem(plugin, work, names, inputs, outputs, room)

    def variant(self, params: Params) -> Work:
        """The work as one of a kernel's variants sees it."""
        return Work(self.work.inputs, self.work.outputs, self.work.attrs, params)


def _type(operand: Operand) -> TensorType:
    return TensorType(operand.dtype, operand.shape)


def _spread(operands: list[tuple[str, Operand]], room: Extent) -> tuple[tuple[Spread, ...], Extent]:
    """Those that are not row-major, with their places behind `room`; what they need with it."""
    found = []
    for name, operand in operands:
        if operand.const or operand.strides == row_major_strides(operand.shape):
            continue
        found.append(Spread(name, operand, room))
        room = room + ceil_div(_type(operand).nbytes, ALIGNMENT) * ALIGNMENT
    return tuple(found), room
