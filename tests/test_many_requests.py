"""Builds for throughput: how streams share threads is measured, kept in the file, and what pools do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

import camshaft
from camshaft import ConfigError, Engine, StreamPool, many_requests
from camshaft.config import BuildConfig
from camshaft.many_requests import Rates, Sharing, chosen, sharings, told
from camshaft.session import BuildSession
from open_engines import open_model
from script_models import text_model

QUICK = {"optimization_level": 1, "goal": "throughput"}
FEW = {"x": ("n=1..3", 16)}
"""Batches of 1 and 2 are measured."""
NET = open_model(
    [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])],
    {"x": ["n", 16]},
    ["y"],
    {"w": np.ones((16, 4), np.float32)},
)


@pytest.fixture(autouse=True)
def short_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many_requests, "SECONDS", 0.03)
    monkeypatch.setattr(many_requests, "ROUNDS", 1)


def test_ways_to_share_threads() -> None:
    assert sharings(1) == [Sharing(1, 1)]
    assert sharings(2) == [Sharing(1, 2), Sharing(2, 1)]
    assert sharings(6) == [Sharing(1, 6), Sharing(1, 4), Sharing(3, 2), Sharing(6, 1)]
    assert str(Sharing(1, 2)) == "1 stream of 2 threads"


def test_more_streams_must_be_faster() -> None:
    one, two, four = Sharing(1, 4), Sharing(2, 2), Sharing(4, 1)
    assert chosen({one: 100.0, two: 150.0, four: 152.0}) == two
    assert chosen({one: 100.0, two: 150.0, four: 160.0}) == four
    assert chosen({one: 100.0, two: 101.0, four: 99.0}) == one
    assert (
        told(Rates({one: 10.0, two: 15.5}, whole=True), two)
        == "2 streams of 2 threads: 15.5 calls/s (1 stream of 4 threads 10.0)"
    )


def test_larger_batches_must_be_faster_still() -> None:
    one, two = Sharing(1, 2), Sharing(2, 1)
    more = {replace(s, batch=b): s for s in (one, two) for b in (2, 4)}
    rates = {one: 100.0, two: 110.0} | dict.fromkeys(more, 114.0)
    assert chosen(rates) == two
    assert chosen(rates | {Sharing(2, 1, 4): 130.0}) == Sharing(2, 1, 4)
    assert str(Sharing(2, 1, 4)) == "2 streams of 1 thread, batches of 4"


def test_the_batch_is_measured_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call of 4 rows takes twice the time of one; more than 4 rows gain nothing."""
    taken = []

    def rate(engine: Engine, sharing: Sharing, feeds: dict[str, np.ndarray]) -> float:
        rows = len(feeds["x"])
        taken.append(rows)
        return 100.0 / max(1.0, rows / 2)

    monkeypatch.setattr(many_requests, "_rate", rate)
    session = BuildSession(NET, BuildConfig(threads=1, **QUICK))  # type: ignore[arg-type]
    engine = session.run()
    assert engine.fingerprint.batch == 2 and set(taken) == {1, 2, 4, 8}
    assert session.goal_summary == "1 stream of 1 thread, batches of 2: 200.0 rows/s (1 stream of 1 thread 100.0)"  # fmt: skip
    engine.save(tmp_path / "net.engine")
    with StreamPool(camshaft.load(tmp_path / "net.engine")) as pool:
        assert pool.batch == 2 and "batches of 2" in repr(pool)


@pytest.mark.parametrize("op", ["Softmax", "CumSum"])
def test_rows_that_depend_on_each_other_are_not_joined(op: str) -> None:
    more = {"axis": 0} if op == "Softmax" else {}
    nodes = [helper.make_node(op, ["x", *(["zero"] if not more else [])], ["y"], name="all", **more)]  # fmt: skip
    weights = {} if more else {"zero": np.array(0)}
    model = open_model(nodes, {"x": ["n", 16]}, ["y"], weights)
    session = BuildSession(model, BuildConfig(threads=1, **QUICK))  # type: ignore[arg-type]
    assert session.run().fingerprint.batch <= 1
    assert "not joined: node 'all" in session.goal_summary


def test_models_that_decide_by_all_rows_are_not_batched() -> None:
    model = text_model(
        """(float[n, 4] x) => (float[n, 4] y) {
            s = ReduceSum <keepdims = 0> (x) zero = Constant <value_float = 0.0> () up = Greater (s, zero) y = If (up) <
            then_branch = a () => (float[n, 4] p) { p = Add (x, x) }, else_branch = b () => (float[n, 4] q) { q = Neg (x) } > }"""
    )
    session = BuildSession(model, BuildConfig(threads=1, **QUICK))  # type: ignore[arg-type]
    engine = session.run()
    assert engine.fingerprint.batch <= 1 and "decides while it runs" in session.goal_summary


def test_the_engine_knows_its_streams(tmp_path: Path) -> None:
    session = BuildSession(NET, BuildConfig(shapes=FEW, threads=2, **QUICK))  # type: ignore[arg-type]
    engine = session.run()
    streams, threads = engine.fingerprint.streams, engine.threads
    assert streams * threads == 2 and session.goal_summary.startswith(
        str(Sharing(streams, threads))
    )
    assert (
        "goal=throughput" in engine.fingerprint.config and "threads=2" in engine.fingerprint.config
    )
    assert session.final is not None and session.precision_summary
    engine.save(tmp_path / "net.engine")
    loaded = camshaft.load(tmp_path / "net.engine")
    with StreamPool(loaded) as pool:
        assert len(pool.streams) == streams
        x = np.ones((3, 16), np.float32)
        assert (pool.submit({"x": x}).result(10)["y"] == 16).all()
    with StreamPool(loaded, 3) as pool:
        assert len(pool.streams) == 3


def test_calibration_is_read_once_for_all_builds() -> None:
    batches = ({"x": np.full((2, 16), n, np.float32)} for n in range(1, 4))
    engine = camshaft.build(
        NET, calibration=batches, precision={"int8"}, shapes=FEW, threads=2, **QUICK
    )
    assert engine.fingerprint.streams


def test_a_model_with_branches() -> None:
    model = text_model(
        """(float[3] x, bool flag) => (float[3] y) { y = If (flag) <
            then_branch = a () => (float[3] p) { p = Exp (x) }, else_branch = b () => (float[3] q) { q = Neg (x) } > }"""
    )
    engine = camshaft.build(model, threads=2, **QUICK)
    assert engine.fingerprint.streams in (1, 2)
    np.testing.assert_array_equal(
        engine({"x": np.ones(3, np.float32), "flag": np.array(False)})["y"], -1
    )


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(ConfigError, match="goal is 'speed'"):
        camshaft.build(NET, goal="speed")
    step = open_model([helper.make_node("Add", ["x", "s"], ["t"])], {"x": [4], "s": [4]}, ["t"], {})
    with pytest.raises(ConfigError, match="context and a stream for each sequence"):
        camshaft.build(step, state={"s": "t"}, **QUICK)
    texts = text_model(
        """(string[2] s, float[2] x, bool flag) => (string[2] t, float[2] y) { t = Identity (s) y = If (flag) <
            then_branch = a () => (float[2] p) { p = Exp (x) }, else_branch = b () => (float[2] q) { q = Neg (x) } > }"""
    )
    with pytest.raises(ConfigError, match="none for s"):
        camshaft.build(texts, **QUICK)
