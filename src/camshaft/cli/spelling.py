"""Options as the command line spells them, in messages that speak of Python's.

Everything below the command line names options as `camshaft.build` and `camshaft.quantize` take them: `shapes={'x': (None, 8)}`,
`weight_only='int8'`, `state=`.  What is shown here says `--shapes x:?x8`, `--weight-only int8`, `--state`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

from camshaft.ir.extents.said import shape_text

OPTIONS: Mapping[str, str] = {
    "shapes": "--shapes",
    "profiles": "--profile",
    "values": "--values",
    "state": "--state",
    "layer_precision": "--layer-precisions",
    "layer_output_type": "--layer-output-types",
    "strongly_typed": "--strongly-typed",
    "refittable": "--refittable",
    "portable": "--portable",
    "precision_constraints": "--precision-constraints",
    "calibration": "--calibration",
    "calibrator": "--calibrator",
    "percentile": "--percentile",
    "calibration_cache": "--calibration-cache",
    "dynamic_ranges": "--dynamic-ranges",
    "noise_reduction": "--noise-reduction",
    "bias_correction": "--bias-correction",
    "kernel_rounding": "--kernel-rounding",
    "weight_only": "--weight-only",
    "weight_block": "--weight-block",
    "weight_zero_points": "--weight-zero-points",
    "skip_padding": "--skip-padding",
    "optimization_level": "--level",
    "time_budget": "--time-budget",
    "memory_budget": "--memory-budget",
    "timing_cache": "--timing-cache",
    "frozen_cache": "--frozen-cache",
    "threads": "--threads",
    "goal": "--goal",
    "error_budget": "--error-budget",
    "workspace_limit": "--workspace",
    "target": "--target",
    "evaluate": "--evaluate",
    "metric": "--metric",
    "max_drop": "--max-drop",
    "decode": "--decode",
}
"""Argument of `camshaft.build` and `camshaft.quantize` -> option; `precision` has one for each member (`--int8`)."""
PHRASES: Mapping[str, str] = {
    'pairs (inputs, {"boxes": [n, 4], "labels": [n]})': "files with arrays 'boxes' and 'labels' beside the inputs",
    "precision given beside": "a precision (--int8, --bf16, --fp16) given beside",
    "pairs (inputs, labels)": "files with an array 'labels' beside the inputs",
    '{"boxes": [n, 4], "labels": [n]}, or a list with one for each picture': "arrays 'boxes' and 'labels' in files",
    '{"boxes": [n, 4], "labels": [n]}': "arrays 'boxes' and 'labels' in files",
}
"""What is given to Python otherwise than to a command -> how a command is given it."""

_ANY = "|".join(OPTIONS)
_TOLD = "|".join(name for name in OPTIONS if "_" in name)  # an option wherever it stands
_MARKS = "'\""
_FREE = r"(?<![\w'\"/:.-])"  # no part of a name, a path or another option
_QUOTED = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
_BRACES = re.compile(rf"{_FREE}(shapes|values|state|precision)=(\{{(?:{_QUOTED}|[^{{}}'\"])*\}})")
_INDEXED = re.compile(rf"{_FREE}({_ANY})(?:\[(?:\d+|\.\.\.)\])?\[({_QUOTED})\]")
_GIVEN = re.compile(rf"{_FREE}({_ANY})=({_QUOTED}|\d+)(?![\w.])")
_BARE = re.compile(rf"{_FREE}({_ANY})=(?=[\s,;:).]|$)")
_NAMED = re.compile(rf"{_FREE}({_TOLD})(?![\w'\"/=.-])")
_FIRST = re.compile(
    r"\A(calibrator|calibration|percentile|threads|target|metric)(?= is | '| given| and )"
)
_SWITCHED = re.compile(rf"{_FREE}({_TOLD}) is True")


def as_typed(message: str) -> str:
    """The message with build options as they are typed."""
    message = _BRACES.sub(_braces, message)
    message = _INDEXED.sub(lambda m: f"{OPTIONS[m[1]]} of {m[2]}", message)
    message = _GIVEN.sub(lambda m: f"{OPTIONS[m[1]]} {m[2].strip(_MARKS)}", message)
    message = _SWITCHED.sub(lambda m: f"{OPTIONS[m[1]]} is given", message)
    for python, typed in PHRASES.items():
        message = message.replace(python, typed)
    for pattern in (_BARE, _NAMED, _FIRST):
        message = pattern.sub(lambda m: OPTIONS[m[1]], message)
    return message


def _braces(found: re.Match[str]) -> str:
    """A dictionary or set of one of the options that take some."""
    name, text = found.groups()
    try:
        said: Any = ast.literal_eval(text)
    except (ValueError, SyntaxError):  # of no certain input: {input: [...]}
        said = {"INPUT": ...}
    if name == "precision":
        return " ".join(f"--{p}" for p in sorted(said))
    if name == "shapes":
        return "--shapes " + ",".join(f"{n}:{_shape(s)}" for n, s in said.items())
    return " ".join(f"{OPTIONS[name]} {n}={'...' if v is ... else v}" for n, v in said.items())


def _shape(said: Any) -> str:
    return "..." if said is ... or ... in said else shape_text(said)
