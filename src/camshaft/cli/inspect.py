"""`camshaft inspect`: what an engine does, step by step, and the graphs it was made from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from camshaft.cli.files import WRITTEN
from camshaft.cli.options import BuildOptions, takes_build_options
from camshaft.cli.output import (
    JsonTarget,
    Output,
    require_writable,
    simple_table,
    write_bytes,
    write_text,
)
from camshaft.cli.progress import Bars
from camshaft.cli.run import Source
from camshaft.cli.source import Opened, is_engine_file, open_source
from camshaft.cli.spelling import as_typed
from camshaft.errors import ConfigError
from camshaft.feeds import random_feeds
from camshaft.frontends.onnx import export_onnx
from camshaft.ir.dumps.dot import graph_dot
from camshaft.ir.dumps.text import graph_text
from camshaft.ir.extents.said import Value, value_text
from camshaft.ir.graph import Graph
from camshaft.report.page.gather.collect import page_of
from camshaft.report.page.page import page_html
from camshaft.report.words import apart_text, arena_text, size, sizes_text
from camshaft.runtime.profile import Profile
from camshaft.session import BuildSession


class Which(StrEnum):
    """Which graph to show."""

    before = "before"
    after = "after"


GRAPH_FILES = (".dot", ".gv", ".onnx", ".txt")


@takes_build_options
def inspect(
    source: Source,
    build: BuildOptions,
    layers: Annotated[
        str | None,
        typer.Option("--layers", metavar="REGEX", help="Only steps whose layers match."),
    ] = None,
    dump_profile: Annotated[
        bool, typer.Option("--dump-profile", help="Measure every step now, on random inputs.")
    ] = False,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Runs to measure.")] = 50,
    graph: Annotated[
        Which | None,
        typer.Option("--graph", help="Show a model's graph, as imported or as built, instead."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File for --graph: .dot, .onnx or .txt."),
        WRITTEN,
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="FILE.html",
            help="Also write a page that shows graphs, steps and memory, and opens without a net.",
        ),
        WRITTEN,
    ] = None,
    json: JsonTarget = None,
) -> None:
    """Show every step: source layers, tactic, precision and why, time, memory."""
    shown = Output(json)
    if graph is not None:
        if report is not None:
            raise ConfigError("--report shows both graphs; leave --graph out")
        _check_graph_file(output)
        _write_graphs(_graphs(source, build, graph, shown), output, shown)
        return
    if output is not None:
        raise ConfigError("--output is where --graph writes; say --graph before or --graph after")
    require_writable(report)
    wanted = _pattern(layers)
    opened = open_source(source, build, shown)
    data = opened.engine.inspect()
    data["threads"] = opened.threads
    if opened.session is not None:
        data["precision_summary"] = opened.session.precision_summary
    profile = _measure(opened, data, runs) if dump_profile else None
    _complete(data, "profile" in data)
    data["steps"] = [s for s in data["steps"] if _matches(s, wanted)]
    if not data["steps"]:
        shown.note(f"no step comes from a layer that matches {layers!r}")
    _show(data, shown)
    if report is not None:
        page = page_of(opened.engine, opened.session, profile=profile, title=source.name)
        write_text(report, page_html(page))
        shown.line(f"report     {report}")
    shown.data(data)


# -- graphs --------------------------------------------------------------------------------------


def _graphs(source: Path, options: BuildOptions, which: Which, shown: Output) -> tuple[Graph, ...]:
    """The model's graph; several of a model with a script."""
    if is_engine_file(source):
        raise ConfigError(
            f"--graph needs the model: {str(source)!r} is an engine, which keeps steps but no graph"
        )
    if which is Which.before:
        session = BuildSession(source, options.config())
        session.import_model()
        return session.imported_graphs
    built = open_source(source, options, shown).session
    assert built is not None
    return built.final_graphs


def _check_graph_file(path: Path | None) -> None:
    if path is not None and path.suffix not in GRAPH_FILES:
        raise ConfigError(f"--output {str(path)!r}: a graph is written as .dot, .onnx or .txt")
    require_writable(path)


def _write_graphs(graphs: Sequence[Graph], path: Path | None, shown: Output) -> None:
    text = "\n".join(graph_text(g).rstrip("\n") for g in graphs)
    if path is None:
        shown.line(text)
        shown.data({"graph": text + "\n"})
        return
    if path.suffix != ".txt" and len(graphs) > 1:
        raise ConfigError(
            f"--output {str(path)!r} holds one graph, and this model is a script of {len(graphs)}; write a .txt"
        )
    if path.suffix == ".onnx":
        write_bytes(path, export_onnx(graphs[0]).SerializeToString(deterministic=True))
    elif path.suffix in (".dot", ".gv"):
        write_text(path, graph_dot(graphs[0]))
    else:
        write_text(path, text + "\n")
    nodes = sum(len(g.nodes) for g in graphs)
    shown.line(f"{nodes} nodes in {path}")
    shown.data({"nodes": nodes, "file": str(path)})


