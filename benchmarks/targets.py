"""What the project promises of its speed, and how measurements stand against it.

ratio = the fastest peer's time / camshaft's time in the same round, median over rounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import geometric_mean
from typing import Any

from camshaft.bench.interleave import Timing

Measurement = Mapping[str, Any]
"""What benchmarks.measure prints."""


@dataclass(frozen=True)
class Target:
    """Over all benchmark models of a kind: the geometric mean of ratios, and the least of them."""

    mean: float
    least: float = 0.0


ZOO = "convolutional"
TARGETS: dict[str, dict[str, Target]] = {
    ZOO: {
        "fp32": Target(1.15, 1.0),
        "bf16": Target(1.3, 1.0),
        "int8": Target(1.3, 1.0),
    },
    "transformer": {
        "fp32": Target(1.25, 1.05),
        "bf16": Target(1.2),
        "int8": Target(1.8),
        "int8-dynamic": Target(1.4),
    },
    "attention": {"fp32": Target(1.5), "bf16": Target(1.5)},
    "decoder": {"int4": Target(1.2)},
}
"""Kind of model -> precision -> what is promised."""
TARGETS_ON = {"Zen 5": {"fp32": Target(1.45, 1.0), "int8": Target(1.9, 1.0)}}
"""Of the convolutional models, by microarchitecture: with two 512-bit multiply-adds a cycle there is more
to gain."""
EAGER = 5.0
"""resnet50 in INT8 against PyTorch eager in FP32."""
EQUAL = 1e-4
"""Largest error of FP32 outputs against ONNX Runtime's, relative to the largest value."""


@dataclass(frozen=True)
class Standing:
    """One measurement's verdict: camshaft against the fastest peer (None where either failed)."""

    model: str
    precision: str
    threads: int
    engine: str
    peer: str
    ratio: float


def timing_of(measurement: Measurement) -> Timing:
    """The samples of a measurement (milliseconds there, and so here)."""
    return Timing(dict(measurement["samples_ms"]), dict(measurement["busy"]))


def standing(measurement: Measurement) -> Standing | None:
    """camshaft's fastest engine against the fastest INT8 or FP32 peer; None if one is missing.

    PyTorch eager counts among the FP32 peers of FP32 only.
    """
    timing = timing_of(measurement)
    good = [n for n in timing.samples if n not in measurement["failed"]]
    own = [n for n in good if n.startswith("camshaft")]
    peers = [n for n in good if not n.startswith("camshaft") and n != "pytorch-fp32"]
    if not own or not peers:
        return None
    engine, peer = timing.fastest(own), timing.fastest(peers)
    return Standing(
        measurement["model"],
        measurement["precision"],
        measurement["threads"],
        engine,
        peer,
        timing.ratio(peer, engine),
    )


def verdicts(measurements: Sequence[Measurement], microarchitecture: str = "") -> list[str]:
    """One line per target that these measurements can speak about, MET or MISSED first.

    microarchitecture: of the processor that they were made on.
    """
    lines = []
    for kind, promised in TARGETS.items():
        own = [m for m in measurements if m.get("kind", ZOO) == kind]
        more = TARGETS_ON.get(microarchitecture, {}) if kind == ZOO else {}
        for precision, target in (promised | more).items():
            for threads in sorted({m["threads"] for m in own}):
                group = [m for m in own if (m["precision"], m["threads"]) == (precision, threads)]
                title = "" if kind == ZOO else f"{kind}, "
                title += f"{precision}, {threads} thread{'s' * (threads > 1)}"
                lines += _verdicts(title, target, group)
    lines += [line for m in measurements if (line := _eager(m))]
    return [*lines, *_equality(measurements)]


def _verdicts(title: str, target: Target, group: Sequence[Measurement]) -> list[str]:
    """The verdict on the measurements of one kind, precision and number of threads; none if there are
    none, or if no engine of camshaft could be had."""
    stands = [s for s in map(standing, group) if s is not None]
    if not stands:
        why = sorted({reason for m in group for reason in m.get("not_built", {}).values()})
        return [f"NOT BUILT {title}: {', '.join(why)}"] if why else []
    mean = geometric_mean(s.ratio for s in stands)
    worst = min(stands, key=lambda s: s.ratio)
    met = mean >= target.mean and worst.ratio >= target.least and len(stands) == len(group)
    absent = (
        "" if len(stands) == len(group) else f"; {len(group) - len(stands)} models not measured"
    )
    least = f" (target {target.least})" if target.least else ""
    return [
        f"{'MET' if met else 'MISSED'} {title}: geometric mean {mean:.3f} (target {target.mean}), "
        f"least {worst.ratio:.3f} on {worst.model}{least}{absent}"
    ]


def _equality(measurements: Sequence[Measurement]) -> list[str]:
    """How far camshaft's FP32 outputs lie from ONNX Runtime's."""
    off = [
        (m["deviation"]["camshaft"]["max"], m["model"])
        for m in measurements
        if m["precision"] == "fp32" and "camshaft" in m["deviation"]
    ]
    if not off:
        return []
    error, model = max(off)
    return [
        f"{'MET' if error <= EQUAL else 'MISSED'} fp32 equals ONNX Runtime: largest relative "
        f"difference {error:.1e}, on {model} (target {EQUAL})"
    ]


def _eager(measurement: Measurement) -> str | None:
    timing = timing_of(measurement)
    own = [n for n in timing.samples if n.startswith("camshaft") and n not in measurement["failed"]]
    if measurement["model"] != "resnet50" or "pytorch-fp32" not in timing.samples or not own:
        return None
    ratio = timing.ratio("pytorch-fp32", timing.fastest(own))
    met = "MET" if ratio >= EAGER else "MISSED"
    threads = measurement["threads"]
    return f"{met} resnet50 int8 over PyTorch eager fp32, {threads} threads: {ratio:.2f} (target {EAGER})"
