"""A parsed model as layers of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from camshaft.errors import ModelError
from camshaft.frontends.onnx.model import opsets_of
from camshaft.frontends.onnx.reachable import reachable_in, read_by
from camshaft.tensorrt.enums.data import type_of
from camshaft.tensorrt.network.definition import INetworkDefinition
from camshaft.tensorrt.network.element_types import FLOATS, border_type, data_type, onnx_type
from camshaft.tensorrt.network.emission import Emission, Failed
from camshaft.tensorrt.network.files.parsed import read_node
from camshaft.tensorrt.network.layer import ILayer
from camshaft.tensorrt.network.layers.sources import IConstantLayer
from camshaft.tensorrt.network.record import Parsed, Record
from camshaft.tensorrt.network.tensor import ITensor
from camshaft.tensorrt.plugins.layers import plugin_layer
from camshaft.tensorrt.plugins.nodes import PLUGINS
from camshaft.tensorrt.weights import Weights


@dataclass(frozen=True)
class Fault:
    """What is wrong with a model, or with a node of it, by its index in the graph."""

    text: str
    index: int = -1
    node: NodeProto | None = None


class Filling:
    """Adds the layers of one model."""

    def __init__(self, network: INetworkDefinition, model: ModelProto) -> None:
        self._network, self._model = network, model
        self._tensors: dict[str, ITensor] = {}
        self._initializers = {t.name: t for t in model.graph.initializer}
        self._elements: dict[str, np.ndarray[Any, Any]] = {}
        self._names = {r.name for r in network._records}

    def fill(self) -> list[Fault]:
        """Add all; returns what is wrong, of nodes the first that cannot be."""
        network, graph = self._network, self._model.graph
        opsets = opsets_of(self._model)
        version = opsets.pop("", network._parsed_opset or 1)
        if network._parsed_opset not in (None, version):
            return [Fault(f"the network holds a model of opset {network._parsed_opset}, and this is of {version}")]  # fmt: skip
        network._parsed_opset = version
        network._domains |= opsets
        network._restart()
        try:
            for info in graph.input:
                if info.name not in self._initializers:
                    self._input(info)
            found = reachable_in(graph).names
            made = [
                (i, node, self._node(node))
                for i, node in enumerate(graph.node)
                if not found.isdisjoint(node.output)
            ]
            faults = self._checked(made)
            if not faults:
                for info in graph.output:
                    self._output(self._tensor(info.name))
            return faults
        except ModelError as error:
            return [Fault(str(error))]

    def _checked(self, made: list[tuple[int, NodeProto, Record]]) -> list[Fault]:
        """Lower every node, which says what is wrong with it."""
        network = self._network
        draft = network._draft = Emission(network, draft=True)
        for index, node, record in made:
            try:
                for tensor in record.outputs:
                    draft.value(tensor)
            except Failed:
                continue
            except ModelError as error:
                return [Fault(str(error), index, node)]
        return []

    def _input(self, info: ValueInfoProto) -> None:
        what, kind = info.type.WhichOneof("value"), info.type.tensor_type
        if what not in (None, "tensor_type"):
            said = str(what).removesuffix("_type").replace("_", " ")
            raise ModelError(f"input {info.name!r} is of the kind {said}, and TensorRT's API has only tensors; use camshaft.build")  # fmt: skip
        if not kind.HasField("shape"):
            raise ModelError(f"input {info.name!r} is no tensor of known rank; export the model with its shape")  # fmt: skip
        shape = [d.dim_value if d.HasField("dim_value") else -1 for d in kind.shape.dim]
        shown = border_type(kind.elem_type, f"input {info.name!r}")
        made = self._network.add_input(info.name, shown, shape)
        if made is None:
            raise ModelError(f"input {info.name!r} cannot be added to the network")
        made._native = kind.elem_type
        self._remark(f"input {info.name!r}", kind.elem_type)
        made._axes = {i: d.dim_param for i, d in enumerate(kind.shape.dim) if d.dim_param}
        self._tensors[info.name] = made

    def _output(self, tensor: ITensor) -> None:
        seen = self._network._seen(tensor)
        if seen is not None and seen.elem_type:
            self._remark(f"output {tensor.name!r}", seen.elem_type)
            # The parser sets the types of floats, so that those of layers don't change them.
            shown = data_type(seen.elem_type)
            tensor._dtype = shown if shown in FLOATS else None
        self._network.mark_output(tensor)

    def _remark(self, end: str, number: int) -> None:
        """Warn that an end of the file has a type that DataType lacks.  ModelError where there is none like it."""
        shown = border_type(number, end)
        if onnx_type(shown) != number:
            said = TensorProto.DataType.Name(number)
            self._network._reports.warning(
                f"{end} is of {said}, which TensorRT lacks: the engine has it as {shown.name} and casts it"
            )

    def _tensor(self, name: str) -> ITensor:
        """The tensor of a name in the file; an initializer becomes a layer when it is read first."""
        if name not in self._tensors:
            proto = self._initializers.get(name)
            if proto is None:
                raise ModelError(f"nothing in the model gives {name!r}")
            self._tensors[name] = self._constant(proto)
        return self._tensors[name]

    def _constant(self, proto: TensorProto) -> ITensor:
        elements = numpy_helper.to_array(proto)
        name = self._unique(proto.name)
        if type_of(elements.dtype) is None:  # of a type that Weights lacks
            node = helper.make_node("Constant", [], [proto.name], name=name, value=proto)
            parsed = Parsed(node, {})
            record = self._network._add_parsed(IConstantLayer, name, parsed, [], [proto.name], {})
            return record.outputs[0]
        held = Weights(np.ascontiguousarray(elements))
        self._elements[proto.name] = elements
        self._network._name_weights(held, proto.name)
        layer = self._network._add(IConstantLayer, [], weights=held, shape=elements.shape)
        layer.name = name
        made = layer._record.outputs[0]
        made._name = proto.name
        return made

    def _node(self, node: NodeProto) -> Record:
        inputs = [self._tensor(n) if n else None for n in node.input]
        inner = sorted(read_by(node) - {n for n in node.input if n})
        captured = {n: self._tensor(n) for n in inner if n in self._tensors or n in self._initializers}  # fmt: skip
        is_plugin = node.domain == PLUGINS
        cls, params = plugin_layer(node) if is_plugin else self._read(node)
        name = self._unique(node.name or next((o for o in node.output if o), node.op_type))
        outputs = [o for o in node.output if o]
        parsed = Parsed(node, captured)
        record = self._network._add_parsed(cls, name, parsed, inputs, outputs, params)
        if is_plugin:
            record.parsed = None
        self._tensors.update(zip(outputs, record.outputs, strict=True))
        return record

    def _read(self, node: NodeProto) -> tuple[type[ILayer], dict[str, Any]]:
        """The class and the parameters of a node's layer; a constant's elements are kept for nodes that read them."""
        version = self._network._parsed_opset
        assert version is not None
        cls, params = read_node(node, self._elements, version)
        if node.op_type == "Constant" and "weights" in params:
            self._elements[node.output[0]] = params["weights"].numpy().reshape(params["shape"])
        return cls, params

    def _unique(self, name: str) -> str:
        made, count = name, 0
        while made in self._names:
            count += 1
            made = f"{name}_{count}"
        self._names.add(made)
        return made
