"""Graph -> ModelProto for looking at, in Netron or any other tool that opens ONNX files.

Canonical ops are nodes of domain "ai.camshaft", expressions and symbolic extents are text, host steps
keep their ONNX operator.  The result is a valid ONNX file but no other runtime knows its ops.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import AttributeProto, ModelProto, NodeProto, SparseTensorProto, TensorProto, numpy_helper

from camshaft.frontends.onnx.dtypes import onnx_dtype
from camshaft.ir.dumps.dot import readable
from camshaft.ir.expr import Expr
from camshaft.ir.extents.extent import Dim
from camshaft.ir.graph import Graph, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ops import HOST

DOMAIN = "ai.camshaft"
_IR_VERSION = 10  # the first whose nodes carry metadata
_OPSET = 21  # that goes with it: older readers know no newer one


def export_onnx(graph: Graph, *, constant_bytes: int | None = 1024) -> ModelProto:
    """The graph as an ONNX model.

    constant_bytes: constants larger than this are left out, which keeps the file small: they
        appear as empty sparse tensors of their type and shape.  None keeps them all.
    Each node's metadata holds `origin`, the source nodes it came from.
    """
    names = _Names(graph)
    nodes = [_node(n, names) for n in graph.nodes]
    values, outputs = [], []
    dense, sparse = [], []
    for t in graph.tensors.values():
        if t.data is None:
            values.append(_typed(names[t], t))
        elif constant_bytes is None or t.type.nbytes <= constant_bytes or t.type.dtype.kind == "s":
            dense.append(numpy_helper.from_array(np.array(t.data), names[t]))
        else:
            sparse.append(_left_out(names[t], t))
    for name, t in zip(graph.output_names, graph.outputs, strict=True):
        outputs.append(_typed(name, t))
        if names[t] != name:
            nodes.append(
                onnx.helper.make_node("Identity", [names[t]], [name], name=f"{name}:output")
            )
    known = {v.name for v in outputs} | {t.name for t in graph.inputs}
    proto = onnx.helper.make_graph(
        nodes,
        graph.name,
        [_typed(names[t], t) for t in graph.inputs],
        outputs,
        dense,
        value_info=[v for v in values if v.name not in known],
        sparse_initializer=sparse,
    )
    opsets = {"": _OPSET, DOMAIN: 1}
    for n in graph.nodes:
        if n.op is HOST:
            domain, version = _host_proto(n).domain, int(str(n.attrs["opset"]))
            opsets[domain] = max(opsets.get(domain, 0), version)
    return onnx.helper.make_model(
        proto,
        producer_name="camshaft",
        ir_version=_IR_VERSION,
        opset_imports=[onnx.helper.make_opsetid(d, v) for d, v in opsets.items()],
    )


class _Names:
    """Tensor -> name in the file.  Graph outputs have the first right to their names."""

    def __init__(self, graph: Graph) -> None:
        outputs = dict(zip(graph.output_names, graph.outputs, strict=True))
        taken = {*outputs, *graph.tensors}
        self._renamed: dict[str, str] = {}
        for name in graph.tensors:
            if name in outputs and outputs[name].name != name:
                free = f"{name}:inner"
                while free in taken:
                    free += "'"
                taken.add(free)
                self._renamed[name] = free

    def __getitem__(self, tensor: Tensor) -> str:
        return self._renamed.get(tensor.name, tensor.name)


def _node(node: Node, names: _Names) -> NodeProto:
    inputs = ["" if t is None else names[t] for t in node.inputs]
    outputs = [names[t] for t in node.outputs]
    if node.op is HOST:
        proto = _host_proto(node)
        proto.name = node.name
        slots = iter(outputs)
        placed = [next(slots) if o else "" for o in proto.output]
        del proto.input[:], proto.output[:]
        proto.input.extend(inputs)
        proto.output.extend(placed)
    else:
        proto = onnx.helper.make_node(node.op.name, inputs, outputs, name=node.name, domain=DOMAIN)
        for key, value in node.op.changed(node.attrs).items():
            proto.attribute.append(_attribute(key, value))
    proto.metadata_props.add(key="origin", value="; ".join(node.origin))
    return proto


def _host_proto(node: Node) -> NodeProto:
    data = node.attrs["proto"]
    assert isinstance(data, bytes)
    proto = NodeProto()
    proto.ParseFromString(data)
    return proto


def _attribute(key: str, value: Attr) -> AttributeProto:
    if isinstance(value, Expr):
        return onnx.helper.make_attribute(key, readable(value))
    if isinstance(value, tuple) and not value:
        return onnx.helper.make_attribute(key, [], attr_type=AttributeProto.INTS)
    if isinstance(value, Dim):
        return onnx.helper.make_attribute(key, str(value))
    if isinstance(value, tuple) and any(isinstance(v, Dim) for v in value):
        return onnx.helper.make_attribute(key, [str(v) for v in value])
    return onnx.helper.make_attribute(key, value)


def _typed(name: str, tensor: Tensor) -> onnx.ValueInfoProto:
    return onnx.helper.make_tensor_value_info(
        name,
        onnx_dtype(tensor.type.dtype),
        [str(d) if isinstance(d, Dim) else d for d in tensor.type.shape],
    )


def _left_out(name: str, tensor: Tensor) -> SparseTensorProto:
    values = TensorProto(name=name, data_type=onnx_dtype(tensor.type.dtype), dims=[0])
    indices = TensorProto(name=f"{name}:indices", data_type=TensorProto.INT64, dims=[0])
    return onnx.helper.make_sparse_tensor(values, indices, tensor.array.shape)
