"""Inputs and outputs of a model: their types, what is said of their values, and casts at the ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from onnx import TensorProto, TypeProto, ValueInfoProto

from camshaft.errors import ConfigError, ModelError
from camshaft.frontends.onnx.dtypes import (
    boundary_dtype,
    elem_name,
    inner_dtype,
    is_held,
    onnx_dtype,
)
from camshaft.frontends.onnx.scripts.scope import HostValue, Value
from camshaft.frontends.onnx.scripts.values import value_type
from camshaft.frontends.onnx.sizes.declared import Declared, declared_of
from camshaft.frontends.onnx.sizes.input_values import (
    fixed_array,
    said_elements,
    symbolic_values,
)
from camshaft.frontends.onnx.walk.state import State
from camshaft.ir import expr as E
from camshaft.ir.extents.constraints import require_equal
from camshaft.ir.extents.sizes import is_static
from camshaft.ir.graph import Tensor
from camshaft.ir.script import End, Opaque, ValueType
from camshaft.ir.types import DType, TensorType
from camshaft.ops import POINTWISE


def check_names(state: State, inputs: Sequence[str]) -> None:
    """ConfigError if something is said of an input that the model does not have."""
    for option, given in (
        ("shapes", [state.extents.shapes]),
        ("profiles", state.extents.profiles),
        ("values", [state.given.said]),
    ):
        unknown = {name for names in given for name in names} - set(inputs)
        if unknown:
            raise ConfigError(
                f"{option}= names {sorted(unknown)}, which the model has no input for; "
                f"its inputs are {list(inputs)}"
            )


def declare_input(state: State, value: ValueInfoProto) -> None:
    """Declare an input of the model."""
    name = value.name
    if (
        value.type.WhichOneof("value") in ("sequence_type", "optional_type", "map_type")
        or value.type.tensor_type.elem_type == TensorProto.STRING
    ):
        _opaque_input(state, value)
        return
    try:
        dtype = boundary_dtype(_elem_type(value))
    except ModelError as error:
        raise ModelError(f"input {name!r}: {error}") from error
    tensor = _declare(state, name, dtype, declared_of(value))
    if not tensor.is_const:
        state.scope.give(tensor, tensor.values)
        state.inputs.append(End(name, tensor.name, tensor.type, tensor.values))
    elem_type = value.type.tensor_type.elem_type
    if is_held(elem_type):
        state.narrow[name] = elem_type
    inner = inner_dtype(elem_type)
    if inner != dtype:
        expr = E.cast(E.inp(0), inner)
        tensor = state.builder.emit(
            POINTWISE, [tensor], {"expr": expr}, name=name, output=f"{name}:{inner.name}"
        )
    state.scope.own(tensor, 0)
    state.define(name, tensor)


def _opaque_input(state: State, value: ValueInfoProto) -> None:
    """An input of the script that no graph can take."""
    name = value.name
    proto = TypeProto()
    proto.CopyFrom(value.type)
    element = _innermost(proto)
    try:
        if element.HasField("tensor_type"):
            held = inner_dtype(element.tensor_type.elem_type)
            element.tensor_type.elem_type = onnx_dtype(held)
        type, proto = value_type(proto, {}, lambda axis, like: 0)
    except ModelError as error:
        raise ModelError(f"input {name!r}: {error}") from error
    made = HostValue(state.builder.claim(name), type, proto)
    state.scope.give(made)
    state.inputs.append(End(name, made.name, as_declared(type, value)))
    state.define(name, made)


def as_declared(type: ValueType, value: ValueInfoProto) -> ValueType:
    """The type of an input or output that no graph takes or makes, with the element type that the model
    declares: inside, narrow ones are held in others."""
    declared = _innermost(value.type).tensor_type.elem_type
    if not isinstance(type, Opaque) or type.keys is not None or not declared:
        return type
    dtype = boundary_dtype(declared)
    return replace(type, dtype=dtype, text=type.text.replace(str(type.dtype), str(dtype)))


def _innermost(proto: TypeProto) -> TypeProto:
    """The type of what sequences and optionals hold, itself where it is neither."""
    while proto.WhichOneof("value") in ("optional_type", "sequence_type"):
        proto = getattr(proto, str(proto.WhichOneof("value"))).elem_type
    return proto


def _declare(state: State, name: str, dtype: DType, declared: Declared) -> Tensor:
    """The input `name` of the graph; a constant if its values are given."""
    if not state.given.has(name):
        type_ = TensorType(dtype, state.extents.shape(name, declared))
        return state.builder.input(name, type_)
    value = state.given.of(name)
    if value is None and declared:
        shape = state.extents.shape(name, declared)
        value = (None,) * (shape[0] if is_static(shape) else 1)
    elements = said_elements(name, value, dtype, declared)
    if elements is None:
        array = fixed_array(name, value, dtype, declared)
        _take_shape(state, name, declared, array.shape)
        return state.builder.fixed_input(name, array)
    is_scalar = not isinstance(value, tuple) if declared is None else not declared
    given = () if is_scalar else (len(elements),)
    _take_shape(state, name, declared, given)
    least = None if name in state.given.said else 0
    values = symbolic_values(name, elements, state.extents, is_scalar=is_scalar, least=least)
    if is_static(values):
        return state.builder.fixed_input(name, np.array(values, dtype.numpy).reshape(given))
    return state.builder.input(name, TensorType(dtype, given), values)


def _take_shape(state: State, name: str, declared: Declared, given: tuple[int, ...]) -> None:
    """Let the values of input `name`, which have the shape `given`, say its open extents."""
    shape = state.extents.shape(name, given if declared is None else declared)
    misfit = f"values[{name!r}] has the shape {list(given)}"
    if len(shape) != len(given):
        raise ConfigError(f"{misfit}, the input has rank {len(shape)}")
    with state.builder.constraints.learning(f"values[{name!r}]"):
        for extent, size in zip(shape, given, strict=True):
            try:
                require_equal(extent, size, f"{misfit}, the input {list(shape)}")
            except ModelError as error:
                raise ConfigError(str(error)) from None


def output_of(state: State, value: ValueInfoProto) -> Value:
    """What an output of the model is, in the type that it declares."""
    if value.name not in state.values:
        raise ModelError(f"output {value.name!r} is made by no node")
    found = state.values[value.name]
    declared = value.type.tensor_type.elem_type
    _check_declared(value.name, found, declared)
    if (
        not isinstance(found.type, TensorType)
        or not declared
        or inner_dtype(declared) == boundary_dtype(declared)
    ):
        return found
    level = state.scope.level(found)
    tensor = state.scope.tensor(found, level)
    dtype = boundary_dtype(declared)
    expr = E.cast(E.inp(0), dtype)
    made = state.scope.at(level).builder.emit(
        POINTWISE,
        [tensor],
        {"expr": expr},
        name=value.name,
        output=f"{value.name}:{dtype.name}",
    )
    state.scope.own(made, level)
    return made


def _check_declared(name: str, tensor: Value, declared: int) -> None:
    if declared and inner_dtype(declared) != tensor.type.dtype:
        raise ModelError(
            f"output {name!r} is declared as {elem_name(declared)}, and its node makes "
            f"{tensor.type.dtype}; export the model again, or repair the declaration"
        )


def _elem_type(value: ValueInfoProto) -> int:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise ModelError(f"is a {kind or 'value without type'}, which is not supported")
    return int(value.type.tensor_type.elem_type)
