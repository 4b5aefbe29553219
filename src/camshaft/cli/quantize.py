"""`camshaft quantize`: the fastest engine within an allowed drop of accuracy, and what it took."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import typer

from camshaft.accuracy.demand import Demand
from camshaft.accuracy.judges.judge import METRICS
from camshaft.accuracy.quantize import Quantized, quantized_of, with_int8
from camshaft.cli.arrays import Given
from camshaft.cli.build import check_export, export_of, target_of
from camshaft.cli.evaluation import decode_of, evaluation_of
from camshaft.cli.files import READ, WRITTEN
from camshaft.cli.options import BuildOptions, takes_build_options
from camshaft.cli.output import JsonTarget, Output, require_writable, simple_table
from camshaft.cli.source import build_session
from camshaft.report.words import size
from camshaft.session import BuildSession

LOUDEST = 10
"""Layers that are listed."""


EngineFile = Annotated[
    Path | None,
    typer.Option("-o", "--output", "--save-engine", help="Engine file; default: beside the model."),
    WRITTEN,
]
Evaluate = Annotated[
    str | None,
    typer.Option(
        "--evaluate",
        metavar="DATA|MODULE:FUNCTION",
        help="What accuracy is: files as for --calibration, with an array 'labels' or without (of a detector also 'boxes'), or a "
        "function of run(inputs) -> outputs that returns a number. Default: the first calibration batches, without labels.",
    ),
]
Metric = Annotated[
    str | None,
    typer.Option("--metric", help=f"{', '.join(METRICS)}. Default: what the data allow."),
]
DecodeFunction = Annotated[
    str | None,
    typer.Option(
        "--decode",
        metavar="MODULE:FUNCTION",
        help="Makes (boxes, scores, labels) of a detector's outputs by name, where they are not yet such. For --metric map.",
    ),
]
MaxDrop = Annotated[
    float | None,
    typer.Option(
        "--max-drop",
        min=0.0,
        help="How far the score may fall below the float network's, in the metric's unit. Default: 0.5; of agreement "
        "3, of noise 5; to be said beside a function.",
    ),
]
ReportFile = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE.html",
        help="Also write a page that shows layers, noise, ranges and the search.",
    ),
    WRITTEN,
]
ExportFile = Annotated[
    Path | None,
    typer.Option(
        "--export",
        metavar="FILE.onnx",
        help="Also write standard ONNX with QuantizeLinear and DequantizeLinear nodes.",
    ),
    WRITTEN,
]


@takes_build_options
def quantize(
    model: Annotated[Path, typer.Argument(help="ONNX file.", metavar="MODEL"), READ],
    build: BuildOptions,
    engine_file: EngineFile = None,
    evaluate: Evaluate = None,
    metric: Metric = None,
    decode: DecodeFunction = None,
    max_drop: MaxDrop = None,
    report: ReportFile = None,
    export: ExportFile = None,
    json: JsonTarget = None,
) -> None:
    """Make a model INT8 without losing more accuracy than allowed."""
    output = Output(json)
    path = target_of(model, engine_file)
    require_writable(report)
    if export is not None:
        check_export(model, export)
    start = perf_counter()
    decoder = None if decode is None else decode_of(decode)
    demand = Demand.of(None, metric, max_drop, decoder)
    session, engine, _ = build_session(
        model, build, output, Given(), partial(_prepare, demand=demand, evaluate=evaluate)
    )
    made = quantized_of(session, engine)
    engine_bytes = engine.save(path)
    _show(made, output)
    if report is not None:
        made.save_report(report)
    export_bytes, fault = export_of(session, export)
    seconds = perf_counter() - start
    count = len(made.trials)
    output.line(f"time       {seconds:.1f} s, {count} engine{'s' * (count != 1)} judged")
    output.line(f"engine     {path} ({size(engine_bytes)})")
    files = {"report": report, "export": export if export_bytes else None}
    for name, file in files.items():
        if file is not None:
            output.line(f"{name:10} {file}")
    output.data(
        {
            "model": str(model),
            "engine": str(path),
            "engine_bytes": engine_bytes,
            "seconds": seconds,
            **{name: None if file is None else str(file) for name, file in files.items()},
            **_data(made),
        }
    )
    if fault is not None:
        raise fault


def _prepare(session: BuildSession, demand: Demand, evaluate: str | None) -> None:
    """Permit INT8, and say what is asked of accuracy."""
    session.config = with_int8(session.config)
    session.demand = demand
    if evaluate is not None:
        imported = session.import_model()
        types = {t.name: t.type for t in imported.inputs}
        fixed = {t.name: t.array for t in imported.fixed}
        demand.take(evaluation_of(evaluate, types, fixed))


def _data(made: Quantized) -> dict[str, Any]:
    return {
        "metric": made.metric,
        "reference": made.reference,
        "score": made.score,
        "allowed": made.allowed,
        "summary": made.summary,
        "trials": [asdict(t) for t in made.trials],
        "repairs": list(made.repairs),
        "noise_db": dict(made.noise),
        "reasons": dict(made.reasons),
    }


def _show(made: Quantized, output: Output) -> None:
    judge = None if made.session.account is None else made.session.account.judge
    if made.trials and judge is not None:
        table = simple_table("judged", made.metric, "drop", "ms")
        for trial in made.trials:
            spent = f"{trial.time_us / 1e3:.3f}" if trial.time_us else ""
            score, drop = (judge.number(x) for x in (trial.score, made.reference - trial.score))
            table.add_row(trial.what, score, drop, spent)
        output.table(table)
    if made.noise:
        table = simple_table("loudest layers", "dB below the signal", "now")
        for layer, db in list(made.noise.items())[:LOUDEST]:
            table.add_row(layer, f"{db:.1f}", _precision(made, layer))
        output.table(table)
    for repair in made.repairs:
        output.line(f"repair     {repair}")
    output.fact("precision", made.session.precision_summary)
    output.fact("accuracy", made.verdict)


def _precision(made: Quantized, unit: str) -> str:
    whys = (made.reasons.get(layer, "") for layer in (unit, *unit.split(" + ")))
    return next((why.partition(":")[0] for why in whys if why), "")
