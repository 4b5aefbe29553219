"""Measurements as JSON files and as a Markdown report."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.targets import Measurement, standing, timing_of, verdicts
from camshaft.atomic import write_atomically

QUIET = 1.25
"""Median over best round beyond which something else was running on the machine."""


def write_json(path: Path, value: Any) -> None:
    """Write results as JSON, making the folder; earlier results stay whole if that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(value, indent=1) + "\n").encode())


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are aligned right."""
    lines = ["| " + " | ".join(header) + " |", "|---" + "|--:" * (len(header) - 1) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def milliseconds(value: float) -> str:
    """Three significant digits, never scientific."""
    return f"{value:.4f}" if value < 0.1 else f"{value:.3f}" if value < 10 else f"{value:.1f}"


def times(measurements: Sequence[Measurement], precision: str, threads: int) -> str:
    """The table of one precision and number of threads: medians, and the ratio to the best peer."""
    group = [m for m in measurements if (m["precision"], m["threads"]) == (precision, threads)]
    parts = ("samples_ms", "failed", "not_built")
    engines = list(dict.fromkeys(n for m in group for part in parts for n in m.get(part, ())))
    return table(["model", *engines, "ratio", "best peer"], [_row(m, engines) for m in group])


def _row(measurement: Measurement, engines: Sequence[str]) -> list[str]:
    timing = timing_of(measurement)
    cells = [measurement["model"]]
    for engine in engines:
        if engine in measurement["failed"]:
            cells.append("failed")
        elif engine in measurement.get("not_built", ()):
            cells.append("not built")
        elif engine in timing.samples:
            cells.append(milliseconds(timing.median(engine)))
        else:
            cells.append("")
    stand = standing(measurement)
    return [*cells, f"{stand.ratio:.2f}" if stand else "", stand.peer if stand else ""]


def _noise(measurement: Measurement) -> str:
    """A line where some engine's median lies more than QUIET above its best; else nothing."""
    timing = timing_of(measurement)
    spread = {n: timing.median(n) / timing.best(n) for n in timing.samples}
    worst = max(spread, key=lambda n: spread[n], default="")
    if not worst or spread[worst] <= QUIET:
        return ""
    what = f"{measurement['model']} {measurement['precision']} {measurement['threads']}"
    return f"- {what}: {worst}'s median is {spread[worst]:.2f} times its best round"


def machine_lines(machine: Mapping[str, Any]) -> list[str]:
    """The machine as list items."""
    packages = ", ".join(f"{n} {v}" for n, v in machine["packages"].items())
    return [
        f"- {machine['processor']}, {machine['cpus']} CPUs ({', '.join(machine['features'])}), "
        f"{machine['memory_gib']} GiB",
        f"- {machine['system']}, Python {machine['python']}",
        f"- {packages}",
    ]


def markdown(results: Mapping[str, Any]) -> str:
    """The whole report of a results file (see benchmarks.run)."""
    measurements = results["measurements"]
    parts = ["# camshaft beside its peers", "", f"Measured {results['date']} on:", ""]
    parts += machine_lines(results["machine"])
    parts += [
        "",
        "Batch 1; milliseconds, medians over interleaved rounds. ratio = fastest peer / camshaft, "
        "median of the ratios within rounds.",
    ]
    kinds = dict.fromkeys((m["precision"], m["threads"]) for m in measurements)
    for precision, threads in kinds:
        parts += ["", f"## {precision.upper()}, {threads} thread{'s' * (threads > 1)}", ""]
        parts += [times(measurements, precision, threads)]
    microarchitecture = results["machine"].get("cpu", {}).get("microarchitecture", "")
    if lines := verdicts(measurements, microarchitecture):
        parts += ["", "## Targets", "", *(f"- {line}" for line in lines)]
    if noisy := [line for m in measurements if (line := _noise(m))]:
        parts += ["", "## Disturbed: medians far above the best round", "", *noisy]
    failed = [
        f"- {m['model']} {m['precision']} {m['threads']}: {engine}: {why}"
        for m in measurements
        for engine, why in m["failed"].items()
    ]
    if failed:
        parts += ["", "## Failed", "", *failed]
    return "\n".join(parts) + "\n"
