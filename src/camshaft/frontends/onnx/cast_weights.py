"""Weights that a model makes floats by itself: Cast of constant bytes, less zero points, times scales.

Where a product reads such a matrix, the nodes that make it are replaced by one DequantizeLinear, so that
the bytes stay what they are.  Nodes of the model are not changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from camshaft.frontends.onnx.context import domain_of

_BYTES = (TensorProto.INT8, TensorProto.UINT8)
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)
_OPSET = 13
"""The first in which DequantizeLinear has an axis."""


@dataclass
class _Chain:
    """Nodes that make floats of constant bytes.  reshaped: whether the last one joins blocks."""

    weights: TensorProto
    nodes: list[NodeProto] = field(default_factory=list)
    zero: np.ndarray | None = None
    scale: np.ndarray | None = None
    reshaped: bool = False

    @property
    def result(self) -> str:
        """The name of the floats."""
        return str(self.nodes[-1].output[0])


class _Model:
    """The nodes and constants of a graph, by name."""

    def __init__(
        self, nodes: Sequence[NodeProto], constants: Iterable[TensorProto], outputs: Iterable[str]
    ) -> None:
        self.constants = {t.name: t for t in constants}
        self.readers: dict[str, list[tuple[NodeProto | None, int]]] = {}
        for node in nodes:
            for i, name in enumerate(node.input):
                self.readers.setdefault(name, []).append((node, i))
            for attribute in node.attribute:
                for graph in (attribute.g, *attribute.graphs):
                    for inner in graph.node:  # captures: nothing is known of them
                        for name in inner.input:
                            self.readers.setdefault(name, []).append((None, 0))
        for name in outputs:
            self.readers.setdefault(name, []).append((None, 0))

    def only_reader(self, name: str) -> tuple[NodeProto, int] | None:
        """The node that alone reads a tensor, and as which input."""
        readers = self.readers.get(name, [])
        node, place = readers[0] if len(readers) == 1 else (None, 0)
        return None if node is None or domain_of(node.domain) != "" else (node, place)

    def array(self, name: str) -> np.ndarray | None:
        """A constant's value."""
        tensor = self.constants.get(name)
        if tensor is None or tensor.data_type not in (*_FLOATS, *_BYTES, TensorProto.INT64):
            return None
        return np.asarray(numpy_helper.to_array(tensor))

    def is_multiplied(self, name: str) -> bool:
        """Whether a product alone reads the tensor as its right matrix, perhaps transposed."""
        found = self.only_reader(name)
        if found is not None and found[0].op_type == "Transpose":
            found = self.only_reader(found[0].output[0])
        return found is not None and found[0].op_type in ("MatMul", "Gemm") and found[1] == 1


def with_dequantized_weights(
    nodes: Sequence[NodeProto],
    constants: Iterable[TensorProto],
    outputs: Iterable[str],
    opsets: Mapping[str, int],
) -> list[NodeProto]:
    """The nodes of a graph with such chains replaced."""
    if opsets.get("", 0) < _OPSET:
        return list(nodes)
    model = _Model(nodes, constants, outputs)
    replaced: dict[int, list[NodeProto]] = {}
    for node in nodes:
        chain = _chain_from(model, node)
        made = None if chain is None else _dequantize(chain)
        if chain is not None and made is not None:
            replaced |= {id(n): [] for n in chain.nodes}
            replaced[id(chain.nodes[-1])] = made
    return [n for node in nodes for n in replaced.get(id(node), [node])]


def _chain_from(model: _Model, cast: NodeProto) -> _Chain | None:
    """The chain that begins with a Cast; None if it is none, or no product reads its result."""
    if cast.op_type != "Cast" or domain_of(cast.domain) != "":
        return None
    weights = model.constants.get(cast.input[0])
    if weights is None or weights.data_type not in _BYTES or len(weights.dims) not in (2, 3):
        return None
    to = next((a.i for a in cast.attribute if a.name == "to"), None)
    if to not in _FLOATS:
        return None
    chain = _Chain(weights, [cast])
    while True:
        found = model.only_reader(chain.result)
        if found is None or not _grow(chain, model, *found):
            break
    is_matrix = len(weights.dims) == 2 or chain.reshaped
    return chain if is_matrix and model.is_multiplied(chain.result) else None


