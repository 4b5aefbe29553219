"""From layers to the nodes of a `camshaft.Network`: each when it, or something behind it, is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onnx import NodeProto

from camshaft.errors import ModelError
from camshaft.network import Network
from camshaft.network.tensor import Tensor
from camshaft.tensorrt.network.call import Call
from camshaft.tensorrt.network.element_types import onnx_type
from camshaft.tensorrt.network.files.opsets import upgraded
from camshaft.tensorrt.network.int8_ends import from_border
from camshaft.tensorrt.network.names import rename_graph
from camshaft.tensorrt.network.record import Parsed, Record
from camshaft.tensorrt.network.tensor import ITensor
from camshaft.tensorrt.weights import Weights

if TYPE_CHECKING:
    from camshaft.tensorrt.network.graph import Graph

_NUMBERED = re.compile(r"_\d+$")


class Failed(ModelError):
    """A layer that cannot be since one before it cannot; that one has been reported."""


@dataclass(frozen=True)
class Holding:
    """A constant's name, and the layer, with its parameter, that holds its elements."""

    constant: str
    weights: Weights
    record: Record
    param: str


class Emission:
    """Nodes for layers.

    draft: whether it is for types and shapes only: then loops are one iteration, and layers may be lowered before all is there.
    levels: inputs in floats before their levels are scaled.
    """

    def __init__(self, graph: Graph, *, draft: bool, around: Emission | None = None) -> None:
        """around: of the layers around a loop whose body this is."""
        self.graph, self.draft = graph, draft
        self.values: dict[ITensor, Tensor] = {}
        self._around = around
        if around is None:
            self.net = Network(graph._name, opset=graph._opset())
            for domain, version in graph._domains.items():
                self.net.domain(domain, version)
            self.origins: dict[str, Record] = {}
            self.named: dict[str, ITensor] = {}
            self.levels: list[str] = []
            self.main: dict[Record, str] = {}
            self.constants: dict[str, str] = {}
            self.held: list[Holding] = []
            self.failed: dict[Record, str] = {}
            self._taken: set[str] = set()
            self.loops: dict[object, dict[Record, Tensor]] = {}

    def body(self, net: Network) -> Emission:
        """Of the layers in a loop's body, which `net` takes."""
        made = Emission(self.graph, draft=False, around=self)
        made.net = net
        made.origins, made.constants, made.held = self.origins, self.constants, self.held
        made.failed, made._taken = self.failed, self._taken
        made.loops = {}
        made.named, made.main, made.levels = self.named, self.main, self.levels
        return made

    def again(self, net: Network) -> Emission:
        """Of layers that `body` lowers too: what is lowered here has no tensor's name."""
        made = self.body(net)
        made.named, made.main = {}, {}
        return made

    def found(self, tensor: ITensor) -> Tensor | None:
        """What stands for a tensor, if its layer has been lowered."""
        made = self.values.get(tensor)
        if made is None and self._around is not None:
            return self._around.found(tensor)
        return made

    def value(self, tensor: ITensor) -> Tensor:
        """What stands for a tensor; lowers what it depends on.  ModelError says which layer cannot be, and why."""
        waiting: list[ITensor] = [tensor]
        path: set[ITensor] = set()
        while waiting:
            here = waiting[-1]
            if self.found(here) is not None:
                waiting.pop()
                continue
            record = here._producer
            if record is None:
                self._input(here)
                continue
            if record in self.failed:
                raise Failed(self.failed[record])
            missing = [t for t in record.before(self.draft) if self.found(t) is None]
            if not missing:
                self._layer(record)
            elif here in path:
                raise ModelError(f"layer {record.name!r} depends on itself; rewire its inputs")
            else:
                path.add(here)
                waiting += missing
        made = self.found(tensor)
        assert made is not None
        return made

    def forget(self, records: Iterable[Record]) -> None:
        """Lower these layers anew when they are asked for."""
        for record in records:
            self.failed.pop(record, None)
            for tensor in record.outputs:
                self.values.pop(tensor, None)

    def weights_made(
        self, constant: Tensor, weights: Weights, record: Record | None = None, param: str = ""
    ) -> None:
        """Note whose elements a constant has.  record, param: the layer whose parameter they are; None: refits name them by
        `set_weights_name` alone."""
        if record is not None:
            self.held.append(Holding(constant.name, weights, record, param))
        name = self.graph._weights_name(weights)
        if name is not None:
            self.constants[constant.name] = name

    def _input(self, tensor: ITensor) -> None:
        if tensor not in self.graph._inputs:
            raise ModelError(
                f"tensor {tensor.name!r} was removed from the network, or is of another"
            )
        shape = [tensor._axes.get(i) if d < 0 else d for i, d in enumerate(tensor._shape)]
        at_border = onnx_type(tensor._dtype or tensor._declared)
        within = tensor._native or onnx_type(tensor._declared)
        made = self.net.input(tensor.name, shape, at_border)
        self._taken.add(made.name)
        if at_border != within:
            made = self.net.cast(made, within)
        made, levels = from_border(self.net, tensor, made, within)
        if made is not levels:
            self.levels.append(levels.name)
        self.values[tensor] = made
        self.named[made.name] = tensor

    def _layer(self, record: Record) -> None:
        before = len(self.net.nodes)
        name = record.name if not _NUMBERED.search(record.name) else f"{record.name}'"
        name = self.main[record] = self.free(name)
        try:
            if record.parsed is not None:
                made = self._parsed(record, record.parsed, name)
            else:
                inputs = [None if t is None else self.found(t) for t in record.inputs]
                made = record.cls._lower(Call(self, self.net, record, name, inputs))
            for i, (tensor, value) in enumerate(zip(record.outputs, made, strict=True)):
                self.set(tensor, self._as_asked(record, i, value))
        except ModelError as error:
            said = str(error)
            told = said if repr(record.name) in said else f"layer {record.name!r}: {said}"
            self.failed[record] = told
            raise ModelError(told) from error
        for node in self.net.nodes[before:]:
            self.origins[node.name] = record

    def set(self, tensor: ITensor, value: Tensor) -> None:
        """Let a value, or a copy if it stands for another tensor, be a tensor's."""
        if value.name in self._taken:
            value = self.net.op("Identity", value)
        self._taken.add(value.name)
        self.values[tensor] = value
        self.named[value.name] = tensor

    def _as_asked(self, record: Record, index: int, value: Tensor) -> Tensor:
        """An output in the type that `set_output_type` asked for, of layers whose type is a matter of choice."""
        kind = record.output_types.get(index)
        if kind is None or not record.cls._casts:
            return value
        wanted = onnx_type(kind)
        return (
            value if self.net.type_of(value).elem_type == wanted else self.net.cast(value, wanted)
        )

    def free(self, name: str) -> str:
        """A name that nothing in the network has, like `name`."""
        return self.net.free(name or "layer")

    def _parsed(self, record: Record, parsed: Parsed, name: str) -> Sequence[Tensor]:
        """The node with names of values here, in the operators' version of the network."""
        node = NodeProto()
        node.CopyFrom(parsed.node)
        node.name = name
        node.input[:] = ["" if t is None else self._named(t) for t in record.inputs]
        node.output[:] = [self.free(o) if o else "" for o in parsed.node.output]
        captured = {n: self._named(t) for n, t in parsed.captured.items()}
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                rename_graph(graph, captured)
        version = self.graph._opset()
        for each in upgraded(self.net, node, self.graph._parsed_opset or version, version):
            self.net.node(each)
        return [self.net.value(o) for o in node.output if o]

    def _named(self, tensor: ITensor) -> str:
        value = self.found(tensor)
        assert value is not None
        return value.name
