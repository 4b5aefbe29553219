"""`camshaft hardware`: what this machine computes fast."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from camshaft.cli.output import JsonTarget, Output, simple_table
from camshaft.machine.hardware import Hardware
from camshaft.machine.hardware import hardware as described

_UNITS = {"int8": "GOP/s"}


def hardware(
    measure: Annotated[
        bool, typer.Option("--measure/--no-measure", help="Measure peaks and bandwidths.")
    ] = True,
    json: JsonTarget = None,
) -> None:
    """Show what this machine computes fast: instructions, peaks, memory bandwidth, targets."""
    shown = Output(json)
    machine = described(measure)
    shown.line(machine.processor)
    gib = machine.memory_bytes / 2**30
    shown.line(
        f"{machine.cpus} CPUs; L1d {machine.l1_bytes >> 10} KiB, L2 {machine.l2_bytes >> 10} KiB, "
        f"L3 {machine.l3_bytes >> 10} KiB; {gib:.1f} GiB of memory"
    )
    shown.line(f"targets: {', '.join(machine.targets)}")
    table = simple_table("precision", "instructions", "peak of one core", texts=2)
    for a in machine.arithmetic:
        rate = "-" if a.peak is None else f"{a.peak:.0f} {_UNITS.get(a.precision, 'GFLOP/s')}"
        table.add_row(a.precision, ", ".join(a.instructions) or "none: widened first", rate)
    shown.table(table)
    if machine.bandwidth_one is not None and machine.bandwidth_all is not None:
        shown.line(
            f"memory is read at {machine.bandwidth_one:.1f} GB/s by one core, "
            f"{machine.bandwidth_all:.1f} GB/s by all"
        )
    shown.data(as_data(machine))


def as_data(machine: Hardware) -> dict[str, object]:
    """For `--json`: the fields of `Hardware`, and whether each precision is fast."""
    data = asdict(machine)
    for a in machine.arithmetic:
        data[a.precision]["is_fast"] = a.is_fast
    return data
