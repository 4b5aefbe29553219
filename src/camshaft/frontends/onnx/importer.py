"""ONNX model -> camshaft Graph: the walk over the nodes.

Second stage of the frontend (after `model.load_model`).  Each node that an output depends on goes
to the handler of its operator; an operator without one is replaced by the function body that ONNX's
schema gives for it, or else becomes a `host` step that runs ONNX's reference.  Shape arithmetic
folds while the graph is built.
"""

from __future__ import annotations

import os
from collections import ChainMap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto

from camshaft.errors import ConfigError, ModelError
from camshaft.frontends.onnx.ancient import modern
from camshaft.frontends.onnx.context import Handler, NodeContext
from camshaft.frontends.onnx.demands import demand
from camshaft.frontends.onnx.dtypes import (
    array_of,
    boundary_dtype,
    dense_of,
    elem_name,
    inner_dtype,
    is_narrow,
)
from camshaft.frontends.onnx.handlers import HANDLERS
from camshaft.frontends.onnx.hosted import host_step
from camshaft.frontends.onnx.input_values import (
    Declared,
    InputValues,
    fixed_array,
    said_elements,
    symbolic_values,
)
from camshaft.frontends.onnx.model import load_model, opsets_of
from camshaft.frontends.onnx.open_extents import OpenExtents
from camshaft.frontends.onnx.reachable import reachable, reachable_in
from camshaft.frontends.onnx.schema import FunctionBody, function_body, pass_on_narrow
from camshaft.frontends.onnx.volumes import window_types
from camshaft.ir import expr as E
from camshaft.ir.extents.constraints import Constraints, require_equal
from camshaft.ir.extents.said import Said, Value
from camshaft.ir.extents.sizes import is_static
from camshaft.ir.graph import Graph, GraphBuilder, Tensor
from camshaft.ir.types import DType, TensorType
from camshaft.ops import POINTWISE
from camshaft.ops.functional import NoCanonicalForm

MOST_ROUNDS = 8
"""Most imports of one model; each uses what the one before learned of the open extents."""

_FAULTS = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    MemoryError,
    onnx.checker.ValidationError,
)
"""What NumPy, protobuf and ONNX raise on attributes or values that make no sense."""


def import_onnx(
    model: str | os.PathLike[str] | bytes | ModelProto,
    *,
    shapes: Mapping[str, Sequence[Said]] | None = None,
    profiles: Sequence[Mapping[str, Sequence[Sequence[int]]]] | None = None,
    typical: Mapping[str, Sequence[int]] | None = None,
    typical_elements: Mapping[str, Sequence[int]] | None = None,
    values: Mapping[str, Value] | None = None,
) -> Graph:
    """Import an ONNX model as a graph of canonical ops, in the layout ONNX has (NCHW).

    model: path of an .onnx file (external data is looked for beside it), its bytes, or the parsed
        proto.
    shapes: input name -> shape, instead of the declared one: numbers, names ("batch"), names with
        ranges ("batch=1..16"), ranges, None for what is declared.
    profiles: input name -> (least, typical, most) shape, each; the extents range over all of them.
    typical: input name -> shape as it will be used; where nothing else says so, what is typical.
    typical_elements: the same of elements that say sizes.
    values: input name -> its values: numbers, which make it a constant (`Graph.fixed`), or what is said
        of sizes in `shapes`, for integer inputs whose elements say sizes.
    Extents that stay open become symbols (see `open_extents` for their typical sizes).

    Floats of at most 16 bits are computed in float32, integers of fewer than 8 in ones of 8; inputs and
    outputs keep their declared type.
    Raises ModelError, naming the file, node or input at fault, for whatever cannot be imported;
    ConfigError where what is said of an input does not fit the model's.
    """
    proto = load_model(model)
    extents = OpenExtents(
        dict(shapes or {}), tuple(profiles or ()), dict(typical or {}), dict(typical_elements or {})
    )
    given = InputValues(values or {})
    for _ in range(MOST_ROUNDS):
        importer = _Importer(proto, extents, given)
        try:
            graph = importer.run()
        except ModelError as error:
            if _learned(extents, given, importer.builder.constraints, error):
                continue  # what was learned before may decide what was not decided
            raise
        if not extents.learn(graph.constraints) | given.learn():
            return graph
    raise ModelError(
        "each import of the model still changes what is known of its open extents; give sizes with "
        "shapes={input: [...]}"
    )


