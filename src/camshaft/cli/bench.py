"""`camshaft bench`: latency and throughput, alone or in turn with other runtimes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from camshaft.bench.interleave import Plan, Timing, interleave
from camshaft.bench.latency import Latency, measure_latency
from camshaft.bench.machine import describe
from camshaft.bench.runners import PEERS, CamshaftRunner, Runner, open_peer
from camshaft.cli.arrays import inputs_from
from camshaft.cli.options import BuildOptions, takes_build_options
from camshaft.cli.output import JsonTarget, Output, simple_table
from camshaft.cli.progress import Bars
from camshaft.cli.run import InputArchive, InputFiles, Seed, Source
from camshaft.cli.source import is_engine_file, open_source
from camshaft.compare import tensor_error
from camshaft.errors import ConfigError
from camshaft.peers import peer_module, remark_on
from camshaft.runtime.profile import Profile

OURS = "camshaft"


@takes_build_options
def bench(
    source: Source,
    build: BuildOptions,
    against: Annotated[
        str | None,
        typer.Option(
            "--against", metavar="NAME,...", help="Time these in turn too: onnxruntime, openvino."
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option("--model", help="The ONNX model of an engine, for --against."),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.0, help="How long to measure, about.")
    ] = 5.0,
    iterations: Annotated[
        int | None, typer.Option("--iterations", min=1, help="Calls to time instead of --seconds.")
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option("--rounds", min=1, help="Rounds of turns with --against, not --seconds."),
    ] = None,
    warm_up: Annotated[
        float, typer.Option("--warm-up", min=0.0, help="Milliseconds of calls not measured.")
    ] = 200.0,
    dump_profile: Annotated[
        bool, typer.Option("--dump-profile", help="Show the time of every step as well.")
    ] = False,
    input: InputFiles = None,
    inputs: InputArchive = None,
    seed: Seed = 0,
    json: JsonTarget = None,
) -> None:
    """Measure latency and throughput; with --against, beside other runtimes on the same model."""
    shown = Output(json)
    peers = [name for name in (against or "").split(",") if name]
    onnx_file = _onnx_file(source, model, peers)
    opened = open_source(source, build)
    if onnx_file is not None and "onnxruntime" in peers and (remark := remark_on(onnx_file)):
        shown.note(remark)
    feeds, random = inputs_from(input, inputs, opened.engine.inputs, seed)
    if random:
        shown.note(f"no inputs given: random ones, seed {seed}")
    ours = CamshaftRunner(opened.engine, feeds, opened.threads, OURS)
    with Bars() as bars:
        bars("measuring", 0, 0)
        latency = measure_latency(ours, seconds, iterations, warm_up / 1e3)
    config = opened.engine.plan.fingerprint.config
    data: dict[str, Any] = {
        "source": str(source),
        "config": config,
        "threads": opened.threads,
        "random_inputs": random,
        "machine": describe(),
        "latency": latency.to_json(),
    }
    shown.line(f"{source} ({config}), {opened.threads} threads, on {data['machine']['processor']}")
    _show_latency(latency, shown)
    if onnx_file is not None:
        runners = [ours, *(open_peer(n, onnx_file, feeds, opened.threads) for n in peers)]
        data["against"] = _contest(runners, seconds, rounds, shown)
    if dump_profile:
        profile = opened.engine.profile(feeds, threads=opened.threads)
        data["profile"] = profile.to_json()
        _show_profile(profile, shown)
    shown.data(data)


def _onnx_file(source: Path, model: Path | None, peers: Sequence[str]) -> Path | None:
    """The model that peers run, None if there are none."""
    if not peers:
        return None
    if len(set(peers)) != len(peers) or OURS in peers:
        raise ConfigError(f"--against {','.join(peers)} must name different runtimes")
    if unknown := [name for name in peers if name not in PEERS]:
        raise ConfigError(
            f"--against {', '.join(map(repr, unknown))} is not known; there is {', '.join(PEERS)}"
        )
    if model is None and is_engine_file(source):
        raise ConfigError(
            f"{str(source)!r} is an engine, which others cannot run; give its model with --model"
        )
    for name in peers:
        peer_module(name, name)  # before the build, not after it
    return model or source


def _contest(
    runners: Sequence[Runner], seconds: float, rounds: int | None, shown: Output
) -> dict[str, Any]:
    """Time the runners in turn and compare what they compute; the first one is camshaft's."""
    plan = Plan(seconds) if rounds is None else Plan(seconds, (rounds, rounds))
    with Bars() as bars:
        bars("measuring in turn", 0, 0)
        timing = interleave(runners, plan)
    table = simple_table("runtime", "median ms", "best ms", "calls/s", "ratio", "difference")
    results: dict[str, Any] = {}
    for runner in runners:
        name = runner.name
        results[name] = {
            "median_ms": timing.median(name) * 1e3,
            "best_ms": timing.best(name) * 1e3,
            "throughput": 1 / timing.median(name),
            "ratio": timing.ratio(name, OURS),
            "difference": _difference(runners[0], runner),
            "samples_ms": [s * 1e3 for s in timing.samples[name]],
        }
        table.add_row(name, *_contest_figures(results[name]))
    shown.table(table)
    shown.line(_verdict(timing, runners))
    return results


def _contest_figures(result: Mapping[str, Any]) -> list[str]:
    return [
        f"{result['median_ms']:.4f}",
        f"{result['best_ms']:.4f}",
        f"{result['throughput']:.1f}",
        f"{result['ratio']:.2f}",
        "-" if result["difference"] is None else f"{result['difference']:.2g}",
    ]


def _difference(ours: Runner, other: Runner) -> float | None:
    """Largest error of an output relative to its largest value; None if it is not finite."""
    pairs = zip(ours.outputs(), other.outputs(), strict=True)
    worst = max((tensor_error("", a, b).relative for a, b in pairs), default=0.0)
    return worst if np.isfinite(worst) else None


def _verdict(timing: Timing, runners: Sequence[Runner]) -> str:
    peer = timing.fastest([r.name for r in runners[1:]])
    ratio = timing.ratio(peer, OURS)
    return (
        f"ratio: time over camshaft's, median over {len(timing.samples[OURS])} rounds; "
        f"the fastest other, {peer}, takes {ratio:.2f} times as long"
    )


def _show_latency(latency: Latency, shown: Output) -> None:
    marks = ", ".join(f"{name} {ms:.4f}" for name, ms in latency.percentiles_ms.items())
    shown.line(
        f"latency    mean {latency.mean_ms:.4f} ms, min {latency.min_ms:.4f}, {marks}, "
        f"max {latency.max_ms:.4f} ({latency.calls} calls)"
    )
    shown.line(f"throughput {latency.throughput:.1f} calls/s")


def _show_profile(profile: Profile, shown: Output) -> None:
    columns = ("us", "share", "GFLOP/s", "GB/s")
    table = simple_table("step", "tactic", "precision", *columns, texts=3)
    for layer in profile.layers:
        table.add_row(
            layer.name,
            layer.tactic,
            layer.precision,
            f"{layer.median_us:.1f}",
            f"{layer.share:.1%}",
            f"{2 * layer.gmacs:.0f}",
            f"{layer.gbytes:.1f}",
        )
    shown.table(table)
