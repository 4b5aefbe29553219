"""INT8 builds of nets whose tails decide while they run: calibrated as a whole, quantized in their graphs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import camshaft
from camshaft import CalibrationError, ConfigError
from camshaft.runtime.script.engine import ScriptEngine
from camshaft.session import BuildSession
from script_models import text_model, theirs

RNG = np.random.default_rng(6)
OPTIONS: dict[str, Any] = {
    "precision": {"int8"},
    "optimization_level": 1,
    "threads": 1,
    "layer_precision": {"c1": "int8", "c2": "int8"},
}


def f(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def net(tail: str, outputs: str) -> Any:
    """Two convolutions over 8x8 images to an 8-channel map `m`, and a tail."""
    model = text_model(
        f"""(float[n,3,8,8] x) => ({outputs}) {{
            c1 = Conv <pads = [1,1,1,1]> (x, w1, b1)
            r = Relu (c1)
            c2 = Conv <pads = [1,1,1,1]> (r, w2)
            m = Sigmoid (c2)
            {tail}
        }}""",
        w1=f(16, 3, 3, 3) / 4,
        b1=f(16),
        w2=f(8, 16, 3, 3) / 8,
    )
    for node in model.graph.node:
        node.name = node.output[0]
    return model


HITS = net(
    """half = Constant <value = float {0.5}> ()
    on = Greater (m, half)
    at = NonZero (on)
    back = Transpose <perm = [1, 0]> (at)
    values = GatherND (m, back)
    y = Neg (values)""",
    "float[n,8,8,8] m, int64[4,k] at, float[k] y",
)
BOXES = net(
    """flat = Reshape (m, to)
    corners = Slice (flat, s0, s4, ax)
    scores = Slice (flat, s4, s8, ax)
    boxes = Transpose <perm = [0, 2, 1]> (corners)
    most = Constant <value = int64[1] {3}> ()
    picked = NonMaxSuppression (boxes, scores, most)""",
    "float[n,8,64] flat, int64[k,3] picked",
)
BOXES.graph.initializer.extend(
    text_model(
        "() => () {}",
        to=np.array([0, 8, 64]),
        s0=np.array([0]),
        s4=np.array([4]),
        s8=np.array([8]),
        ax=np.array([1]),
    ).graph.initializer
)


def batches(count: int = 4) -> Iterator[dict[str, np.ndarray]]:
    for i in range(count):
        yield {
            "x": np.random.default_rng(i).standard_normal((1 + i % 2, 3, 8, 8)).astype(np.float32)
        }


@pytest.mark.parametrize("model", [HITS, BOXES], ids=["non-zero", "non-max suppression"])
def test_the_net_is_quantized_and_the_tail_goes_on(model: Any, tmp_path: Path) -> None:
    session = BuildSession(model, camshaft.BuildConfig(**OPTIONS), calibration=batches())
    engine = session.run()
    assert isinstance(engine, ScriptEngine)
    precisions = {n.name: n.precision for n in engine.notes if {"c1", "c2"} & {*n.origin}}
    assert set(precisions.values()) <= {"u8", "i8"} and precisions
    assert "int8" in session.precision_summary or "Q/DQ" in session.precision_summary
    engine.save(tmp_path / "e.engine")
    for feeds in batches(2):
        want = theirs(model, feeds)[0]
        got, again = engine(feeds), camshaft.load(tmp_path / "e.engine")(feeds)
        np.testing.assert_allclose(next(iter(got.values())), want, atol=0.05)
        for one, other in zip(got.values(), again.values(), strict=True):
            np.testing.assert_array_equal(one, other)
    if model is HITS:
        m, at, y = got.values()
        np.testing.assert_array_equal(at, np.nonzero(m > 0.5))
        np.testing.assert_array_equal(y, -m[tuple(at)])


def test_both_branches_of_an_if_are_quantized_if_calibration_runs_both() -> None:
    model = text_model(
        """(float[n,3,8,8] x, bool flag) => (float[n,8,8,8] y) {
            y = If (flag) <
                then_branch = a () => (float[n,8,8,8] p) { p = Conv <pads = [1,1,1,1]> (x, w1) },
                else_branch = b () => (float[n,8,8,8] q) { q = Conv <pads = [1,1,1,1]> (x, w2) }
            > }""",
        w1=f(8, 3, 3, 3),
        w2=f(8, 3, 3, 3),
    )
    options = {k: v for k, v in OPTIONS.items() if k != "layer_precision"}
    for branch in model.graph.node[0].attribute:
        branch.g.node[0].name = branch.g.node[0].output[0]
    both = [{**b, "flag": np.array(on)} for b in batches() for on in (True, False)]
    demanded = {"layer_precision": {"p": "int8", "q": "int8"}}
    engine = camshaft.build(model, calibration=both, **options, **demanded)
    for feeds in both[:2]:
        want = theirs(model, feeds)[0]
        np.testing.assert_allclose(engine(feeds)["y"], want, atol=0.03 * np.abs(want).max())
    once = [b for b in both if b["flag"]]
    engine = camshaft.build(model, calibration=once, **options, layer_precision={"p": "int8"})
    found = {n.name: n.precision for n in engine.notes}
    assert (found["p"], found["q"]) == ("u8", "f32"), "q was never run"
    with pytest.raises(CalibrationError, match=r"int8 of 'q'.*no calibration batch"):
        camshaft.build(model, calibration=once, **options, **demanded)


def test_calibration_that_fails_names_the_batch() -> None:
    with pytest.raises(CalibrationError, match="batch 1"):
        camshaft.build(HITS, calibration=[next(batches()), {"x": f(1, 3, 8, 9)}], **OPTIONS)
    with pytest.raises(ConfigError, match="nothing"):
        camshaft.build(
            HITS, calibration=batches(), **{**OPTIONS, "layer_precision": {"nothing": "int8"}}
        )
