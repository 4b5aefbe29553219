"""Channels of large magnitude: which are found, how much is gained, what the arithmetic is, what reports say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import camshaft
from camshaft.builder.engine_builder import Builder
from camshaft.builder.tuning.timing_cache import TimingCache
from camshaft.config import BuildConfig
from camshaft.frontends.onnx import import_model
from camshaft.ir.graph import Graph, GraphBuilder, Tensor
from camshaft.ir.interpret import interpret
from camshaft.ir.types import TensorType, f32
from camshaft.machine.backend import cpu_backend
from camshaft.ops import functional as F
from camshaft.passes.pipeline import optimize
from camshaft.passes.qdq.lowering import lower_quantization
from camshaft.quant.apart.choice import choose, with_fixed_range, with_ranges_of_rows
from camshaft.quant.apart.sample import ROWS, RowSample
from camshaft.quant.deviation import worst_deviation
from camshaft.quant.dynamic import DynamicQuantization
from camshaft.quant.implicit import ImplicitQuantization
from camshaft.report.build import BuildReport
from camshaft.session import BuildSession
from cli_models import call, call_json
from graph_checks import interpreted
from outlier_nets import outlier_batches, save_outlier_net

ANYTHING = (-np.inf, np.inf)


def seen(rows: np.ndarray) -> RowSample:
    sample = RowSample("x")
    sample.update(rows)
    return sample


def rows_with(magnitudes: Sequence[float], channels: int = 128, count: int = 200) -> np.ndarray:
    """Normal rows whose first channels have other magnitudes."""
    rows = np.random.default_rng(0).standard_normal((count, channels)).astype(np.float32)
    rows[:, : len(magnitudes)] *= np.float32(magnitudes)
    return rows


# -- what is kept of calibration data ----------------------------------------------------------------


def test_samples_do_not_depend_on_batches_or_their_order() -> None:
    rows = rows_with([50.0], count=500)
    whole, parts = seen(rows), RowSample("x")
    for part in np.array_split(rows[::-1], 7):
        parts.update(part.reshape(1, 1, *part.shape))
    assert whole.rows is not None and parts.rows is not None and len(whole.rows) == ROWS
    np.testing.assert_array_equal(whole.rows, parts.rows)
    np.testing.assert_array_equal(whole.extremes, parts.extremes)
    np.testing.assert_array_equal(whole.extremes, (rows.min(axis=0), rows.max(axis=0)))


def test_equal_rows_are_kept_once() -> None:
    sample = seen(np.repeat(rows_with([], count=3), 5, axis=0))
    assert sample.rows is not None and len(sample.rows) == 3


# -- which channels ----------------------------------------------------------------------------------


def test_planted_channels_are_found() -> None:
    rows = rows_with([60, 1, 1, -40, 1, 80, 1, 30])
    w = np.random.default_rng(1).standard_normal((32, 128)).astype(np.float32)
    w[:, [0, 3, 5, 7]] /= 50
    for quantized in (with_fixed_range(seen(rows), ANYTHING), with_ranges_of_rows()):
        made = choose(seen(rows), [w], quantized)
        assert made is not None and made.channels.tolist() == [0, 3, 5, 7]
        assert made.after < made.before / 10
        assert -6 < made.low < 0 < made.high < 6


def test_nothing_is_apart_where_it_gains_little() -> None:
    w = np.random.default_rng(1).standard_normal((32, 128)).astype(np.float32)
    for rows in (rows_with([]), rows_with([1.5, 1.5])):
        sample = seen(rows)
        assert choose(sample, [w], with_fixed_range(sample, ANYTHING)) is None
        assert choose(sample, [w], with_ranges_of_rows()) is None


def test_magnitude_alone_does_not_decide() -> None:
    """Where results consist of the large channels alone, their rounding is small beside them."""
    w = np.zeros((32, 128), np.float32)
    w[:, :4] = np.random.default_rng(1).standard_normal((32, 4))
    sample = seen(rows_with([60, 60, 60, 60, 60, 60, 60, 60]))
    assert choose(sample, [w], with_ranges_of_rows()) is None


def test_few_channels_are_left_alone() -> None:
    w = np.ones((8, 32), np.float32)
    assert choose(seen(rows_with([90.0], channels=32)), [w], with_ranges_of_rows()) is None


# -- what is gained ----------------------------------------------------------------------------------


def calibrated(
    graph: Graph,
    batches: list[dict[str, np.ndarray]],
    calibrator: str = "minmax",
    percentile: float = 100.0,
) -> ImplicitQuantization:
    """Quantization with ranges of these batches."""
    quantization = ImplicitQuantization(graph, bias_correction=False)

    quantization.calibrate(batches, interpreted, calibrator, percentile)
    return quantization


@pytest.mark.parametrize("seed", range(3))
def test_errors_of_nets_with_such_channels_fall(seed: int, tmp_path: Path) -> None:
    save_outlier_net(tmp_path / "m.onnx", seed)
    graph = optimize(import_model(tmp_path / "m.onnx").graphs[0])
    quantization = calibrated(graph, outlier_batches(6))
    dynamic = DynamicQuantization(graph)
    dynamic.apart = dynamic.apart_of(quantization.samples)
    feeds = outlier_batches(2, seed=1)
    wanted = [interpret(graph, f) for f in feeds]

    def off(made: Graph) -> float:
        return worst_deviation(wanted, [interpret(made, f) for f in feeds])

    fixed, by_row = (
        off(lower_quantization(quantization.quantized()[0])),
        off(dynamic.quantized()[0]),
    )
    assert len(quantization.apart) >= 2 and len(dynamic.apart) >= 2
    quantization.apart, dynamic.apart = {}, {}
    assert fixed < off(lower_quantization(quantization.quantized()[0])) / 5
    assert by_row < off(dynamic.quantized()[0]) / 5


# -- what is computed --------------------------------------------------------------------------------


def exact_net() -> tuple[Graph, np.ndarray, np.ndarray]:
    """A product of 64 channels whose scales are powers of two, so that nothing rounds in float; weights, rows."""
    rng = np.random.default_rng(2)
    b = GraphBuilder("exact")
    x = b.input("x", TensorType(f32, (1, 16, 64)))
    w = rng.integers(-126, 127, (64, 24)).astype(np.float32)
    w[8] = 127
    w[[3, 40, 41, 60]] = rng.integers(-3, 4, (4, 24))
    rows = rng.integers(-127, 127, (1, 16, 64)).astype(np.float32)
    rows[..., 8], rows[0, 0, 9] = 127, -128
    rows[..., [3, 40, 41, 60]] *= 64
    w, rows = w / 32, rows / 16 + rng.choice([0.0, 0.02], rows.shape).astype(np.float32)
    rows[..., 8:10] = np.rint(rows[..., 8:10] * 16) / 16
    rows[..., [3, 40, 41, 60]] = np.rint(rows[..., [3, 40, 41, 60]])
    with b.scope("product"):
        y = F.add(b, F.matmul(b, x, b.constant(w.astype(np.float32), "w")), 0.5)
    return optimize(b.graph({"y": y})), w.astype(np.float32), rows.astype(np.float32)


def model_of_bytes(rows: np.ndarray, w: np.ndarray, apart: np.ndarray) -> np.ndarray:
    """The arithmetic in NumPy: sums of bytes in int64, then the channels apart in float32."""
    levels = np.clip(np.rint(rows * 16) + 128, 0, 255).astype(np.int64) - 128
    rest = np.rint(w * 32).astype(np.int64)
    rest[apart] = 0
    sums = (levels @ rest).astype(np.float32) * np.float32(1 / 512)
    return sums + rows[..., apart] @ w[apart] + np.float32(0.5)


def test_bits_are_those_of_the_arithmetic() -> None:
    graph, w, rows = exact_net()
    quantization = calibrated(graph, [{"x": rows}])
    (apart,) = quantization.apart.values()
    assert apart.channels.tolist() == [3, 40, 41, 60]
    assert (apart.low, apart.high) == (-8, 127 / 16)
    made = lower_quantization(quantization.quantized()[0])
    product = next(
        n for n in made.nodes if n.op.name == "conv" and n.args[0].type.dtype.name == "u8"
    )
    assert not product.args[1].array[..., apart.channels].any()
    want = model_of_bytes(rows, w, apart.channels)
    np.testing.assert_array_equal(interpret(made, {"x": rows})["y"], want)
    builder = Builder(
        cpu_backend("host"), TimingCache(), level=1, threads=2, workspace_limit=1 << 30
    )
    engine = builder.finish(builder.tune(made), builder.backend.fingerprint)
    np.testing.assert_array_equal(engine({"x": rows})["y"], want)


def test_rows_quantized_as_they_run_leave_the_channels_out() -> None:
    graph, w, rows = exact_net()
    dynamic = DynamicQuantization(graph, {"product": "int8"})
    name = next(n for n in graph.nodes if n.op.name == "conv").args[0].name
    sample = seen(rows)
    sample.name = name
    dynamic.apart = dynamic.apart_of({name: sample})
    channels = dynamic.apart[name].channels
    assert channels.tolist() == [3, 40, 41, 60]
    got = interpret(dynamic.quantized()[0], {"x": rows})["y"]
    rest = rows.copy()
    rest[..., channels] = 0
    scale = np.maximum(np.abs(rest).max(axis=-1, keepdims=True), 1e-30) * np.float32(1 / 127)
    levels = np.rint(rest * (1 / scale)).astype(np.int64)
    integers = np.rint(w * 32).astype(np.int64)
    integers[channels] = 0
    want = (levels @ integers) * scale / 32 + rows[..., channels] @ w[channels] + 0.5
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-4)


def skip_net() -> Graph:
    """A product whose rows are also added to its result."""
    b = GraphBuilder("skip")
    x = b.input("x", TensorType(f32, (1, 12, 64)))
    w = np.random.default_rng(3).standard_normal((64, 64)).astype(np.float32)
    w[:2] /= 40
    y: Tensor = F.add(b, F.matmul(b, F.relu(b, x), b.constant(w, "w")), F.relu(b, x))
    return optimize(b.graph({"y": F.matmul(b, y, b.constant(w, "v"))}))


def test_a_skip_branch_of_such_rows_is_float() -> None:
    graph = skip_net()
    rng = np.random.default_rng(4)
    x = rng.standard_normal((1, 12, 64)).astype(np.float32)
    x[..., :2] *= 80
    quantization = calibrated(graph, [{"x": x}])
    assert quantization.apart
    plan = quantization.plan()
    assert not {t for t in plan.group if t in plan.apart}
    got, want = (interpret(g, {"x": x})["y"] for g in (quantization.quantized()[0], graph))
    assert worst_deviation([{"y": want}], [{"y": got}]) < 0.01


def test_ranges_by_hand_hold_for_all_channels() -> None:
    graph, _, rows = exact_net()
    quantization = ImplicitQuantization(graph, bias_correction=False)
    name = next(n for n in graph.nodes if n.op.name == "conv").args[0].name
    source = quantization.plan().sources[quantization.plan().group[name]][0]
    quantization.set_by_hand({source: 512.0})
    quantization.calibrate([{"x": rows}], interpreted, "minmax", 100.0)
    assert not quantization.apart


def test_by_default_rows_are_not_clipped() -> None:
    """ "auto" gives what products of rows read the whole range, "percentile" leaves some values out."""
    graph, _, rows = exact_net()
    ranges = {
        name: next(iter(calibrated(graph, [{"x": rows}], name, 90.0).ranges.values()))
        for name in ("auto", "minmax", "percentile")
    }
    assert ranges["auto"] == ranges["minmax"] != ranges["percentile"]


# -- what is reported --------------------------------------------------------------------------------


def test_reports_say_how_many(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    save_outlier_net(path, 0)
    config = BuildConfig(precision=frozenset({"int8"}), optimization_level=1, threads=1)
    batches = outlier_batches(6)
    session = BuildSession(str(path), config, iter(batches))
    engine = session.run()
    report = BuildReport.of(session, engine)
    assert len(report.channels_apart) >= 2 and set(report.channels_apart.values()) <= {4, 8}
    assert report.to_json()["channels_apart"] == report.channels_apart
    reasons = [n.reason for n in engine.notes if n.apart]
    assert reasons and all(
        "of 64 input channels apart in fp32" in r or "of 128" in r for r in reasons
    )
    want = camshaft.build(path, optimization_level=1)(batches[0])["y"]
    assert worst_deviation([{"y": want}], [engine(batches[0])]) < 0.01
    engine.save(tmp_path / "m.engine")
    total = sum(report.channels_apart.values())
    assert f"apart      {total} input channels of" in call("inspect", tmp_path / "m.engine").stdout
    shown = call_json("inspect", tmp_path / "m.engine")
    assert shown["totals"]["channels_apart"] == total
