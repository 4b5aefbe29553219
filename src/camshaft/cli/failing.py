"""The default check of `camshaft reduce`: `camshaft compare` in a process of its own, and the inputs it runs on."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from onnx import ModelProto, helper, numpy_helper

from camshaft.cli.arrays import Arrays, Given
from camshaft.cli.options import BuildOptions
from camshaft.cli.output import Output
from camshaft.cli.shapes import pairs
from camshaft.compare.reduction.check import INPUTS, MODEL, Check, Rule
from camshaft.compare.reduction.source import Candidate
from camshaft.errors import BindingError, ConfigError, PeerError
from camshaft.feeds import random_feeds
from camshaft.frontends.onnx import import_model
from camshaft.frontends.onnx.model import opsets_of
from camshaft.ir.extents.sizes import typical
from camshaft.ir.plugins.modules import imported

_OF_INPUTS = ("shapes", "profile", "min_shapes", "opt_shapes", "max_shapes")
"""Options that are NAME:SIZES,... of inputs."""
_FAULTS_OF_OPTIONS = (2, 4, 6, 7)
"""Exit codes that say nothing of a model: of options, calibration, files and arrays."""
_PEER_FAILS = 3
_IDENTITY_OF_ALL = 16
"""The opset in which Identity takes whatever a model's input may be."""


def feeds_for(
    proto: ModelProto, build: BuildOptions, given: Given, seed: int, shown: Output
) -> tuple[ModelProto, Arrays]:
    """Inputs for a model, given or random, and the model with those whose values the options say as constants.

    The model itself need not be one that can be imported.
    """
    config = build.config()
    if config.state:
        raise ConfigError(
            "--state is of calls that follow one another, and reduce makes one: leave it out, past values are inputs then"
        )
    weights = {t.name for t in proto.graph.initializer}
    inputs = [v for v in proto.graph.input if v.name not in weights]
    face = import_model(
        _identities(proto, [v.name for v in inputs]),
        shapes=config.shapes,
        profiles=config.profiles,
        values=config.values,
    ).face
    types = {t.name: t.type for t in face.inputs}
    fixed = {t.name: t.array for t in face.fixed}
    arrays = given.arrays({**types, **{t.name: t.type for t in face.fixed}})
    if arrays is None:
        elements = {t.name: [typical(e) for e in t.values] for t in face.inputs if t.values}
        arrays = random_feeds(types, seed, elements)
        shown.note(f"no inputs given: random ones, seed {seed}")
    feeds = {**arrays, **fixed}
    missing = [v.name for v in inputs if v.name not in feeds]
    if missing:
        raise BindingError(
            f"no values for input {missing[0]!r}; give them with --input or --inputs"
        )
    known = {v.name for v in inputs}
    if unknown := [n for n in feeds if n not in known]:
        raise BindingError(
            f"the model has no input {unknown[0]!r}; its inputs are {', '.join(known)}"
        )
    if fixed:
        proto = _with_constants(proto, fixed)
    return proto, {n: a for n, a in feeds.items() if n not in fixed}


def _identities(proto: ModelProto, names: Sequence[str]) -> ModelProto:
    """A model with the same inputs and no work, to be imported in place of what may not be."""
    copy = ModelProto(ir_version=proto.ir_version)
    version = max(opsets_of(proto).get("", 1), _IDENTITY_OF_ALL)
    copy.opset_import.append(helper.make_opsetid("", version))
    copy.ir_version = max(copy.ir_version, 8)
    copy.graph.name = proto.graph.name or "inputs"
    for value in proto.graph.input:
        if value.name in names:
            copy.graph.input.append(value)
            copy.graph.node.append(
                helper.make_node("Identity", [value.name], [f"{value.name}:out"])
            )
            copy.graph.output.append(value)
            copy.graph.output[-1].name = f"{value.name}:out"
    return copy


def _with_constants(proto: ModelProto, values: Arrays) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(proto)
    kept = [v for v in proto.graph.input if v.name not in values]
    del copy.graph.input[:]
    copy.graph.input.extend(kept)
    copy.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in values.items())
    return copy


def build_check(
    build: BuildOptions,
    other: str,
    tolerance: float | None,
    rule: Rule,
    limit: float,
    shown: Output,
) -> Check:
    """A check that compares the model, built with these options, with the runtime `other`.

    rule: what counts as failing; where it says nothing, models must fail as the first did.
    """
    if build.dynamic_ranges is not None:
        raise ConfigError(
            "--dynamic-ranges names tensors of the whole model, which its parts lack: give --calibration, or a --check"
        )
    if build.calibration is not None or build.calibration_cache is not None:
        shown.note("models are calibrated with the recorded run, since each has other inputs")
    options = ["--against", other]
    for name in imported():
        options += ["--plugins", name]
    if tolerance is not None:
        options += ["--tolerance", str(tolerance)]

    def words(candidate: Candidate) -> list[str]:
        command = [sys.executable, "-m", "camshaft", "compare", MODEL, "--inputs", INPUTS]
        return command + options + _options_for(candidate, build)

    return Check(words, rule, limit, same=not rule.says_something)


def _options_for(candidate: Candidate, build: BuildOptions) -> list[str]:
    """The build options as far as they speak of what a model has.

    A model of fixed sizes has those alone.
    """
    graph = candidate.model.graph
    inputs = {v.name for v in graph.input}
    changed: dict[str, Any] = {
        name: None if candidate.fixed else _about(name, getattr(build, name), inputs)
        for name in _OF_INPUTS
    }
    layers = {n.name for n in graph.node}
    changed["layer_precisions"] = _about("layer_precisions", build.layer_precisions, layers)
    changed["values"] = [t for t in build.values or () if t.partition("=")[0] in inputs] or None
    if build.calibration is not None or build.calibration_cache is not None:
        changed |= {"calibration": INPUTS, "calibration_cache": None}
    return replace(build, **changed).words()


def _about(name: str, texts: list[str] | None, known: Collection[str]) -> list[str] | None:
    """Of NAME:VALUE,... what speaks of names that are known; a name may be a pattern."""
    option = "--" + name.replace("_", "-")
    found = []
    for text in texts or ():
        said = pairs(option, [text])
        about = [f"{n}:{v}" for n, v in said.items() if any(fnmatchcase(k, n) for k in known)]
        found += [",".join(about)] if about else []
    return found or None


def refuse_other_faults(check: Check, other: str) -> None:
    """An error for a first check that failed by what is no failure of the model here."""
    first = check.first
    if first is None or not check.same:
        return
    lines = [line for line in first.output.splitlines() if line.startswith("error: ")]
    said = lines[-1].removeprefix("error: ") if lines else ""
    if first.code == _PEER_FAILS and said.startswith(f"{other} cannot"):
        raise PeerError(
            f"{said}; compare with another runtime (--against), or give a --check", other
        )
    if first.code in _FAULTS_OF_OPTIONS and said:
        raise ConfigError(
            f"the model cannot be checked: {said}; if that is the failure, say --fail-code {first.code}"
        )
