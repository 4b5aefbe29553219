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
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

from camshaft.errors import ConfigError, ModelError
from camshaft.frontends.onnx.ancient import modern
from camshaft.frontends.onnx.context import DataDependent, Handler, NodeContext
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
from camshaft.frontends.onnx.scripts.calls import Place as CallPlace
from camshaft.frontends.onnx.scripts.calls import call
from camshaft.frontends.onnx.scripts.control import CONTROL, chosen
from camshaft.frontends.onnx.scripts.forks import (
    MOST_FORKS,
    Comparison,
    Facts,
    Fork,
    comparison,
    continued,
)
from camshaft.frontends.onnx.scripts.scope import HostValue, Scope, Shared, Value
from camshaft.frontends.onnx.scripts.values import Fresh, proto_of, value_type
from camshaft.frontends.onnx.volumes import window_types
from camshaft.ir import expr as E
from camshaft.ir.extents.constraints import Constraints, require_equal
from camshaft.ir.extents.said import Said
from camshaft.ir.extents.said import Value as SaidValue
from camshaft.ir.extents.sizes import is_static
from camshaft.ir.extents.symbol import UndecidedExtent
from camshaft.ir.graph import Graph, GraphBuilder, Tensor
from camshaft.ir.script import Call, End, Run, Script, Step
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
    values: Mapping[str, SaidValue] | None = None,
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
    Raises ModelError, naming the file, node or input at fault, for whatever cannot be imported, and for a
    model that takes a script (see `import_model`); ConfigError where what is said of an input does not fit
    the model's.
    """
    imported = import_model(
        model,
        shapes=shapes,
        profiles=profiles,
        typical=typical,
        typical_elements=typical_elements,
        values=values,
    )
    if imported.script is not None:
        steps = [s for s in imported.script.walk() if not isinstance(s, Run)]
        raise ModelError(f"the model is no single graph: {_why(steps[0])}")
    return imported.graphs[0]


@dataclass(frozen=True)
class Imported:
    """A model as graphs.

    script: what runs them; None where there is one, whose inputs and outputs are the model's.
    inputs, outputs: of a model with a script.  face: a graph without nodes that has the model's inputs
    (tensors), and what is known of their extents.  constants: values of the script that are constant.
    """

    graphs: tuple[Graph, ...]
    face: Graph
    script: Script | None = None
    inputs: tuple[End, ...] = ()
    outputs: tuple[End, ...] = ()
    constants: Mapping[str, np.ndarray] = field(default_factory=dict)


def import_model(
    model: str | os.PathLike[str] | bytes | ModelProto,
    *,
    shapes: Mapping[str, Sequence[Said]] | None = None,
    profiles: Sequence[Mapping[str, Sequence[Sequence[int]]]] | None = None,
    typical: Mapping[str, Sequence[int]] | None = None,
    typical_elements: Mapping[str, Sequence[int]] | None = None,
    values: Mapping[str, SaidValue] | None = None,
) -> Imported:
    """As `import_onnx`, also of models that decide while they run: by branches and loops, by shapes that
    hang on data, by sequences."""
    proto = load_model(model)
    extents = OpenExtents(
        dict(shapes or {}), tuple(profiles or ()), dict(typical or {}), dict(typical_elements or {})
    )
    given = InputValues(values or {})
    for _ in range(MOST_ROUNDS):
        importer = _Importer(proto, extents, given)
        try:
            imported = importer.run()
        except ModelError as error:
            if _learned(extents, given, importer.builder.constraints, error):
                continue  # what was learned before may decide what was not decided
            raise
        if not extents.learn(importer.builder.constraints) | given.learn():
            return imported
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
    """Where nodes stand: their opsets, which tensor names they may keep, in which operator's body, and whether
    it is known what of them is wanted in the end (`_Importer.nodes`)."""

    opsets: Mapping[str, int]
    kept: frozenset[str]
    within: str | None = None
    ends: bool = False


class _Importer:
    """Imports one model.

    values: ONNX tensor name -> value, of all that is known so far; the inner scopes come first.
    scope: of the nodes that are being imported.  builder: of the model's first graph.
    """

    def __init__(self, proto: ModelProto, extents: OpenExtents, given: InputValues) -> None:
        """given: what is known of the values of inputs."""
        self.proto, self.extents, self.given = proto, extents, given
        self.opsets = opsets_of(proto)
        self.reserved = frozenset(_names(proto.graph))
        self.builder = GraphBuilder(
            proto.graph.name or "model",
            reserved=self.reserved,
        )
        self.shared = Shared(self.builder)
        self.scope = Scope(self.shared, self.builder)
        self.values: ChainMap[str, Value] = ChainMap()
        self.narrow: dict[str, int] = {}
        self.inputs: list[End] = []
        self.forks = 0

    def run(self) -> Imported:
        graph = self.proto.graph
        found = reachable_in(graph)
        self._constants(graph, found.names)
        inputs = [v for v in graph.input if v.name not in self.values]
        self._check_names([v.name for v in inputs])
        for value in inputs:
            self._input(value)
        ends = [v.name for v in graph.output]
        self.nodes(found.nodes, _Place(self.opsets, self.reserved), ends)
        results = {v.name: self._output(v) for v in graph.output}
        face = replace(self.builder.graph({}), fixed=tuple(self.builder.fixed))
        plain = all(isinstance(v, Tensor) for v in results.values())
        if (
            self.scope.is_plain
            and plain
            and all(isinstance(e.type, TensorType) for e in self.inputs)
        ):
            return Imported((self.builder.graph(results),), face)  # type: ignore[arg-type]
        script, outside = self.scope.finish([e.value for e in self.inputs], [*results.values()])
        assert not outside, [(v.name, self.shared.owners[v.name][1]) for v in outside]
        outputs = tuple(End(name, v.name, v.type) for name, v in results.items())
        graphs, constants = tuple(self.shared.graphs), self.shared.constants
        return Imported(graphs, face, script, tuple(self.inputs), outputs, constants)

    def ask(self, tensors: Sequence[Tensor]) -> None:
        """Report inputs of the model whose values must be known as sizes."""
        self.given.ask(
            [
                t
                for t in tensors
                if t.name in self.scope.shared.owners
                and any(e.value == t.name for e in self.inputs)
            ]
        )

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
        if (
            value.type.WhichOneof("value") in ("sequence_type", "optional_type")
            or _elem_type(value) == TensorProto.STRING
        ):
            self._opaque_input(value)
            return
        try:
            dtype = boundary_dtype(_elem_type(value))
        except ModelError as error:
            raise ModelError(f"input {name!r}: {error}") from error
        tensor = self._declare(name, dtype, _declared(value))
        if not tensor.is_const:
            self.scope.give(tensor, tensor.values)
            self.inputs.append(End(name, tensor.name, tensor.type, tensor.values))
        elem_type = value.type.tensor_type.elem_type
        if is_narrow(elem_type):
            self.narrow[name] = elem_type
        inner = inner_dtype(elem_type)
        if inner != dtype:
            expr = E.cast(E.inp(0), inner)
            tensor = self.builder.emit(
                POINTWISE, [tensor], {"expr": expr}, name=name, output=f"{name}:{inner.name}"
            )
        self.scope.own(tensor, 0)
        self._define(name, tensor)

    def _opaque_input(self, value: ValueInfoProto) -> None:
        """An input of the script that no graph can take."""
        name = value.name
        try:
            type, proto = value_type(value.type, {}, lambda axis, like: 0)
        except ModelError as error:
            raise ModelError(f"input {name!r}: {error}") from error
        made = HostValue(self.builder.claim(name), type, proto)
        self.scope.give(made)
        self.inputs.append(End(name, made.name, type))
        self._define(name, made)

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
        least = None if name in self.given.said else 0
        values = symbolic_values(name, elements, self.extents, is_scalar=is_scalar, least=least)
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

    def _output(self, value: ValueInfoProto) -> Value:
        if value.name not in self.values:
            raise ModelError(f"output {value.name!r} is made by no node")
        found = self.values[value.name]
        declared = value.type.tensor_type.elem_type
        self._check_declared(value.name, found, declared)
        if (
            not isinstance(found.type, TensorType)
            or not declared
            or inner_dtype(declared) == boundary_dtype(declared)
        ):
            return found
        level = self.scope.level(found)
        tensor = self.scope.tensor(found, level)
        dtype = boundary_dtype(declared)
        expr = E.cast(E.inp(0), dtype)
        made = self.scope.at(level).builder.emit(
            POINTWISE,
            [tensor],
            {"expr": expr},
            name=value.name,
            output=f"{value.name}:{dtype.name}",
        )
        self.scope.own(made, level)
        return made

    def _check_declared(self, name: str, tensor: Value, declared: int) -> None:
        if declared and inner_dtype(declared) != tensor.type.dtype:
            raise ModelError(
                f"output {name!r} is declared as {elem_name(declared)}, and its node makes "
                f"{tensor.type.dtype}; export the model again, or repair the declaration"
            )

    # -- nodes -------------------------------------------------------------------------------

    def nodes(self, nodes: Sequence[NodeProto], place: _Place, outputs: Sequence[str] = ()) -> None:
        """Import nodes that come in topological order.

        outputs: names that must be defined in the end, of a script's nodes: then what follows an If may be
        imported in its branches.
        """
        for i, node in enumerate(nodes):
            own = node.name or next((o for o in node.output if o), node.op_type)
            name = place.within or own
            try:
                self._node(node, name, replace(place, ends=bool(outputs)))
            except Fork:
                self._forked(self._here(node, name, place), nodes[i + 1 :], outputs)
                return
            except ModelError as error:
                raise _located(error, name, node.op_type) from error
            except _FAULTS as error:
                raise ModelError(
                    f"node {name!r} ({node.op_type}) cannot be imported: "
                    f"{type(error).__name__}: {error}"
                ) from error

    def _forked(self, here: _Here, rest: Sequence[NodeProto], outputs: Sequence[str]) -> None:
        """Import what follows an If in both of its branches."""
        self.forks += 1
        condition = self._known(here.node.input[0])
        compared = comparison(self.scope, condition)
        names = [n for n in outputs if n not in self.values]
        branches = [_branch(here.node, holds) for holds in (True, False)]
        sides, errors = [], []
        for holds, branch in zip((True, False), branches, strict=True):
            graph = continued(branch, here.node, rest, names)
            known = {} if compared is None else compared.facts(holds)
            try:
                sides.append(self.inside(graph, {}, here.place, known))
            except ModelError as error:
                errors.append((holds, error))
        if errors:
            self._unforked(here, rest, outputs, compared, errors)
            return
        step = replace(here, results=tuple(names))
        for name, value in zip(names, chosen(step, condition, *sides), strict=True):
            self._define(name, value)

    def _unforked(
        self,
        here: _Here,
        rest: Sequence[NodeProto],
        outputs: Sequence[str],
        compared: Comparison | None,
        errors: Sequence[tuple[bool, ModelError]],
    ) -> None:
        """Go on in the only branch of an If that the nodes behind it take: sizes must be as it needs."""
        wrong, error = errors[0]
        said = None if compared is None else compared.says(not wrong)
        if len(errors) > 1 or said is None:
            raise error
        why = f"node {here.name!r}, behind which nothing takes what its other branch gives,"
        self.builder.constraints.add(said.left, said.kind, said.right, why)
        results = self.subgraph(_branch(here.node, not wrong), {}, around=here.place)
        for name, value in zip(here.node.output, results, strict=False):
            if name:
                self._define(name, value)
        self.nodes(rest, here.place, outputs)

    def _node(self, node: NodeProto, name: str, place: _Place) -> None:
        domain, opsets = _domain(node.domain), place.opsets
        if domain not in opsets:
            raise ModelError(f"domain {domain!r} is not among the model's opsets {dict(opsets)}")
        here = self._here(node, name, place)
        results: Sequence[Value | None] | None
        if domain == "" and node.op_type in CONTROL:
            results = CONTROL[node.op_type](here)
        elif any(v is not None and not isinstance(v.type, TensorType) for v in here.values):
            results = self._opaque(here, domain)
        else:
            results = self._ordinary(here, domain)
        for output, value in zip(node.output, results or (), strict=False):
            if output and value is not None:
                self._define(output, value)

    def _here(self, node: NodeProto, name: str, place: _Place) -> _Here:
        values = tuple(self._value(i) for i in node.input)
        return _Here(self, node, name, place.opsets[_domain(node.domain)], values, place)

    def _ordinary(self, here: _Here, domain: str) -> Sequence[Value | None] | None:
        """A node whose inputs are tensors: part of a graph if that can hold it, else a step."""
        level = max((self.scope.level(v) for v in here.values if v is not None), default=0)
        given = here.context(level)
        ctx = modern(given)
        constraints = self.builder.constraints
        found = dict(constraints.found)
        handler = HANDLERS.get((domain, ctx.proto.op_type))
        try:
            if handler is None:
                demand(ctx)
                found = dict(constraints.found)  # it demands the same as a step
                types = [proto_of(v) for v in ctx.inputs]
                body = function_body(ctx.proto, ctx.opset, domain, types)
                if body is not None:
                    self._body(body, here)
                    return None
                handler = host_step
            with ctx.builder.scope(here.name):
                results = _results(handler, ctx)
        except (DataDependent, UndecidedExtent) as error:
            constraints.found = found
            if ctx is not given:  # respelled, its operands perhaps computed anew
                for t in ctx.inputs:
                    if t is not None:
                        self._owned(t, level)
                here = replace(here, node=ctx.proto, opset=ctx.opset, values=ctx.inputs)
            return self._called(here, str(error))
        return [self._owned(r, level) for r in results]

    def _owned(self, result: Value, level: int) -> Value:
        """A result of a node of `level`, or what it stands for there."""
        if isinstance(result, HostValue):
            return result
        origin = self.scope.origin(result, level)
        if origin is result:
            self.scope.own(result, level)
        return origin

    def _opaque(self, here: _Here, domain: str) -> Sequence[Value | None] | None:
        """A node with an input that no graph can take."""
        graphs = any(a.HasField("g") for a in here.node.attribute)
        if not graphs:
            return self._called(here, "one of its inputs is no tensor of known rank")
        body = function_body(here.node, here.opset, domain, [proto_of(v) for v in here.values])
        if body is None:
            raise ModelError(
                "operators that hold a graph are not supported, but for If, Loop, Scan"
            )
        self._body(body, here)
        return None

    def _called(self, here: _Here, reason: str) -> Sequence[Value | None]:
        """A node as a step between graphs."""
        place = CallPlace(
            here.node,
            here.name,
            here.opset,
            here.values,
            lambda i: here.fresh(here.node.output[i]),
            here.output_name,
        )
        results = call(self.scope, place, reason)
        if results is None:
            raise ModelError(f"nothing runs {here.node.op_type!r} of opset {here.opset}: {reason}")
        return results

    def _body(self, body: FunctionBody, here: _Here) -> None:
        """Import what an operator stands for; only the operator's outputs remain visible."""
        kept = here.place.kept & frozenset(here.node.output)
        self.values = self.values.new_child()
        found = reachable(body.graph.node, here.node.output)
        self.nodes(found.nodes, _Place(body.opsets, kept, here.name))
        inner = self.values
        self.values = inner.parents
        for output in here.node.output:
            if output and output in inner:
                self._define(output, inner[output])

    def subgraph(
        self,
        graph: GraphProto,
        bound: Mapping[str, Value],
        opsets: Mapping[str, int] | None = None,
        *,
        around: _Place,
        level: int = 0,
        forks: bool = False,
    ) -> list[Value]:
        """Import a branch or loop body where it stands; it sees everything around it.

        level: of tensors in `bound` that a handler has just made.  forks: whether it is a script of its own.
        """
        for value in bound.values():
            self.scope.own(value, level)
        outer = self.values
        self.values = outer.new_child(dict(bound))
        try:
            found = reachable_in(graph)
            self._constants(graph, found.names)
            place = around if opsets is None else replace(around, opsets=opsets)
            self.nodes(found.nodes, place, [v.name for v in graph.output] if forks else ())
            return [self._known(v.name) for v in graph.output]
        finally:
            self.values = outer

    def inside(
        self,
        graph: GraphProto,
        bound: Mapping[str, Value],
        around: _Place,
        known: Facts | None = None,
    ) -> tuple[Scope, list[Value]]:
        """Import a branch or loop body as a script of its own; what it needs of extents holds only there."""
        outer, constraints = self.scope, self.builder.constraints
        self.scope = scope = outer.inner()
        scope.facts.update(known or {})
        before = dict(constraints.found)
        try:
            for value in bound.values():
                if not (isinstance(value, Tensor) and value.is_const):
                    scope.give(value)
            results = self.subgraph(graph, bound, around=around, forks=True)
            for value in results:
                scope.level(value)
            return scope, results
        finally:
            self.scope = outer
            scope.demands = {k: c for k, c in constraints.found.items() if k not in before}
            constraints.found = before

    def _value(self, name: str) -> Value | None:
        if not name:
            return None
        return self._known(name)

    def _known(self, name: str) -> Value:
        if name not in self.values:
            raise ModelError(
                f"reads {name!r}, which no earlier node, input or initializer makes "
                "(the graph has a cycle or is out of order)"
            )
        return self.scope.seen(self.values[name])

    def _define(self, name: str, tensor: Value) -> None:
        if name in self.values.maps[0]:
            raise ModelError(f"two tensors of the model are called {name!r}")
        self.values[name] = tensor


