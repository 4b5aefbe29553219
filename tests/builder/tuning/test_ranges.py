"""Kernels for ranges of sizes: where a layer is tuned, which kernel runs where, and what is kept."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, helper

import camshaft
from camshaft.backends.base import KernelSpec, Operand
from camshaft.builder.tuning.contest import Contest, Contests
from camshaft.builder.tuning.ranges import (
    COPY,
    STEP_US,
    SWITCH,
    amount,
    partition,
    profile_points,
    retuned,
    tuning_points,
    turns,
    worth_keeping,
)
from camshaft.ir import expr as E
from camshaft.ir.extents.extent import extent_of
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.graph import GraphBuilder
from camshaft.ir.types import TensorType, f32
from camshaft.program.program import Launch
from cli_models import call, call_json
from onnx_models import model_of

N, M = Symbol("n", 1, 4, 64), Symbol("m", 8, 32, 512)
OPEN = Symbol("n", 1, 4)


def pointwise(*symbols: Symbol) -> KernelSpec:
    """A pointwise kernel over [symbols..., 16]."""
    shape = (*map(extent_of, symbols), 16)
    x = Operand.dense(f32, shape)  # type: ignore[arg-type]
    return KernelSpec("pointwise", (x,), (x,), (("expr", E.unary("exp", E.inp(0))),))


def test_a_layer_is_tuned_from_the_least_to_the_most_sizes() -> None:
    assert tuning_points(pointwise(M), []) == [{"m": m} for m in (8, 32, 128, 512)]
    points = tuning_points(pointwise(N, M), [])
    assert points[0] == {"n": 1, "m": 8} and points[-1] == {"n": 64, "m": 512}
    assert {"n": 4, "m": 32} in points and len(points) <= 6


def test_sizes_of_other_profiles_are_tuned_for_and_unbounded_ones_are_not() -> None:
    assert tuning_points(pointwise(OPEN), []) == [{"n": 4}]
    wanted = [{"n": 9, "other": 3}, {"n": 4}, {"n": 5}]
    assert tuning_points(pointwise(OPEN), wanted) == [{"n": 4}, {"n": 5}, {"n": 9}]
    assert tuning_points(pointwise(N), [{"n": 65}])[-1] == {"n": 64}, "beyond the range"


def test_sizes_that_are_too_large_to_try_give_way_to_the_largest_that_are_not() -> None:
    points = tuning_points(pointwise(M), [{"m": 500}], lambda sizes: sizes["m"] <= 200)
    assert points[0] == {"m": 8} and points[-1] == {"m": 500}, "what is named is tried"
    assert 128 < points[-2]["m"] <= 200
    assert tuning_points(pointwise(M), [], lambda sizes: False) == [{"m": 32}]


@pytest.mark.codegen
def test_a_range_of_any_width_builds_within_seconds() -> None:
    node = helper.make_node("Sigmoid", ["x"], ["y"], "wide")
    proto = model_of([node], {"x": np.zeros((4, 64), np.float32)}, ["y"])
    engine = camshaft.build(proto, shapes={"x": ("n=1..4..2000000000", 64)}, threads=1)
    x = np.ones((3, 64), np.float32)
    np.testing.assert_allclose(engine(x)["y"], 1 / (1 + np.exp(-x)), rtol=1e-5)


def test_typical_sizes_of_a_profile_are_those_of_its_symbols() -> None:
    b = GraphBuilder("g")
    x = b.input("x", TensorType(f32, (extent_of(N), 3, extent_of(M))))  # type: ignore[arg-type]
    y = b.input("y", TensorType(f32, (extent_of(M),)))  # type: ignore[arg-type]
    profiles = [{"x": ((1, 3, 8), (2, 3, 9), (4, 3, 64))}, {"y": ((8,), (10,), (64,))}]
    assert profile_points([x, y], profiles) == [{"n": 2, "m": 9}, {"m": 10}]


def test_retuning_changes_typical_sizes_alone() -> None:
    spec = pointwise(N, M)
    other = retuned(spec, {"n": 9, "m": 100})
    assert [(s.name, s.low, s.typical, s.high) for s in other.symbols] == [
        ("n", 1, 9, 64),
        ("m", 8, 100, 512),
    ]
    assert other.at({"n": 2, "m": 8}) == spec.at({"n": 2, "m": 8})
    assert retuned(other, {"n": 4, "m": 32}) == spec


@pytest.mark.parametrize("seed", range(20))
def test_partition_finds_the_least_loss(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes, kernels = rng.integers(1, 6), int(rng.integers(1, 4))
    times = rng.uniform(1, 1.4, (sizes, kernels)).tolist()
    packings = [(int(n),) for n in rng.integers(0, 3, kernels)]

    def loss(path: Sequence[int]) -> float:
        slower = sum(
            np.log((row[k] + STEP_US) / (min(row) + STEP_US))
            for row, k in zip(times, path, strict=True)
        )
        changes = sum(a != b for a, b in itertools.pairwise(path))
        copies = len({packings[k] for k in path}) - 1
        return float(slower + SWITCH * changes + COPY * copies)

    found = partition(times, packings)
    best = min(loss(p) for p in itertools.product(range(kernels), repeat=int(sizes)))
    assert loss(found) == pytest.approx(best)


def test_sizes_share_the_packing_of_weights_that_costs_them_little() -> None:
    wide, narrow = ("panels", 32), ("panels", 16)
    near = [{wide: 100.0, narrow: 105.0}, {wide: 260.0, narrow: 250.0}, {narrow: 400.0}]
    assert worth_keeping(near) == {narrow}, "each is the fastest at some size, and hardly faster"
    assert worth_keeping([{wide: 100.0, narrow: 140.0}, *near[1:]]) == {wide, narrow}
    assert worth_keeping([{wide: 100.0}, {narrow: 100.0}]) == {wide, narrow}, "no other choice"


def test_every_size_has_one_kernel() -> None:
    measure = amount(pointwise(M))
    found = turns(measure, [8, 32, 33, 512], [0, 1, 2, 2])
    assert [str(when) for when, _ in found] == ["m < 16", "16 <= m < 33", "m >= 33"]
    assert [group for _, group in found] == [[0], [1], [2, 3]]
    for size in range(600):
        assert sum(when.holds({"m": size}) for when, _ in found) == 1


def by_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make narrow tiles the fastest at few rows and wide ones at many, whatever the machine says."""

    def timed(self: Contests, contest: Contest, ready: Any) -> dict[int, float]:
        rows = max(ready.trial.sizes.values(), default=1)
        sign = 1 if rows < 50 else -1
        return {
            i: 50 + sign * int(o.candidate.params.get("rows", 1)) + i / 100
            for i, o in enumerate(contest.candidates)
        }

    monkeypatch.setattr(Contests, "_timed", timed)


