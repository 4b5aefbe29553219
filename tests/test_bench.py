"""The benchmark harness: turns are fair, ratios are per round, verdicts follow from figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

import camshaft
from benchmarks import job, kernels, report, run, targets, zoo
from benchmarks.engines import ENGINES, LISTS, deviation, engines_for
from benchmarks.job import NotBuilt
from benchmarks.measure import measure
from benchmarks.photos import Preprocess
from benchmarks.small_models import with_input_shape, write_mlp
from camshaft.bench.interleave import Plan, Timing, interleave
from camshaft.bench.peers import peer_errors
from camshaft.bench.runners import OnnxRuntimeRunner, open_peer
from camshaft.errors import BindingError, CalibrationError, ConfigError, PeerError
from camshaft.machine.description import describe


class FakeClock:
    """Time that passes only when a runner runs or somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class FakeRunner:
    def __init__(self, clock: FakeClock, name: str, seconds: float, linger: float = 0.0) -> None:
        self.clock, self.name, self.seconds, self.linger = clock, name, seconds, linger
        self.starts: list[float] = []

    def run(self) -> None:
        self.starts.append(self.clock.now)
        self.clock.now += self.seconds * (2.0 if self.clock.now > 1.0 else 1.0)

    def outputs(self) -> list[np.ndarray]:
        return []


def timed(clock: FakeClock, *runners: FakeRunner, plan: Plan) -> Timing:
    return interleave(runners, plan, clock, clock, clock.sleep)


def test_ratio_survives_a_machine_that_slows_down_midway() -> None:
    clock = FakeClock()
    a, b = FakeRunner(clock, "a", 0.003), FakeRunner(clock, "b", 0.002)
    timing = timed(clock, a, b, plan=Plan(seconds=3.0, rounds=(5, 1000)))
    assert timing.best("a") == pytest.approx(0.003)
    assert max(timing.samples["a"]) == pytest.approx(0.006)
    assert timing.ratio("a", "b") == pytest.approx(1.5)
    assert timing.fastest(["a", "b"]) == "b"


def test_rounds_keep_within_their_bounds() -> None:
    clock = FakeClock()
    slow = FakeRunner(clock, "slow", 10.0)
    assert len(timed(clock, slow, plan=Plan(seconds=1.0, rounds=(4, 9))).samples["slow"]) == 4
    quick = FakeRunner(clock, "quick", 1e-4)
    assert len(timed(clock, quick, plan=Plan(seconds=1e9, rounds=(4, 9))).samples["quick"]) == 9


def test_nobody_is_timed_while_another_lingers() -> None:
    clock = FakeClock()
    spinner, other = FakeRunner(clock, "spinner", 0.02, 0.5), FakeRunner(clock, "other", 0.02)
    timed(clock, spinner, other, plan=Plan(seconds=9.0, rounds=(6, 6)))
    ends = [start + 0.02 for start in spinner.starts[4:]]
    gaps = [start - end for start in other.starts[4:] for end in ends if start >= end]
    assert gaps and min(gaps) >= 0.45


def test_busy_counts_the_threads_that_work() -> None:
    clock = FakeClock()
    runner = FakeRunner(clock, "two threads", 0.004)
    plan = Plan(seconds=1.0, rounds=(3, 3))
    timing = interleave([runner], plan, clock, lambda: 2 * clock.now, clock.sleep)
    assert timing.busy["two threads"] == pytest.approx(2.0)


def test_runners_need_different_names() -> None:
    clock = FakeClock()
    with pytest.raises(ValueError, match="different names"):
        timed(clock, FakeRunner(clock, "a", 1), FakeRunner(clock, "a", 1), plan=Plan())


def measurement(model: str, **ms: float) -> dict[str, Any]:
    samples = {name.replace("_", "-"): [value] * 3 for name, value in ms.items()}
    where = {"model": model, "precision": "int8", "threads": 1}
    return where | {"samples_ms": samples, "busy": {}, "deviation": {}, "build_s": {}, "failed": {}}


def test_the_fastest_peer_counts_and_eager_float_does_not() -> None:
    stand = targets.standing(
        measurement("net", camshaft=2.0, camshaft_qdq=1.0, a_qdq=4.0, b_nncf=3.0, pytorch_fp32=0.5)
    )
    assert stand is not None
    assert (stand.engine, stand.peer, stand.ratio) == ("camshaft-qdq", "b-nncf", 3.0)


