"""ONNX model -> camshaft graphs, and the script that runs them where the model decides while it runs.

Second stage of the frontend (after `model.load_model`).  Each node that an output depends on is imported
(`walk`); shape arithmetic folds while the graphs are built.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from onnx import ModelProto

from camshaft.errors import ModelError
from camshaft.frontends.onnx.cast_weights import with_dequantized_weights
from camshaft.frontends.onnx.model import load_model
from camshaft.frontends.onnx.reachable import reachable_in
from camshaft.frontends.onnx.sizes.batches import batches_of
from camshaft.frontends.onnx.sizes.declared import declared_inputs
from camshaft.frontends.onnx.sizes.input_values import InputValues
from camshaft.frontends.onnx.sizes.kept import require_room
from camshaft.frontends.onnx.sizes.open_extents import OpenExtents
from camshaft.frontends.onnx.sizes.pasts import pasts_of
from camshaft.frontends.onnx.walk.ends import as_declared, check_names, declare_input, output_of
from camshaft.frontends.onnx.walk.here import Place
from camshaft.frontends.onnx.walk.nodes import Nodes
from camshaft.frontends.onnx.walk.state import State
from camshaft.ir.extents.constraints import Constraints
from camshaft.ir.extents.said import Said
from camshaft.ir.extents.said import Value as SaidValue
from camshaft.ir.graph import Graph, Tensor
from camshaft.ir.paired_names import paired, spread
from camshaft.ir.recipe import Source
from camshaft.ir.script import Call, End, Run, Script, Step
from camshaft.ir.types import TensorType

MOST_ROUNDS = 8
"""Most imports of one model; each uses what the one before learned of the open extents."""


def import_onnx(
    model: str | os.PathLike[str] | bytes | ModelProto,
    *,
    shapes: Mapping[str, Sequence[Said]] | None = None,
    profiles: Sequence[Mapping[str, Sequence[Sequence[int]]]] | None = None,
    typical: Mapping[str, Sequence[int]] | None = None,
    typical_elements: Mapping[str, Sequence[int]] | None = None,
    values: Mapping[str, SaidValue] | None = None,
) -> Graph:
    """Import an ONNX model as a graph of canonical ops, in the layout ONNX has (NCHW).

    model: path of an .onnx file (external data is looked for beside it), its bytes, or the parsed
        proto.
    shapes: input name, or a pattern of names with a `*`, -> shape, instead of the declared one: numbers, names ("batch"), names with
        ranges ("batch=1..16"), ranges, None for what is declared.
    profiles: input name -> (least, typical, most) shape, each; the extents range over all of them.
    typical: input name -> shape as it will be used; where nothing else says so, what is typical.
    typical_elements: the same of elements that say sizes.
    values: input name -> its values: numbers, which make it a constant (`Graph.fixed`), or what is said
        of sizes in `shapes`, for integer inputs whose elements say sizes.
    Extents that stay open become symbols (see `open_extents` for their typical sizes).

    Floats of at most 16 bits are computed in float32, integers of fewer than 8 in ones of 8; inputs and
    outputs keep their declared type.
    Raises ModelError, naming the file, node or input at fault, for whatever cannot be imported, and for a
    model that takes a script (see `import_model`); ConfigError where what is said of an input does not fit
    the model's.
    """
    imported = import_model(
        model,
        shapes=shapes,
        profiles=profiles,
        typical=typical,
        typical_elements=typical_elements,
        values=values,
    )
    if imported.script is not None:
        steps = [s for s in imported.script.walk() if not isinstance(s, Run)]
        raise ModelError(f"the model is no single graph: {_why(steps[0])}")
    return imported.graphs[0]


@dataclass(frozen=True)
class Imported:
    """A model as graphs.

    digest: SHA-256 of what it was read from, in hexadecimal; "" where that is an ONNX model.  script: what runs them; None where there is one, whose inputs and outputs are the model's.
    inputs, outputs: of a model with a script.  face: a graph without nodes that has the model's inputs
    (tensors), and what is known of their extents.  constants: values of the script that are constant.
    weights: those that may be exchanged in an engine.  others: names of a PyTorch module's other tensors -> the array of one that is read, the
    name of the one that it is too, or None where nothing reads it.
    """

    graphs: tuple[Graph, ...]
    face: Graph
    script: Script | None = None
    inputs: tuple[End, ...] = ()
    outputs: tuple[End, ...] = ()
    constants: Mapping[str, np.ndarray] = field(default_factory=dict)
    digest: str = ""
    weights: tuple[Source, ...] = ()
    others: Mapping[str, np.ndarray | str | None] = field(default_factory=dict)


def import_model(
    model: str | os.PathLike[str] | bytes | ModelProto,
    *,
    shapes: Mapping[str, Sequence[Said]] | None = None,
    profiles: Sequence[Mapping[str, Sequence[Sequence[int]]]] | None = None,
    typical: Mapping[str, Sequence[int]] | None = None,
    typical_elements: Mapping[str, Sequence[int]] | None = None,
    values: Mapping[str, SaidValue] | None = None,
    state: Mapping[str, str] | None = None,
    typed: bool = False,
    refittable: Collection[str] | bool = False,
) -> Imported:
    """As `import_onnx`, also of models that decide while they run: by branches and loops, by shapes that
    hang on data, by sequences.

    state: input name -> output name, what the next call finds there (`ir.paired_names`); where it grows, it does so
    within the range that is said of the input.
    typed: whether tensors of half floats have the values of their types, instead of more exact ones.
    refittable: whether the graphs' constants say how they come of the model's weights (`ir.recipe`), or of which of them.
    """
    proto = load_model(model)
    extents = OpenExtents(
        spread(shapes or {}, [v.name for v in proto.graph.input]),
        tuple(profiles or ()),
        dict(typical or {}),
        dict(typical_elements or {}),
        pasts_of(proto.graph),
        batches_of(proto.graph),
        declared_inputs(proto.graph),
    )
    given = InputValues(values or {})
    for _ in range(MOST_ROUNDS):
        now = State(proto, extents, given, typed=typed, refittable=refittable)
        try:
            imported = _imported(now, state or {})
        except ModelError as error:
            if _learned(extents, given, now.builder.constraints, error):
                continue  # what was learned before may decide what was not decided
            raise
        if not extents.learn(now.builder.constraints) | given.learn():
            return imported
    raise ModelError(
        "each import of the model still changes what is known of its open extents; give sizes with "
        "shapes={input: [...]}"
    )


def _learned(
    extents: OpenExtents, given: InputValues, constraints: Constraints, error: ModelError
) -> bool:
    """Whether an import that failed with `error` found out something new."""
    try:
        return extents.learn(constraints) | given.learn()
    except ModelError:  # what the import required before it failed, no sizes meet
        raise error from None


def _imported(state: State, kept: Mapping[str, str]) -> Imported:
    """One import of the model.  kept: which inputs and outputs are states, as they are said."""
    graph = state.proto.graph
    found = reachable_in(graph)
    state.constants(graph, found.names)
    inputs = [v for v in graph.input if v.name not in state.values]
    check_names(state, [v.name for v in inputs])
    for value in inputs:
        declare_input(state, value)
    ends = [v.name for v in graph.output]
    pairs = paired(kept, [v.name for v in inputs], ends)
    state.states = frozenset(pairs)
    nodes = with_dequantized_weights(found.nodes, graph.initializer, ends, state.opsets)
    state.note_reads(found.nodes, nodes)
    Nodes(state).walk(nodes, Place(state.opsets, state.reserved), ends)
    results = {v.name: output_of(state, v) for v in graph.output}
    require_room(state, pairs, results)
    weights = tuple(state.weights.values())
    face = replace(state.builder.graph({}), fixed=tuple(state.builder.fixed))
    plain = all(isinstance(v, Tensor) for v in results.values())
    if state.scope.is_plain and plain and all(isinstance(e.type, TensorType) for e in state.inputs):
        graphs = (state.builder.graph(results),)  # type: ignore[arg-type]
        return Imported(graphs, face, weights=weights)
    script, outside = state.scope.finish([e.value for e in state.inputs], [*results.values()])
    assert not outside, [(v.name, state.shared.owners[v.name][1]) for v in outside]
    outputs = tuple(
        End(v.name, results[v.name].name, as_declared(results[v.name].type, v))
        for v in graph.output
    )
    parts, constants = tuple(state.shared.graphs), state.shared.constants
    faces = tuple(state.inputs), outputs
    return Imported(parts, face, script, *faces, constants, weights=weights)


def _why(step: Step) -> str:
    """Why a step is no part of a graph, for a message."""
    assert not isinstance(step, Run)
    if isinstance(step, Call):
        return f"node {step.name!r} ({step.op}): {step.reason}"
    return f"node {step.name!r} ({type(step).__name__}) is decided while the model runs"