# -- steps ---------------------------------------------------------------------------------------


def _pattern(layers: str | None) -> re.Pattern[str]:
    try:
        return re.compile(layers or "")
    except re.error as error:
        raise ConfigError(f"--layers {layers!r} is no regular expression: {error}") from None


def _matches(step: dict[str, Any], wanted: re.Pattern[str]) -> bool:
    return any(wanted.search(name) for name in (step["name"], *step["origin"]))


def _measure(opened: Opened, data: dict[str, Any], runs: int) -> Profile:
    with Bars() as bars:
        bars("measuring", 0, 0)
        measured = opened.engine.profile(
            random_feeds(opened.types, 0, opened.elements, opened.numbers), runs, opened.threads
        )
    if "script" in data:
        data["script_profile"] = {
            "total_us": measured.total_us,
            "threads": measured.threads,
            "runs": measured.runs,
            "steps": [{"name": s.name, "op": s.op, "us": s.median_us} for s in measured.layers],
        }
        return measured
    data["profile"] = {
        "total_us": measured.total_us,
        "threads": measured.threads,
        "runs": measured.runs,
        "sizes": dict(measured.sizes),
    }
    ran = {layer.index: layer for layer in measured.layers}
    for step in data["steps"]:
        step["runs"] = step["index"] in ran
        if layer := ran.get(step["index"]):
            step |= {"measured_us": layer.median_us, "min_us": layer.min_us}
            step |= {"macs": layer.macs, "bytes": layer.bytes}
    return measured


def _complete(data: dict[str, Any], profiled: bool) -> None:
    """Add share, speeds, where the output lies, and totals.

    Shares and totals are of the steps that run at the sizes measured, or else at typical ones.  A step
    for other sizes has the figures of those that it was timed at, or if all are measured none.
    """
    key, runs = ("measured_us", "runs") if profiled else ("time_us", "typical")
    ran = [step for step in data["steps"] if step[runs]]
    total = sum(s[key] for s in ran)
    for step in data["steps"]:
        time = step.get(key, 0.0)
        step["share"] = time / total if total and step[runs] else None
        step["gflops"] = 2e-3 * step["macs"] / time if time else None
        step["gbytes_per_s"] = 1e-3 * step["bytes"] / time if time else None
        step["output"] = written(step)
    data["totals"] = {
        "steps": len(ran),
        "time_us": total,
        "macs": sum(s["macs"] for s in ran),
        "bytes": sum(s["bytes"] for s in ran),
        "channels_apart": sum(s.get("apart", 0) for s in ran),
    }


def written(step: dict[str, Any]) -> dict[str, Any] | None:
    """The operand that a step writes: the last before packed constants and the workspace."""
    operands = [o for o in step["operands"] if o["space"] not in ("constant", "scratch", "report")]
    return operands[-1] if operands else None


def _nested(value: Any) -> Value:
    """Nested lists as tuples."""
    return tuple(_nested(v) for v in value) if isinstance(value, list) else value


# -- for people ----------------------------------------------------------------------------------


def _show_ends(data: dict[str, Any], shown: Output) -> None:
    """What calls take and give, what contexts keep, and what the build fixed."""
    for kind in ("inputs", "outputs"):
        bound = ", ".join(f"{name} {type_}" for name, type_ in data[kind].items())
        shown.line(f"{kind:10} {bound}")
    for name, state in data.get("states", {}).items():
        long = "" if state["axis"] is None else f", {state['capacity']} long at most"
        copied = "" if state["in_place"] else ", copied in each call"
        shown.line(f"state      {name}: {state['type']}{long}, {size(state['bytes'])}{copied}")
    if data["fixed_inputs"]:
        fixed = "; ".join(
            f"{n} = {value_text(_nested(v))}" for n, v in data["fixed_inputs"].items()
        )
        shown.line(f"fixed      {fixed}")


