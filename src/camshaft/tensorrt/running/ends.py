"""Inputs and outputs of an engine as TensorRT counts them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from camshaft.errors import EngineFileError
from camshaft.ir.extents.bounds import bounds
from camshaft.ir.extents.extent import Extent, symbols_of
from camshaft.ir.extents.sizes import evaluate, typical
from camshaft.ir.types import DType, TensorType
from camshaft.runtime.bindings import Bindings
from camshaft.runtime.engine import Engine
from camshaft.runtime.sizes import sizes_given
from camshaft.tensorrt.enums.data import DataType, TensorFormat
from camshaft.tensorrt.formats import axes_moved
from camshaft.tensorrt.plan import Plan, Ranges, Triple
from camshaft.tensorrt.running.device import Array

_KINDS = {
    "f32": DataType.FLOAT,
    "f16": DataType.HALF,
    "bf16": DataType.BF16,
    "i8": DataType.INT8,
    "i32": DataType.INT32,
    "i64": DataType.INT64,
    "bool": DataType.BOOL,
    "u8": DataType.UINT8,
    "f8e4m3fn": DataType.FP8,
    "i4": DataType.INT4,
}
_LINEAR = TensorFormat.LINEAR
_OPEN = (1 << 31) - 1
"""Stands for the most of a size that has no bound."""


def kind_of(dtype: DType) -> DataType:
    """TensorRT's type; of those that it lacks the one of as many bits, or UINT8."""
    found = _KINDS.get(dtype.name)
    return DataType.UINT8 if found is None else found


@dataclass(frozen=True)
class End:
    """kind: DataType.  dtype: of the arrays that the engine takes or gives.  shape: -1 where it is open.  extents: as the
    engine has them.  says_shapes: whether its elements are sizes.  is_fixed: whether the build fixed its elements."""

    name: str
    is_input: bool
    kind: DataType
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    extents: tuple[Extent, ...]
    says_shapes: bool = False
    is_fixed: bool = False
    format: TensorFormat = TensorFormat.LINEAR

    def stored(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """A shape in the order in which the elements lie in memory."""
        return tuple(shape[i] for i in self._order(len(shape)))

    def strides(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Elements from one index to the next along each axis; -1 where that is not known."""
        found, stride = [0] * len(shape), 1
        for axis in reversed(self._order(len(shape))):
            found[axis] = stride
            stride = -1 if stride < 0 or shape[axis] < 0 else stride * shape[axis]
        return tuple(found)

    def logical(self, array: Array) -> Array:
        """An array of the `stored` shape with its axes as the network has them, without a copy."""
        order = self._order(array.ndim)
        return array if self.format == _LINEAR else array.transpose(np.argsort(order))

    def _order(self, rank: int) -> list[int]:
        """The axes as they lie in memory, the outermost first."""
        moved = axes_moved(int(self.format))
        first = rank - moved
        return [*range(first), *range(first + 1, rank), first] if moved else [*range(rank)]


def ends_of(engine: Engine, plan: Plan) -> dict[str, End]:
    """Inputs in the network's order, then outputs, hidden ones last.  EngineFileError for types that TensorRT lacks."""
    fixed = {f.name: f.type for f in engine.program.fixed}
    types: dict[str, Any] = {**engine.inputs, **fixed}
    order = [n for n in plan.shapes if n in types] or list(engine.program.declared)
    order += [n for n in types if n not in order]
    valued = {b.name for b in engine.program.valued}
    found = {}
    for name in order:
        declared = plan.shapes.get(name)
        says = name in valued or name in fixed
        found[name] = _end(name, True, types[name], declared, says, name in fixed)
    for name, type_ in engine.outputs.items():
        if name in found:
            raise EngineFileError(
                f"the engine has an input and an output {name!r}; rename one in the network"
            )
        found[name] = _end(name, False, type_)
    for name, format in plan.formats.items():
        found[name] = replace(found[name], format=TensorFormat(format))
    return found


def _end(
    name: str,
    is_input: bool,
    type_: Any,
    declared: tuple[int, ...] | None = None,
    says: bool = False,
    is_fixed: bool = False,
) -> End:
    dtype: DType | None = getattr(type_, "dtype", None)
    if not isinstance(type_, TensorType) or dtype is None or dtype.name not in _KINDS:
        raise EngineFileError(
            f"tensor {name!r} is {type_!r}, and TensorRT has no such type; run the engine with camshaft.load"
        )
    shape = declared or tuple(e if isinstance(e, int) else -1 for e in type_.shape)
    kind = _KINDS[dtype.name]
    return End(name, is_input, kind, np.dtype(dtype.numpy), shape, type_.shape, says, is_fixed)


def profiles_of(engine: Engine, plan: Plan, ends: Mapping[str, End]) -> tuple[Ranges, ...]:
    """The plan's profiles; of an engine without, one that says what the engine takes."""
    if plan.shapes:
        return plan.profiles
    shapes: dict[str, Triple] = {}
    values: dict[str, Triple] = {}
    for end in ends.values():
        if end.is_input:
            shapes[end.name] = _triple(end.extents)
    for binding in engine.program.valued:
        values[binding.name] = _triple(binding.values)
    return (Ranges(shapes, values),)


def _triple(extents: Sequence[Extent]) -> Triple:
    both = [bounds(e) for e in extents]
    low = tuple(int(a) for a, _ in both)
    most = tuple(int(min(b, _OPEN)) for _, b in both)
    return low, tuple(typical(e) for e in extents), most


def shapes_given(
    engine: Engine, ends: Mapping[str, End], given: Mapping[str, Any]
) -> dict[str, tuple[int, ...]]:
    """Shapes of outputs, -1 along axes that only a run finds.  given: input -> shape, or the array of one that says shapes.

    ShapeError for inputs that the engine does not take.
    """
    bindings = Bindings("input", engine.program.inputs, engine.fixed_inputs)
    names = {b.name for b in engine.program.inputs}
    sizes = sizes_given(engine.program, bindings, {n: x for n, x in given.items() if n in names})
    return {
        end.name: tuple(_extent(e, sizes) for e in end.extents)
        for end in ends.values()
        if not end.is_input
    }


def _extent(extent: Extent, sizes: Mapping[str, int]) -> int:
    known = {s.name for s in symbols_of(extent)} <= sizes.keys()
    return evaluate(extent, sizes) if known else -1


def most_bytes(end: End, shape: Sequence[int]) -> int:
    """Bytes of an output of this shape, -1 along axes that only a run finds; -1: there is no bound."""
    total = end.dtype.itemsize
    for extent, size in zip(end.extents, shape, strict=True):
        high = bounds(extent)[1] if size < 0 else size
        if high == float("inf"):
            return -1
        total *= int(high)
    return total
