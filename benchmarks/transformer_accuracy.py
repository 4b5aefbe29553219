"""What each precision costs on real models: engines beside ONNX Runtime.

    python -m benchmarks.transformer_accuracy
    python -m benchmarks.transformer_accuracy magika smart-turn --precision int8 --level 3

MiniLM's similarities against people's ratings, what PP-OCR reads, what magika calls a file, how sure smart-turn
is, and encoders with random weights, which quantize worse than trained ones.  At level 1, the default, nothing
is timed, so that every layer that can have the permitted precision has it; higher levels leave layers in FP32 that
are faster so.  Results go to build/bench/transformer_accuracy.json.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.job import NotBuilt, build
from benchmarks.packages import ROOT
from benchmarks.report import table, write_json
from benchmarks.shipped.check import Peer
from benchmarks.transformers.subjects import Model, Subject, subjects
from benchmarks.zoo_model import Feeds
from camshaft.errors import CamshaftError

OUT = ROOT / "build" / "bench" / "transformer_accuracy.json"
PRECISIONS: dict[str, dict[str, Any]] = {
    "fp32": {},
    "bf16": {"precision": {"bf16"}},
    "int8": {"precision": {"int8"}},
    "int8-dynamic": {"precision": {"int8"}},
}
"""Precision -> build options; "int8" is calibrated."""


@dataclass(frozen=True)
class Row:
    """One subject at one precision.

    difference: from the reference, as `measure` says; None where it could not be measured, and why.
    target: the most that it may be.  answers: what the engine said, in short.
    """

    subject: str
    measure: str
    precision: str
    difference: float | None
    target: float
    answers: str
    why: str = ""

    @property
    def verdict(self) -> str:
        if self.difference is None:
            return self.why
        return "MET" if self.difference <= self.target else "MISSED"


def evaluate(subject: Subject, precisions: Sequence[str], level: int = 1) -> list[Row]:
    """A row for each precision that the subject has a target for."""
    wanted = subject.ask(_reference(subject))
    rows = []
    for precision in precisions:
        if precision not in subject.targets:
            continue
        difference, answers, why = None, "", ""
        try:
            got = subject.ask(_engine(subject, precision, level))
            difference, answers = subject.difference(got, wanted), subject.story(got)
        except NotBuilt as reason:
            why = f"not built: {reason}"
        except CamshaftError as error:
            why = f"FAILED {type(error).__name__}: {error}"
        target = subject.targets[precision]
        rows.append(Row(subject.name, subject.measure, precision, difference, target, answers, why))
    return rows


def _reference(subject: Subject) -> Model:
    peer = Peer(subject.path(), optimized=subject.calibration is not None)
    return lambda feeds: next(iter(peer(feeds).values()))


def _engine(subject: Subject, precision: str, level: int) -> Model:
    options = dict(PRECISIONS[precision])
    if precision == "int8" and subject.calibration is not None:
        options["calibration"] = subject.calibration()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a build assumes of open extents
        engine = build(subject.path(), shapes=subject.shapes, optimization_level=level, **options)

    def model(feeds: Feeds) -> np.ndarray:
        output: np.ndarray = next(iter(engine(feeds).values()))
        return output

    return model


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a table."""
    cells = (
        (
            r.subject,
            r.precision,
            r.answers,
            "" if r.difference is None else f"{r.difference:.2g}",
            f"{r.target:g}",
            r.measure,
            r.verdict,
        )
        for r in rows
    )
    header = ("model", "precision", "answers", "difference", "target", "of", "verdict")
    return table(header, cells)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: prints the table; exit status 1 if a target is missed or a build failed."""
    return report("python -m benchmarks.transformer_accuracy", subjects(), OUT, arguments)


def report(
    program: str, held: Sequence[Subject], out: Path, arguments: Sequence[str] | None
) -> int:
    """The command line of a benchmark of these subjects."""
    parser = argparse.ArgumentParser(program)
    parser.add_argument("subjects", nargs="*", help="beginnings of names; default: all")
    parser.add_argument("--precision", default=",".join(PRECISIONS))
    parser.add_argument("--level", type=int, default=1, help="optimization level (default 1)")
    parser.add_argument("--out", type=Path, default=out)
    options = parser.parse_args(arguments)
    beginnings = tuple(name.lower() for name in options.subjects)
    chosen = [s for s in held if not beginnings or s.name.lower().startswith(beginnings)]
    rows: list[Row] = []
    for subject in chosen:
        print(subject.name, file=sys.stderr, flush=True)
        rows += evaluate(subject, options.precision.split(","), options.level)
        write_json(options.out, [asdict(r) for r in rows])
    print(markdown(rows))
    return int(any(r.verdict.startswith(("MISSED", "FAILED")) for r in rows))


if __name__ == "__main__":
    sys.exit(main())
