"""`camshaft bench`: latency and throughput, alone or in turn with other runtimes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from camshaft.bench.latency import Latency, measure_latency
from camshaft.bench.many import measure_throughput
from camshaft.bench.peers import remark_on
from camshaft.bench.runners import PEERS, CamshaftRunner
from camshaft.cli.arrays import Arrays, Given
from camshaft.cli.contest import OURS, PEER_FAILED, Contest
from camshaft.cli.files import READ
from camshaft.cli.options import BuildOptions, takes_build_options
from camshaft.cli.output import JsonTarget, Output, simple_table
from camshaft.cli.progress import Bars
from camshaft.cli.run import InputArchive, InputFiles, Seed, Source
from camshaft.cli.source import Opened, is_engine_file, open_source
from camshaft.cpus import available_cpus
from camshaft.errors import ConfigError
from camshaft.extras import require_package
from camshaft.machine.description import describe
from camshaft.many_requests import Sharing
from camshaft.runtime.profile import Profile
from camshaft.runtime.streams.stream import Stream

PeerModel = Annotated[
    Path | None, typer.Option("--model", help="The ONNX model of an engine, for --against."), READ
]
Streams = Annotated[
    int | None,
    typer.Option(
        "--streams",
        min=1,
        max=1024,
        help="Callers side by side, whose calls a second count together; each has --threads, or its share of the CPUs.",
    ),
]
Rounds = Annotated[
    int | None,
    typer.Option("--rounds", min=1, help="Rounds of turns with --against, not --seconds."),
]
WarmUp = Annotated[
    float,
    typer.Option("--warm-up", min=0.0, max=86.4e6, help="Milliseconds of calls not measured."),
]


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
    model: PeerModel = None,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.0, max=86400.0, help="How long to measure, about.")
    ] = 5.0,
    iterations: Annotated[
        int | None, typer.Option("--iterations", min=1, help="Calls to time instead of --seconds.")
    ] = None,
    rounds: Rounds = None,
    warm_up: WarmUp = 200.0,
    streams: Streams = None,
    dump_profile: Annotated[
        bool, typer.Option("--dump-profile", help="Show the time of every step as well.")
    ] = False,
    input: InputFiles = None,
    inputs: InputArchive = None,
    seed: Seed = 0,
    json: JsonTarget = None,
) -> None:
    """Measure latency and throughput; with --against, beside other runtimes on the same model."""
    shown, share = Output(json), max(1, available_cpus() // (streams or 1))
    others = {"--against": against, "--rounds": rounds, "--iterations": iterations}
    _check_streams(streams, {**others, "--dump-profile": dump_profile or None})
    threads_said = build.threads is not None
    if streams is not None and not threads_said and not is_engine_file(source):
        build = replace(build, threads=share)
    peers = [name for name in (against or "").split(",") if name]
    onnx_file = _onnx_file(source, model, peers)
    opened = open_source(source, build, shown, Given(input, inputs))
    if onnx_file is not None and "onnxruntime" in peers and (remark := remark_on(onnx_file)):
        shown.note(remark)
    feeds = opened.feeds(seed, shown)
    if streams is not None:
        threads = opened.threads if threads_said else min(opened.threads, share)
        _side_by_side(source, opened, feeds, (streams, threads), (seconds, warm_up / 1e3), shown)
        return
    ours = CamshaftRunner(opened.engine, feeds, opened.threads, OURS)
    with Bars() as bars:
        bars("measuring", 0, 0)
        latency = measure_latency(ours, seconds, iterations, warm_up / 1e3)
    data = _described(source, opened, feeds, opened.threads) | {"latency": latency.to_json()}
    where = f"{opened.threads} threads, on {data['machine']['processor']}"
    shown.line(f"{source} ({data['config']}), {where}")
    _show_latency(latency, shown)
    if onnx_file is not None:
        contest = Contest(ours, shown)
        data |= contest.against(peers, onnx_file, feeds, opened.threads, seconds, rounds)
    if dump_profile:
        data["profile"] = _profiled(opened, feeds, shown)
    shown.data(data)
    raise typer.Exit(PEER_FAILED if data.get("failed") else 0)


def _profiled(opened: Opened, feeds: Arrays, shown: Output) -> dict[str, Any]:
    """The time of every step, shown and as JSON types."""
    wanted = (*opened.engine.inputs, *opened.engine.states)
    own = {name: feeds[name] for name in wanted if name in feeds}
    profile = opened.engine.profile(own, threads=opened.threads)
    _show_profile(profile, shown)
    return profile.to_json()


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
        require_package(name, name)  # before the build, not after it
    return model or source


def _check_streams(streams: int | None, others: Mapping[str, object]) -> None:
    """ConfigError for what callers side by side exclude."""
    given = [name for name, value in others.items() if value is not None]
    if streams is not None and given:
        raise ConfigError(f"--streams excludes {' and '.join(given)}: leave one out")


def _described(source: Path, opened: Opened, feeds: Arrays, threads: int) -> dict[str, Any]:
    """What --json says of the engine by itself, but for what was measured."""
    return {
        "source": str(source),
        "config": opened.engine.fingerprint.config,
        "threads": threads,
        "random_inputs": opened.given is None,
        "shapes": {name: list(a.shape) for name, a in feeds.items()},
        "machine": describe(),
    }


def _side_by_side(
    source: Path,
    opened: Opened,
    feeds: Arrays,
    sharing: tuple[int, int],
    seconds: tuple[float, float],
    shown: Output,
) -> None:
    """Measure so many callers of so many threads.  seconds: to measure, and before."""
    streams, threads = sharing
    with ExitStack() as stack:
        own = [stack.enter_context(Stream(name=f"caller {n}")) for n in range(streams)]
        with Bars() as bars:
            bars("measuring", 0, 0)
            many = measure_throughput(
                lambda: CamshaftRunner(opened.engine, feeds, threads, OURS), own, *seconds
            )
    marks = ", ".join(f"{name} {ms:.4f}" for name, ms in many.percentiles_ms.items())
    shown.line(f"{source}, {Sharing(streams, threads)}, on {describe()['processor']}")
    shown.line(f"latency    {marks} ms ({many.calls} calls)")
    shown.line(f"throughput {many.throughput:.1f} calls/s")
    shown.data(_described(source, opened, feeds, threads) | {"streams": many.to_json()})


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