@dataclass
class _Here:
    """A node where it stands: see `scripts.control.Control`."""

    importer: _Importer
    node: NodeProto
    name: str
    opset: int
    values: tuple[Value | None, ...]
    place: _Place
    results: tuple[str, ...] = ()

    @property
    def scope(self) -> Scope:
        return self.importer.scope

    @property
    def may_fork(self) -> bool:
        return self.place.ends and self.importer.forks < MOST_FORKS

    def context(self, level: int) -> NodeContext:
        """The node as handlers see it: its inputs (tensors) in the graph of `level`."""
        importer, scope = self.importer, self.scope
        return NodeContext(
            scope.at(level).builder,
            self.node,
            self.name,
            self.opset,
            tuple(None if v is None else scope.tensor(v, level) for v in self.values),
            self.place.kept,
            importer.narrow,
            partial(importer.subgraph, around=self.place, level=level),  # type: ignore[arg-type]
            importer.ask,
        )

    def in_place(self, graph: GraphProto, bound: Mapping[str, Value]) -> list[Value]:
        return self.importer.subgraph(graph, bound, around=self.place)

    def inside(self, graph: GraphProto, bound: Mapping[str, Value]) -> tuple[Scope, list[Value]]:
        return self.importer.inside(graph, bound, self.place)

    def fresh(self, what: str) -> Fresh:
        return lambda axis, like: self.importer.extents.found(
            f"{self.name} {what} {axis}", what, axis, like, f"node {self.name!r}"
        )

    def claim(self, what: str) -> str:
        return self.importer.builder.claim(f"{self.name}:{what}")

    def output_name(self, index: int) -> str:
        names = self.results or self.node.output
        name = names[index] if index < len(names) else ""
        kept = name if name in self.place.kept else f"{self.name}:{name}"
        return self.importer.builder.claim(kept)

    def known(self, value: Value) -> np.ndarray | None:
        if isinstance(value, HostValue):
            return None
        if value.is_const:
            return value.array
        scope, level = self.importer.shared.owners[value.name]
        return scope.levels[level].builder.known(value)

    def decided(self, condition: Value) -> bool | None:
        known = self.known(condition)
        if known is not None:
            return bool(known.reshape(-1)[0])
        compared = comparison(self.scope, condition)
        if compared is None:
            return None
        return compared.decided(self.importer.builder.constraints)

    def constant(self, array: np.ndarray, what: str) -> Tensor:
        return self.importer.builder.constant(array, f"{self.name}:{what}")


def _results(handler: Handler, ctx: NodeContext) -> Sequence[Tensor]:
    """What the handler makes of a node, or a host step where ops cannot express it."""
    try:
        results = handler(ctx)
    except NoCanonicalForm:
        results = host_step(ctx, window_types(ctx))
    pass_on_narrow(ctx)
    return [results] if isinstance(results, Tensor) else results


def _branch(node: NodeProto, holds: bool) -> GraphProto:
    """The branch of an If that is run where its condition holds, or does not."""
    name = "then_branch" if holds else "else_branch"
    graph: GraphProto = next(a.g for a in node.attribute if a.name == name)
    return graph


def _why(step: Step) -> str:
    """Why a step is no part of a graph, for a message."""
    assert not isinstance(step, Run)
    if isinstance(step, Call):
        return f"node {step.name!r} ({step.op}): {step.reason}"
    return f"node {step.name!r} ({type(step).__name__}) is decided while the model runs"


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
