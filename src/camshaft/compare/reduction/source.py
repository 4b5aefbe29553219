"""The model to reduce with one recorded run, and the model of any subset of its nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from camshaft.compare.cuts import declared
from camshaft.frontends.onnx.reachable import reachable, reachable_in, read_by

Arrays = Mapping[str, np.ndarray]
_SMALL = 64
"""Elements of an initializer that may say a shape: shape inference reads them."""
_CONSTANTS = ("Constant", "ConstantOfShape")
_SAY_SHAPES = ("Shape", "Size")
"""Operators whose results do not hang on the values of their inputs."""


@dataclass(frozen=True)
class Candidate:
    """A model that may fail, and inputs for it.  fixed: whether its sizes were made those of the recorded run."""

    model: ModelProto
    feeds: Arrays
    fixed: bool = False

    @property
    def nodes(self) -> int:
        """How many nodes it has, constants left out."""
        return sum(n.op_type not in _CONSTANTS for n in self.model.graph.node)


@dataclass(frozen=True)
class Source:
    """A model with the values of one run.

    proto: without local functions.  values: tensor -> array, inputs included.  fixed: whether models made of it have the
    sizes of the run, in place of open ones.
    """

    proto: ModelProto
    values: Arrays
    fixed: bool = True

    @cached_property
    def nodes(self) -> list[NodeProto]:
        """Those that outputs depend on, in order, constants left out; each has a name."""
        found = []
        for node in reachable_in(self.proto.graph).nodes:
            if node.op_type != "Constant":
                named = NodeProto()
                named.CopyFrom(node)
                named.name = node.name or next((o for o in node.output if o), node.op_type)
                found.append(named)
        return found

    @cached_property
    def _constants(self) -> dict[str, NodeProto]:
        return {n.output[0]: n for n in self.proto.graph.node if n.op_type == "Constant"}

    @cached_property
    def _weights(self) -> dict[str, TensorProto]:
        return {t.name: t for t in self.proto.graph.initializer}

    @cached_property
    def _sparse(self) -> dict[str, Any]:
        return {t.values.name: t for t in self.proto.graph.sparse_initializer}

    @cached_property
    def _inputs(self) -> dict[str, ValueInfoProto]:
        return {v.name: v for v in self.proto.graph.input if v.name not in self._weights}

    @cached_property
    def _outputs(self) -> dict[str, ValueInfoProto]:
        return {v.name: v for v in self.proto.graph.output}

    @cached_property
    def _reads(self) -> list[set[str]]:
        return [read_by(n) for n in self.nodes]

    @cached_property
    def _read(self) -> set[str]:
        """What any node reads."""
        return set().union(*self._reads)

    @cached_property
    def _of_data(self) -> set[str]:
        """Tensors that hang on the values of inputs, not on their shapes alone."""
        found = set(self._inputs)
        for node, reads in zip(self.nodes, self._reads, strict=True):
            if node.op_type not in _SAY_SHAPES and not found.isdisjoint(reads):
                found.update(node.output)
        return found

    @cached_property
    def _inferred(self) -> dict[str, ValueInfoProto]:
        return {v.name: v for v in inferred(self.proto).graph.value_info}

    @cached_property
    def _dims(self) -> set[str]:
        """Names of the open sizes of the model's inputs."""
        types = [v.type.tensor_type for v in self._inputs.values()]
        return {d.dim_param for t in types for d in t.shape.dim if d.dim_param}

    def piece(self, kept: Sequence[int], outputs: Iterable[str] | None = None) -> Candidate | None:
        """The model of the nodes at these positions; None where no run of it is known.

        outputs: tensors; None for those of the model that these nodes compute, and whatever only left-out nodes read.
        What left-out nodes computed is an input with its recorded values, or a constant where it hangs on shapes alone.
        """
        nodes, reads = [self.nodes[i] for i in kept], [self._reads[i] for i in kept]
        ends = self._ends(nodes, reads) if outputs is None else list(outputs)
        ends = [n for n in ends if self._known(n)]
        if not ends:
            return None
        needed = reachable(nodes, ends)
        made = {o for n in needed.nodes for o in n.output if o}
        graph = GraphProto(name=self.proto.graph.name or "reduced")
        feeds: dict[str, np.ndarray] = {}
        inner = _inner(needed.nodes)
        for name in sorted(needed.names - made - inner):
            if not self._add_input(graph, name, feeds):
                return None
        order = {n: i for i, n in enumerate(self._inputs)}
        graph.input.sort(key=lambda v: order.get(v.name, len(order)))
        graph.node.extend(self._constants[n] for n in sorted(needed.names & set(self._constants)))
        graph.node.extend(needed.nodes)
        graph.output.extend(self._declared(n, self._outputs) for n in ends)
        model = ModelProto(ir_version=self.proto.ir_version, graph=graph)
        model.opset_import.extend(self.proto.opset_import)
        return Candidate(model, feeds, self.fixed)

    def _ends(self, nodes: Sequence[NodeProto], reads: Sequence[set[str]]) -> list[str]:
        inside = set().union(*reads)
        names = [o for n in nodes for o in n.output if o]
        return [n for n in names if n in self._outputs or (n in self._read and n not in inside)]

    def _known(self, name: str) -> bool:
        """Whether the type of an output can be said."""
        return name in self.values or name in self._outputs or name in self._inferred

    def _add_input(self, graph: GraphProto, name: str, feeds: dict[str, np.ndarray]) -> bool:
        """Give `graph` the tensor `name` from outside; False where its values are not known."""
        if name in self._weights:
            graph.initializer.append(self._weights[name])
        elif name in self._sparse:
            graph.sparse_initializer.append(self._sparse[name])
        elif name in self._constants:
            pass
        elif name not in self.values:
            return False
        elif name in self._of_data:
            feeds[name] = self.values[name]
            graph.input.append(self._declared(name, self._inputs))
        else:
            graph.initializer.append(onnx.numpy_helper.from_array(self.values[name], name))
        return True

    def _declared(self, name: str, ends: Mapping[str, ValueInfoProto]) -> ValueInfoProto:
        """An input or output, with the sizes of the run or those that the model leaves open.  ends: inputs or outputs of the
        whole model."""
        array = self.values.get(name)
        if self.fixed and array is not None:
            return declared(name, array)
        if name in ends:
            return ends[name]
        info = ValueInfoProto()
        info.CopyFrom(
            self._inferred[name]
            if array is None or name in self._inferred
            else declared(name, array)
        )
        if array is not None and len(info.type.tensor_type.shape.dim) == array.ndim:
            for dim, extent in zip(info.type.tensor_type.shape.dim, array.shape, strict=True):
                if not dim.HasField("dim_value") and dim.dim_param not in self._dims:
                    dim.dim_value = extent
        return info