def _learned(
    extents: OpenExtents, given: InputValues, constraints: Constraints, error: ModelError
) -> bool:
    """Whether an import that failed with `error` found out something new."""
    try:
        return extents.learn(constraints) | given.learn()
    except ModelError:  # what the import required before it failed, no sizes meet
        raise error from None


@dataclass(frozen=True)
class _Place:
    """Where nodes stand: their opsets, which tensor names they may keep, in which operator's body."""

    opsets: Mapping[str, int]
    kept: frozenset[str]
    within: str | None = None


class _Importer:
    """Imports one model.

    values: ONNX tensor name -> tensor, of all that is known so far; the inner scopes come first.
    """

    def __init__(self, proto: ModelProto, extents: OpenExtents, given: InputValues) -> None:
        """given: what is known of the values of inputs."""
        self.proto, self.extents, self.given = proto, extents, given
        self.opsets = opsets_of(proto)
        self.reserved = frozenset(_names(proto.graph))
        self.builder = GraphBuilder(
            proto.graph.name or "model",
            reserved=self.reserved,
            constraints=Constraints(hints=given.hints),
        )
        self.values: ChainMap[str, Tensor] = ChainMap()
        self.narrow: dict[str, int] = {}

    def run(self) -> Graph:
        graph = self.proto.graph
        found = reachable_in(graph)
        self._constants(graph, found.names)
        inputs = [v for v in graph.input if v.name not in self.values]
        self._check_names([v.name for v in inputs])
        for value in inputs:
            self._input(value)
        self.nodes(found.nodes, _Place(self.opsets, self.reserved))
        return self.builder.graph({v.name: self._output(v) for v in graph.output})

    def _check_names(self, inputs: Sequence[str]) -> None:
        """ConfigError if something is said of an input that the model does not have."""
        for option, given in (
            ("shapes", [self.extents.shapes]),
            ("profiles", self.extents.profiles),
            ("values", [self.given.said]),
        ):
            unknown = {name for names in given for name in names} - set(inputs)
            if unknown:
                raise ConfigError(
                    f"{option}= names {sorted(unknown)}, which the model has no input for; "
                    f"its inputs are {list(inputs)}"
                )

    # -- what the graph begins and ends with -------------------------------------------------

    def _constants(self, graph: GraphProto, read: Collection[str]) -> None:
        """The initializers that are read, or that give an input of the graph its default."""
        wanted = {*read, *(v.name for v in graph.input)}
        if graph is self.proto.graph:
            wanted -= set(self.given.said)  # which replaces a default
        for tensor in graph.initializer:
            if tensor.name not in wanted:
                continue
            self._define(tensor.name, self.builder.constant(array_of(tensor), tensor.name))
            if is_narrow(tensor.data_type):
                self.narrow[tensor.name] = tensor.data_type
        for sparse in graph.sparse_initializer:
            name = sparse.values.name
            if name not in wanted:
                continue
            self._define(name, self.builder.constant(dense_of(sparse), name))

    def _input(self, value: ValueInfoProto) -> None:
        name = value.name
        try:
            dtype = boundary_dtype(_elem_type(value))
        except ModelError as error:
            raise ModelError(f"input {name!r}: {error}") from error
        tensor = self._declare(name, dtype, _declared(value))
        elem_type = value.type.tensor_type.elem_type
        if is_narrow(elem_type):
            self.narrow[name] = elem_type
        inner = inner_dtype(elem_type)
        if inner != dtype:
            expr = E.cast(E.inp(0), inner)
            tensor = self.builder.emit(
                POINTWISE, [tensor], {"expr": expr}, name=name, output=f"{name}:{inner.name}"
            )
        self._define(name, tensor)

    def _declare(self, name: str, dtype: DType, declared: Declared) -> Tensor:
        """The input `name` of the graph; a constant if its values are given."""
        if not self.given.has(name):
            type_ = TensorType(dtype, self.extents.shape(name, declared))
            return self.builder.input(name, type_)
        value = self.given.of(name)
        if value is None and declared:
            shape = self.extents.shape(name, declared)
            value = (None,) * (shape[0] if is_static(shape) else 1)
        elements = said_elements(name, value, dtype, declared)
        if elements is None:
            array = fixed_array(name, value, dtype, declared)
            self._take_shape(name, declared, array.shape)
            return self.builder.fixed_input(name, array)
        is_scalar = not isinstance(value, tuple) if declared is None else not declared
        given = () if is_scalar else (len(elements),)
        self._take_shape(name, declared, given)
        values = symbolic_values(name, elements, self.extents, is_scalar=is_scalar)
        if is_static(values):
            return self.builder.fixed_input(name, np.array(values, dtype.numpy).reshape(given))
        return self.builder.input(name, TensorType(dtype, given), values)

    def _take_shape(self, name: str, declared: Declared, given: tuple[int, ...]) -> None:
        """Let the values of input `name`, which have the shape `given`, say its open extents."""
        shape = self.extents.shape(name, given if declared is None else declared)
        misfit = f"values[{name!r}] has the shape {list(given)}"
        if len(shape) != len(given):
            raise ConfigError(f"{misfit}, the input has rank {len(shape)}")
        with self.builder.constraints.learning(f"values[{name!r}]"):
            for extent, size in zip(shape, given, strict=True):
                try:
                    require_equal(extent, size, f"{misfit}, the input {list(shape)}")
                except ModelError as error:
                    raise ConfigError(str(error)) from None

    def _output(self, value: ValueInfoProto) -> Tensor:
        if value.name not in self.values:
            raise ModelError(f"output {value.name!r} is made by no node")
        tensor = self.values[value.name]
        declared = value.type.tensor_type.elem_type
        self._check_declared(value.name, tensor, declared)
        if not declared or inner_dtype(declared) == boundary_dtype(declared):
            return tensor
        dtype = boundary_dtype(declared)
        expr = E.cast(E.inp(0), dtype)
        output = f"{value.name}:{dtype.name}"
        return self.builder.emit(
            POINTWISE, [tensor], {"expr": expr}, name=value.name, output=output
        )

    def _check_declared(self, name: str, tensor: Tensor, declared: int) -> None:
        if declared and inner_dtype(declared) != tensor.type.dtype:
            raise ModelError(
                f"output {name!r} is declared as {elem_name(declared)}, and its node makes "
                f"{tensor.type.dtype}; export the model again, or repair the declaration"
            )

    # -- nodes -------------------------------------------------------------------------------

    def nodes(self, nodes: Sequence[NodeProto], place: _Place) -> None:
        """Import nodes that come in topological order."""
        for node in nodes:
            own = node.name or next((o for o in node.output if o), node.op_type)
            name = place.within or own
            try:
                self._node(node, name, place)
            except ModelError as error:
                raise _located(error, name, node.op_type) from error
            except _FAULTS as error:
                raise ModelError(
                    f"node {name!r} ({node.op_type}) cannot be imported: "
                    f"{type(error).__name__}: {error}"
                ) from error

    def _node(self, node: NodeProto, name: str, place: _Place) -> None:
        domain, opsets = _domain(node.domain), place.opsets
        if domain not in opsets:
            raise ModelError(f"domain {domain!r} is not among the model's opsets {dict(opsets)}")
        ctx = modern(
            NodeContext(
                self.builder, node, name, opsets[domain], tuple(self._value(i) for i in node.input),
                place.kept, self.narrow, partial(self._subgraph, around=place), self.given.ask,
            )
        )  # fmt: skip
        handler = HANDLERS.get((domain, node.op_type))
        if handler is None:
            demand(ctx)
            body = function_body(ctx, domain)
            if body is not None:
                self._body(body, ctx)
                return
            handler = host_step
        with self.builder.scope(name):
            results = _results(handler, ctx)
        for output, tensor in zip(node.output, results, strict=False):
            if output:
                self._define(output, tensor)

    def _body(self, body: FunctionBody, ctx: NodeContext) -> None:
        """Import what an operator stands for; only the operator's outputs remain visible."""
        kept = ctx.kept & frozenset(ctx.proto.output)
        self.values = self.values.new_child()
        found = reachable(body.graph.node, ctx.proto.output)
        self.nodes(found.nodes, _Place(body.opsets, kept, ctx.name))
        inner = self.values
        self.values = inner.parents
        for output in ctx.proto.output:
            if output and output in inner:
                self._define(output, inner[output])

    def _subgraph(
        self,
        graph: GraphProto,
        bound: Mapping[str, Tensor],
        opsets: Mapping[str, int] | None = None,
        *,
        around: _Place,
    ) -> list[Tensor]:
        """Import a branch or loop body, which sees everything around it."""
        outer = self.values
        self.values = outer.new_child(dict(bound))
        try:
            found = reachable_in(graph)
            self._constants(graph, found.names)
            place = around if opsets is None else replace(around, opsets=opsets)
            self.nodes(found.nodes, place)
            return [self._known(v.name) for v in graph.output]
        finally:
            self.values = outer

    def _value(self, name: str) -> Tensor | None:
        if not name:
            return None
        return self._known(name)

    def _known(self, name: str) -> Tensor:
        if name not in self.values:
            raise ModelError(
                f"reads {name!r}, which no earlier node, input or initializer makes "
                "(the graph has a cycle or is out of order)"
            )
        return self.values[name]

    def _define(self, name: str, tensor: Tensor) -> None:
        if name in self.values.maps[0]:
            raise ModelError(f"two tensors of the model are called {name!r}")
        self.values[name] = tensor


