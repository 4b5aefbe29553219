"""A model's graph as engines and what is left to TensorFlow."""

from __future__ import annotations

import re
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import tensorflow as tf

from camshaft.config import BuildConfig
from camshaft.errors import ConfigError, ModelError
from camshaft.frontends.onnx import import_model
from camshaft.runtime.engine import Engine
from camshaft.session import BuildSession
from camshaft.tensorflow.engine_op import TOKEN
from camshaft.tensorflow.frozen import Frozen
from camshaft.tensorflow.messages import (
    NodeDef,
    full,
    in_order,
    is_control,
    node_of,
    of_shape,
    placeholder,
    python_call,
    with_nodes,
)
from camshaft.tensorflow.onnx_form import onnx_form, plain
from camshaft.tensorflow.segments import Partition, Segment

Batches = Callable[[], Iterable[Mapping[str, np.ndarray]]]


@dataclass
class Part:
    """A segment that an engine computes.

    name: the operator's in the graph.  operators: what it computes, types of TensorFlow's operators.  model: the same in ONNX.
    config, calibration, typical: how the engine is built, when it is first needed; allowed: whether that
    may be now.
    """

    name: str
    segment: Segment
    operators: tuple[str, ...]
    model: onnx.ModelProto
    config: BuildConfig
    calibration: Batches | None = None
    typical: Mapping[str, Sequence[int]] = field(default_factory=dict)
    allowed: bool = True
    summary: str = field(default="", init=False)
    _engine: Engine | None = field(default=None, init=False)
    _lock: Any = field(default_factory=threading.RLock, init=False, repr=False)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the engine's inputs, in order."""
        return tuple(v.name for v in self.model.graph.input)

    @property
    def is_built(self) -> bool:
        """Whether there is an engine."""
        return self._engine is not None

    @property
    def is_quantized(self) -> bool:
        """Whether the model itself says what is INT8."""
        return any(n.op_type == "QuantizeLinear" for n in self.model.graph.node)

    def engine(self) -> Engine:
        """The engine, built where there is none."""
        with self._lock:
            if self._engine is None:
                if not self.allowed:
                    raise ConfigError(
                        f"{self.name} is not built, and allow_build_at_runtime is False: call build() of the converter first"
                    )
                batches = None if self.calibration is None else self.calibration()
                session = BuildSession(self.model, self.config, batches, self.typical)
                self._engine = session.run()
                self.summary = session.precision_summary
                for remark in (*session.remarks, *session.hints):
                    warnings.warn(remark, stacklevel=4)
            return self._engine


@dataclass(frozen=True)
class Parts:
    """What is in engines.

    left: operators that stay in TensorFlow, by the names of nodes: their types, and why.  effects: nodes that do more than compute.
    """

    frozen: Frozen
    engines: tuple[Part, ...]
    left: Mapping[str, tuple[str, str]]
    effects: tuple[str, ...]


def parts_of(frozen: Frozen, least: int, config: BuildConfig) -> Parts:
    """Engines for all that tf2onnx and camshaft take, of at least `least` operators each."""
    partition = Partition(frozen, least)
    forms: dict[Segment, onnx.ModelProto] = {}
    while True:
        segments = partition.segments()
        before = len(partition.left)
        for segment in segments:
            if segment not in forms:
                model, refused = _form(partition, segment)
                partition.refuse(segment, refused)
                if model is not None:
                    forms[segment] = model
        if len(partition.left) == before:
            break
    engines = tuple(
        Part(
            f"camshaft_engine_{i}",
            segment,
            tuple(partition.nodes[n].op for n in segment.nodes if partition.computes(n)),
            forms[segment],
            config,
        )
        for i, segment in enumerate(segments)
    )
    reasons = {**partition.left, **dict(partition.few(segments))}
    left = {
        n: (partition.nodes[n].op, reasons[n])
        for n in partition.nodes
        if n in reasons and partition.computes(n)
    }
    effects = tuple(n for n, node in partition.nodes.items() if partition.stateful(node))
    return Parts(frozen, engines, left, effects)


def _form(
    partition: Partition, segment: Segment
) -> tuple[onnx.ModelProto | None, Mapping[str, str]]:
    """A segment in ONNX, or which of its nodes have no form, and why."""
    graph = partition.frozen.graph
    refused: dict[str, str] = {}
    for name in segment.inputs:
        tensor = graph.get_tensor_by_name(name)
        if tensor.shape.rank is None:
            why = f"the rank of {name} is not known: give it with set_shape"
            refused.update((n.name, why) for n in tensor.consumers())
        if tensor.dtype == tf.variant:
            refused.update((n.name, "it reads a list from elsewhere") for n in tensor.consumers())
    for name in segment.outputs:
        if graph.get_tensor_by_name(name).dtype == tf.variant:
            refused[node_of(name)] = "it gives a list that is read elsewhere"
    refused = {n: why for n, why in refused.items() if n in segment.nodes}
    if refused:
        return None, refused
    inputs = [full(plain(n)) for n in segment.inputs]
    form = onnx_form(partition.definition(segment), inputs, segment.outputs, partition.stateful)
    if form.model is None:
        return None, form.refused
    try:
        import_model(form.model)
    except ModelError as error:
        return None, dict.fromkeys(_named(str(error), segment), f"camshaft: {error}")
    return form.model, {}


