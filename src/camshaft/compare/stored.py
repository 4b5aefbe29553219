"""What the tensors of a built graph hold of the model's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from camshaft.ir.graph import Graph, Node, Tensor
from camshaft.ir.types import i8, u8
from camshaft.passes.qdq.rules import quantized_tensors, unsigned_zero
from camshaft.session import BuildSession


@dataclass(frozen=True)
class Stored:
    """How the built graph holds a tensor of the model: `(value - zero_point) * scale`."""

    name: str
    scale: float = 1.0
    zero_point: int = 0

    def real(self, array: np.ndarray) -> np.ndarray:
        """The numbers that stored values stand for."""
        if self.scale == 1.0 and self.zero_point == 0:
            return array
        return (array.astype(np.float64) - self.zero_point) * self.scale


def stored_tensors(session: BuildSession) -> dict[str, Stored]:
    """Computed tensors of the built graph, in order of execution -> what they hold of the model.

    An 8-bit tensor holds the input of the quantize node that it was, or, where quantization moved
    across an op that only moves elements, that op's result with the parameters of its neighbour.
    """
    assert session.final is not None
    graph, quantized = session.final, _quantized_tensors(session)
    found: dict[str, Stored] = {}
    for node in graph.nodes:
        for t in node.outputs:
            found[t.name] = quantized.get(t.name) or _moved(graph, node, t, found, quantized)
    return found


def _quantized_tensors(session: BuildSession) -> dict[str, Stored]:
    """Output of each per-tensor quantize node -> what it holds, unsigned as lowering makes it."""
    quantized = () if session.quantized is None else quantized_tensors(session.quantized).items()
    return {
        name: Stored(q.source.name, float(q.scale), unsigned_zero(q))
        for name, q in quantized
        if q.per_tensor and not q.zero.ndim
    }


def _moved(
    graph: Graph,
    node: Node,
    tensor: Tensor,
    before: Mapping[str, Stored],
    quantized: Mapping[str, Stored],
) -> Stored:
    if tensor.type.dtype not in (u8, i8):
        return Stored(tensor.name)
    neighbours = [before.get(t.name) for t in node.args] if _moves(node) else []
    for user in graph.consumers.get(tensor.name, ()):
        if _moves(user):
            neighbours += [quantized.get(t.name) for t in user.outputs]
    for near in neighbours:
        if near is not None and near.scale != 1.0:
            return replace(near, name=tensor.name.removesuffix(":q"))
    return Stored(tensor.name)


def _moves(node: Node) -> bool:
    """Whether its results are elements of its operands: an average of bytes, say, has a scale of its own."""
    return node.op.moves or node.op.commutes_with_quantization(
        [t.type for t in node.args], node.attrs
    )


def real_reference(want: np.ndarray, stored: Stored) -> np.ndarray:
    """The reference's numbers; its own quantized tensors have their zero point in their own type."""
    if stored.scale == 1.0 or want.dtype not in (np.int8, np.uint8):
        return want
    shift = 128 if want.dtype == np.int8 else 0
    return replace(stored, zero_point=stored.zero_point - shift).real(want)


def in_model_type(real: np.ndarray, want: np.ndarray, stored: Stored) -> np.ndarray:
    """Real numbers in the type that the model has the tensor in: the inverse of `real_reference`."""
    if stored.scale != 1.0 and want.dtype in (np.int8, np.uint8):
        shift = 128 if want.dtype == np.int8 else 0
        real = np.rint(real / stored.scale + stored.zero_point - shift)
    return np.ascontiguousarray(real, want.dtype)
