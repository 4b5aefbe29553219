"""Which step of a built engine departs first from the model, each judged on what the engine gave it.

An engine that is off is off in every tensor behind the fault.  So the model is run twice in the other runtime: as it is,
which gives the error of each tensor, and cut at every tensor that the engine can show, where each piece reads
what the engine computed.  The second gives each step's own error: what it adds to that of its inputs, exactly,
whatever lies before.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto

from camshaft.compare.comparison import outputs_of
from camshaft.compare.cuts import cut_at
from camshaft.compare.others import Arrays, run_other
from camshaft.compare.precisions import (
    LAYER_TOLERANCES,
    TOLERANCES,
    coarsest,
    precision_of,
    stored_precision,
)
from camshaft.compare.stored import Stored, in_model_type, real_reference, stored_tensors
from camshaft.compare.tensor_error import TensorError, in_model_order, tensor_error
from camshaft.errors import ConfigError
from camshaft.frontends.onnx.model import load_model
from camshaft.ir.graph import Graph, Node
from camshaft.program.program import Note
from camshaft.runtime.engine import Engine
from camshaft.session import BuildSession

_LEVELS = ("Q", "DynamicQuantize")
"""How the names of operators begin that round to few levels (QuantizeLinear, QLinearConv, ...): where a value lies between
two, the last bit of a sum decides, and moves the result by a level."""


_MOST_RUNS = 6
"""Runs of the cut model.  Of a wrong tensor with equal extents the order of axes is a guess until what is before it is in
order, so that what follows is known exactly."""


@dataclass(frozen=True)
class StepError:
    """The error of a tensor and of the steps that computed it from the tensors before it.

    own: against the other runtime on the engine's own inputs of these steps.  whole: against its run of the whole
    model.  layers: source layers of the steps.  readers: those of the steps that read the tensor.  tactics: kernels
    that computed it.  precision: the coarsest of the steps and of the stored tensor.
    """

    own: TensorError
    whole: TensorError
    layers: tuple[str, ...]
    readers: tuple[str, ...]
    tactics: tuple[str, ...]
    precision: str

    @property
    def limit(self) -> float:
        """The largest own error that rounding explains."""
        return LAYER_TOLERANCES[self.precision]

    @property
    def departs(self) -> bool:
        """Whether rounding does not explain it."""
        return not self.own.relative <= self.limit

    def to_json(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "tensor": self.own.name,
            "layers": list(self.layers),
            "tactics": list(self.tactics),
            "precision": self.precision,
            "limit": self.limit,
            "departs": self.departs,
            "own": self.own.to_json(),
            "whole": self.whole.to_json(),
        }


@dataclass(frozen=True)
class Bisection:
    """The errors of all steps that can be seen, in the order of execution.

    hidden: outputs that are right where tensors are shown, and wrong in the engine itself: how it was
    put together is at fault, not a kernel.
    """

    steps: tuple[StepError, ...]
    hidden: tuple[str, ...] = ()

    @property
    def first(self) -> StepError | None:
        """The first that departs."""
        return next((s for s in self.steps if s.departs), None)

    @property
    def worst(self) -> StepError | None:
        """The one with the largest own error."""
        return max(self.steps, key=lambda s: s.own.relative, default=None)


def bisect(
    model: Any,
    engine: Engine,
    session: BuildSession,
    feeds: Arrays,
    other: str = "onnxruntime",
) -> Bisection:
    """Judge every step of the engine that `session` built from the ONNX `model`.

    ConfigError for a model of several graphs; errors as in `compare` too.
    """
    if session.final is None or len(session.final_graphs) != 1:
        raise ConfigError(
            f"bisecting needs a model that is one graph, and this one is {len(session.final_graphs)} with a script "
            "between them: bisect the model of a branch or body"
        )
    proto = load_model(model)
    shown = _Shown.of(proto, engine, session, feeds, other)
    notes: dict[str, list[Note]] = {}
    for note in engine.notes:
        notes.setdefault(note.name, []).append(note)
    levels = {n.name or n.output[0] for n in proto.graph.node if n.op_type.startswith(_LEVELS)}
    steps = [_step(shown, name, order, notes, levels) for order, name in enumerate(shown.arrays)]
    return Bisection(tuple(steps), shown.hidden())


@dataclass(frozen=True)
class _Shown:
    """What can be seen of one run.

    arrays: tensor of the built graph -> what the engine computed, in the model's order and numbers.  stored: the same ->
    what it holds; dtypes: its element type.  whole, local: tensor of the model -> as the other runtime computes it, from
    the inputs, and from what the engine computed before it.  made: the engine's own outputs.
    """

    graph: Graph
    arrays: Mapping[str, np.ndarray]
    stored: Mapping[str, Stored]
    dtypes: Mapping[str, str]
    partner: Mapping[str, str]
    whole: Arrays
    local: Arrays
    made: Mapping[str, Any]

    @staticmethod
    def of(
        proto: ModelProto, engine: Engine, session: BuildSession, feeds: Arrays, other: str
    ) -> _Shown:
        assert session.final is not None
        known = {o for n in proto.graph.node for o in n.output}
        stored = stored_tensors(session)
        partner = {n: n if n in known else s.name for n, s in stored.items()}
        partner = {n: p for n, p in partner.items() if p in known}
        outputs = _unnamed_outputs(session.final, partner)
        partner |= outputs
        whole = run_other(other, proto, feeds, list(dict.fromkeys(partner.values())))
        seen = session.tapped(list(partner))(dict(feeds)) if partner else {}
        real = {n: stored[n].real(a) for n, a in seen.items()}
        arrays, local = _in_order(real, whole, partner), whole
        for _ in range(_MOST_RUNS):
            values: dict[str, np.ndarray] = {}
            for name, array in arrays.items():
                if name not in outputs:
                    want = np.asarray(whole[partner[name]])
                    values.setdefault(partner[name], in_model_type(array, want, stored[name]))
            cut, inputs = cut_at(proto, values)
            given = {**feeds, **{inputs[n]: a for n, a in values.items()}}
            local = run_other(other, cut, given, list(whole))
            before, arrays = arrays, _in_order(real, local, partner)
            if all(np.array_equal(a, before[n], equal_nan=True) for n, a in arrays.items()):
                break
        dtypes = {n: a.dtype.name for n, a in seen.items()}
        made = outputs_of(engine, feeds)
        return _Shown(session.final, arrays, stored, dtypes, partner, whole, local, made)

    def errors(self, name: str, order: int) -> tuple[TensorError, TensorError]:
        """Own and whole error of a tensor of the built graph."""
        p, got = self.partner[name], self.arrays[name]
        is_output = p in self.made

        def against(other: Arrays) -> TensorError:
            want = real_reference(np.asarray(other[p]), self.stored[name])
            dtype = self.dtypes[name]
            return tensor_error(p, got, want, is_output=is_output, order=order, stored=dtype)

        return against(self.local), against(self.whole)

    def hidden(self) -> tuple[str, ...]:
        """Outputs that the engine itself has otherwise than where tensors are shown."""
        found = []
        for name, array in self.arrays.items():
            p = self.partner[name]
            itself = self.made.get(p)
            if isinstance(itself, np.ndarray) and itself.shape == array.shape:
                moved = tensor_error(p, itself, array).relative
                if not moved <= TOLERANCES["fp32"]:
                    found.append(p)
        return tuple(dict.fromkeys(found))


def _in_order(
    real: Mapping[str, np.ndarray], wanted: Arrays, partner: Mapping[str, str]
) -> dict[str, np.ndarray]:
    """The arrays with the model's order of axes, as far as they have one."""
    found = {n: in_model_order(a, np.asarray(wanted[partner[n]])) for n, a in real.items()}
    return {n: a for n, a in found.items() if a is not None}


