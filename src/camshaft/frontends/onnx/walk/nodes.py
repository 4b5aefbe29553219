"""The walk over the nodes: each becomes part of a graph, or a step between graphs.

A node goes to the handler of its operator; an operator without one is replaced by the function body that
ONNX's schema gives for it, or else becomes a `host` step that runs ONNX's reference.  What no graph can
hold becomes a step of the script (`scripts.scope`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import onnx
from onnx import GraphProto, NodeProto

from camshaft.errors import ModelError
from camshaft.frontends.onnx.ancient import modern
from camshaft.frontends.onnx.context import DataDependent, Handler, NodeContext, domain_of
from camshaft.frontends.onnx.handlers import HANDLERS
from camshaft.frontends.onnx.hosted import host_step, is_known, unknown_operator
from camshaft.frontends.onnx.plugins import plugin_handler, plugin_of, require_own_name
from camshaft.frontends.onnx.reachable import reachable, reachable_in
from camshaft.frontends.onnx.schema import FunctionBody, function_body, pass_on_narrow
from camshaft.frontends.onnx.scripts.calls import Place as CallPlace
from camshaft.frontends.onnx.scripts.calls import call, refusal
from camshaft.frontends.onnx.scripts.control import CONTROL
from camshaft.frontends.onnx.scripts.control.branches import branch_of, chosen
from camshaft.frontends.onnx.scripts.forks import Facts, Fork, comparison, continued
from camshaft.frontends.onnx.scripts.scope import HostValue, Scope, Value
from camshaft.frontends.onnx.scripts.values import proto_of
from camshaft.frontends.onnx.sizes.demands import demand
from camshaft.frontends.onnx.volumes import window_types
from camshaft.frontends.onnx.walk.here import Here, Place
from camshaft.frontends.onnx.walk.resampled import resampled
from camshaft.frontends.onnx.walk.squeezes import cases
from camshaft.frontends.onnx.walk.state import State
from camshaft.frontends.onnx.walk.typed import declared_of_control, held_types, rounded_results
from camshaft.ir.extents.sizes import Constraint
from camshaft.ir.extents.symbol import UndecidedExtent
from camshaft.ir.graph import Tensor
from camshaft.ir.types import TensorType
from camshaft.ops.functional import NoCanonicalForm

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


class Nodes:
    """Imports nodes.  state: what is known so far, which grows."""

    def __init__(self, state: State) -> None:
        self.state = state

    def walk(self, nodes: Sequence[NodeProto], place: Place, outputs: Sequence[str] = ()) -> None:
        """Import nodes that come in topological order.

        outputs: names that must be defined in the end, of a script's nodes: then what follows an If may be
        imported in its branches.
        """
        for i, node in enumerate(nodes):
            own = node.name or next((o for o in node.output if o), node.op_type)
            name = place.within or own
            choice = cases(node, self.state, place.opsets)
            if choice is not None:
                self.walk([*choice, *nodes[i + 1 :]], place, outputs)
                return
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

    def _forked(self, here: Here, rest: Sequence[NodeProto], outputs: Sequence[str]) -> None:
        """Import what follows an If in both of its branches."""
        self.state.forks += 1
        condition = self.state.known(here.node.input[0])
        compared = comparison(self.state.scope, condition)
        names = [n for n in outputs if n not in self.state.values]
        sides: dict[bool, tuple[Scope, list[Value]]] = {}
        errors: dict[bool, ModelError] = {}
        for holds in (True, False):
            graph = continued(branch_of(here, holds), here.node, rest, names)
            known = {} if compared is None else compared.facts(holds)
            place = replace(here.place, iterations=f"{here.place.iterations} {holds}")
            try:
                sides[holds] = self.inside(graph, {}, place, known)
            except ModelError as error:
                errors[holds] = error
        if not sides:
            raise errors[True]
        for holds, why in errors.items():
            said = None if compared is None else compared.says(not holds)
            if said is not None:
                self._unforked(here, rest, outputs, said, not holds)
                return
            sides[holds] = self._refused(here, holds, why, sides[not holds][1])
        step = replace(here, results=tuple(names))
        for name, value in zip(
            names, chosen(step, condition, sides[True], sides[False]), strict=True
        ):
            self.state.define(name, value)

    def _refused(
        self, here: Here, holds: bool, error: ModelError, like: Sequence[Value]
    ) -> tuple[Scope, list[Value]]:
        """A branch of an If that fails if it is taken, and what it would give: values like these."""
        scope = self.state.scope.inner()
        branch = "then_branch" if holds else "else_branch"
        given = [HostValue(here.claim(f"{branch} {v.name}"), v.type, proto_of(v)) for v in like]
        refusal(scope, here.name, f"fails if its {branch} is taken, behind which {error}", given)
        return scope, [*given]

    def _unforked(
        self,
        here: Here,
        rest: Sequence[NodeProto],
        outputs: Sequence[str],
        said: Constraint,
        taken: bool,
    ) -> None:
        """Go on in the only branch of an If that the nodes behind it take: sizes must be as it needs."""
        why = f"node {here.name!r}, behind which nothing takes what its other branch gives,"
        self.state.builder.constraints.add(said.left, said.kind, said.right, why)
        results = self.subgraph(branch_of(here, taken), {}, around=here.place)
        for name, value in zip(here.node.output, results, strict=False):
            if name:
                self.state.define(name, value)
        self.walk(rest, here.place, outputs)

    def _node(self, node: NodeProto, name: str, place: Place) -> None:
        domain, opsets = domain_of(node.domain), place.opsets
        plugin = plugin_of(domain, node.op_type)
        if plugin is not None:
            ours = (domain, node.op_type) in HANDLERS
            require_own_name(plugin, opsets.get(domain, 0), ours)
        if domain not in opsets and plugin is None:
            raise ModelError(f"domain {domain!r} is not among the model's opsets {dict(opsets)}")
        here = self._here(node, name, place)
        results: Sequence[Value | None] | None
        if domain == "" and node.op_type in CONTROL:
            results = CONTROL[node.op_type](here)
            self.state.narrow |= declared_of_control(node)
        elif any(v is not None and not isinstance(v.type, TensorType) for v in here.values):
            results = self._opaque(here, domain)
        else:
            results = self._ordinary(here, domain)
        for output, value in zip(node.output, results or (), strict=False):
            if output and value is not None:
                self.state.define(output, value)

    def _here(self, node: NodeProto, name: str, place: Place) -> Here:
        values = tuple(self.state.value(i) for i in node.input)
        return Here(self, node, name, place.opsets.get(domain_of(node.domain), 1), values, place)

    def _ordinary(self, here: Here, domain: str) -> Sequence[Value | None] | None:
        """A node whose inputs are tensors: part of a graph if that can hold it, else a step."""
        level = max((self.state.scope.level(v) for v in here.values if v is not None), default=0)
        given = here.context(level)
        ctx = modern(given)
        constraints = self.state.builder.constraints
        found = dict(constraints.found)
        operator = (domain, ctx.proto.op_type)
        handler = HANDLERS.get(operator) or plugin_handler(*operator)
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
                results = self._results(handler, ctx)
        except (DataDependent, UndecidedExtent) as error:
            constraints.found = found
            if ctx is not given:  # respelled, its operands perhaps computed anew
                for t in ctx.inputs:
                    if t is not None:
                        self._owned(t, level)
                here = replace(here, node=ctx.proto, opset=ctx.opset, values=ctx.inputs)
            return self._called(here, str(error))
        return [self._owned(r, level) for r in results]

    def _results(self, handler: Handler, ctx: NodeContext) -> Sequence[Value]:
        """What the handler makes of a node, or a host step where ops cannot express it."""
        try:
            results = handler(ctx)
        except NoCanonicalForm:
            results = host_step(ctx, window_types(ctx))
        pass_on_narrow(ctx)
        made = [results] if isinstance(results, Tensor | HostValue) else results
        return rounded_results(ctx, made) if self.state.typed else made

    def _owned(self, result: Value, level: int) -> Value:
        """A result of a node of `level`, or what it stands for there."""
        if isinstance(result, HostValue):
            return result
        origin = self.state.scope.origin(result, level)
        if origin is result:
            self.state.scope.own(result, level)
        return origin

    def _opaque(self, here: Here, domain: str) -> Sequence[Value | None] | None:
        """A node with an input that no graph can take."""
        graphs = any(a.HasField("g") for a in here.node.attribute)
        if not graphs:
            if not is_known(domain, here.node.op_type, here.opset):
                raise ModelError(unknown_operator(here.node.op_type, here.opset, domain))
            return self._called(here, "one of its inputs is no tensor of known rank")
        body = function_body(here.node, here.opset, domain, [proto_of(v) for v in here.values])
        if body is None:
            raise ModelError(
                "operators that hold a graph are not supported, but for If, Loop, Scan"
            )
        self._body(body, here)
        return None

    def _called(self, here: Here, reason: str) -> Sequence[Value | None]:
        """A node as a step between graphs, or as one that says sizes and what comes of it."""
        apart = resampled(here, reason)
        if apart is not None:
            return apart
        place = CallPlace(
            here.node,
            here.name,
            here.opset,
            here.values,
            lambda i: here.fresh(here.node.output[i]),
            here.output_name,
        )
        results = call(self.state.scope, place, reason)
        if results is None:
            raise ModelError(f"nothing runs {here.node.op_type!r} of opset {here.opset}: {reason}")
        return results

    def _body(self, body: FunctionBody, here: Here) -> None:
        """Import what an operator stands for; only the operator's outputs remain visible."""
        kept = here.place.kept & frozenset(here.node.output)
        self.state.values = self.state.values.new_child()
        found = reachable(body.graph.node, here.node.output)
        self.walk(found.nodes, Place(body.opsets, kept, here.name))
        inner = self.state.values
        self.state.values = inner.parents
        for output in here.node.output:
            if output and output in inner:
                self.state.define(output, inner[output])

    def subgraph(
        self,
        graph: GraphProto,
        bound: Mapping[str, Value],
        opsets: Mapping[str, int] | None = None,
        *,
        around: Place,
        level: int = 0,
        forks: bool = False,
    ) -> list[Value]:
        """Import a branch or loop body where it stands; it sees everything around it.

        level: of tensors in `bound` that a handler has just made.  forks: whether it is a script of its own.
        """
        for value in bound.values():
            self.state.scope.own(value, level)
        outer = self.state.values
        self.state.values = outer.new_child(dict(bound))
        try:
            for name in bound:
                self.state.narrow.pop(name, None)
            self.state.narrow |= held_types(graph.input)
            found = reachable_in(graph)
            self.state.constants(graph, found.names)
            place = around if opsets is None else replace(around, opsets=opsets)
            self.walk(found.nodes, place, [v.name for v in graph.output] if forks else ())
            return [self.state.known(v.name) for v in graph.output]
        finally:
            self.state.values = outer

    def inside(
        self,
        graph: GraphProto,
        bound: Mapping[str, Value],
        around: Place,
        known: Facts | None = None,
    ) -> tuple[Scope, list[Value]]:
        """Import a branch or loop body as a script of its own; what it needs of extents holds only there."""
        outer, constraints = self.state.scope, self.state.builder.constraints
        self.state.scope = scope = outer.inner()
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
            self.state.scope = outer
            scope.demands = {k: c for k, c in constraints.found.items() if k not in before}
            constraints.found = before


def _located(error: ModelError, name: str, op_type: str) -> ModelError:
    """The error with its node named, unless a nested one is named already."""
    text = str(error)
    return error if text.startswith("node ") else ModelError(f"node {name!r} ({op_type}): {text}")
