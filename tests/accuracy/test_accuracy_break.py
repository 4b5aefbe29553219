"""What `quantize` says of scores and faults, and data that strain the measures of accuracy."""

from __future__ import annotations

import itertools
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import camshaft
from camshaft.accuracy.judges.choice import judge_of
from camshaft.accuracy.judges.function import Scored
from camshaft.accuracy.judges.judge import Judge
from camshaft.accuracy.judges.labelled import Labelled
from camshaft.accuracy.judges.likeness import Agreement, Noise
from camshaft.accuracy.noise import noise_ratio
from camshaft.accuracy.quantize import Quantized, quantize
from camshaft.errors import CalibrationError, ConfigError
from camshaft.ir.types import bf16
from camshaft.quant.gptq import Curvature, rounded
from camshaft.quant.scheme import quantize as levels_of
from camshaft.quant.scheme import weight_params
from onnx_models import model_of, two_convs

RNG = np.random.default_rng(0)
BATCHES = [{"x": RNG.standard_normal((1, 4, 9, 9)).astype(np.float32)} for _ in range(4)]
ALL_INT8 = {"a": "int8", "b": "int8"}


def made(**options: Any) -> Quantized:
    given = {"calibration": BATCHES, "optimization_level": 1, "threads": 1, **options}
    return quantize(two_convs(), **given)


def test_the_float_engine_has_the_float_network_s_score() -> None:
    found = made(max_drop=0)
    assert "no INT8 engine" in found.summary
    assert found.score == found.reference and found.trials[-1].what == "no layer in INT8"


def test_layers_that_must_be_int8_are_judged_too() -> None:
    found = made(max_drop=0, layer_precision=ALL_INT8)
    assert found.score < found.allowed and "layer_precision asks for" in found.summary
    assert all(why.startswith("int8") for why in found.reasons.values())


def test_no_other_layer_stays_int8_beside_one_that_must_be_where_that_is_not_enough() -> None:
    found = made(max_drop=0, layer_precision={"a": "int8"})
    assert found.reasons["a"].startswith("int8") and found.reasons["b"].startswith("fp32")
    assert found.score < found.allowed and "layer_precision asks for" in found.summary


def test_quantized_models_are_refused() -> None:
    with pytest.raises(ConfigError, match="quantized already"):
        quantize(made().to_onnx(), evaluate=BATCHES, optimization_level=1, threads=1)