def by_kind(monkeypatch: pytest.MonkeyPatch, slower: float) -> None:
    """Make panels of four vectors the fastest at few rows, narrower ones `slower` times as slow, and blocked products
    with panels of two the fastest at many."""

    def timed(self: Contests, contest: Contest, ready: Any) -> dict[int, float]:
        few = max(ready.trial.sizes.values(), default=1) < 10

        def time(tactic: str, cols: object) -> float:
            if few and tactic == "conv_direct":
                return 100 * (1.0 if cols == 4 else slower if cols == 2 else 2.0)
            return 1000 if not few and (tactic, cols) == ("matmul_blocked", 2) else 2000

        offers = enumerate(contest.candidates)
        return {i: time(o.tactic, o.candidate.params.get("cols")) for i, o in offers}

    monkeypatch.setattr(Contests, "_timed", timed)


@pytest.mark.codegen
@pytest.mark.parametrize(("slower", "copies"), [(1.05, 1), (1.5, 2)])
def test_kernels_of_few_and_of_many_rows_share_weights(
    slower: float, copies: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever tactics they are of; a second copy of the weights is kept where it gains much."""
    by_kind(monkeypatch, slower)
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((128, 512)).astype(np.float32)
    node = helper.make_node("MatMul", ["x", "w"], ["y"], "up")
    proto = model_of([node], {"x": np.zeros((4, 128), np.float32)}, ["y"], {"w": weights})
    engine = camshaft.build(proto, shapes={"x": ("n=1..1..256", 128)}, threads=1, target="avx2")
    assert {n.tactic for n in engine.notes} == {"conv_direct", "matmul_blocked"}
    assert engine.inspect()["weight_bytes"] == pytest.approx(copies * weights.nbytes, rel=0.01)
    for rows in (1, 7, 64, 256):
        x = rng.standard_normal((rows, 128)).astype(np.float32)
        np.testing.assert_allclose(engine(x)["y"], x @ weights, rtol=1e-3, atol=1e-3)


def two_layers() -> ModelProto:
    rng = np.random.default_rng(0)
    weights = {n: rng.standard_normal(s).astype(np.float32) for n, s in SHAPES.items()}
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], "up"),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("MatMul", ["r", "v"], ["y"], "down"),
    ]
    return model_of(nodes, {"x": np.zeros((4, 24), np.float32)}, ["y"], weights)


SHAPES = {"w": (24, 40), "v": (40, 24)}


@pytest.mark.codegen
@pytest.mark.parametrize("threads", [1, 2])
def test_each_size_runs_the_kernel_that_is_fastest_there(
    threads: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    by_parameters(monkeypatch)
    proto = two_layers()
    cache = tmp_path / "times.json"
    config = {"shapes": {"x": ("n=1..8..400", 24)}, "threads": threads, "timing_cache": cache}
    engine = camshaft.build(proto, **config)
    assert len(engine.notes) == 4
    small, large = (
        r"[\d.]+ us at n=8; for sizes such as n=1 to n=\d+, where n < \d+",
        r"[\d.]+ us at n=400; for sizes( such as n=\d+ to n=400,)? where n >= \d+",
    )
    for note, pattern in zip(engine.notes, (small, large) * 2, strict=True):
        assert re.fullmatch(pattern, note.reason), note.reason
    weights = {t.name: np.frombuffer(t.raw_data, np.float32).reshape(t.dims)
               for t in proto.graph.initializer}  # fmt: skip
    file = tmp_path / "two.camshaft"
    engine.save(file)
    for e in (engine, camshaft.load(file)):
        with e.create_context(threads) as context:
            for n in (1, 400, 7, 44, 45, 60, 57, 58, 8, 300, 1):
                x = np.random.default_rng(n).standard_normal((n, 24)).astype(np.float32)
                want = np.maximum(x @ weights["w"], 0) @ weights["v"]
                np.testing.assert_allclose(context.run({"x": x})["y"], want, rtol=1e-4, atol=1e-4)
                assert context.sizes == {"n": n}
                assert sum(e.program.active(context.sizes)) == 2
    again = camshaft.build(proto, **config, frozen_cache=True)
    assert again.program == engine.program
    check_reports(engine)
    check_tables(file)


def check_reports(engine: camshaft.Engine) -> None:
    """What people see counts each layer once."""
    steps = engine.inspect()["steps"]
    assert json.dumps(steps)
    assert [s["typical"] for s in steps].count(True) == 2
    assert all(s["where"] for s in steps)
    for step in steps:  # figures are of the sizes that the time is of
        n = 8 if step["typical"] else 400
        assert step["at"] == ({} if step["typical"] else {"n": 400})
        assert (step["macs"], step["bytes"]) == (n * 24 * 40, 4 * (24 * 40 + n * 24 + n * 40))
    profile = engine.profile({"x": np.ones((300, 24), np.float32)}, runs=2)
    assert [layer.index for layer in profile.layers] == [
        s["index"] for s in steps if not s["typical"]
    ]
    assert profile.sizes == {"n": 300}
    assert [layer.macs for layer in profile.layers] == [300 * 24 * 40] * 2
    starts = [i.waits for i in engine.program.instructions if isinstance(i, Launch)]
    assert starts == [True, False, True, False], "alternatives do not wait for each other"


def check_tables(file: Path) -> None:
    """The figures of the command line are of the sizes that it says."""
    text = call("inspect", file).stdout
    assert "typically 8; times and bytes at typical sizes, or at those a step names" in text
    options = ("--dump-profile", "--runs", 2, "--shapes", "x:300x24")
    text = call("inspect", file, *options).stdout
    assert "; steps measured at n=300" in text and "typical sizes;" not in text.split("arena")[0]
    data = call_json("inspect", file, *options)
    assert data["totals"]["macs"] == 2 * 300 * 24 * 40 and data["totals"]["steps"] == 2
    for step in data["steps"]:
        assert ("measured_us" in step) == step["runs"] == (not step["typical"])
        assert (step["gflops"] is None) == (step["share"] is None) == (not step["runs"])
        if step["runs"]:
            assert step["gflops"] == pytest.approx(2e-3 * 300 * 24 * 40 / step["measured_us"])


def test_a_frozen_cache_without_the_other_sizes_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    by_parameters(monkeypatch)
    cache = tmp_path / "times.json"
    camshaft.build(two_layers(), shapes={"x": ("n=1..8..", 24)}, timing_cache=cache)
    with pytest.raises(camshaft.TimingCacheError, match="no entry for layer 'up"):
        camshaft.build(
            two_layers(),
            shapes={"x": ("n=1..8..400", 24)},
            timing_cache=cache,
            frozen_cache=True,
        )