def _named(message: str, segment: Segment) -> list[str]:
    """Nodes that an error of the import names; a name that is none where it names none."""
    found = []
    for said in re.findall(r"'([^']+)'", message):
        fits = [n for n in segment.nodes if said == n or re.match(rf"{re.escape(n)}(_|:|/)", said)]
        found += sorted(fits, key=len)[-1:]
    return found or ["?"]


@dataclass(frozen=True)
class Rebuilt:
    """A graph with engines in the places of what they compute.

    outputs: names of the model's, in order.  keys: placeholders for the keys of engines -> names of engines.
    """

    definition: Any
    outputs: tuple[str, ...]
    keys: Mapping[str, str]


def rebuilt(parts: Parts) -> Rebuilt:
    """The model's graph with the operator that runs engines."""
    frozen = parts.frozen
    giver: dict[str, str] = {}
    within: dict[str, Part] = {}
    for part in parts.engines:
        within.update(dict.fromkeys(part.segment.nodes, part))
        for i, name in enumerate(part.segment.outputs):
            giver[name] = f"{part.name}/output_{i}"

    binding = _binding(parts)

    def moved(given: str) -> str:
        if is_control(given):
            part = within.get(node_of(given))
            return given if part is None else f"^{part.name}"
        return giver.get(full(given), given)

    made: list[Any] = []
    for node in frozen.definition.node:
        if node.name not in within:
            copy = NodeDef()
            copy.CopyFrom(node)
            del copy.input[:]
            copy.input.extend(moved(i) for i in node.input if not is_control(i))
            copy.input.extend(
                sorted({moved(i) for i in node.input if is_control(i) and node_of(i) in binding})
            )
            made.append(copy)
    keys = {}
    for part in parts.engines:
        keys[f"{part.name}/key"] = part.name
        made.append(placeholder(f"{part.name}/key", tf.string, tf.TensorShape([])))
        made += _calls(part, frozen, moved, binding)
    outputs = tuple(full(moved(n)) for n in frozen.outputs)
    return Rebuilt(
        _needed(with_nodes(frozen.definition, made), [*outputs, *parts.effects]), outputs, keys
    )


def _binding(parts: Parts) -> set[str]:
    """Nodes behind which others run for a reason: what has an effect, or hangs on one."""
    found = set(parts.effects)
    for node in in_order(parts.frozen.definition):
        if any(node_of(i) in found for i in node.input):
            found.add(node.name)
    return found


def _calls(part: Part, frozen: Frozen, moved: Callable[[str], str], binding: set[str]) -> list[Any]:
    """The engine's operator, and what says the shapes of its outputs."""
    by_plain = {plain(n): n for n in part.segment.inputs}
    sources = [frozen.graph.get_tensor_by_name(by_plain[n]) for n in part.inputs]
    results = [frozen.graph.get_tensor_by_name(n) for n in part.segment.outputs]
    inputs = [(f"{part.name}/key", tf.string), *((moved(t.name), t.dtype) for t in sources)]
    call = python_call(part.name, TOKEN, inputs, [t.dtype for t in results])
    outside = {
        given
        for n in part.segment.nodes
        for given in frozen.controls.get(n, ())
        if node_of(given) in binding and node_of(given) not in part.segment.nodes
    }
    call.input.extend(sorted({moved(given) for given in outside}))
    return [
        call,
        *(
            of_shape(f"{part.name}/output_{i}", f"{part.name}:{i}", t.dtype, t.shape)
            for i, t in enumerate(results)
        ),
    ]


def _needed(definition: Any, outputs: Sequence[str]) -> Any:
    """A graph without what none of these needs."""
    by_name = {n.name: n for n in definition.node}
    stack, wanted = [node_of(n) for n in outputs], set()
    while stack:
        name = stack.pop()
        if name in by_name and name not in wanted:
            wanted.add(name)
            stack += map(node_of, by_name[name].input)
    return with_nodes(definition, (n for n in definition.node if n.name in wanted))


def runner(
    frozen: Frozen, definition: Any, outputs: Sequence[str], given: Mapping[str, Any]
) -> Callable[..., list[Any]]:
    """What computes tensors of a graph from a call's, within a tf.function.  given: placeholders -> what is fed besides."""
    read = {full(i) for n in definition.node for i in n.input if not is_control(i)}

    def run(*tensors: Any) -> list[Any]:
        fed = dict(zip(frozen.inputs, tensors, strict=True))
        graph = tf.compat.v1.get_default_graph()
        for name, value in {**frozen.captured, **given}.items():
            fed[full(name)] = graph.capture(value)
        ends = [n for n in outputs if n not in fed]
        made = tf.graph_util.import_graph_def(
            definition,
            input_map={n: t for n, t in fed.items() if n in read},
            return_elements=list(ends),
            name="model",  # away from what functions call their inputs
        )
        found = {**fed, **dict(zip(ends, made, strict=True))}
        return [tf.identity(found[n]) for n in outputs]

    return run
