"""`camshaft build`: a model becomes an engine file."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer

from camshaft.atomic import check_writable
from camshaft.cli.arrays import Given
from camshaft.cli.files import READ, WRITTEN, require_apart
from camshaft.cli.options import BuildOptions, takes_build_options
from camshaft.cli.output import JsonTarget, Output
from camshaft.cli.source import build_session, is_engine_file
from camshaft.errors import CamshaftError, ConfigError
from camshaft.exporting import exported
from camshaft.frontends.onnx.standard import unwritable_model, weights_file, write_model
from camshaft.report.build import BuildReport
from camshaft.report.words import apart_text, arena_text, size, sizes_text
from camshaft.runtime.file.engine_file import unwritable_engine
from camshaft.session import BuildSession


@takes_build_options
def build(
    model: Annotated[Path, typer.Argument(help="ONNX file.", metavar="MODEL"), READ],
    build: BuildOptions,
    engine_file: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", "--save-engine", help="Engine file; default: beside the model."
        ),
        WRITTEN,
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(
            "--export",
            help="Standard ONNX file of what was built, with QuantizeLinear and DequantizeLinear nodes where it is "
            "INT8, for other runtimes. Without -o no engine is written.",
            metavar="FILE.onnx",
        ),
        WRITTEN,
    ] = None,
    json: JsonTarget = None,
) -> None:
    """Build an engine from an ONNX model and write it to a file."""
    output = Output(json)
    path = target_of(model, engine_file) if export is None or engine_file is not None else None
    if export is not None:
        check_export(model, export)
    start = perf_counter()
    session, engine, _ = build_session(model, build, output, Given())
    engine_bytes = 0 if path is None else engine.save(path)
    export_bytes, fault = export_of(session, export)
    total = perf_counter() - start
    report = BuildReport.of(session, engine)
    _warn(report, output)
    _summarize(report, output, total)
    if path is not None:
        output.line(f"engine     {path} ({size(engine_bytes)})")
    if export_bytes:
        output.line(f"export     {export} ({size(export_bytes)}, {_precision_of(session)})")
    output.data(
        {
            "model": str(model),
            "engine": None if path is None else str(path),
            "engine_bytes": engine_bytes,
            "export": str(export) if export_bytes else None,
            "export_bytes": export_bytes,
            "total_seconds": total,
            **report.to_json(),
        }
    )
    if fault is not None:
        raise fault


def export_of(session: BuildSession, export: Path | None) -> tuple[int, CamshaftError | None]:
    """Write what was built as standard ONNX: its bytes, 0 without a file; and what has no such form, for a command to raise at its
    end, so that all else that took a build is kept."""
    try:
        return (0 if export is None else write_model(exported(session), export)), None
    except CamshaftError as error:
        return 0, error


def _precision_of(session: BuildSession) -> str:
    """What an exported model says of precision, in words."""
    return "floats" if session.quantized is None else "Q/DQ nodes"


def check_export(model: Path, export: Path) -> None:
    """Refuse now, not after the build, to write an exported model where it cannot go."""
    if is_engine_file(model):
        raise ConfigError(f"{str(model)!r} is an engine already; give the ONNX model to build")
    for path in (export, weights_file(export)):
        try:
            check_writable(path)
        except OSError as error:
            raise unwritable_model(path, error) from error


def target_of(model: Path, engine_file: Path | None) -> Path:
    """Where the engine goes; refused now if it cannot go there, not after the build."""
    if is_engine_file(model):
        raise ConfigError(f"{str(model)!r} is an engine already; give the ONNX model to build")
    if engine_file is None and not model.name:
        raise ConfigError(f"{str(model)!r} is no ONNX file; give the .onnx file itself")
    path = engine_file or model.with_suffix(".engine")
    require_apart("--output", path, [("MODEL", model)])  # a link, where nothing was said
    try:
        check_writable(path)
    except OSError as error:
        raise unwritable_engine(str(path), error) from error
    return path


def _warn(report: BuildReport, output: Output) -> None:
    if report.host_steps:
        output.note(
            f"warning: {len(report.host_steps)} of {report.steps} steps have no kernel and run in "
            f"Python: {', '.join(report.host_steps)}"
        )
    for hint in report.hints:
        output.note(f"warning: {hint}")
    if report.timed_out:
        output.note(
            "warning: the time budget ended tuning early; the engine may not be the fastest"
        )


def _summarize(report: BuildReport, output: Output, total: float) -> None:
    kinds = [f"{count} {name}" for name, count in sorted(report.arithmetic.items())]
    if report.host_steps:
        kinds.append(f"{len(report.host_steps)} host")
    if report.script_steps:
        names = ", ".join(report.script_steps)
        kinds.append(f"{len(report.script_steps)} of the script: {names}")
    if report.symbols:
        output.line(f"sizes      {sizes_text(report.symbols)}")
    output.line(f"steps      {report.steps} ({', '.join(kinds)})")
    output.fact("precision", report.precision_summary)
    if report.goal_summary:
        output.fact("streams", report.goal_summary)
    if report.channels_apart:
        output.line(f"apart      {apart_text(report.channels_apart.values())}")
    output.line(f"arena      {arena_text(report.arena, report.lower_bound_bytes)}")
    if report.state_bytes:
        output.line(f"states     {size(report.state_bytes)} a context")
    output.line(f"weights    {size(report.weight_bytes)}, code {size(report.code_bytes)}")
    stages = ", ".join(f"{stage} {spent:.2f} s" for stage, spent in report.seconds.items())
    output.line(f"time       {total:.2f} s ({stages})")
