"""What INT8 costs in accuracy: FP32 and INT8 engines on the labelled photos.

    python -m benchmarks.accuracy [efficientnet_lite0 squeezenet1.1]
    python -m benchmarks.accuracy --calibrators        every calibrator beside the default

Ranges come from the calibration photos, figures from the labelled ones.  The photos may be training
images of the networks, so only differences mean something: points of top-1 lost, how often
the first choice stays the same, and the signal to noise ratio of the logits.  The latter is
the steadiest: of 500 photos, six or seven that change sides at random are a standard error of half a
point.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from benchmarks import zoo
from benchmarks.packages import ROOT, SHARED
from benchmarks.photos import labelled_photos
from benchmarks.report import table, write_json
from benchmarks.zoo_model import ZooModel
from camshaft.config import CALIBRATORS, BuildConfig
from camshaft.session import BuildSession

OUT = ROOT / "build" / "bench" / "accuracy.json"
LOST = {"efficientnet_lite0": 0.3, "squeezenet1.1": 0.5}
"""Most points of top-1 that INT8 may cost."""
AGREEMENT = {"efficientnet_lite0": 98.0}
"""Least agreement with FP32, per cent."""
FP32_ERROR = 1e-4
"""Most that FP32 logits may differ from ONNX Runtime's, over the largest logit of the photo."""
PERCENTILES = (99.9, 99.99, 99.999)

FP32, INT8, ALL_INT8 = "camshaft", "camshaft int8", "camshaft int8 everywhere"
PERMITTED, KEPT_FLOAT = "int8: permitted", "fp32: the whole graph"
"""How the reason of a layer begins whose precision was left to the clock."""
Classify = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Accuracy:
    """One engine on the labelled photos.

    top1, agreement: per cent of photos that are right, and that have the first choice of the FP32
    reference.  snr: power of the reference's logits over that of the difference, dB.
    worst_error: largest |logit difference| over the largest |logit| of the same photo.
    """

    model: str
    engine: str
    top1: float
    agreement: float
    snr: float
    worst_error: float


class Photos:
    """The labelled photos as one model takes them, and what the reference makes of them."""

    def __init__(self, name: str) -> None:
        self.model = zoo.model_named(name)
        if self.model.preprocess is None:
            raise ValueError(f"{name} does not classify photos")
        photos = labelled_photos()
        self.inputs = [self.model.preprocess(photo) for photo, _ in photos]
        self.labels = np.array([label for _, label in photos])
        self.reference = self.logits(_onnxruntime(zoo.path_of(name), self.model))

    def logits(self, classify: Classify) -> np.ndarray:
        """float64 [photos, classes]."""
        return np.stack([classify(x).ravel() for x in self.inputs]).astype(np.float64)

    def measure(self, engine: str, classify: Classify) -> Accuracy:
        """How `classify` does on the photos."""
        logits, wanted = self.logits(classify), self.reference
        choice, error = logits.argmax(1), logits - wanted
        power = max(float(np.square(error).sum()), 1e-300)
        return Accuracy(
            self.model.name,
            engine,
            100 * float((choice == self.labels).mean()),
            100 * float((choice == wanted.argmax(1)).mean()),
            10 * float(np.log10(np.square(wanted).sum() / power)),
            float((np.abs(error).max(1) / np.abs(wanted).max(1)).max()),
        )


def evaluate(name: str, *, calibrators: bool = False, level: int = 3) -> list[Accuracy]:
    """Accuracy of the reference, camshaft's FP32 and INT8 engines, and ONNX Runtime's Q/DQ model.

    calibrators: also every calibrator with every layer in INT8.  level: optimization level.
    """
    photos = Photos(name)
    model, path, quantized = photos.model, zoo.path_of(name), zoo.path_of(name + ".qdq")
    batches = zoo.calibration_batches(model)
    int8: dict[str, Any] = {"precision": {"int8"}, "optimization_level": level}
    build = functools.partial(_camshaft, path, model)
    engines: dict[str, Callable[[], Classify]] = {
        "onnxruntime": lambda: _onnxruntime(path, model),
        FP32: lambda: build(optimization_level=level),
        INT8: lambda: build(calibration=batches, **int8),
        ALL_INT8: lambda: build(calibration=batches, everywhere=True, **int8),
        "camshaft int8, qdq": lambda: _camshaft(quantized, model, **int8),
        "onnxruntime qdq": lambda: _onnxruntime(quantized, model),
    }
    rows = [photos.measure(engine, make()) for engine, make in engines.items()]
    for label, options in _studies().items() if calibrators else ():
        studied: dict[str, Any] = {"precision": {"int8"}, "optimization_level": 1, **options}
        classify = build(calibration=batches, everywhere=True, **studied)
        rows.append(photos.measure(label, classify))
    return rows


