"""What a model is besides the weights that an engine can exchange: kept with it, so that a model that differs in anything
else is refused, not half taken (`Engine.refit`)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto

from camshaft.config import BuildConfig
from camshaft.errors import RefitError
from camshaft.frontends.onnx import Imported
from camshaft.frontends.onnx.dtypes import weight_of
from camshaft.frontends.onnx.model import load_model, opsets_of

PART = "refit model"
"""What it is called among what is attached to an engine."""


@dataclass(frozen=True)
class Rest:
    """initializers: name -> digest of those that were read.  aliases: name -> that of the same weight.  unread: names of what
    nothing reads."""

    graph: str
    initializers: dict[str, str]
    aliases: dict[str, str] = field(default_factory=dict)
    unread: tuple[str, ...] = ()


def model_rest(model: Any, config: BuildConfig) -> dict[str, bytes]:
    """What to attach to an engine of a model; nothing unless the build is refittable."""
    if not config.refittable:
        return {}
    rest = (
        _rest_of_module(model) if isinstance(model, Imported) else _rest_of(load_model(model), ())
    )
    return {PART: json.dumps(asdict(rest)).encode()}


def rest_in(attached: Mapping[str, bytes]) -> Rest:
    """What is attached to an engine."""
    return Rest(**json.loads(attached[PART])) if PART in attached else Rest("", {})


def _rest_of_module(module: Imported) -> Rest:
    held = {w.name: w.value for w in module.weights}
    others = module.others
    read = held | {n: a for n, a in others.items() if isinstance(a, np.ndarray)}
    return Rest(
        module.digest,
        {name: digest_of(array) for name, array in read.items()},
        {name: of for name, of in others.items() if isinstance(of, str)},
        tuple(name for name, of in others.items() if of is None),
    )


def require_same_rest(before: Rest, model: ModelProto, exchangeable: Collection[str]) -> None:
    """RefitError if a model, as loaded, differs from the one that was built in more than weights that can be exchanged."""
    now = _rest_of(model, exchangeable)
    if before.graph != now.graph:
        raise RefitError(
            "the model is another than the engine was built from (its nodes, inputs or outputs differ): build it anew"
        )
    old, new = before.initializers, now.initializers
    changed = sorted(n for n in old if n not in exchangeable and new.get(n) != old[n])
    if changed:
        shown = ", ".join(map(repr, changed[:5])) + ", ..." * (len(changed) > 5)
        raise RefitError(
            f"{shown}: the model has other values there than when the engine was built, and they cannot be exchanged, "
            "because they decide what is computed or were not permitted to change: build the engine again"
        )


def changed_initializers(
    before: Rest, initializers: Iterable[TensorProto], exchangeable: Collection[str]
) -> list[str]:
    """Names of initializers that the model that was built has with other values, and that cannot be exchanged."""
    old = before.initializers
    others = [t for t in initializers if t.name in old and t.name not in exchangeable]
    return sorted(t.name for t in others if digest_of(weight_of(t)) != old[t.name])


def _rest_of(proto: ModelProto, without: Collection[str]) -> Rest:
    """Without the digests of initializers named so."""
    read = _read(proto.graph)
    digests = {
        t.name: digest_of(weight_of(t))
        for t in proto.graph.initializer
        if t.name in read and t.name not in without
    }
    unread = tuple(t.name for t in proto.graph.initializer if t.name not in read)
    spelled = repr((sorted(opsets_of(proto).items()), _spelled(proto.graph)))
    return Rest(_digest(spelled.encode()), digests, {}, unread)


def _read(graph: GraphProto) -> set[str]:
    """Names that a graph, or one within it, reads or gives."""
    found = {v.name for v in graph.output}
    for node in graph.node:
        found.update(node.input)
        for a in node.attribute:
            for inner in (a.g, *a.graphs) if a.HasField("g") or a.graphs else ():
                found |= _read(inner)
    return found


def _spelled(graph: GraphProto) -> Any:
    """Nodes and ends of a graph, and weights of those within it, without names of nodes and what is there for people."""
    nodes = []
    for node in graph.node:
        attributes = sorted(
            (a.name, _inner(a.g) if a.HasField("g") else a.SerializeToString(deterministic=True))
            for a in node.attribute
        )
        nodes.append((node.domain, node.op_type, *node.input, None, *node.output, attributes))
    return nodes, [v.name for v in graph.input], [v.name for v in graph.output]


def _inner(graph: GraphProto) -> Any:
    return _spelled(graph), [(t.name, digest_of(weight_of(t))) for t in graph.initializer]


def digest_of(array: np.ndarray) -> str:
    """Tells arrays of other types, shapes or elements apart."""
    content = repr(array.tolist()).encode() if array.dtype == object else array.tobytes()
    return _digest(f"{array.dtype}{array.shape}".encode() + content)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:24]
