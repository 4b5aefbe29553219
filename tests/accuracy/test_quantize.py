"""camshaft.quantize: within the allowed drop or float, what it tried, what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import camshaft
from camshaft.errors import CalibrationError, ConfigError
from loud_net import images, net

QUICK: dict[str, Any] = {"threads": 1, "optimization_level": 1}


def noise_of(engine: Any, model: onnx.ModelProto, batches: list[dict[str, np.ndarray]]) -> float:
    """Root mean square error over root mean square, per cent."""
    reference = camshaft.build(model, **QUICK)
    pairs = [(reference(b)["y"], engine(b)["y"]) for b in batches]
    off = np.concatenate([a - b for a, b in pairs])
    return float(100 * np.sqrt((off**2).mean() / np.mean([a**2 for a, _ in pairs])))


@pytest.fixture(scope="module")
def tight() -> camshaft.Quantized:
    return camshaft.quantize(net(), calibration=images(8), metric="noise", max_drop=2.0, **QUICK)


def test_a_wide_allowance_takes_the_fastest() -> None:
    made = camshaft.quantize(net(), calibration=images(8), metric="noise", max_drop=90.0, **QUICK)
    assert len(made.trials) == 1
    assert {why.partition(":")[0] for why in made.reasons.values()} == {"int8"}


def test_the_loudest_layer_stays_float(tight: camshaft.Quantized) -> None:
    """That of which two channels of huge weights cancel out."""
    loudest = next(iter(tight.noise))
    assert "conv1" in loudest
    assert tight.reasons["conv1"].startswith("fp32: its noise at the outputs")
    assert any(why.startswith("int8") for why in tight.reasons.values())


def test_what_was_asked_holds(tight: camshaft.Quantized) -> None:
    assert tight.score >= tight.allowed == 98.0
    assert noise_of(tight.engine, net(), images(8)) == pytest.approx(tight.drop, abs=0.05)
    assert noise_of(tight.engine, net(), images(8, seed=5)) < 3.0


def test_nothing_is_the_float_engine_and_says_what_is_in_the_way() -> None:
    made = camshaft.quantize(net(), calibration=images(4), metric="noise", max_drop=0.0, **QUICK)
    assert made.drop == 0.0
    assert "no INT8 engine has noise 100.00" in made.summary and "conv1" in made.summary
    assert noise_of(made.engine, net(), images(2)) < 1e-3


def test_a_users_function_is_the_metric() -> None:
    seen: list[float] = []
    want = camshaft.build(net(), **QUICK)

    def closeness(run: Any) -> float:
        off = max(float(np.abs(run(b)["y"] - want(b)["y"]).max()) for b in images(2, seed=9))
        seen.append(-off)
        return -off

    made = camshaft.quantize(
        net(), calibration=images(4), evaluate=closeness, max_drop=0.02, **QUICK
    )
    assert made.metric == "closeness"
    assert made.score >= -0.02 and made.score in seen


@pytest.mark.parametrize("name", ["noise", "agreement", "top1"])
def test_a_users_function_may_have_the_name_of_a_metric(name: str) -> None:
    """And is told in its own numbers all the same."""

    def constant(run: Any) -> float:
        return 0.25

    constant.__name__ = name
    made = camshaft.quantize(net(), calibration=images(2), evaluate=constant, max_drop=0, **QUICK)
    assert made.verdict == f"{name} 0.25, 0.25 in floats, 0.25 asked"


def test_options_of_both_kinds_are_told() -> None:
    with pytest.raises(ConfigError, match=r"no option \['maxdrop'\]; its own are .*'max_drop'"):
        camshaft.quantize(net(), calibration=images(2), maxdrop=1)


def test_noise_is_told_in_one_way() -> None:
    made = camshaft.quantize(net(), calibration=images(8), metric="noise", max_drop=2.0, **QUICK)
    assert made.summary.count("2.00 % allowed") == 2 and "98.00" not in made.summary


def test_labels_of_samples() -> None:
    batches = images(16, seed=3)
    want = camshaft.build(net(), **QUICK)
    pairs = [(b, np.array([int(want(b)["y"].argmax())])) for b in batches]
    made = camshaft.quantize(net(), calibration=images(8), evaluate=pairs, max_drop=10, **QUICK)
    right = [int(made.engine(b)["y"].argmax()) == label[0] for b, label in pairs]
    assert (made.metric, made.reference) == ("top1", 100.0)
    assert made.score == pytest.approx(100 * np.mean(right))


def test_report_and_export(tight: camshaft.Quantized, tmp_path: Path) -> None:
    tight.save_report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "conv1" in page and "loudest" in page and "http" not in page.partition("<svg")[0]
    assert "clipped" in page or "range" in page
    assert tight.session.account is not None
    shown = {h.tensor: h for h in tight.session.account.histograms}
    assert sum(shown["x"].counts) == 8 * 32 * 10 * 10
    assert shown["x"].edges[0] < -3 and shown["x"].edges[-1] > 3
    tight.export(tmp_path / "qdq.onnx")
    feeds = images(1, seed=4)[0]
    session = onnxruntime.InferenceSession(
        (tmp_path / "qdq.onnx").read_bytes(), providers=["CPUExecutionProvider"]
    )
    got, want = session.run(None, feeds)[0], tight.engine(feeds)["y"]
    assert np.abs(got - want).max() < 0.02 * np.abs(want).max()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_drop": -1}, "max_drop is -1"),
        ({"metric": "mAP"}, "metric 'mAP' is unknown"),
        ({"metric": "top1"}, "needs labels"),
        ({"evaluate": 3}, "evaluate= is of type int"),
        ({"evaluate": lambda run: "good"}, "returned str"),
        ({"evaluate": lambda run: 1.0, "metric": "top1"}, "beside a function"),
        ({"evaluate": lambda run: 1.0}, "say max_drop"),
        ({"evaluate": lambda run: float("nan"), "max_drop": 1}, "returned nan for the float"),
        ({"evaluate": [({"x": images(1)[0]["x"]}, [99])]}, "has the label 99"),
        ({"evaluate": [({"x": images(1)[0]["x"]}, [0.5])]}, "has labels float64[1]"),
    ],
)
def test_what_is_wrong_is_said(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("[", r"\[").replace("]", r"\]")):
        camshaft.quantize(net(), calibration=images(2), **QUICK, **options)


def test_no_samples() -> None:
    with pytest.raises(CalibrationError, match="evaluate= has no sample"):
        camshaft.quantize(net(), calibration=images(2), evaluate=[], **QUICK)


def test_the_score_is_that_of_the_engine_itself() -> None:
    """With kernels that were timed, whose float sums round otherwise than those of other kernels."""
    batches = images(4, seed=11)
    want = [camshaft.build(net(), **QUICK)(b)["y"] for b in batches]

    def closeness(run: Any) -> float:
        return -sum(
            float(np.abs(run(b)["y"] - w).sum()) for b, w in zip(batches, want, strict=True)
        )

    options: dict[str, Any] = {"threads": 1, "optimization_level": 2}
    options["layer_precision"] = {
        "conv2": "int8"
    }  # else floats may be faster, whose score is the reference
    made = camshaft.quantize(
        net(), calibration=images(8), evaluate=closeness, max_drop=100.0, **options
    )
    assert made.reasons["conv2"].startswith("int8") and closeness(made.engine) == made.score
