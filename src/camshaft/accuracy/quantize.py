"""The public function `quantize`: the fastest engine that is accurate enough."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto

from camshaft.accuracy.demand import Demand
from camshaft.accuracy.judges.detections import Decode
from camshaft.accuracy.judges.judge import Run
from camshaft.accuracy.pages import accuracy_of
from camshaft.accuracy.search import Trial
from camshaft.atomic import write_atomically
from camshaft.calibrated import run_with_calibrator
from camshaft.config import BuildConfig
from camshaft.errors import ConfigError
from camshaft.exporting import exported
from camshaft.frontends.onnx.standard import write_model
from camshaft.quant.calibration.calibrators import Calibrator
from camshaft.report.page.gather.collect import page_of
from camshaft.report.page.page import page_html
from camshaft.runtime.engine import Engine
from camshaft.session import BuildSession

OPTIONS = ("calibration", "evaluate", "metric", "max_drop", "decode")
"""Of `quantize`, besides those of a build."""


@dataclass(frozen=True)
class Quantized:
    """What `quantize` made.

    engine: the fastest whose score is at least `allowed`; a float engine where no INT8 engine is.
    metric: what a score is.  reference: the float network's.  score: the engine's.  drop: how far it is below.
    verdict: the score beside what was asked, in words.
    trials: every engine that was judged, in order.  noise: layers (joined by " + ") and the noise that each alone makes at the
    outputs, dB below the signal, loudest first, as far as it was looked for.
    repairs: what was tried before floats, and its gain, in words.
    reasons: layer of the model -> why it has its precision.
    """

    engine: Engine
    metric: str
    reference: float
    score: float
    allowed: float
    verdict: str
    trials: tuple[Trial, ...]
    noise: Mapping[str, float]
    repairs: tuple[str, ...]
    reasons: Mapping[str, str]
    session: BuildSession = field(repr=False)

    @property
    def drop(self) -> float:
        """How far the score is below the float network's."""
        return self.reference - self.score

    @property
    def summary(self) -> str:
        """`verdict`; then which precision was chosen, and what stands in the way of more."""
        return f"{self.verdict}; {self.session.precision_summary}"

    def save_report(self, path: str | os.PathLike[str]) -> None:
        """Write a page about the engine and the search, which any browser shows without a network."""
        page = page_of(self.engine, self.session, accuracy_of(self.session))
        write_atomically(Path(path), page_html(page).encode("utf-8"))

    def export(self, path: str | os.PathLike[str]) -> None:
        """Write standard ONNX with QuantizeLinear and DequantizeLinear nodes, for other runtimes.

        ConfigError and ModelError name what has no such form."""
        write_model(self.to_onnx(), Path(path))

    def to_onnx(self) -> ModelProto:
        """As `export`, kept in memory."""
        return exported(self.session)


def quantize(
    model: Any,
    config: BuildConfig | None = None,
    *,
    calibration: Iterable[Mapping[str, np.ndarray]] | Calibrator | None = None,
    evaluate: Callable[[Run], float] | Iterable[Any] | None = None,
    metric: str | None = None,
    max_drop: float | None = None,
    decode: Decode | None = None,
    **options: Any,
) -> Quantized:
    """Make a network INT8 without losing more accuracy than allowed.

    model, config, options, calibration: as for `camshaft.build`; INT8 is permitted without saying so.
    evaluate: what accuracy is.  A function of `run` (inputs by name -> outputs by name) that returns a number, larger is better;
        or samples (inputs, labels), where labels are a classifier's integers or a detector's {"boxes": [n, 4], "labels": [n]},
        two corners each in the coordinates of the network's boxes; or inputs alone, on which the float network's answers are
        the truth.  By default the first calibration batches.
    metric: "top1" or "top5" with labels; "map" (mean average precision as COCO's), "map50" or "map75" with boxes, which takes
        pycocotools: `pip install 'camshaft[coco]'`; "agreement" (per cent of first choices that stay) or "noise" (100 less the error
        of the outputs, per cent root mean square) without.
    max_drop: how far the score may fall below the float network's, in the metric's unit; by default half a point,
        of agreement 3, of noise 5.  To be said beside a function.
    decode: of a detector whose outputs are not yet boxes, scores and labels: a function that makes them of its outputs by name.
        It returns a tuple (boxes, scores, labels), rows [n, 6] of two corners, score and class, or a list with such for
        each picture.

    Layers whose noise at the outputs is largest stay float (or BF16, where that is permitted), as few as are needed.  If no
    INT8 engine holds what was asked, the result is the float engine, and `summary` says which layers stand in the way.
    Raises as `camshaft.build`; ConfigError also for a model that is several graphs, or that is quantized already.
    """
    unknown = sorted(options.keys() - {f.name for f in fields(BuildConfig)})
    if unknown:
        raise ConfigError(
            f"quantize has no option {unknown}; its own are {list(OPTIONS)}, the others those of camshaft.build"
        )
    demand = Demand.of(evaluate, metric, max_drop, decode)
    config = with_int8(BuildConfig.of(config, options))
    session, engine = run_quantization(model, config, calibration, demand)
    return quantized_of(session, engine)


def with_int8(config: BuildConfig) -> BuildConfig:
    """The options, with INT8 permitted.  ConfigError where the model's own types decide."""
    if config.strongly_typed:
        raise ConfigError(
            "strongly_typed given to quantize, which chooses precisions: leave it out, or use build"
        )
    return BuildConfig.of(config, {"precision": {*config.precision, "int8"}})


def run_quantization(
    model: Any,
    config: BuildConfig,
    calibration: Iterable[Mapping[str, np.ndarray]] | Calibrator | None,
    demand: Demand,
) -> tuple[BuildSession, Engine]:
    """The build, done, and its engine."""
    if isinstance(calibration, Calibrator):
        return run_with_calibrator(model, config, calibration, demand)
    session = BuildSession(model, config, calibration)
    session.demand = demand
    return session, session.run()


def quantized_of(session: BuildSession, engine: Engine) -> Quantized:
    """What a session with a demand made."""
    assert session.demand is not None
    account = session.demand.account
    judge, allowed = account.judge, account.allowed
    assert judge is not None and allowed is not None
    score = judge.reference if account.score is None else account.score
    return Quantized(
        engine,
        judge.name,
        judge.reference,
        score,
        allowed,
        judge.verdict(score, allowed),
        tuple(account.trials),
        {" + ".join(unit): db for unit, db in account.decibels.items()},
        tuple(repair.words for repair in account.repairs),
        dict(session.reasons),
        session,
    )