def _studies() -> dict[str, Mapping[str, Any]]:
    """Label -> build options: each calibrator, and the default one less its corrections."""
    studies: dict[str, Mapping[str, Any]] = {}
    for calibrator in CALIBRATORS:
        if calibrator == "percentile":
            for p in PERCENTILES:
                studies[f"percentile {p}"] = {"calibrator": calibrator, "percentile": p}
        elif calibrator != "entropy":  # sees the same tensors as entropy2
            studies[calibrator] = {"calibrator": calibrator}
    return {
        **studies,
        "default, no bias correction": {"bias_correction": False},
        "default, no kernel rounding": {"kernel_rounding": False},
        "default, neither": {"bias_correction": False, "kernel_rounding": False},
    }


def _camshaft(
    path: Path,
    model: ZooModel,
    *,
    calibration: Sequence[Mapping[str, np.ndarray]] | None = None,
    everywhere: bool = False,
    **options: Any,
) -> Classify:
    """everywhere: no layer that can be INT8 stays float because that is faster."""
    config = BuildConfig.of(None, {"shapes": {model.input_name: model.shape}, **options})
    session = BuildSession(path, config, calibration)
    engine = session.run()
    kept_float = session.quantized is None or any(
        why.startswith(KEPT_FLOAT) for why in session.reasons.values()
    )
    if everywhere and kept_float:
        free = [n for n, why in session.reasons.items() if why.startswith((PERMITTED, KEPT_FLOAT))]
        config = BuildConfig.of(config, {"layer_precision": dict.fromkeys(free, "int8")})
        engine = BuildSession(path, config, calibration).run()
    return lambda x: next(iter(engine({model.input_name: x}).values()))


def _onnxruntime(path: Path, model: ZooModel) -> Classify:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def classify(x: np.ndarray) -> np.ndarray:
        output: np.ndarray = session.run(None, {model.input_name: x})[0]
        return output

    return classify


def verdicts(rows: Sequence[Accuracy]) -> list[str]:
    """One line per target, MET or MISSED first."""
    by = {(r.model, r.engine): r for r in rows}
    lines = []
    for name in dict.fromkeys(r.model for r in rows):
        error = by[name, FP32].worst_error
        lines.append(
            f"{_word(error <= FP32_ERROR)} {name}: FP32 differs from ONNX Runtime by {error:.1g} "
            f"of the largest logit (target {FP32_ERROR:g})"
        )
        for engine in (INT8, ALL_INT8):
            lines += _int8_verdicts(by[name, FP32], by[name, engine])
    return lines


def _int8_verdicts(fp32: Accuracy, row: Accuracy) -> list[str]:
    lines = []
    lost = fp32.top1 - row.top1
    if (most := LOST.get(row.model)) is not None:
        met = _word(lost <= most + 1e-9)
        lines.append(f"{met} {row.model}: {row.engine} loses {lost:.1f} points (target {most})")
    if (least := AGREEMENT.get(row.model)) is not None:
        met = _word(row.agreement >= least - 1e-9)
        lines.append(
            f"{met} {row.model}: {row.engine} agrees with FP32 on {row.agreement:.1f} % "
            f"(target {least})"
        )
    return lines


def _word(met: bool) -> str:
    return "MET" if met else "MISSED"


def markdown(rows: Sequence[Accuracy]) -> str:
    """The rows as a table."""
    cells = (
        (
            r.model,
            r.engine,
            f"{r.top1:.1f}",
            f"{r.agreement:.1f}",
            f"{r.snr:.1f}" if r.snr < 200 else "exact",
            f"{r.worst_error:.2g}",
        )
        for r in rows
    )
    return table(["model", "engine", "top-1 %", "agreement %", "SNR dB", "worst error"], cells)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: prints a table, writes build/bench/accuracy.json."""
    parser = argparse.ArgumentParser("python -m benchmarks.accuracy")
    parser.add_argument("models", nargs="*", default=list(LOST))
    parser.add_argument("--calibrators", action="store_true", help="compare all calibrators")
    parser.add_argument("--level", type=int, default=3, help="optimization level (default 3)")
    options = parser.parse_args(arguments)
    if not (SHARED / "data" / "photos-labelled").is_dir():
        print(f"skipped: accuracy needs the labelled photos in {SHARED / 'data'}")
        return
    rows = [
        row
        for name in options.models
        for row in evaluate(name, calibrators=options.calibrators, level=options.level)
    ]
    write_json(OUT, [asdict(r) for r in rows])
    print(markdown(rows), *verdicts(rows), sep="\n")


if __name__ == "__main__":
    main()
