"""What makes a model of few nodes smaller still: optional inputs left out, smaller sizes, weights without data."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx
from onnx import ModelProto, helper, numpy_helper

from camshaft.compare.cuts import declared
from camshaft.compare.others import run_other, with_outputs
from camshaft.compare.reduction.source import Candidate, inferred
from camshaft.errors import ModelError
from camshaft.frontends.onnx.model import opsets_of
from camshaft.frontends.onnx.reachable import reachable_in

Try = Callable[[Candidate], bool]
_FEW_NODES = 16
"""Of a larger model, where nothing could be cut, each check is dear and little is won."""
_SMALL_BYTES = 1024
"""Weights up to this size keep their data."""
_SAY_SHAPES = 8
"""Elements of an integer constant that may say sizes."""


def simpler(candidate: Candidate, try_: Try, judge: str) -> Candidate:
    """The simplest model found that `try_` takes.  judge: a runtime that must be able to run it; "" for shape inference
    alone."""
    if candidate.nodes > _FEW_NODES:
        return candidate

    def taken(changed: Candidate) -> bool:
        return _is_possible(changed, judge) and try_(changed)

    candidate = _without_options(candidate, taken)
    candidate = _smaller(candidate, taken)
    return _without_data(candidate, taken)


def _is_possible(candidate: Candidate, judge: str) -> bool:
    try:
        inferred(candidate.model, strict=True)
    except onnx.shape_inference.InferenceError:
        return False
    if not judge:
        return True
    try:
        names = [v.name for v in candidate.model.graph.output]
        run_other(judge, candidate.model, candidate.feeds, names)
    except ModelError:
        return False
    return True


def _copy(model: ModelProto) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(model)
    return copy


def _cleaned(candidate: Candidate) -> Candidate:
    """Without what no output depends on, with outputs of the types that inference finds."""
    model = _copy(candidate.model)
    graph = model.graph
    needed = reachable_in(graph)
    for field, kept in (
        (graph.node, needed.nodes),
        (graph.initializer, [t for t in graph.initializer if t.name in needed.names]),
        (graph.input, [v for v in graph.input if v.name in needed.names]),
    ):
        copies = [type(k).FromString(k.SerializeToString()) for k in kept]
        del field[:]
        field.extend(copies)
    found = {v.name: v for v in inferred(with_outputs(model, [])).graph.value_info}
    outputs = [found.get(v.name, v) for v in graph.output]
    del graph.output[:]
    graph.output.extend(outputs)
    feeds = {v.name: candidate.feeds[v.name] for v in graph.input}
    return Candidate(model, feeds, candidate.fixed)


# -- optional inputs -----------------------------------------------------------------------------


def _without_options(candidate: Candidate, taken: Try) -> Candidate:
    """Optional inputs of nodes left out, the last first."""
    for at, index in reversed(list(_optional(candidate.model))):
        model = _copy(candidate.model)
        node = model.graph.node[at]
        node.input[index] = ""
        while node.input and not node.input[-1]:
            del node.input[-1]
        changed = _cleaned(Candidate(model, candidate.feeds, candidate.fixed))
        if taken(changed):
            candidate = changed
            if len(model.graph.node) != len(changed.model.graph.node):
                return _without_options(candidate, taken)  # positions moved
    return candidate


def _optional(model: ModelProto) -> Iterator[tuple[int, int]]:
    """(position of a node, optional input that it has)."""
    opsets = opsets_of(model)
    for at, node in enumerate(model.graph.node):
        domain = "" if node.domain == "ai.onnx" else node.domain
        if not onnx.defs.has(node.op_type, opsets.get(domain, 1), domain):
            continue
        schema = onnx.defs.get_schema(node.op_type, opsets.get(domain, 1), domain)
        for i, (formal, name) in enumerate(zip(schema.inputs, node.input, strict=False)):
            if name and formal.option == onnx.defs.OpSchema.FormalParameterOption.Optional:
                yield at, i


# -- sizes ---------------------------------------------------------------------------------------


def _smaller(candidate: Candidate, taken: Try) -> Candidate:
    """Every size of inputs and weights 1, or else halved as often as possible: all axes of one size together, or those of
    channels, or of space."""
    for size in sorted(_sizes(candidate), reverse=True):
        for axes in (range(16), range(2), range(2, 16)):
            now = size
            for less in (1, *(size >> n for n in range(1, size.bit_length() - 1))):
                if not 0 < less < now:
                    continue
                changed = _resized(candidate, now, less, axes)
                if changed is not None and taken(changed):
                    candidate, now = changed, less
                elif less != 1:
                    break
            if now != size:
                break
    return candidate


def _sizes(candidate: Candidate) -> set[int]:
    weights = [tuple(t.dims) for t in candidate.model.graph.initializer]
    shapes = [*weights, *(a.shape for a in candidate.feeds.values())]
    return {d for shape in shapes for d in shape if d > 1}


def _resized(candidate: Candidate, size: int, less: int, axes: range) -> Candidate | None:
    """The model with the first `less` of each `size` along these axes; None if there is nothing to cut."""
    model = _copy(candidate.model)
    changed = 0

    def cut(array: np.ndarray) -> np.ndarray:
        nonlocal changed
        picked = tuple(
            slice(less) if d == size and i in axes else slice(None)
            for i, d in enumerate(array.shape)
        )
        changed += picked.count(slice(less))
        return np.array(array[picked])

    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        new = cut(array)
        if array.dtype == np.int64 and array.size <= _SAY_SHAPES and array.ndim == 1:
            new = np.where(array == size, less, array)  # may be a shape
        tensor.CopyFrom(numpy_helper.from_array(new, tensor.name))
    feeds = {n: cut(a) for n, a in candidate.feeds.items()}
    if not changed:
        return None
    for value in model.graph.input:
        value.CopyFrom(declared(value.name, feeds[value.name]))
    return _cleaned(Candidate(model, feeds, candidate.fixed))


# -- weights -------------------------------------------------------------------------------------


def _without_data(candidate: Candidate, taken: Try) -> Candidate:
    """Large weights made of one value, which takes no room in the file."""
    if opsets_of(candidate.model).get("", 0) < 9:  # no ConstantOfShape
        return candidate
    for tensor in list(candidate.model.graph.initializer):
        array = numpy_helper.to_array(tensor)
        if array.nbytes <= _SMALL_BYTES or array.dtype.kind != "f":
            continue
        model = _copy(candidate.model)
        rest = [t for t in candidate.model.graph.initializer if t.name != tensor.name]
        del model.graph.initializer[:]
        model.graph.initializer.extend(rest)
        shape = np.array(array.shape, np.int64)
        model.graph.initializer.append(numpy_helper.from_array(shape, f"{tensor.name}:shape"))
        value = np.array([np.abs(array).mean()], array.dtype)
        node = helper.make_node(
            "ConstantOfShape",
            [f"{tensor.name}:shape"],
            [tensor.name],
            f"{tensor.name}:one value",
            value=numpy_helper.from_array(value),
        )
        model.graph.node.insert(0, node)
        changed = Candidate(model, candidate.feeds, candidate.fixed)
        if taken(changed):
            candidate = changed
    return candidate
