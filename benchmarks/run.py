"""The benchmark: every model, precision and number of threads; JSON and a Markdown report.

    python -m benchmarks.run                                    all of it (make bench)
    python -m benchmarks.run resnet50 scrfd --precision int8 --threads 1 --seconds 5
    python -m benchmarks.run --transformers --precision fp32,bf16,int8,int8-dynamic,int4

Results go to build/bench/results.json and report.md.  Measurements are added to a results file that
is there already, replacing those of the same model, precision and threads; --fresh starts anew.
Exit status 1 if an engine of camshaft failed; a peer that fails is listed in the report.
"""

from __future__ import annotations

import argparse
import datetime
import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.engines import engines_for
from benchmarks.packages import ROOT
from benchmarks.report import markdown, write_json
from benchmarks.transformers.entries import BENCHMARK_TRANSFORMERS
from benchmarks.zoo import BENCHMARK, model_named
from camshaft.atomic import write_atomically
from camshaft.machine.description import describe

OUT = ROOT / "build" / "bench"


def measured(
    model: str,
    precision: str,
    threads: int,
    engines: Sequence[str],
    seconds: float,
    processor_time: bool = False,
) -> dict[str, Any]:
    """One measurement, made by a process of its own.

    Where that process dies, each engine is tried alone; those that die again are listed as
    failed and the others measured without them.
    """
    result, why = _child(model, precision, threads, engines, seconds, processor_time)
    if result is not None:
        return result
    died = {}
    for engine in engines if len(engines) > 1 else ():
        alone, reason = _child(model, precision, threads, [engine], 0.0)
        if alone is None:
            died[engine] = reason
    left = [e for e in engines if e not in died]
    if died and left:
        result, why = _child(model, precision, threads, left, seconds, processor_time)
    if result is None:
        parts = ("samples_ms", "busy", "deviation", "build_s", "not_built")
        empty: dict[str, Any] = {part: {} for part in parts}
        where: dict[str, Any] = {"model": model, "kind": model_named(model).kind}
        where |= {"precision": precision, "threads": threads}
        result = where | empty | {"failed": dict.fromkeys(engines, why)}
    return result | {"failed": result["failed"] | died}


def _child(
    model: str,
    precision: str,
    threads: int,
    engines: Sequence[str],
    seconds: float,
    processor_time: bool = False,
) -> tuple[dict[str, Any] | None, str]:
    """benchmarks.measure in a process of its own: its result, or None and how it ended."""
    command = [sys.executable, "-m", "benchmarks.measure", model, "--precision", precision]
    command += ["--threads", str(threads), "--seconds", str(seconds)]
    command += ["--engines", ",".join(engines)]
    command += ["--processor-time"] if processor_time else []
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode == 0:
        return json.loads(done.stdout), ""
    end = done.stderr.strip().splitlines()[-1:] or ["no message"]
    code = done.returncode
    how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
    return None, f"the process died of {how}: {end[0][:500]}"


def _engines(model: str, precision: str, options: argparse.Namespace) -> list[str]:
    """The engines to measure; PyTorch eager in FP32 is held beside INT8 on resnet50 alone."""
    if options.engines:
        return [str(e) for e in options.engines.split(",")]
    names = engines_for(model_named(model), precision)
    beside_int8 = precision == "int8" and model != "resnet50"
    return [n for n in names if not (beside_int8 and n == "pytorch-fp32")]


def merge(old: Sequence[dict[str, Any]], new: dict[str, Any]) -> list[dict[str, Any]]:
    """`old` with `new` in the place of the measurement of the same kind, or at the end."""

    def kind(m: dict[str, Any]) -> tuple[Any, ...]:
        return m["model"], m["precision"], m["threads"]

    kinds = [kind(m) for m in old]
    if kind(new) not in kinds:
        return [*old, new]
    return [new if k == kind(new) else m for k, m in zip(kinds, old, strict=True)]


def earlier(folder: Path) -> list[dict[str, Any]]:
    """The measurements of a results.json there; those of another processor are left out, and said."""
    file = folder / "results.json"
    if not file.is_file():
        return []
    old = json.loads(file.read_text(encoding="utf-8"))
    theirs, ours = old["machine"]["processor"], describe()["processor"]
    if theirs != ours:
        print(f"{file} was measured on {theirs}; this is {ours}: begun anew", file=sys.stderr)
        return []
    return list(old["measurements"])


def save(folder: Path, measurements: Sequence[dict[str, Any]]) -> None:
    """Write results.json and report.md."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    results = {"date": now, "machine": describe(), "measurements": list(measurements)}
    write_json(folder / "results.json", results)
    write_atomically(folder / "report.md", markdown(results).encode())


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser("python -m benchmarks.run", description="camshaft and peers")
    parser.add_argument(
        "models", nargs="*", help="zoo models; default: the nine convolutional ones"
    )
    parser.add_argument("--transformers", action="store_true", help="the zoo's transformers")
    parser.add_argument("--precision", default="fp32,int8")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--seconds", type=float, default=20.0, help="per measurement")
    parser.add_argument(
        "--engines", help="comma-separated (see engines.py); default: all that apply"
    )
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--fresh", action="store_true", help="forget earlier measurements")
    parser.add_argument(
        "--processor-time",
        action="store_true",
        help="one thread: processor time instead of time passed, for machines that others use",
    )
    options = parser.parse_args(arguments)
    models = [*options.models, *(BENCHMARK_TRANSFORMERS if options.transformers else ())]
    measurements = [] if options.fresh else earlier(options.out)
    failed = False
    for model in models or BENCHMARK:
        for precision in options.precision.split(","):
            for threads in map(int, options.threads.split(",")):
                if not (engines := _engines(model, precision, options)):
                    continue  # e.g. INT4 of a convolutional model
                print(f"{model} {precision} {threads}", file=sys.stderr, flush=True)
                new = measured(
                    model,
                    precision,
                    threads,
                    engines,
                    options.seconds,
                    options.processor_time and threads == 1,
                )
                failed = failed or any(e.startswith("camshaft") for e in new["failed"])
                measurements = merge(measurements, new)
                save(options.out, measurements)
    print((options.out / "report.md").read_text(encoding="utf-8"))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
