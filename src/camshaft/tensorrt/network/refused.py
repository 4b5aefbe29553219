"""Methods of networks that add what cannot be computed here: an error says so, and None comes back."""

from __future__ import annotations

from typing import Any

from camshaft.tensorrt.enums.layer_types import LayerType
from camshaft.tensorrt.enums.operations import CollectiveOperation, ReduceOperation
from camshaft.tensorrt.network.graph import Graph
from camshaft.tensorrt.network.layer import ILayer
from camshaft.tensorrt.network.params import member
from camshaft.tensorrt.network.tensor import ITensor

_collective = member(CollectiveOperation)


def _refuse(graph: Graph, method: str, instead: str) -> None:
    graph._refuse(f"{method} adds what cannot be computed on CPUs here; {instead}")


class IDistCollectiveLayer(ILayer):
    """A collective operation of several devices; there is one, and no such layer."""

    _kind = LayerType.DIST_COLLECTIVE


def add_dist_collective(
    self: Graph,
    input: ITensor,
    dist_collective_op: CollectiveOperation,
    reduce_op: ReduceOperation,
    root: int,
    groups: Any,
) -> None:
    """Refused: there is one device, which has nothing to exchange with others."""
    taken = _collective(dist_collective_op, "dist_collective_op")
    _refuse(
        self,
        f"add_dist_collective({taken.name})",
        "it runs on several devices, and here is one; leave it out",
    )


def serialize(self: Graph) -> None:
    """Refused: networks are kept as ONNX files."""
    _refuse(self, "serialize", "keep the network as an ONNX file")
