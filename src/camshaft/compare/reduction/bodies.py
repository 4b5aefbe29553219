"""Branches and bodies in place of the nodes that hold them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, helper, numpy_helper

from camshaft.compare.cuts import declared
from camshaft.compare.others import with_outputs
from camshaft.compare.reduction.record import recorded
from camshaft.compare.reduction.source import Candidate, inferred, subgraphs
from camshaft.frontends.onnx.reachable import read_by


def opened(candidate: Candidate, other: str) -> Iterator[Candidate]:
    """The model with a branch, or one round of a loop, in place of each node that holds one, and without what hangs on
    that node.  What a round reads is what the first one reads in a run of the model."""
    holders = [n for n in candidate.model.graph.node if subgraphs(n)]
    if not holders:
        return
    values, fault = recorded(candidate.model, candidate.feeds, other)
    if fault:
        return
    graph = candidate.model.graph
    values |= {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    for node in holders:
        for body in subgraphs(node):
            given = _first_round(node, body, values)
            if given is not None:
                yield from _in_place(candidate, node, body, given)


def _first_round(
    node: NodeProto, body: GraphProto, values: dict[str, np.ndarray]
) -> dict[str, np.ndarray] | None:
    """Inputs of a body -> their values in its first round; None where they are not known."""
    formal = [v.name for v in body.input]
    if node.op_type == "If":
        return {}
    attributes = {
        a.name: helper.get_attribute_value(a) for a in node.attribute if not a.HasField("g")
    }
    if node.op_type == "Loop":
        actual = [values.get(n) for n in node.input[2:]]
        found = [np.array(0, np.int64), np.array(True), *actual]
    elif node.op_type == "Scan":
        count = attributes["num_scan_inputs"]
        axes = attributes.get("scan_input_axes") or [0] * count
        found = [values.get(n) for n in node.input]
        for i, axis in enumerate(axes, len(found) - count):
            whole = found[i]
            found[i] = None if whole is None or not whole.shape[axis] else np.take(whole, 0, axis)
    else:
        return None
    if len(found) != len(formal) or any(a is None for a in found):
        return None
    return {n: a for n, a in zip(formal, found, strict=True) if a is not None}


def _in_place(
    candidate: Candidate, node: NodeProto, body: GraphProto, given: dict[str, np.ndarray]
) -> Iterator[Candidate]:
    """The model with the body's nodes for outputs; what no longer is read stays, and is cut later."""
    model = ModelProto()
    model.CopyFrom(candidate.model)
    graph = model.graph
    behind = set(node.output)
    kept = []
    for n in candidate.model.graph.node:
        if not behind.isdisjoint(n.output) or not behind.isdisjoint(read_by(n)):
            behind.update(n.output)
        else:
            kept.append(n)
    del graph.node[:]
    graph.node.extend([*kept, *body.node])
    graph.initializer.extend(body.initializer)
    graph.sparse_initializer.extend(body.sparse_initializer)
    feeds = dict(candidate.feeds)
    for name, array in given.items():
        if array.dtype.kind == "f":
            graph.input.append(declared(name, array))
            feeds[name] = array
        else:
            graph.initializer.append(numpy_helper.from_array(array, name))
    computed = {o for n in body.node for o in n.output}
    ends = [v.name for v in body.output if v.name in computed]
    del graph.output[:]
    found = inferred(with_outputs(model, [])).graph.value_info
    types = {v.name: v for v in (*body.output, *found)}
    graph.output.extend(types[n] for n in ends if n in types)
    if graph.output:
        yield Candidate(model, feeds, candidate.fixed)
