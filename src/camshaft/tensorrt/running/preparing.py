"""From addresses and shapes to a call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from camshaft.errors import BindingError, ShapeError
from camshaft.tensorrt.dims import Dims
from camshaft.tensorrt.errors import called_back
from camshaft.tensorrt.running.calls import Call, checked_values, private
from camshaft.tensorrt.running.device import Array, array_at
from camshaft.tensorrt.running.ends import End

if TYPE_CHECKING:
    from camshaft.tensorrt.running.context import IExecutionContext
    from camshaft.tensorrt.running.engine import ICudaEngine
    from camshaft.tensorrt.running.shapes import Shape, Shapes

_ALIGNMENT = 256
"""Of memory that output allocators are asked for."""


def prepared(context: IExecutionContext, addresses: Mapping[str, int]) -> tuple[Call, bool]:
    """The call on these addresses, and whether it is the same as long as shapes and addresses are.

    BindingError or ShapeError says what is missing or wrong.
    """
    engine, shapes = context._engine, context._shapes
    missing = shapes.missing()
    if missing:
        raise ShapeError(
            f"the shape of input {missing[0]!r} is not set; call set_input_shape, or set_binding_shape"
        )
    inputs = _inputs(engine, shapes, addresses)
    elements = {e.name: inputs[e.name] for e in engine._ends.values() if e.says_shapes}
    found = shapes.outputs(elements)
    given = {n: a for n, a in inputs.items() if not engine._ends[n].is_fixed}
    _check_fixed(engine, inputs)
    is_lasting = not elements and not context._allocators
    if any(-1 in shape for shape in found.values()):
        return _found_by_run(context, addresses, inputs, given), is_lasting
    told: list[Callable[[], None]] = []
    outputs: dict[str, Array] = {}
    for name, shape in found.items():
        end = engine._all[name]
        if name in engine._plan.hidden:
            outputs[name] = np.empty(shape, end.dtype)
            continue
        outputs[name] = _output(context, end, shape, addresses)
        told += _told(context, name, shape)
    own, copies = private(outputs, inputs)
    watched = context._watch.actions({**inputs, **outputs}, lambda: context._stream)
    after = [*copies, *told, *watched]
    return Call(context._watch.runner.run_into, given, own, after, context._reports), is_lasting


def elements_at(
    engine: ICudaEngine, shapes: Shapes, addresses: Mapping[str, int]
) -> dict[str, Array] | None:
    """Elements of inputs that say shapes, as they were set or lie in memory; None: some are missing.

    BindingError where an address is none.
    """
    found = {}
    for end in engine._ends.values():
        if not end.says_shapes:
            continue
        array = shapes.value_array(end.name)
        if array is None and not addresses.get(end.name):
            return None
        found[end.name] = _input(end, shapes, addresses) if array is None else array
    return found


def _inputs(engine: ICudaEngine, shapes: Shapes, addresses: Mapping[str, int]) -> dict[str, Array]:
    found = {}
    for end in engine._ends.values():
        if end.is_input:
            array = shapes.value_array(end.name) if end.says_shapes else None
            found[end.name] = _input(end, shapes, addresses) if array is None else array
    return found


def _input(end: End, shapes: Shapes, addresses: Mapping[str, int]) -> Array:
    address = addresses.get(end.name, 0)
    shape = shapes.of(end.name)
    if not address and 0 not in shape:
        raise BindingError(f"the address of input {end.name!r} is not set; call set_tensor_address")
    return end.logical(array_at(address, end.stored(shape), end.dtype, f"input {end.name!r}"))


def _check_fixed(engine: ICudaEngine, inputs: Mapping[str, Array]) -> None:
    """BindingError unless inputs that the build fixed hold what it fixed."""
    if not any(end.is_fixed for end in engine._ends.values()):
        return
    for name, fixed in engine._engine.fixed_inputs.items():
        if wrong := checked_values(name, inputs[name], fixed):
            raise BindingError(wrong)


def _output(
    context: IExecutionContext, end: End, shape: Shape, addresses: Mapping[str, int]
) -> Array:
    """Memory for an output: what its allocator gives, or what lies at its address."""
    name, allocator = end.name, context._allocators.get(end.name)
    address = addresses.get(name, 0)
    if allocator is not None:
        nbytes = int(np.prod(shape, dtype=np.int64)) * end.dtype.itemsize
        wanted = (name, address, max(nbytes, 1), _ALIGNMENT, context._stream)
        given = called_back(allocator, "reallocate_output_async", *wanted)
        if not given:
            raise BindingError(
                f"the output allocator gave no memory for {nbytes} bytes of output {name!r}"
            )
        address = context._addresses[name] = int(given)
    if not address and 0 not in shape:
        raise BindingError(
            f"the address of output {name!r} is not set; call set_tensor_address or set_output_allocator"
        )
    stored = end.stored(shape)
    return end.logical(array_at(address, stored, end.dtype, f"output {name!r}", True))


def _told(context: IExecutionContext, name: str, shape: Shape) -> list[Callable[[], None]]:
    """What tells an output's allocator its shape."""
    allocator = context._allocators.get(name)
    if allocator is None:
        return []
    return [lambda: context._reports.told(allocator, "notify_shape", name, Dims(shape))]


def _found_by_run(
    context: IExecutionContext,
    addresses: Mapping[str, int],
    inputs: Mapping[str, Array],
    given: Mapping[str, Array],
) -> Call:
    """A call whose outputs have the shapes that it finds: they are copied to where they belong."""
    engine = context._engine

    def run(feeds: Mapping[str, Array], _: Mapping[str, Array]) -> None:
        found = context._watch.runner.run(feeds)
        for name, array in found.items():
            if name in engine._plan.hidden:
                continue
            _output(context, engine._all[name], array.shape, addresses)[...] = array
            for tell in _told(context, name, array.shape):
                tell()
        for action in context._watch.actions({**inputs, **found}, lambda: context._stream):
            action()

    return Call(run, given, {}, (), context._reports)