def narrow() -> onnx.ModelProto:
    """A convolution of what FP8 holds of its input."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["n"], name="q"),
        helper.make_node("DequantizeLinear", ["n", "s", "z"], ["f"], name="d"),
        helper.make_node("Conv", ["f", "w"], ["y"], name="a"),
    ]
    constants = {"s": np.float32(0.05), "w": np.ones((4, 4, 1, 1), np.float32)}
    model = model_of(nodes, BATCHES[0], ["y"], constants, opset=21)
    zero = helper.make_tensor("z", onnx.TensorProto.FLOAT8E4M3FN, [], [0.0])
    model.graph.initializer.append(zero)
    return model


def test_nodes_of_fp8_are_told_from_those_of_int8() -> None:
    options: dict[str, Any] = {"precision": {"int8"}, "optimization_level": 1, "threads": 1}
    with pytest.raises(
        CalibrationError, match=r"'q \+ d' rounds to floats of 8 bits.*leave precision"
    ):
        camshaft.build(narrow(), **options)
    with pytest.raises(ConfigError, match="quantized already"):
        quantize(narrow(), calibration=BATCHES, optimization_level=1, threads=1)


def rate(run: Any) -> float:
    return 0.5


@pytest.mark.parametrize(
    ("judge", "scores", "said"),
    [
        (Labelled("top1", []), (76.1, 75.8, 75.6), "top1 75.80 %, 76.10 % in floats, 75.60 % asked"),
        (Agreement([]), (100, 98.2, 97), "98.20 % of first choices are the float network's, 97.00 % asked"),
        (Noise([]), (100, 98, 95), "noise is 2.00 % of the outputs (34.0 dB), 5.00 % allowed"),
        (Scored(rate), (0.5, -0.01234, 0), "rate -0.01234, 0.5 in floats, 0 asked"),
    ],
    ids=lambda x: getattr(x, "name", ""),
)  # fmt: skip
def test_verdicts_are_for_people(judge: Judge, scores: tuple[float, ...], said: str) -> None:
    judge.reference, score, allowed = scores
    assert judge.verdict(score, allowed) == said


@pytest.mark.parametrize("label", [1, np.int64(1), np.array(1), [1]])
def test_a_label_may_be_a_number(label: Any) -> None:
    pairs = [(batch, label) for batch in BATCHES[:2]]
    found = Labelled("top1", pairs)
    found.prepare(lambda feeds: {"y": np.array([[0.0, 1.0, 0.5]], np.float32)})
    assert found.reference == 100.0


def test_a_sample_without_labels_is_named() -> None:
    with pytest.raises(ConfigError, match="sample 0 has no labels"):
        Labelled("top1", [(BATCHES[0], None)]).score(
            lambda feeds: {"y": np.eye(3, dtype=np.float32)[:1]}
        )


def test_a_limit_is_told_in_the_numbers_of_the_metric() -> None:
    """A drop of a hundred-thousandth is no 0.00."""
    judged = itertools.count()

    def fine(run: Any) -> float:
        return 1e-3 if next(judged) == 0 else 0.9e-3

    summary = made(evaluate=fine, max_drop=1e-5, metric=None).summary
    assert "no INT8 engine has fine 0.00099" in summary


def test_an_engine_without_int8_says_so() -> None:
    """Also where the copy of an image, which may be of bytes, is all that could still be INT8."""
    rng = np.random.default_rng(0)
    images = [{"x": rng.standard_normal((1, 8, 12, 12)).astype(np.float32)} for _ in range(2)]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="a"),
        helper.make_node("Relu", ["c"], ["y"], name="r"),
    ]
    weights = {"w": rng.standard_normal((8, 8, 3, 3)).astype(np.float32)}
    model = model_of(nodes, images[0], ["y"], weights)
    found = quantize(model, calibration=images, max_drop=0, metric="noise", optimization_level=1)
    assert not any(why.startswith("int8") for why in found.reasons.values())
    assert "no INT8 engine has noise 100.00; most in the way: a" in found.summary


def test_a_summary_begins_with_the_verdict() -> None:
    found = made(max_drop=60)
    assert found.summary.startswith(f"noise is {found.drop:.2f} % of the outputs (")


def test_weight_only_is_refused() -> None:
    with pytest.raises(ConfigError, match="weight_only"):
        made(weight_only="int8", calibration=None, evaluate=BATCHES)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_drop": True}, "max_drop is True"),
        ({"evaluate": lambda run: math.inf}, "inf for the float network"),
        ({"evaluate": lambda run: "0.5"}, "returned str"),
        ({"evaluate": lambda run: len(run(BATCHES[0]["x"]))}, "run was called with ndarray"),
        ({"evaluate": [(BATCHES[0]["x"], np.zeros(1, int))]}, "inputs are"),
    ],
)
def test_faults_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        made(**options)


@pytest.mark.parametrize(
    ("labels", "rows", "said"),
    [
        ([[1], [1, 2]], 2, "no array"),
        ([0, -3], 2, "label -3"),
        (np.zeros(0, int), 0, "no label"),
        ([{"boxes": [], "labels": []}], 1, "are a detector's"),
    ],
)
def test_labels_that_say_nothing_are_named(labels: Any, rows: int, said: str) -> None:
    scores = {"y": np.zeros((rows, 4), np.float32)}
    with pytest.raises((ConfigError, CalibrationError), match=said):
        judge_of([({"x": np.zeros(1)}, labels)], "top1", [], lambda feeds: scores)


def test_scores_that_are_no_numbers_are_never_right() -> None:
    scores = {"y": np.array([[np.nan] * 3, [9.0, 1, 2]])}
    judge = judge_of([({"x": np.zeros(1)}, [0, 0])], "top1", [], lambda feeds: scores)
    assert judge.reference == 50


def test_scores_in_bfloat16_are_scores() -> None:
    scores = {"y": np.array([[1.0, 5.0], [9.0, 1.0]]).astype(bf16.numpy)}
    pairs = [({"x": np.zeros(1)}, [1, 0])]
    assert judge_of(pairs, None, [], lambda feeds: scores).reference == 100
    assert judge_of([pairs[0][0]], None, [], lambda feeds: scores).name == "agreement"


def test_integers_beside_floats_are_no_noise() -> None:
    """One class of 100 that changes would be noise of 20 dB."""
    wanted = [{"scores": np.ones((100, 2)), "classes": np.zeros(100, np.int64)}]
    got = [{"scores": np.full((100, 2), 1.001), "classes": np.arange(100) // 99}]
    assert noise_ratio(wanted, got) == pytest.approx(1e-6)
    assert (
        noise_ratio([{"c": w["classes"]} for w in wanted], [{"c": g["classes"]} for g in got])
        == 0.01
    )


def test_masked_scores_agree() -> None:
    wanted = {"y": np.array([[1.0, -np.inf, 0.0], [np.inf, 2.0, 1.0]], np.float32)}
    judge = Agreement([{}])
    judge.prepare(lambda feeds: wanted)
    assert judge.score(lambda feeds: wanted) == 100
    assert judge.score(lambda feeds: {"y": np.zeros((2, 3), np.float32)}) == 0


def test_scores_of_other_numbers_of_classes_are_held_against_each_other_batch_by_batch() -> None:
    rows = {3: np.array([[5.0, 1, 0]]), 4: np.array([[0.0, 0, 9, 1], [7, 2, 0, 0]])}
    judge = Agreement([{"n": np.array(3)}, {"n": np.array(4)}])
    judge.prepare(lambda feeds: {"y": rows[int(feeds["n"])]})
    assert judge.score(lambda feeds: {"y": rows[int(feeds["n"])]}) == 100
    turned = {n: -a for n, a in rows.items()}
    assert judge.score(lambda feeds: {"y": turned[int(feeds["n"])]}) < 80
    assert judge.score(lambda feeds: {"y": rows[3]}) == 0


def test_labels_of_which_none_is_right_in_floats_are_an_error() -> None:
    scores = {"y": np.array([[3.0, 2, 1, 0, 0, 0], [0, 1, 5.0, 0, 0, 0]])}
    pairs = [({"x": np.zeros(1)}, [1, 1])]
    with pytest.raises(ConfigError, match=r"top1 of the float network is 0.*labels begin"):
        judge_of(pairs, None, [], lambda feeds: scores)
    assert judge_of(pairs, "top5", [], lambda feeds: scores).reference == 100
    few = {"y": scores["y"][:, :5]}
    with pytest.raises(ConfigError, match="always 100 for a network of 5 classes"):
        judge_of(pairs, "top5", [], lambda feeds: few)


class Unread(list):  # type: ignore[type-arg]
    """Batches that nobody is to read."""

    def __iter__(self) -> Any:
        raise AssertionError("calibration came first")


def test_what_judges_fails_before_calibration() -> None:
    def broken(run: Any) -> float:
        return float(run(BATCHES[0])["nowhere"].max())

    with pytest.raises(KeyError, match="nowhere"):
        made(calibration=Unread(BATCHES), evaluate=broken, max_drop=1)


def test_samples_are_no_calibration_data() -> None:
    with pytest.raises(CalibrationError, match=r"calibration=.*evaluate= are no calibration data"):
        made(calibration=None, evaluate=BATCHES)


@pytest.mark.parametrize(
    "values",
    [
        lambda n: 1e4 + 0.1 * n,
        lambda n: 123.456 + 0 * n,
        lambda n: 1e20 * n,
        lambda n: 1e-22 * n,
        lambda n: n[:0],
    ],
)
def test_weights_are_rounded_by_values_of_any_size(values: Any) -> None:
    rng = np.random.default_rng(1)
    weight = rng.standard_normal((4, 3, 3, 32)).astype(np.float32)
    attrs = {"groups": 1, "strides": (1, 1), "dilations": (1, 1), "pads": (0, 0, 0, 0)}
    node: Any = SimpleNamespace(args=[None, weight], attrs=attrs)
    seen = Curvature(node, None, 6)
    for _ in range(6):
        seen.add(values(rng.standard_normal((2, 9, 11, 32)).astype(np.float32)).astype(np.float32))
    params = weight_params(weight, 0)
    before = levels_of(weight, params)
    assert np.isfinite(seen.covariance).all()
    assert np.abs(rounded(weight, params, before, seen).astype(int) - before).max() <= 2