def _unnamed_outputs(graph: Graph, partner: Mapping[str, str]) -> dict[str, str]:
    """Tensors of the built graph that are outputs under another name -> that name."""
    computed = graph.producers
    return {
        t.name: name
        for t, name in zip(graph.outputs, graph.output_names, strict=True)
        if t.name in computed and t.name not in partner
    }


def _step(
    shown: _Shown,
    name: str,
    order: int,
    notes: Mapping[str, Sequence[Note]],
    levels: Container[str],
) -> StepError:
    """levels: source layers that round to few levels, as the model says."""
    nodes = _computing(shown.graph, name, shown.arrays)
    run = [note for node in nodes for note in notes.get(node.name, ())]
    layers = _layers(nodes)
    precisions = [*map(precision_of, run), stored_precision(shown.dtypes[name])]
    if any(layer in levels for layer in layers):
        precisions.append("int8")
    own, whole = shown.errors(name, order)
    return StepError(
        own,
        whole,
        layers=layers,
        readers=_layers(shown.graph.consumers.get(name, ())),
        tactics=tuple(dict.fromkeys(note.tactic or note.op for note in run)),
        precision=coarsest(precisions),
    )


def _computing(graph: Graph, name: str, seen: Mapping[str, Any]) -> list[Node]:
    """The nodes that compute a tensor from those that are seen, in order."""
    found: dict[int, Node] = {}
    open_ = [graph.producers[name]]
    while open_:
        node = open_.pop()
        found[id(node)] = node
        for t in node.args:
            maker = graph.producers.get(t.name)
            if maker is not None and t.name not in seen and id(maker) not in found:
                open_.append(maker)
    return [n for n in graph.nodes if id(n) in found]


def _layers(nodes: Sequence[Node]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(layer for node in nodes for layer in node.origin))
