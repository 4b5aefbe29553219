"""What camshaft makes of architectures of torchvision, timm and transformers, beside eager PyTorch.

    python -m benchmarks.architectures [NAME ...] [--again]          # outputs, what is split and why
    python -m benchmarks.architectures resnet50 --speed --threads 2  # beside eager and inductor

Weights are random.  Nets are checked at a small scale, without timing of kernels; a net whose result stands in
build/bench/architectures.json is not checked again, unless it failed, is named, or --again is given.  Needs torch, torchvision,
timm and transformers.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from benchmarks.architectures.check import check
from benchmarks.architectures.language import transformers_architectures
from benchmarks.architectures.net import SMALL, USUAL, Architecture
from benchmarks.architectures.speed import speed
from benchmarks.architectures.vision import timm_architectures, torchvision_architectures
from benchmarks.packages import ROOT
from benchmarks.report import milliseconds, table, write_json

FOLDER = ROOT / "build" / "bench"
CHECKED, TIMED = FOLDER / "architectures.json", FOLDER / "architectures-speed.json"
REPORT = FOLDER / "architectures.md"


def main() -> None:
    options = _options()
    nets = {
        n.name: n
        for n in (
            *torchvision_architectures(),
            *timm_architectures(),
            *transformers_architectures(),
        )
    }
    unknown = [name for name in options.names if name not in nets]
    if unknown:
        raise SystemExit(
            f"no architecture is called {', '.join(unknown)}; there are {', '.join(nets)}"
        )
    chosen = [nets[n] for n in options.names] or list(nets.values())
    warnings.simplefilter("ignore")  # of the libraries, about themselves
    if options.speed:
        _time(chosen, options)
    else:
        _check(chosen, options)
    REPORT.write_text(report(_read(CHECKED), _read(TIMED)))
    print(f"-> {REPORT}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--again", action="store_true", help="check nets that have results, too")
    parser.add_argument("--speed", action="store_true", help="time, instead of checking")
    parser.add_argument("--int8", action="store_true", help="with --speed: an INT8 engine, too")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0, help="of timing, for each net")
    return parser.parse_args()


def _check(nets: Sequence[Architecture], options: argparse.Namespace) -> None:
    results = _read(CHECKED)
    again = options.again or bool(options.names)
    for net in nets:
        if not again and results.get(net.name, {"form": "failed"})["form"] != "failed":
            continue
        results[net.name] = found = check(net, SMALL, options.threads)
        write_json(CHECKED, results)
        print(
            net.name,
            *(found.get(k, "") for k in ("form", "difference", "seconds", "why")),
            flush=True,
        )
        if found.get("left"):
            print("   left:", found["left"], flush=True)


def _time(nets: Sequence[Architecture], options: argparse.Namespace) -> None:
    results = _read(TIMED)
    for net in nets:
        try:
            found = speed(net, USUAL, options.threads, options.seconds, int8=options.int8)
        except Exception as error:  # noqa: BLE001 - whatever a net, or a compiler of it, raises is told, and the next one timed
            print(net.name, f"failed: {type(error).__name__}: {error}"[:600], flush=True)
            torch.compiler.reset()
            continue
        results[net.name] = found
        write_json(TIMED, results)
        print(net.name, found, flush=True)
        gc.collect()


def _read(path: Any) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}


def report(checked: Mapping[str, Any], timed: Mapping[str, Any]) -> str:
    """The results in Markdown: how many nets are what, means, and a table of all."""
    forms = [r["form"] for r in checked.values()]
    counts = ", ".join(f"{forms.count(f)} {f}" for f in ("whole", "split", "failed"))
    worst = max((r.get("difference", 0.0) for r in checked.values()), default=0.0)
    parts = [
        f"{len(checked)} nets: {counts}; the largest difference from eager PyTorch is {worst:.1e}."
    ]
    if timed:
        means = [
            f"{_geomean([r[f'camshaft over {p}'] for r in timed.values()]):.2f} of {p}"
            for p in ("eager", "inductor")
        ]
        parts.append(f"Speed, geometric means over {len(timed)} nets: {', '.join(means)}.")
    return "\n\n".join([*parts, _table(checked, timed)]) + "\n"


def _table(checked: Mapping[str, Any], timed: Mapping[str, Any]) -> str:
    rows = []
    for name, r in sorted(checked.items(), key=lambda item: (item[1]["library"], item[0])):
        left = ", ".join(
            f"{count} {n.removeprefix('aten::')}" for n, count in r.get("left", {}).items()
        )
        form = r["form"] if r["form"] != "split" else f"{r['engines']} engines; in PyTorch: {left}"
        t = timed.get(name)
        times = [milliseconds(t[f"{k} ms"]) for k in ("eager", "inductor", "camshaft")] if t else [""] * 3  # fmt: skip
        ratios = [f"{t[f'camshaft over {p}']:.2f}" for p in ("eager", "inductor")] if t else [""] * 2  # fmt: skip
        rows.append([name, r["library"], form, *times, *ratios])
    return table(
        [
            "net",
            "library",
            "form",
            "eager ms",
            "inductor ms",
            "camshaft ms",
            "over eager",
            "over inductor",
        ],
        rows,
    )


def _geomean(values: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


if __name__ == "__main__":
    main()
