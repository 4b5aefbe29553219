"""Graphs of open extents, interpreted at the sizes of the arrays that they are given."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from camshaft.ir.attrs import attr_at
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import evaluate
from camshaft.ir.graph import Graph


def interpreted(graph: Graph, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
    """The first output, with the graph's symbols read off the feeds."""
    sizes: dict[str, int] = {}
    for t in graph.inputs:
        for extent, size in zip(t.shape, feeds[t.name].shape, strict=True):
            if not isinstance(extent, int):
                sizes[str(extent)] = size
    values = dict(feeds)
    for node in graph.nodes:
        attrs = {k: attr_at(v, lambda e: evaluate(e, sizes)) for k, v in node.attrs.items()}
        args = [values[t.name] if t.data is None else t.data for t in node.args]
        results = node.op.reference(args, attrs)
        values.update({t.name: a for t, a in zip(node.outputs, results, strict=True)})
        for t in node.outputs:
            shape: tuple[Extent, ...] = t.shape
            assert values[t.name].shape == tuple(evaluate(e, sizes) for e in shape)
    return values[graph.outputs[0].name]
