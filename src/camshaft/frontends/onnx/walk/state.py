"""What is known while a model is imported: values by their names, and the graphs that they are in."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Collection, Sequence

from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from camshaft.errors import ConfigError, ModelError
from camshaft.frontends.onnx.dtypes import (
    array_of,
    dense_of,
    is_half,
    is_held,
    weight_of,
    widened,
)
from camshaft.frontends.onnx.model import opsets_of
from camshaft.frontends.onnx.scripts.scope import Scope, Shared, Value
from camshaft.frontends.onnx.sizes.input_values import InputValues
from camshaft.frontends.onnx.sizes.open_extents import OpenExtents
from camshaft.ir.extents.extent import Extent, symbols_of
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ir.recipe import Source
from camshaft.ir.script import End
from camshaft.ir.types import type_of


class State:
    """Of one import of one model.

    values: ONNX tensor name -> value, of all that is known so far; the inner scopes come first.
    scope: of the nodes that are being imported.  builder: of the model's first graph.
    narrow: names of values in fewer bits than they are held in -> their ONNX type.  typed: whether halves are rounded to.  weights: those that may be exchanged later.
    inputs: of the model, but for constants.  states: names of those that hold what the call before left.  forks: how often what follows an If was imported twice.
    """

    def __init__(
        self,
        proto: ModelProto,
        extents: OpenExtents,
        given: InputValues,
        *,
        typed: bool = False,
        refittable: Collection[str] | bool = False,
    ) -> None:
        """given: what is known of the values of inputs.  refittable: whether weights may be exchanged later, or which."""
        self.proto, self.extents, self.given, self.typed = proto, extents, given, typed
        self.refittable = refittable
        self.weights: dict[str, Source] = {}
        _check_names(proto.graph, refittable)
        self._scales = scales_of_weights(proto.graph) if refittable else frozenset()
        self.opsets = opsets_of(proto)
        self.reserved = frozenset(names_of(proto.graph))
        self.builder = GraphBuilder(
            proto.graph.name or "model",
            reserved=self.reserved,
        )
        self.shared = Shared(self.builder, needs=extents.needs)
        self.scope = Scope(self.shared, self.builder)
        self.values: ChainMap[str, Value] = ChainMap()
        self.narrow: dict[str, int] = {}
        self.inputs: list[End] = []
        self.states: frozenset[str] = frozenset()
        self.forks = 0

    def ask(self, tensors: Sequence[Tensor]) -> None:
        """Report inputs of the model whose values must be known as sizes."""
        self.given.ask(
            [
                t
                for t in tensors
                if t.name in self.shared.owners and any(e.value == t.name for e in self.inputs)
            ]
        )

    def unasked(self, size: Extent) -> bool:
        """Whether a size is computed from elements of inputs of which the user has said nothing."""
        opened = [end.values for end in self.inputs if end.name in self.given.opened]
        said = {*symbols_of(*(e for values in opened for e in values))}
        found = symbols_of(size)
        return bool(found) and said.issuperset(found)

    def constants(self, graph: GraphProto, read: Collection[str]) -> None:
        """The initializers that are read, or that give an input of the graph its default."""
        wanted = {*read, *(v.name for v in graph.input)}
        if graph is self.proto.graph:
            wanted -= set(self.given.said)  # which replaces a default
        for tensor in graph.initializer:
            if tensor.name not in wanted:
                continue
            self.define(tensor.name, self._constant(graph, tensor))
            if is_held(tensor.data_type):
                self.narrow[tensor.name] = tensor.data_type
        for sparse in graph.sparse_initializer:
            name = sparse.values.name
            if name not in wanted:
                continue
            self.define(name, self.builder.constant(dense_of(sparse), name))

    def note_reads(self, nodes: Sequence[NodeProto], left: Sequence[NodeProto]) -> None:
        """Write down that nodes of the model which are not among those that are left had their weights read."""
        if self.weights:
            kept = {id(node) for node in left}
            for name in (i for n in nodes if id(n) not in kept for i in n.input):
                if name in self.weights:
                    self.weights[name].reads["weights that the model makes floats itself"] = None

    def _constant(self, graph: GraphProto, tensor: TensorProto) -> Tensor:
        """The constant of an initializer: a weight that may be exchanged later, if it is one of the model's own."""
        array = array_of(tensor)
        asked = self.refittable
        may_change = asked if isinstance(asked, bool) else tensor.name in asked
        own = may_change and graph is self.proto.graph and tensor.data_type in _WEIGHTS
        if own and array.size and (array.ndim or tensor.name in self._scales):
            own_array = weight_of(tensor)
            weight = Source(tensor.name, type_of(own_array), own_array)
            self.weights[tensor.name] = weight
            if not is_half(tensor.data_type):
                return self.builder.source(weight, tensor.name)
            halves = Tensor(tensor.name, weight.type, own_array, recipe=weight)
            return self.builder.derived(widened, [halves], tensor.name)
        return self.builder.constant(array, tensor.name)

    def value(self, name: str) -> Value | None:
        """As `known`; None for no name."""
        if not name:
            return None
        return self.known(name)

    def known(self, name: str) -> Value:
        """The value of a name.  ModelError if nothing has it."""
        if name not in self.values:
            raise ModelError(
                f"reads {name!r}, which no earlier node, input or initializer makes "
                "(the graph has a cycle or is out of order)"
            )
        return self.scope.seen(self.values[name])

    def define(self, name: str, tensor: Value) -> None:
        """Give a value a name.  ModelError if another has it."""
        if name in self.values.maps[0]:
            raise ModelError(f"two tensors of the model are called {name!r}")
        self.values[name] = tensor


_WEIGHTS = (
    TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16,
    TensorProto.INT8, TensorProto.UINT8,
)  # fmt: skip
"""Element types of weights; other whole numbers are sizes and places."""


def _check_names(graph: GraphProto, refittable: Collection[str] | bool) -> None:
    if not isinstance(refittable, bool):
        unknown = sorted(set(refittable) - {t.name for t in graph.initializer})
        if unknown:
            raise ConfigError(
                f"refittable names {unknown[0]!r}, which is no weight of the model: give names of its initializers"
            )


def scales_of_weights(graph: GraphProto) -> frozenset[str]:
    """Scales that weights are quantized and dequantized by, which belong to them also where one holds for all."""
    weights = {t.name for t in graph.initializer}
    found = set()
    for node in graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and node.input[0] in weights:
            weights |= set(node.output)
            found.add(node.input[1])
    return frozenset(found)


def names_of(graph: GraphProto) -> set[str]:
    """The names of all tensors of a graph."""
    names = {v.name for v in (*graph.input, *graph.output)}
    names |= {t.name for t in graph.initializer} | {s.values.name for s in graph.sparse_initializer}
    for node in graph.node:
        names.update(node.output)
    return names