def test_verdict_is_missed_when_one_model_lags_fails_or_is_wrong() -> None:
    good = measurement("good", camshaft=1.0, peer=3.0)
    lagging = measurement("lagging", camshaft=1.0, peer=0.9)
    failed = measurement("failed", peer=1.0) | {"failed": {"camshaft": "BuildError: ..."}}
    wrong = measurement("wrong", camshaft=0.1, peer=1.0) | {"failed": {"camshaft": "wrong outputs"}}
    assert targets.verdicts([good])[0].startswith("MET int8, 1 thread: geometric mean 3.000")
    for bad in (lagging, failed, wrong):
        assert targets.verdicts([good, bad])[0].startswith("MISSED")
    assert targets.verdicts([measurement("resnet50", camshaft=1.0, peer=2.0, pytorch_fp32=6.0)])[
        1
    ].startswith("MET resnet50 int8 over PyTorch eager")


def test_more_is_promised_on_a_zen_5() -> None:
    found = [measurement("net", camshaft=1.0, peer=1.6)]
    assert targets.verdicts(found)[0].startswith("MET")
    assert targets.verdicts(found, "Zen 4")[0].startswith("MET")
    assert targets.verdicts(found, "Zen 5")[0].startswith("MISSED")


def test_each_kind_of_model_has_its_own_verdict() -> None:
    net = measurement("net", camshaft=1.0, peer=3.0)
    former = measurement("former", camshaft=1.0, peer=1.7) | {"kind": "transformer"}
    lines = targets.verdicts([net, former])
    assert lines[0].startswith("MET int8, 1 thread: geometric mean 3.000")
    assert lines[1].startswith("MISSED transformer, int8, 1 thread: geometric mean 1.700")
    assert len(lines) == 2


def test_what_is_not_built_is_no_failure() -> None:
    found = measurement("a", peer=1.0) | {"kind": "transformer", "precision": "bf16"}
    found |= {"not_built": {"camshaft": "precision bf16"}}
    assert targets.verdicts([found]) == ["NOT BUILT transformer, bf16, 1 thread: precision bf16"]
    results = {"date": "today", "machine": describe(), "measurements": [found]}
    assert "| a | 1.000 | not built |  |  |" in report.markdown(results)


def test_a_missing_precision_or_option_is_told_from_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_mlp(path := tmp_path / "mlp.onnx")
    with pytest.raises(NotBuilt, match="precision bf8"):
        job.build(path, precision={"bf8"})
    with pytest.raises(NotBuilt, match="option weight_lonely"):
        job.build(path, weight_lonely="int4")

    def refuses(*_: object, **__: object) -> None:
        raise CalibrationError("INT8 needs ranges")

    monkeypatch.setattr(camshaft, "build", refuses)
    with pytest.raises(NotBuilt, match="without calibration"):
        job.build(path, precision={"int8"})
    with pytest.raises(CalibrationError):
        job.build(path, precision={"int8"}, calibration=[])


def test_only_engines_that_fit_a_model_are_measured() -> None:
    for kind, precisions in LISTS.items():
        for precision, names in precisions.items():
            assert set(names) <= set(ENGINES[precision]), (kind, precision)
    assert engines_for(zoo.model_named("scrfd"), "fp32") == ["camshaft", "onnxruntime", "openvino"]
    assert "onnxruntime-fused" in engines_for(zoo.model_named("encoder"), "fp32")
    assert "onnxruntime-fused" not in engines_for(zoo.model_named("swin_t"), "fp32")
    assert engines_for(zoo.model_named("scrfd"), "int4") == []


def test_kernels_are_measured_on_layers_of_the_shapes_that_they_name() -> None:
    for layer in (kernels.Product(5, 3, 7), kernels.Shape(3, 7, 3, 6, 2)):
        model = layer.network()
        onnx.checker.check_model(model, full_check=True)
        shape = model.graph.output[0].type.tensor_type.shape
        assert [d.dim_value for d in shape.dim] == (
            [1, 5, 7] if isinstance(layer, kernels.Product) else [1, 7, 3, 3]
        )
    assert kernels.Product(5, 3, 7).macs == 105


def test_processor_time_is_for_one_thread() -> None:
    with pytest.raises(ValueError, match="2 threads"):
        measure("mlp", "fp32", 2, [], Plan(), processor_time=True)