def _grow(chain: _Chain, model: _Model, node: NodeProto, place: int) -> bool:
    """Add a node to the chain, if it belongs to it."""
    if node.op_type not in ("Sub", "Mul", "Reshape") or len(node.input) != 2:
        return False
    other = model.array(node.input[1 - place])
    if other is None or chain.reshaped:
        return False
    if node.op_type == "Reshape":
        n, *blocks = chain.weights.dims
        wanted = ([n, int(np.prod(blocks))], [n, -1])
        if len(blocks) != 2 or place != 0 or other.tolist() not in wanted:
            return False
        chain.reshaped = True
    elif node.op_type == "Sub":
        if place != 0 or chain.zero is not None or chain.scale is not None:
            return False
        chain.zero = other
    else:
        if chain.scale is not None:
            return False
        chain.scale = other
    chain.nodes.append(node)
    return True


def _dequantize(chain: _Chain) -> list[NodeProto] | None:
    """The nodes that take the chain's place; None where scales do not lie along one axis or in blocks."""
    dims = list(chain.weights.dims)
    dtype = np.dtype(np.int8 if chain.weights.data_type == TensorProto.INT8 else np.uint8)
    scale = np.ones((), np.float32) if chain.scale is None else chain.scale.astype(np.float32)
    zero = np.zeros((), np.float32) if chain.zero is None else chain.zero.astype(np.float32)
    info = np.iinfo(dtype)
    if np.any(zero != np.rint(zero)) or zero.min() < info.min or zero.max() > info.max:
        return None
    name, weights = chain.result, str(chain.weights.name)
    nodes: list[NodeProto] = []
    attrs: dict[str, Any] = {"axis": 1}
    tables: list[np.ndarray] = [scale, zero.astype(dtype)]
    if chain.reshaped:
        if any(t.size != 1 and list(t.shape) != [*dims[:2], 1] for t in tables):
            return None
        tables = [np.array(np.broadcast_to(t.reshape(t.shape[:2]) if t.size > 1 else t.reshape(()),
                                           dims[:2])) for t in tables]  # fmt: skip
        shape = np.array([dims[0], dims[1] * dims[2]], np.int64)
        nodes += [
            _constant(shape, f"{name}:shape"),
            helper.make_node("Reshape", [weights, f"{name}:shape"], [f"{name}:bytes"]),
        ]
        weights, attrs["block_size"] = f"{name}:bytes", dims[2]
    else:
        axes = {axis for t in tables if t.size > 1 for axis in [_axis_of(t, dims)]}
        if None in axes or len(axes) > 1:
            return None
        attrs["axis"] = next((a for a in axes if a is not None), 1)
        size = max(t.size for t in tables)
        tables = [np.array(np.broadcast_to(t.reshape(-1), size)) for t in tables]
        tables = [t.reshape(()) if size == 1 else t for t in tables]
    names = [f"{name}:scale", f"{name}:zero"]
    nodes += [_constant(t, n) for t, n in zip(tables, names, strict=True)]
    own = chain.nodes[-1].name
    nodes.append(helper.make_node("DequantizeLinear", [weights, *names], [name], own, **attrs))
    return nodes


def _axis_of(table: np.ndarray, dims: Sequence[int]) -> int | None:
    """The axis of a matrix along which a table that broadcasts to it varies; None if that is not one."""
    shape = [1] * (2 - table.ndim) + list(table.shape)
    if len(shape) != 2 or min(shape) != 1:
        return None
    axis = 0 if shape[0] > 1 else 1
    return axis if shape[axis] == dims[axis] else None


def _constant(array: np.ndarray, name: str) -> NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array, name))
