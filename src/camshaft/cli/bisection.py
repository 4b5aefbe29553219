"""`camshaft compare --bisect`: where an engine departs from the model, and which layer in FP32 helps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from camshaft.cli.arrays import Arrays, calibration_batches
from camshaft.cli.output import Output, simple_table
from camshaft.cli.progress import Bars
from camshaft.cli.source import Opened
from camshaft.cli.spelling import as_typed
from camshaft.compare.bisection import Bisection, StepError, bisect
from camshaft.compare.in_float import InFloat, Layers, suspects, tried_in_float, why_not
from camshaft.errors import ConfigError
from camshaft.frontends.onnx.model import load_model
from camshaft.runtime.engine import Engine
from camshaft.runtime.script.engine import ScriptEngine
from camshaft.session import BuildSession

QUICK = 1
"""The optimization level of engines that are built to try a layer in FP32: kernels are not timed."""


def refuse_scripts(opened: Opened, option: str) -> None:
    """ConfigError for a model of several graphs, whose tensors have no one order."""
    if isinstance(opened.engine, ScriptEngine):
        raise ConfigError(
            f"{option} compares the tensors of one graph, and this model is a script of "
            f"{len(opened.engine.parts)} graphs; leave it out, which compares the outputs"
        )


def show_bisection(
    model: Path,
    opened: Opened,
    calibration: Path | None,
    feeds: Arrays,
    other: str,
    worst: int,
    candidates: int,
    shown: Output,
) -> dict[str, Any]:
    """Bisect and show the results; returns them as JSON types.

    calibration: the build's calibration data.  worst: tensors to list; candidates: layers to try, at most.
    """
    assert opened.session is not None
    with Bars() as bars:
        bars("bisecting", 0, 0)
        found = bisect(model, opened.engine, opened.session, feeds, other)
    _show_steps(found, worst, other, shown)
    data: dict[str, Any] = {
        "first": None if found.first is None else found.first.own.name,
        "hidden": list(found.hidden),
        "steps": [s.to_json() for s in found.steps],
    }
    suspected = suspects(found, opened.engine.notes, opened.session.reasons, candidates)
    if suspected and (why := why_not(load_model(model))):
        shown.line(why)
        suspected = []
    if not suspected:
        return {**data, "in_float": None}
    with Bars() as bars:
        build = _rebuilds(model, opened.session, calibration)
        base, tried = tried_in_float(
            model, suspected, build, feeds, other, lambda i, n: bars("trying layers in FP32", i, n)
        )
    _show_float(base, tried, shown)
    return {
        **data,
        "in_float": {"without": base.to_json(), "layers": [t.to_json() for t in tried]},
    }


def _rebuilds(
    model: Path, session: BuildSession, calibration: Path | None
) -> Callable[[Layers], Engine]:
    """A function that builds the model quickly, with the layers given in FP32 besides those that the session left so."""
    imported = session.import_model()
    config = replace(
        session.config,
        optimization_level=min(session.config.optimization_level, QUICK),
        goal="latency",
        timing_cache=None,
        frozen_cache=False,
        calibration_cache=None if calibration is not None else session.config.calibration_cache,
        progress=None,
    )
    kept = [n for n, why in session.reasons.items() if why.startswith("fp32")]

    def build(layers: Layers) -> Engine:
        asked = {**config.layer_precision, **dict.fromkeys((*kept, *layers), "fp32")}
        obeyed = replace(config, layer_precision=asked, precision_constraints="prefer")
        made = BuildSession(model, obeyed, typical=session.typical)
        made.typical_elements = session.typical_elements
        if calibration is not None:
            types = {t.name: t.type for t in imported.inputs}
            fixed = {t.name: t.array for t in imported.fixed}
            made.calibration = calibration_batches(calibration, types, fixed)
        return made.run()

    return build


def _show_steps(found: Bisection, worst: int, other: str, shown: Output) -> None:
    table = simple_table(
        "tensor", "layers", "tactic", "precision", "step", "own", "limit", "whole", texts=4
    )
    listed = sorted(found.steps, key=lambda s: (-s.own.relative, s.own.order))[: worst or None]
    for s in listed:
        table.add_row(
            f"{s.own.name} (output)" if s.own.is_output else s.own.name,
            " + ".join(s.layers),
            ", ".join(s.tactics),
            s.precision,
            str(s.own.order),
            *(f"{v:.3g}" for v in (s.own.relative, s.limit, s.whole.relative)),
        )
    shown.line(
        f"against {other}, largest own error first: of each layer on what the engine gave it; "
        "whole: with the errors of all layers before"
    )
    shown.table(table)
    if len(listed) < len(found.steps):
        shown.line(f"and {len(found.steps) - len(listed)} more (--worst 0 lists all)")
    shown.line(_verdict(found))
    if found.hidden:
        shown.line(
            f"{' and '.join(found.hidden)} of the engine itself differ from the same kernels with their tensors shown: "
            "not a kernel is wrong, but how they were put together; please report it"
        )


def _verdict(found: Bisection) -> str:
    first, worst = found.first, found.worst
    if first is not None:
        return (
            f"first to depart: {_told(first)} is off by {first.own.relative:.3g} on its own inputs; rounding to "
            f"{first.precision} explains {first.limit:g}"
        )
    if worst is None:
        return "no tensor of the engine has a counterpart in the model"
    return f"no layer departs by more than rounding explains; {_told(worst)} adds most, {worst.own.relative:.3g}"


def _told(step: StepError) -> str:
    return f"{step.own.name} ({' + '.join(step.layers)})"


def _show_float(base: InFloat, tried: Sequence[InFloat], shown: Output) -> None:
    names = [t.name for t in base.outputs]
    table = simple_table("layers in fp32", *names, "SQNR dB")
    for t in (base, *tried):
        if t.outputs:
            errors = {o.name: f"{o.relative:.3g}" for o in t.outputs}
            table.add_row(
                " + ".join(t.layers) or "(none)",
                *(errors.get(n, "-") for n in names),
                f"{t.least_sqnr_db:.1f}",
            )
    shown.line()
    shown.line(f"one kernel's layers in fp32 each, at level {QUICK}: relative errors, best first")
    shown.table(table)
    for t in tried:
        if t.fault:
            shown.line(f"{' + '.join(t.layers)} in fp32: {as_typed(t.fault)}")
    best = tried[0]
    if best.worst < base.worst:
        asked = ",".join(f"{layer}:fp32" for layer in best.layers)
        shown.line(
            f"helps most: --layer-precisions {asked!r}, {base.worst:.3g} becomes {best.worst:.3g}"
        )
    else:
        shown.line("no single layer in fp32 helps")