def test_feeds_of_transformers_are_the_same_in_every_process() -> None:
    for name in ("encoder", "attention_128", "decoder"):
        model = zoo.model_named(name)
        first, again = model.feeds(2)[1], model.feeds(2)[1]
        for a, b in zip(first.values(), again.values(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_fp32_must_equal_onnxruntime_on_every_model() -> None:
    def off(model: str, error: float) -> dict[str, Any]:
        deviation = {"camshaft": {"max": error, "rms": 0.0}, "peer": {"max": 1.0, "rms": 1.0}}
        return measurement(model, peer=1.0) | {"precision": "fp32", "deviation": deviation}

    assert targets.verdicts([off("a", 1e-5)])[-1].startswith("MET fp32 equals ONNX Runtime")
    worse = targets.verdicts([off("a", 1e-5), off("b", 2e-4)])[-1]
    assert worse.startswith("MISSED") and "2.0e-04, on b" in worse


def test_report_shows_times_ratio_and_failures() -> None:
    failed = measurement("b", peer=1.0) | {"failed": {"camshaft": "BuildError: no tactic"}}
    results: dict[str, Any] = {
        "date": "today",
        "machine": describe(),
        "measurements": [measurement("a", camshaft=0.00312, peer=12.345), failed],
    }
    text = report.markdown(results)
    assert "## INT8, 1 thread\n" in text
    assert "| a | 0.0031 | 12.3 | 3956.73 | peer |" in text
    assert "| b | failed | 1.000 |  |  |" in text
    assert "- b int8 1: camshaft: BuildError: no tactic" in text
    assert "Disturbed" not in text
    results["measurements"][0]["samples_ms"]["peer"] = [1.0, 2.0, 2.0]
    assert "- a int8 1: peer's median is 2.00 times its best round" in report.markdown(results)


def test_a_new_measurement_replaces_the_old_one_in_place() -> None:
    a, b, new = measurement("a", x=1.0), measurement("b", x=1.0), measurement("a", x=2.0)
    assert run.merge([a, b], new) == [new, b]
    assert run.merge([b], new) == [b, new]


def test_an_engine_that_kills_its_process_is_listed_and_the_others_are_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def child(
        model: str, precision: str, threads: int, engines: list[str], *rest: object
    ) -> tuple[dict[str, Any] | None, str]:
        if "crashing" in engines:
            return None, "the process died of SIGSEGV"
        return measurement(model, **dict.fromkeys(engines, 1.0)), ""

    monkeypatch.setattr(run, "_child", child)
    result = run.measured("net", "int8", 1, ["a", "crashing", "b"], 1.0)
    assert list(result["samples_ms"]) == ["a", "b"]
    assert result["failed"] == {"crashing": "the process died of SIGSEGV"}
    assert run.measured("mlp", "int8", 1, ["crashing"], 1.0)["failed"].keys() == {"crashing"}


def test_deviation_is_relative_and_refuses_what_is_not_finite() -> None:
    want = [np.array([1.0, -4.0], np.float32)]
    assert deviation([np.array([1.0, -3.0], np.float32)], want)["max"] == pytest.approx(0.25)
    with pytest.raises(ValueError, match="NaN"):
        deviation([np.array([np.nan, 0.0])], want)
    with pytest.raises(ValueError, match="shape"):
        deviation([np.zeros((1, 2))], want)


def test_crop_takes_the_centre_and_channels_follow_the_request() -> None:
    pixels = np.zeros((96, 160, 3), np.uint8)
    pixels[..., 0] = 200  # red everywhere, green only in the centre
    pixels[24:72, 56:104, 1] = 100
    plain = Preprocess((32, 32), (0.0,) * 3, (1.0,) * 3)
    image = plain(Image.fromarray(pixels))
    assert image.shape == (1, 3, 32, 32) and image.dtype == np.float32
    assert (image[0, 0] == 200).all() and np.abs(image[0, 1, 1:-1, 1:-1] - 100).max() < 5
    bgr = Preprocess((32, 32), (1.0, 2.0, 3.0), (1.0, 2.0, 4.0), bgr=True, channels_last=True)
    nhwc = bgr(Image.fromarray(pixels))
    assert nhwc.shape == (1, 32, 32, 3)
    np.testing.assert_allclose(nhwc[0, 16, 16], [-1.0, 49.0, 49.25])


def test_letterbox_keeps_the_whole_photo_in_its_proportions() -> None:
    photo = Image.new("RGB", (200, 100), (255, 255, 255))
    image = Preprocess((64, 64), (0.0,) * 3, (255.0,) * 3, fit="letterbox")(photo)
    assert (image[0, :, :32] == 1).all() and (image[0, :, 32:] == 0).all()


def test_zoo_names() -> None:
    assert zoo.model_named("squeezenet1.1").name == "squeezenet1.1"
    assert zoo.model_named("squeezenet1.1.qdq-s8").name == "squeezenet1.1"
    assert {zoo.model_named(n).name for n in zoo.BENCHMARK} == set(zoo.BENCHMARK)
    with pytest.raises(KeyError, match="no model 'resnet51'"):
        zoo.model_named("resnet51")


def test_an_overridden_shape_reaches_the_outputs(tmp_path: Path) -> None:
    with_input_shape(write_mlp, (7, 64))(tmp_path / "mlp.onnx")
    output = onnx.load(tmp_path / "mlp.onnx").graph.output[0].type.tensor_type.shape
    assert [d.dim_value for d in output.dim] == [7, 10]


@pytest.mark.peers
def test_onnxruntime_may_fold_weights_that_an_old_file_lists_as_inputs(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = tmp_path / "mlp.onnx"
    write_mlp(path)
    feeds = {"input": np.ones((1, 64), np.float32)}
    wanted = OnnxRuntimeRunner(path, feeds, threads=1)
    wanted.run()
    model = onnx.load(path)
    for w in model.graph.initializer:
        model.graph.input.append(onnx.helper.make_tensor_value_info(w.name, w.data_type, w.dims))
    model.ir_version = 3
    onnx.save(model, path)
    runner = OnnxRuntimeRunner(path, feeds, threads=1)
    runner.run()
    np.testing.assert_array_equal(runner.outputs()[0], wanted.outputs()[0])


@pytest.mark.peers
def test_onnxruntime_runner_computes_the_model(tmp_path: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    path = tmp_path / "mlp.onnx"
    write_mlp(path)
    feeds = {"input": np.random.default_rng(0).standard_normal((1, 64), np.float32)}
    runner = OnnxRuntimeRunner(path, feeds, threads=1)
    runner.run()
    want = ort.InferenceSession(str(path)).run(None, feeds)
    np.testing.assert_array_equal(runner.outputs()[0], want[0])
    with pytest.raises(BindingError, match="'input' got no array"):
        OnnxRuntimeRunner(path, {"x": feeds["input"]}, threads=1)


@pytest.mark.peers
def test_onnxruntime_takes_a_model_whose_other_branch_does_not_fit(tmp_path: Path) -> None:
    """With its sizes fixed ONNX Runtime refuses the model: two rows cannot be squeezed."""
    pytest.importorskip("onnxruntime")
    model = onnx.parser.parse_model(
        """<ir_version: 9, opset_import: ["" : 17]>
        net (float[n,3] x, bool squeezes) => (float[m] y) {
            zero = Constant <value = int64[1] {0}> ()
            flat = Constant <value = int64[1] {-1}> ()
            y = If (squeezes) <
                then_branch = a () => (float[m] p) { p = Squeeze (x, zero) },
                else_branch = b () => (float[m] q) { q = Reshape (x, flat) }
            > }"""
    )
    path = tmp_path / "squeezes.onnx"
    onnx.save(model, path)
    feeds = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "squeezes": np.array(False)}
    runner = OnnxRuntimeRunner(path, feeds, threads=1)
    runner.run()
    np.testing.assert_array_equal(runner.outputs()[0], feeds["x"].reshape(-1))


@pytest.mark.peers
@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_a_model_that_a_peer_cannot_load_is_named(tmp_path: Path, name: str) -> None:
    pytest.importorskip(name)
    path = tmp_path / "mlp.onnx"
    write_mlp(path)
    model = onnx.load(str(path))
    model.graph.node[0].op_type = "Nonsense"
    onnx.save(model, str(path))
    feeds = {"input": np.zeros((1, 64), np.float32)}
    with pytest.raises(PeerError, match=rf"{name} cannot load .*mlp\.onnx"):
        open_peer(name, path, feeds, 1)


@pytest.mark.parametrize("error", [RuntimeError("no\n  good"), TypeError("no good"), KeyError()])
def test_whatever_a_peer_raises_is_one_line_and_names_it(error: Exception) -> None:
    with (
        pytest.raises(PeerError, match="openvino cannot add: ") as told,
        peer_errors("openvino", "add"),
    ):
        raise error
    assert told.value.peer == "openvino" and "\n" not in str(told.value)
    with pytest.raises(ConfigError, match="ours"), peer_errors("openvino", "add"):
        raise ConfigError("ours")


def open_net(path: Path, extents: tuple[int | str, ...]) -> Path:
    """A convolution whose input declares these extents (N, C, H, W)."""
    weights = onnx.numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w")
    nodes = [
        onnx.helper.make_node("Conv", ["x", "w"], ["c"]),
        onnx.helper.make_node("Relu", ["c"], ["y"]),
    ]
    kind = onnx.TensorProto.FLOAT
    ends = [onnx.helper.make_tensor_value_info("y", kind, ["?", 4, "?", "?"])]
    starts = [onnx.helper.make_tensor_value_info("x", kind, extents)]
    graph = onnx.helper.make_graph(nodes, "open", starts, ends, [weights])
    opsets = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


@pytest.mark.peers
@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("extents", [("?", 3, "?", "?"), ("n", 3, "h", "w"), (None, 3, None, "w")])
def test_open_extents_that_share_a_name_or_have_none(tmp_path: Path, name, extents) -> None:
    pytest.importorskip(name)
    feeds = {"x": np.ones((1, 3, 5, 8), np.float32)}
    runner = open_peer(name, open_net(tmp_path / "open.onnx", extents), feeds, 1)
    assert runner.outputs()[0].shape == (1, 4, 3, 6)


def test_an_unknown_peer_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no runtime 'tvm'.*onnxruntime, openvino"):
        open_peer("tvm", tmp_path, {}, 1)
