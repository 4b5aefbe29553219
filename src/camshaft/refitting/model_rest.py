"""What a model is besides the weights that an engine can exchange: kept with it, so that a model that differs in anything
else is refused, not half taken (`Engine.refit`)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
from onnx import GraphProto, ModelProto, TensorProto

from camshaft.config import BuildConfig
from camshaft.errors import RefitError
from camshaft.frontends.onnx import Imported
from camshaft.frontends.onnx.dtypes import array_of
from camshaft.frontends.onnx.model import load_model, opsets_of

PART = "refit model"
"""What it is called among what is attached to an engine."""


def model_rest(model: Any, config: BuildConfig) -> dict[str, bytes]:
    """What to attach to an engine of a model; nothing unless the build is refittable."""
    if not config.refittable:
        return {}
    if isinstance(model, Imported):
        return {PART: json.dumps({"graph": model.digest, "initializers": {}}).encode()}
    return {PART: json.dumps(_digests(load_model(model), ())).encode()}


def require_same_rest(attached: bytes, model: ModelProto, exchangeable: Collection[str]) -> None:
    """RefitError if a model, as loaded, differs from the one that was built in more than weights that can be exchanged."""
    before, now = json.loads(attached), _digests(model, exchangeable)
    if before["graph"] != now["graph"]:
        raise RefitError(
            "the model is another than the engine was built from (its nodes, inputs or outputs differ): build it anew"
        )
    old, new = before["initializers"], now["initializers"]
    changed = sorted(n for n in old if n not in exchangeable and new.get(n) != old[n])
    if changed:
        shown = ", ".join(map(repr, changed[:5])) + ", ..." * (len(changed) > 5)
        raise RefitError(
            f"{shown}: the model has other values there than when the engine was built, and they cannot be exchanged, "
            "because they decide what is computed or were not permitted to change: build the engine again"
        )


def initializers_of(attached: bytes) -> frozenset[str]:
    """Names of the initializers of the model that was built; none where nothing is attached."""
    return frozenset(json.loads(attached)["initializers"]) if attached else frozenset()


def changed_initializers(
    attached: bytes, initializers: Iterable[TensorProto], exchangeable: Collection[str]
) -> list[str]:
    """Names of initializers that the model that was built has with other values, and that cannot be exchanged."""
    old = json.loads(attached)["initializers"]
    others = [t for t in initializers if t.name in old and t.name not in exchangeable]
    return sorted(t.name for t in others if _of_array(array_of(t)) != old[t.name])


def _digests(proto: ModelProto, without: Collection[str]) -> dict[str, Any]:
    """Of the graph, and of each initializer but those named."""
    initializers = [t for t in proto.graph.initializer if t.name not in without]
    return {
        "graph": _digest(repr((sorted(opsets_of(proto).items()), _spelled(proto.graph))).encode()),
        "initializers": {t.name: _of_array(array_of(t)) for t in initializers},
    }


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
    return _spelled(graph), [(t.name, _of_array(array_of(t))) for t in graph.initializer]


def _of_array(array: np.ndarray) -> str:
    content = repr(array.tolist()).encode() if array.dtype == object else array.tobytes()
    return _digest(f"{array.dtype}{array.shape}".encode() + content)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:24]
