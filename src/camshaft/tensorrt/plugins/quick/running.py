"""Plugins of functions as one `camshaft.plugin`, whose attributes say which and what they hold."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.extents.extent import Extent
from camshaft.ir.op import REQUIRED
from camshaft.ir.plugins.asked import Loose, called
from camshaft.ir.plugins.plugin import Plugin, plugin
from camshaft.ir.plugins.values import from_text
from camshaft.ir.types import TensorType, type_of
from camshaft.tensorrt.enums.data import DataType
from camshaft.tensorrt.plugins.expressions import constant, shape_of
from camshaft.tensorrt.plugins.formats import accepted, data_type, dtype_of
from camshaft.tensorrt.plugins.generations import dynamic
from camshaft.tensorrt.plugins.quick.definitions import Definition, definition_named
from camshaft.tensorrt.plugins.quick.shapes import Shape, ShapeExpr, ShapeExprs
from camshaft.tensorrt.plugins.quick.tensors import SizeTensorDesc, Tensor, TensorDesc


class _Described:
    """A plugin on inputs of these types: what it gives.  held: attributes."""

    def __init__(self, of: Definition, held: dict[str, Any], types: Sequence[TensorType]) -> None:
        self.of, self.held = of, held
        self.inputs = [_desc(t) for t in types]
        made = of.describe(*self.inputs, **held)
        self.outputs: list[TensorDesc] = [*made] if isinstance(made, tuple | list) else [made]
        for i, desc in enumerate(self.outputs):
            if isinstance(desc, SizeTensorDesc):
                desc._index = i

    def shapes(self, sizes: dict[int, Extent] | None = None) -> list[list[Extent | None]]:
        """Shapes of the outputs.  sizes: of size tensors."""
        return [shape_of([e._expr for e in d.shape_expr], sizes) for d in self.outputs]

    def upper(self) -> dict[int, Extent]:
        """The most that size tensors can hold."""
        found = {
            i: d.upper_bound._expr._value()
            for i, d in enumerate(self.outputs)
            if isinstance(d, SizeTensorDesc)
        }
        return {i: value for i, value in found.items() if value is not None}

    def types(self) -> list[DataType]:
        """Element types of inputs and outputs."""
        return [d.dtype for d in (*self.inputs, *self.outputs)]

    def chosen(self) -> tuple[list[DataType], int | None]:
        """Element types to compute in, and the way to compute."""
        if self.of.tune is None:
            return self.types(), None
        rooms = self.shapes(self.upper())
        shapes = [*([e._expr._value() for e in d.shape_expr] for d in self.inputs), *rooms]
        for desc, shape in zip((*self.inputs, *self.outputs), shapes, strict=True):
            desc._shape = Shape(dynamic(desc.dtype, shape))
        outputs = tuple(self.outputs)
        offered = _called(self.of.tune, self.inputs, {**self.held, "outputs": outputs})
        combinations = [(c, o) for o in offered for c in o._combinations()]
        kinds = accepted(
            self.types(),
            lambda at, k: any(c[: at + 1] == tuple(k[: at + 1]) for c, _ in combinations),
        )
        of = next(o for c, o in combinations if list(c) == kinds)
        return kinds, of._tactics[0] if of._tactics else None


def _desc(t: TensorType) -> TensorDesc:
    shape = ShapeExprs.from_tuple([ShapeExpr(constant(d)) for d in t.shape])
    return TensorDesc(shape, data_type(t.dtype))


def _called(function: Callable[..., Any], tensors: Sequence[Any], named: dict[str, Any]) -> Any:
    """The function with the arguments that it names."""
    wanted = inspect.signature(function).parameters
    return function(*tensors, **{k: v for k, v in named.items() if k in wanted})


def _held(name: str, values: str) -> tuple[Definition, dict[str, Any]]:
    found = definition_named(name)
    return found, found.complete(from_text(values))


def _infer(*types: TensorType, id: str, values: str) -> list[Loose]:
    made: list[Loose] = called(id, "description", _inferred, types, {"id": id, "values": values})
    return made


def _inferred(*types: TensorType, id: str, values: str) -> list[Loose]:
    described = _Described(*_held(id, values), types)
    kinds = [dtype_of(d.dtype) for d in described.outputs]
    return [(k, tuple(s)) for k, s in zip(kinds, described.shapes(), strict=True)]


def _check(*, id: str, values: str) -> None:
    _held(id, values)


@plugin(
    "camshaft.tensorrt::QuickPlugin",
    infer=_infer,
    attributes={"id": REQUIRED, "values": REQUIRED},
    check=_check,
)
def run(*arrays: np.ndarray, id: str, values: str) -> list[np.ndarray]:
    """What the function under `impl` computes."""
    made: list[np.ndarray] = called(
        id, "implementation", _computed, arrays, {"id": id, "values": values}
    )
    return made


def _computed(*arrays: np.ndarray, id: str, values: str) -> list[np.ndarray]:
    found, held = _held(id, values)
    if found.compute is None:
        raise ModelError(
            f"plugin {id!r} has no implementation; decorate one with tensorrt.plugin.impl"
        )
    described = _Described(found, held, [type_of(a) for a in arrays])
    kinds, tactic = described.chosen()
    given = [
        np.array(a, dtype_of(k).numpy, order="C")
        for a, k in zip(arrays, kinds[: len(arrays)], strict=True)
    ]
    upper = described.upper()
    rooms, results = described.shapes(upper), []
    for desc, room, kind in zip(described.outputs, rooms, kinds[len(given) :], strict=True):
        alias = desc.get_aliased()
        place = next((i for i, d in enumerate(described.inputs) if d is alias), None)
        results.append(
            np.zeros(_numbers(room), dtype_of(kind).numpy) if place is None else given[place]
        )
    inputs = [Tensor(a, k) for a, k in zip(given, kinds[: len(given)], strict=True)]
    outputs = tuple(Tensor(a, k) for a, k in zip(results, kinds[len(given) :], strict=True))
    said = {**held, "outputs": outputs, "stream": 0, "tactic": tactic or 0}
    _called(found.compute, inputs, said)
    sizes: dict[int, Extent] = {i: int(results[i].reshape(-1)[0]) for i in upper}
    return [
        _first(result, _numbers(shape)).astype(dtype_of(desc.dtype).numpy, copy=False)
        for result, shape, desc in zip(
            results, described.shapes(sizes), described.outputs, strict=True
        )
    ]


def _numbers(shape: Sequence[Extent | None]) -> list[int]:
    if not all(isinstance(d, int) for d in shape):
        raise ModelError("the plugin gives no shape that is known when it runs")
    return [d for d in shape if isinstance(d, int)]


def _first(array: np.ndarray, shape: list[int]) -> np.ndarray:
    """The first elements, in this shape."""
    count = int(np.prod(shape, dtype=np.int64))
    return array.reshape(-1)[:count].reshape(shape)


QUICK: Plugin = run