def _results(handler: Handler, ctx: NodeContext) -> Sequence[Tensor]:
    """What the handler makes of a node, or a host step where ops cannot express it."""
    try:
        results = handler(ctx)
    except NoCanonicalForm:
        results = host_step(ctx, window_types(ctx))
    pass_on_narrow(ctx)
    return [results] if isinstance(results, Tensor) else results


def _domain(domain: str) -> str:
    return "" if domain == "ai.onnx" else domain


def _located(error: ModelError, name: str, op_type: str) -> ModelError:
    """The error with its node named, unless a nested one is named already."""
    text = str(error)
    return error if text.startswith("node ") else ModelError(f"node {name!r} ({op_type}): {text}")


def _names(graph: GraphProto) -> set[str]:
    names = {v.name for v in (*graph.input, *graph.output)}
    names |= {t.name for t in graph.initializer} | {s.values.name for s in graph.sparse_initializer}
    for node in graph.node:
        names.update(node.output)
    return names


def _elem_type(value: ValueInfoProto) -> int:
    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        raise ModelError(f"is a {kind or 'value without type'}; only tensors are supported")
    return int(value.type.tensor_type.elem_type)


def _declared(value: ValueInfoProto) -> Declared:
    """The declared extents: numbers, names, None for neither; None if there is no shape at all."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    declared: list[int | str | None] = []
    for d in tensor.shape.dim:
        if d.HasField("dim_value"):
            declared.append(d.dim_value if d.dim_value >= 0 else None)
        else:
            declared.append(d.dim_param or None)
    return declared
