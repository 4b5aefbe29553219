"""What a plan says beside the engine: attached to engine files as JSON, so that any camshaft can run them.

An engine that TensorRT's API has not made has none; then its own inputs and sizes are what is known.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from camshaft.errors import EngineFileError
from camshaft.runtime.engine import Engine

ATTACHED = "tensorrt"
"""Name among `Engine.attached`."""

Triple = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""Least, typical and most: shapes of an input, or elements of one that says shapes."""


@dataclass(frozen=True)
class Ranges:
    """What an optimization profile says, by input.  shapes: of inputs.  values: elements of inputs that say shapes."""

    shapes: Mapping[str, Triple] = field(default_factory=dict)
    values: Mapping[str, Triple] = field(default_factory=dict)


@dataclass(frozen=True)
class Held:
    """Weights of a layer.

    initializer: what the model calls them.  name: for refits.  role, kind: numbers of the WeightsRole and of the DataType as they were
    given.  stored: number of the initializer's ONNX type.  count: of elements.
    """

    initializer: str
    name: str
    layer: str
    role: int
    kind: int
    stored: int
    count: int


@dataclass(frozen=True)
class Plan:
    """name: the network's.  shapes: input -> shape as the network declares it, -1 where it is open.  profiles: in order, at
    least one.  debug: tensors that debug listeners see; unfused: further ones, which they see together.
    assertions: bools that must hold in each run, and what to say if they do not.  hidden: outputs of the engine that scripts do not see.  origins: name of a step's node -> name of the
    layer it came from, where they differ.  aliases: output -> input that scripts give the same memory, of caches.  parameters: name of a node -> what
    `inspection.parameters` says of it, where the verbosity is detailed.  formats: input or output -> number of its TensorFormat, where it is not linear.
    held: weights of layers that refits may name.  stripped: whether the build left weights out.

    The others are numbers of enum members as of 10.16, of the configuration's properties.
    """

    name: str = ""
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    profiles: tuple[Ranges, ...] = (Ranges(),)
    debug: tuple[str, ...] = ()
    unfused: tuple[str, ...] = ()
    assertions: tuple[tuple[str, str], ...] = ()
    hidden: tuple[str, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    formats: Mapping[str, int] = field(default_factory=dict)
    verbosity: int = 0
    compatibility: int = 0
    tactic_sources: int = 0
    refittable: bool = False
    stripped: bool = False
    held: tuple[Held, ...] = ()
    streams_weights: bool = False

    def attach(self, engine: Engine) -> None:
        """Let the engine's files say so."""
        engine.attached[ATTACHED] = json.dumps(asdict(self)).encode()


def plan_of(engine: Engine) -> Plan:
    """What is attached to an engine.  EngineFileError if that cannot be read."""
    attached = engine.attached.get(ATTACHED)
    if attached is None:
        return Plan()
    try:
        said = json.loads(attached)
        profiles = tuple(
            Ranges(_triples(p["shapes"]), _triples(p["values"])) for p in said.pop("profiles")
        )
        shapes = {name: tuple(shape) for name, shape in said.pop("shapes").items()}
        said |= {key: tuple(said.get(key, ())) for key in ("debug", "unfused", "hidden")}
        said["assertions"] = tuple((name, text) for name, text in said.get("assertions", ()))
        held = tuple(Held(**h) for h in said.pop("held", ()))
        return Plan(**said, profiles=profiles, shapes=shapes, held=held)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EngineFileError(
            f"the engine's part {ATTACHED!r} is malformed ({error}); build it again"
        ) from error


def _triples(said: Mapping[str, Any]) -> dict[str, Triple]:
    found = {}
    for name, (low, typical, high) in said.items():
        found[name] = (tuple(low), tuple(typical), tuple(high))
    return found