def _show(data: dict[str, Any], shown: Output) -> None:
    made = data["fingerprint"]
    shown.line(f"engine     {made['config']}; camshaft {made['camshaft']}, target {made['target']}")
    if made["streams"]:
        joined = f" of up to {made['batch']} rows" if made["batch"] > 1 else ""
        shown.line(
            f"pools      {made['streams']} call{'s' * (made['streams'] > 1)} at a time{joined}"
        )
    _show_ends(data, shown)
    if "precision_summary" in data:
        shown.fact("precision", data["precision_summary"])
    apart = [s["apart"] for s in data["steps"] if s["typical"] and s.get("apart")]
    if apart:
        shown.line(f"apart      {apart_text(apart)}")
    if data["symbols"]:
        shown.line(f"sizes      {sizes_text(data['symbols'])}; {_figures_of(data)}")
    shown.line(f"arena      {arena_text(data['arena'], data['lower_bound_bytes'])}")
    expanded = data["expanded_bytes"]
    made = f" (and {size(expanded)} made of them on loading)" if expanded else ""
    shown.line(f"weights    {size(data['weight_bytes'])}{made}, code {size(data['code_bytes'])}")
    _show_steps(data, shown)
    if "script" in data:
        _show_script(data, shown)
    if "profile" in data:
        p = data["profile"]
        shown.line(
            f"measured over {p['runs']} runs with {p['threads']} threads; a whole call takes "
            f"{p['total_us']:.1f} us"
        )
    elif not data["totals"]["time_us"]:
        shown.note("no step was timed in this build; --dump-profile measures them", "dim")


def _show_steps(data: dict[str, Any], shown: Output) -> None:
    table = simple_table(
        "#",
        "step",
        "precision",
        "us",
        "share",
        "MMAC",
        "GFLOP/s",
        "bytes",
        "GB/s",
        "output",
        texts=2,
    )
    for step in data["steps"]:
        table.add_row(str(step["index"]), _words(step), *_figures(step))
    totals = data["totals"]
    table.add_section()
    table.add_row(
        "",
        f"all {totals['steps']} steps",
        "",
        _figure(totals["time_us"] or None, ".1f"),
        "",
        _figure(totals["macs"] / 1e6, ".1f"),
        _figure(2e-3 * totals["macs"] / totals["time_us"] if totals["time_us"] else None, ".0f"),
        size(totals["bytes"]),
    )
    shown.table(table)


def _show_script(data: dict[str, Any], shown: Output) -> None:
    """The script, a line for each step; with the times of its outer steps where they were measured."""
    shown.line("script")
    measured = data.get("script_profile")
    times = iter(measured["steps"] if measured else ())
    for line in data["script"]:
        outer = measured is not None and not line.startswith(" ")
        time = f"{next(times)['us']:10.1f} us  " if outer else " " * (15 if measured else 2)
        shown.line(f"{time}{line}")
    if measured:
        shown.line(
            f"measured over {measured['runs']} runs with {measured['threads']} threads; a whole call takes "
            f"{measured['total_us']:.1f} us; the steps of the graphs above have the times of tuning"
        )


def _figures_of(data: dict[str, Any]) -> str:
    """The sizes that the table's figures are of."""
    if "profile" in data:
        sizes = data["profile"]["sizes"]
        return f"steps measured at {', '.join(f'{n}={size}' for n, size in sizes.items())}"
    others = any(step["at"] for step in data["steps"])
    return "times and bytes at typical sizes" + ", or at those a step names" * others


def _words(step: dict[str, Any]) -> Text:
    """Name; then tactic, source layers and reason, dimmed."""
    if step["kind"] != "kernel":
        how = "host step" if step["kind"] == "host" else "step of the script"
    else:
        how = " ".join([step["tactic"], *(f"{k}={v}" for k, v in step["params"].items())])
    words = Text(step["name"], "bold" if step["kind"] == "kernel" else "yellow")
    words.append(f"\n{step['op']}: {how}", "dim")
    if " + ".join(step["origin"]) != step["name"]:
        words.append(f"\nfrom {', '.join(step['origin'])}", "dim")
    if step["reason"]:
        words.append(f"\n{as_typed(step['reason'])}", "dim")
    return words


def _figures(step: dict[str, Any]) -> list[str]:
    place = step["output"]
    where = "-" if place is None else f"{place['space']} {place['name']}"
    if place is not None and place["space"] == "arena":
        where = f"arena +{place['offset']}"
    measured = step.get("runs", True)
    time = step.get("measured_us", step["time_us"]) if measured else None
    share = step["share"]
    return [
        step["precision"],
        _figure(time or None, ".1f"),
        "-" if share is None else f"{share:.1%}",
        _figure(step["macs"] / 1e6 if measured else None, ".2f"),
        _figure(step["gflops"], ".0f"),
        size(step["bytes"]) if measured else "-",
        _figure(step["gbytes_per_s"], ".1f"),
        where,
    ]


def _figure(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
