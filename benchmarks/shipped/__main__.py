"""Every shipped model beside ONNX Runtime: the README's table.

    python -m benchmarks.shipped                              all models, 1 and 2 threads
    python -m benchmarks.shipped magika scrfd --threads 1 --seconds 5

Each measurement runs in a process of its own.  Results go to build/bench/shipped.json; those of
models that are not named are kept.  Exit status 1 if a model fails or is wrong.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.packages import ROOT
from benchmarks.report import machine_lines, milliseconds, table, write_json
from benchmarks.shipped.models import MODELS, model_named
from camshaft.bench.interleave import Timing
from camshaft.machine.description import describe

OUT = ROOT / "build" / "bench" / "shipped.json"
Measurement = Mapping[str, Any]
OURS, PEER = "camshaft", "onnxruntime"


def measured(name: str, threads: int, seconds: float) -> dict[str, Any]:
    """One measurement, or {"model", "threads", "failed": why}."""
    command = [sys.executable, "-m", "benchmarks.shipped.measure", name]
    command += ["--threads", str(threads), "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode == 0:
        result: dict[str, Any] = json.loads(done.stdout)
        return result
    end = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
    return {"model": name, "threads": threads, "failed": end[0]}


def rows(measurements: Sequence[Measurement]) -> list[list[str]]:
    """A row of the table for each model, in the order of MODELS."""
    made = []
    for model in MODELS:
        own = {m["threads"]: m for m in measurements if m["model"] == model.name}
        good = [m for m in own.values() if "failed" not in m]
        if own and not good:
            made.append([model.name, *["failed"] * 2, *[""] * 4])
        elif good:
            made.append([model.name, *(_ratio(own.get(t)) for t in (1, 2)), *_facts(good)])
    return made


def _timing(measurement: Measurement) -> Timing:
    return Timing(dict(measurement["samples_ms"]), dict(measurement["busy"]))


def _ratio(measurement: Measurement | None) -> str:
    if measurement is None or "failed" in measurement:
        return "" if measurement is None else "failed"
    return f"{_timing(measurement).ratio(PEER, OURS):.2f}"


def _facts(good: Sequence[Measurement]) -> list[str]:
    """Milliseconds and build time at the fewest threads, host steps, and the worst difference."""
    first = min(good, key=lambda m: int(m["threads"]))
    off, allowed = (max(float(m[k]) for m in good) for k in ("off", "allowed"))
    return [
        milliseconds(_timing(first).median(OURS)),
        str(len(first["host_steps"])),
        f"{first['build_s']:.0f} s",
        f"{off:.0e} (of {allowed:.0e})",
    ]


def markdown(results: Mapping[str, Any]) -> str:
    """The table, what it was measured on, and what failed."""
    header = ("model", "1 thread", "2 threads", "ms, 1 thread", "host steps", "build", "difference")
    measurements = results["measurements"]
    lines = [*machine_lines(results["machine"]), "", table(header, rows(measurements))]
    failed = [m for m in measurements if "failed" in m]
    lines += ["", *(f"- {m['model']}, {m['threads']}: {m['failed']}" for m in failed)]
    return "\n".join(lines).rstrip() + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser("python -m benchmarks.shipped", description=__doc__)
    parser.add_argument("models", nargs="*", default=[m.name for m in MODELS])
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--seconds", type=float, default=10.0, help="per measurement")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(arguments)
    found: dict[tuple[str, int], dict[str, Any]] = {}
    if options.out.is_file():
        old = json.loads(options.out.read_text(encoding="utf-8"))
        if old["machine"]["processor"] == describe()["processor"]:
            found = {(m["model"], m["threads"]): m for m in old["measurements"]}
    failed = False
    for name in (model_named(n).name for n in options.models):
        for threads in map(int, options.threads.split(",")):
            print(f"{name} {threads}", file=sys.stderr, flush=True)
            new = measured(name, threads, options.seconds)
            failed = failed or "failed" in new or new["off"] > new["allowed"]
            found[name, threads] = new
            results = {"machine": describe(), "measurements": list(found.values())}
            write_json(options.out, results)
    print(markdown(results))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
