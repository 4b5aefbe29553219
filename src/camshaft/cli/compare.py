"""`camshaft compare`: how far an engine is from another runtime, worst tensor first."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from camshaft.bench.peers import remark_on
from camshaft.cli.arrays import Arrays, Given, calibration_batches
from camshaft.cli.bisection import refuse_scripts, show_bisection
from camshaft.cli.files import READ
from camshaft.cli.options import BuildOptions, takes_build_options
from camshaft.cli.output import JsonTarget, Output, simple_table
from camshaft.cli.progress import Bars
from camshaft.cli.run import InputArchive, InputFiles, Seed
from camshaft.cli.source import Opened, is_engine_file, open_source
from camshaft.compare.comparison import Comparison
from camshaft.compare.comparison import compare as compare_with
from camshaft.compare.others import check_other
from camshaft.compare.precisions import TOLERANCES, coarsest, precision_of
from camshaft.compare.tensor_error import TensorError
from camshaft.errors import ConfigError
from camshaft.ir.extents.said import shape_text
from camshaft.runtime.engine import Engine
from camshaft.runtime.script.engine import ScriptEngine

SMALL = 1e-3
"""Outputs that stay below this may fail by the rounding of what they are computed from."""


BuiltEngine = Annotated[
    Path | None,
    typer.Option(
        "--engine", "--load-engine", help="Compare this engine of the model; builds nothing."
    ),
    READ,
]
Tolerance = Annotated[
    float | None,
    typer.Option(
        "--tolerance",
        min=0.0,
        help="Largest error of an output, relative to its largest value, before the exit code is 1. "
        f"Default: {TOLERANCES['fp32']}; where the engine has layers of them, {TOLERANCES['fp16']} for FP16, "
        f"{TOLERANCES['bf16']} for BF16 and {TOLERANCES['int8']} for INT8.",
    ),
]

Bisect = Annotated[
    bool,
    typer.Option(
        "--bisect",
        help="Find the first layer that departs on its own, and the layer that helps most in FP32.",
    ),
]
Candidates = Annotated[
    int, typer.Option("--candidates", min=0, help="Layers that --bisect tries in FP32, at most.")
]


@takes_build_options
def compare(
    model: Annotated[Path, typer.Argument(help="ONNX file.", metavar="MODEL"), READ],
    build: BuildOptions,
    engine_file: BuiltEngine = None,
    other: Annotated[
        str,
        typer.Option("--against", "--with", help="onnxruntime, or reference (ONNX's own; slow)."),
    ] = "onnxruntime",
    layers: Annotated[
        bool, typer.Option("--layers", help="Compare intermediate tensors too.")
    ] = False,
    bisect: Bisect = False,
    candidates: Candidates = 12,
    worst: Annotated[int, typer.Option("--worst", min=0, help="Tensors to list; 0 for all.")] = 20,
    tolerance: Tolerance = None,
    input: InputFiles = None,
    inputs: InputArchive = None,
    seed: Seed = 0,
    json: JsonTarget = None,
) -> None:
    """Run the model here and in another runtime and show how far the tensors are apart."""
    shown = Output(json)
    taps = "--layers" if layers else "--bisect" if bisect else ""
    _check_arguments(model, engine_file, other, taps)
    opened = open_source(engine_file or model, build, shown, Given(input, inputs))
    if engine_file is not None:
        _check_origin(opened, model, shown)
    if other == "onnxruntime" and (remark := remark_on(model)):
        shown.note(remark)
    if taps:
        refuse_scripts(opened, taps)
    feeds = _feeds(opened, build, seed, shown)
    with Bars() as bars:
        bars("comparing", 0, 0)
        found = compare_with(model, opened.engine, feeds, other, opened.session if layers else None)
    if tolerance is None:
        tolerance = _default_tolerance(opened)
    failed = found.beyond(tolerance)
    _show(found, failed, tolerance, worst, shown)
    if failed:
        _explain(opened.engine, shown)
    bisected = {}
    if bisect:
        given = (build.calibration, feeds, other, worst, candidates, shown)
        bisected = {"bisection": show_bisection(model, opened, *given)}
    shown.data(
        {
            "model": str(model),
            "against": other,
            "random_inputs": opened.given is None and build.calibration is None,
            "tolerance": tolerance,
            "passed": not failed,
            "tensors": [t.to_json() for t in found.tensors],
            "unmatched": list(found.unmatched),
            **bisected,
        }
    )
    if failed:
        raise typer.Exit(1)


def _feeds(opened: Opened, build: BuildOptions, seed: int, shown: Output) -> Arrays:
    """The inputs given; else the batch that the engine was calibrated with, or random ones."""
    if opened.given is None and build.calibration is not None:
        return _calibrated_with(build.calibration, opened.engine, shown)
    return opened.feeds(seed, shown)


def _check_arguments(model: Path, engine_file: Path | None, other: str, taps: str) -> None:
    """ConfigError for what cannot go together, before anything is built."""
    if is_engine_file(model):
        raise ConfigError(
            f"compare needs the ONNX model to run it elsewhere; give {str(model)!r} with --engine"
        )
    if engine_file is not None and taps:
        raise ConfigError(
            f"{taps} builds the model with taps on its layers, so it excludes --engine"
        )
    check_other(other)


def _calibrated_with(source: Path, engine: Engine, shown: Output) -> Arrays:
    """The first calibration batch, since the ranges do not fit noise."""
    shown.note("no inputs given: the first calibration batch")
    fixed = engine.fixed_inputs
    return {**fixed, **next(calibration_batches(source, engine.inputs, fixed))}


def _default_tolerance(opened: Opened) -> float:
    """That of the coarsest precision in which the engine has work by permission, or as the model says."""
    work = [note for note in opened.engine.notes if note.macs != 0]
    return TOLERANCES[coarsest(map(precision_of, work))]


def _check_origin(opened: Opened, model: Path, shown: Output) -> None:
    made_from = opened.engine.fingerprint.model
    if model.is_file() and made_from != hashlib.sha256(model.read_bytes()).hexdigest():
        shown.note(f"warning: the engine was not built from {model} as it is now")


def _explain(engine: Engine, shown: Output) -> None:
    """Why outputs may fail that are right: rows that are padding may be 0."""
    said = "skip_padding=True" in engine.fingerprint.config
    if said and not isinstance(engine, ScriptEngine) and engine.program.masks:
        shown.line(
            "the engine was built with --skip-padding: rows that masks or lengths hide are 0 in it; compare on inputs without padding"
        )


def _show(
    found: Comparison,
    failed: tuple[TensorError, ...],
    tolerance: float,
    worst: int,
    shown: Output,
) -> None:
    names = ("max abs", "relative", "mean abs", "cosine", "SQNR dB")
    table = simple_table("tensor", "stored", "shape", "step", *names)
    listed = found.tensors[: worst or None]
    for t in listed:
        table.add_row(
            f"{t.name} (output)" if t.is_output else t.name,
            t.stored,
            shape_text(t.shape),
            str(t.order),
            *(f"{v:.3g}" for v in (t.max_abs, t.relative, t.mean_abs)),
            f"{t.cosine:.6f}",
            f"{t.sqnr_db:.1f}",
        )
    shown.line(f"against {found.other}, worst first; relative to the tensor's largest value")
    shown.table(table)
    if len(listed) < len(found.tensors):
        shown.line(f"and {len(found.tensors) - len(listed)} more (--worst 0 lists all)")
    blank = [t.name for t in found.tensors if t.is_output and t.blank]
    if blank:
        shown.line(
            f"warning: {' and '.join(blank)} {'holds' if len(blank) == 1 else 'hold'} zeros alone, or no numbers, which says little: "
            "compare on other data (--input)"
        )
    if failed:
        shown.line(
            f"failed: {', '.join(f'{t.name} is off by {t.relative:.3g}' for t in failed)}"
            f", more than {tolerance:g}"
        )
        small = [t.name for t in failed if 0 < t.max_abs < SMALL * t.relative < float("inf")]
        if small:
            shown.line(
                f"no value of {' and '.join(small)} reaches {SMALL:g}: rounding shows where results "
                "nearly vanish; compare on real data (--input)"
            )
    else:
        shown.line(f"passed: every output within {tolerance:g}")
