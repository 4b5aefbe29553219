"""Run a graph by its ops' references: slow, and by definition what everything else is compared
with."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from camshaft.errors import BindingError, ModelError
from camshaft.ir.attrs import attr_at
from camshaft.ir.extents.constraints import broken
from camshaft.ir.extents.extent import Extent, extent_of, sole_symbol
from camshaft.ir.extents.sizes import evaluate
from camshaft.ir.graph import Graph, Tensor
from camshaft.ir.types import TensorType, type_of

Tap = Callable[[str, np.ndarray], None]


def interpret(
    graph: Graph, feeds: Mapping[str, np.ndarray], tap: Tap | None = None
) -> dict[str, np.ndarray]:
    """Outputs by name for the given inputs, whose shapes say what the graph's symbols are.

    tap: called with (tensor name, array) for every input and every computed tensor.
    Intermediate arrays are dropped after their last use.
    Raises BindingError for a missing or ill-typed input, ModelError for sizes that a constraint of
    the graph forbids, and if an op's reference yields
    another type than its inference says (a fault of camshaft, named).
    """
    values = _arrays(graph, feeds)
    sizes = sizes_of(graph, values)

    def size(e: Extent) -> int:
        return evaluate(e, sizes)

    def type_at(t: Tensor) -> TensorType:
        return TensorType(t.type.dtype, tuple(map(size, t.shape)))

    for t in graph.inputs:
        array = values[t.name]
        if type_of(array) != type_at(t):
            raise BindingError(f"input {t.name!r} is {type_of(array)}, the graph wants {t.type}")
        if tap:
            tap(t.name, array)
    last_use = {t.name: i for i, n in enumerate(graph.nodes) for t in n.args}
    keep = {t.name for t in graph.outputs}
    for i, node in enumerate(graph.nodes):
        args = [t.stored if t.stored is not None else values[t.name] for t in node.args]
        attrs = {k: attr_at(v, size) for k, v in node.attrs.items()}
        results = node.op.reference(args, attrs)
        for t, array in zip(node.outputs, results, strict=True):
            array = np.asarray(array)
            if type_of(array) != type_at(t):
                raise ModelError(
                    f"node {node.name!r} ({node.op.name}): its reference gave {type_of(array)} "
                    f"for {t.name!r}, inference says {type_at(t)}"
                )
            values[t.name] = array
            if tap:
                tap(t.name, array)
        for t in node.args:
            if last_use[t.name] == i and t.name not in keep:
                values.pop(t.name, None)
    return {
        name: t.stored if t.stored is not None else values[t.name]
        for name, t in zip(graph.output_names, graph.outputs, strict=True)
    }


def sizes_of(graph: Graph, feeds: Mapping[str, np.ndarray]) -> dict[str, int]:
    """What the symbols of `graph` are for these inputs.

    BindingError where two inputs disagree or a size is out of its range, ModelError for sizes that
    a constraint forbids.
    """
    sizes: dict[str, int] = {}
    for t in graph.inputs:
        for extent, given in _said_by(t, feeds):
            symbol = sole_symbol(extent)
            if symbol is None:
                continue
            high = given if symbol.high is None else symbol.high
            if sizes.setdefault(symbol.name, given) != given or not symbol.low <= given <= high:
                raise BindingError(
                    f"input {t.name!r} is {type_of(feeds[t.name])}, the graph wants {t.type} with "
                    f"{symbol.name} = {sizes[symbol.name]}, within {symbol.range}"
                )
    for t in graph.inputs:
        said = tuple(evaluate(e, sizes) for e in t.values)
        if t.values and said != tuple(feeds[t.name].reshape(-1).tolist()):
            raise BindingError(f"input {t.name!r} holds {feeds[t.name]}, the graph wants {said}")
    rule = broken(tuple(graph.constraints), sizes)
    if rule is not None:
        raise ModelError(f"{rule.why} needs {rule}, which {sizes} breaks")
    return sizes


def _said_by(t: Tensor, feeds: Mapping[str, np.ndarray]) -> list[tuple[Extent, int]]:
    """Extents of an input, and of its elements and the rows that it keeps, where these say sizes, with what
    they are."""
    array = feeds[t.name]
    found: list[tuple[Extent, int]] = list(zip(t.shape, array.shape, strict=False))
    if t.kept is not None:
        shapes = {name: x.shape for name, x in feeds.items()}
        found.append((extent_of(t.kept.symbol), t.kept.count(array, shapes)))
    if t.values:  # other arrays may be large
        found += zip(t.values, array.reshape(-1).tolist(), strict=False)
    return found


def _arrays(graph: Graph, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    missing = [t.name for t in graph.inputs if t.name not in feeds]
    if missing:
        raise BindingError(f"input {missing[0]!r} is missing")
    return {t.name: np.asarray(feeds[t.name]) for t in graph.inputs}
