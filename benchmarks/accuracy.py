"""What INT8 costs in accuracy: FP32 and INT8 engines on the labelled photos.

    python -m benchmarks.accuracy [efficientnet_lite0 squeezenet1.1]

Ranges come from the calibration photos, figures from the labelled ones.  The photos may be training
images of the networks, so only differences mean something: points of top-1 lost, and how often
the first choice stays the same.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnxruntime

import camshaft
from benchmarks import zoo
from benchmarks.packages import ROOT
from benchmarks.photos import labelled_photos
from benchmarks.report import table

OUT = ROOT / "build" / "bench" / "accuracy.json"
LOST = {"efficientnet_lite0": 0.3, "squeezenet1.1": 0.5}
"""Most points of top-1 that INT8 may cost."""
AGREEMENT = {"efficientnet_lite0": 98.0}
"""Least agreement with FP32, per cent."""

Classify = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Accuracy:
    """Per cent of photos: right, and with the same first choice as the FP32 reference."""

    model: str
    engine: str
    top1: float
    agreement: float
    worst_error: float


def evaluate(name: str) -> list[Accuracy]:
    """Accuracy of the reference, camshaft's FP32 and INT8 engines, and ONNX Runtime's Q/DQ model.

    worst_error: largest |logit difference| over the largest |logit| of the same photo.
    """
    model = zoo.model_named(name)
    assert model.preprocess is not None
    photos = labelled_photos()
    inputs = [model.preprocess(photo) for photo, _ in photos]
    labels = np.array([label for _, label in photos])
    wanted: np.ndarray | None = None
    rows = []
    for engine, classify in _engines(model).items():
        logits = np.stack([classify(x).ravel() for x in inputs])
        wanted = logits if wanted is None else wanted
        choice, reference = logits.argmax(1), wanted.argmax(1)
        error = np.abs(logits - wanted).max(1) / np.abs(wanted).max(1)
        rows.append(
            Accuracy(
                name,
                engine,
                100 * float((choice == labels).mean()),
                100 * float((choice == reference).mean()),
                float(error.max()),
            )
        )
    return rows


def _engines(model: zoo.ZooModel) -> dict[str, Classify]:
    path, quantized = zoo.path_of(model.name), zoo.path_of(model.name + ".qdq")
    batches = [{model.input_name: b} for b in zoo.calibration_batches(model)]
    int8 = {"precision": {"int8"}}
    return {
        "onnxruntime": _onnxruntime(path, model),
        "camshaft": _camshaft(path, model),
        "camshaft int8": _camshaft(path, model, calibration=batches, **int8),
        "camshaft int8, qdq": _camshaft(quantized, model, **int8),
        "onnxruntime qdq": _onnxruntime(quantized, model),
    }


def _camshaft(path: Path, model: zoo.ZooModel, **options: object) -> Classify:
    shapes = {model.input_name: model.shape}
    engine = camshaft.build(path, shapes=shapes, **options)  # type: ignore[arg-type]
    return lambda x: next(iter(engine({model.input_name: x}).values()))


def _onnxruntime(path: Path, model: zoo.ZooModel) -> Classify:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def classify(x: np.ndarray) -> np.ndarray:
        output: np.ndarray = session.run(None, {model.input_name: x})[0]
        return output

    return classify


def verdicts(rows: Sequence[Accuracy]) -> list[str]:
    """One line per target, MET or MISSED first."""
    by = {(r.model, r.engine): r for r in rows}
    lines = []
    for name, most in LOST.items():
        if (name, "camshaft int8") not in by:
            continue
        row = by[name, "camshaft int8"]
        lost = by[name, "camshaft"].top1 - row.top1
        lines.append(f"{_word(lost <= most)} {name}: INT8 loses {lost:.1f} points (target {most})")
        if least := AGREEMENT.get(name):
            met = _word(row.agreement >= least)
            lines.append(
                f"{met} {name}: agrees with FP32 on {row.agreement:.1f} % (target {least})"
            )
    return lines


def _word(met: bool) -> str:
    return "MET" if met else "MISSED"


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: prints a table, writes build/bench/accuracy.json."""
    parser = argparse.ArgumentParser("python -m benchmarks.accuracy")
    parser.add_argument("models", nargs="*", default=list(LOST))
    rows = [row for name in parser.parse_args(arguments).models for row in evaluate(name)]
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps([asdict(r) for r in rows], indent=1) + "\n", encoding="utf-8")
    print(
        table(
            ["model", "engine", "top-1 %", "agreement %", "worst error"],
            [
                (r.model, r.engine, f"{r.top1:.1f}", f"{r.agreement:.1f}", f"{r.worst_error:.2g}")
                for r in rows
            ],
        ),
        *verdicts(rows),
        sep="\n",
    )


if __name__ == "__main__":
    main()