def _inner(nodes: Iterable[NodeProto]) -> set[str]:
    """Names that subgraphs of the nodes define: no input of the model."""
    found: set[str] = set()
    graphs = [g for n in nodes for g in subgraphs(n)]
    while graphs:
        graph = graphs.pop()
        found.update(v.name for v in graph.input)
        found.update(t.name for t in graph.initializer)
        for node in graph.node:
            found.update(o for o in node.output if o)
            graphs.extend(subgraphs(node))
    return found


def subgraphs(node: NodeProto) -> list[GraphProto]:
    """The bodies and branches that a node holds."""
    found = [g for a in node.attribute for g in a.graphs]
    return [a.g for a in node.attribute if a.HasField("g")] + found


def inferred(proto: ModelProto, *, strict: bool = False) -> ModelProto:
    """The model with the types of its tensors, as far as they can be inferred; its weights are inputs, but for
    those that may say shapes.  strict: raises onnx.shape_inference.InferenceError where shapes contradict each other."""
    light = ModelProto(ir_version=max(proto.ir_version, 4))
    light.opset_import.extend(proto.opset_import)
    graph = light.graph
    graph.name = proto.graph.name or "graph"
    graph.node.extend(proto.graph.node)
    graph.output.extend(proto.graph.output)
    weights = {t.name for t in proto.graph.initializer}
    graph.input.extend(v for v in proto.graph.input if v.name not in weights)
    for t in proto.graph.initializer:
        if int(np.prod(t.dims)) <= _SMALL:
            graph.initializer.append(t)
        else:
            graph.input.append(helper.make_tensor_value_info(t.name, t.data_type, t.dims))
    return onnx.shape_inference.infer_shapes(light, strict_mode=strict, data_prop=True)
