"""Whole builds of small ONNX models: results, precision, files, caches, options, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import camshaft
from camshaft.config import BuildConfig
from camshaft.session import BuildSession
from engine_files import header_of

onnxruntime = pytest.importorskip("onnxruntime", reason="the reference needs onnxruntime")


class Net:
    """A small ONNX net, node by node."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def constant(self, array: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def node(self, op: str, inputs: list[str], name: str, **attrs: object) -> str:
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attrs))
        return name

    def conv(self, x: str, cin: int, k: int, size: int, name: str, **attrs: object) -> str:
        scale = np.sqrt(2.0 / (cin * size * size))
        w = (self.rng.standard_normal((k, cin, size, size)) * scale).astype(np.float32)
        b = (self.rng.standard_normal(k) * 0.1).astype(np.float32)
        pads = attrs.pop("pads", [size // 2] * 4)
        inputs = [x, self.constant(w), self.constant(b)]
        return self.node("Conv", inputs, name, pads=pads, **attrs)

    def model(self, shape: list[int | str], outputs: dict[str, int]) -> bytes:
        """outputs: name -> rank."""
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [
                helper.make_tensor_value_info(o, TensorProto.FLOAT, [f"{o}{d}" for d in range(r)])
                for o, r in outputs.items()
            ],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 9
        return model.SerializeToString()


def residual_net(batch: int | str = 1) -> bytes:
    """Convolutions of every kind, residual add, concat, pools and a classifier."""
    n = Net()
    s = n.node("Relu", [n.conv("x", 3, 16, 3, "stem", strides=[2, 2])], "stem_relu")
    p = n.node("MaxPool", [s], "pool", kernel_shape=[2, 2], strides=[2, 2])
    a = n.node("Relu", [n.conv(p, 16, 16, 3, "a")], "a_relu")
    b = n.conv(a, 1, 16, 3, "depthwise", group=16)
    r = n.node("Relu", [n.node("Add", [b, p], "add")], "add_relu")
    left = n.node("Relu", [n.conv(r, 16, 8, 1, "left")], "left_relu")
    right = n.node("HardSwish", [n.conv(r, 16, 24, 3, "right")], "right_act")
    c = n.node("Concat", [left, right], "concat", axis=1)
    g = n.node("GlobalAveragePool", [n.conv(c, 32, 40, 1, "last")], "gap")
    flat = n.node("Flatten", [g], "flat")
    w = n.constant(n.rng.standard_normal((40, 7)).astype(np.float32))
    n.node("Softmax", [n.node("MatMul", [flat, w], "fc")], "prob", axis=1)
    return n.model([batch, 3, 32, 32], {"prob": 2, "fc": 2})


def image(seed: int, batch: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {"x": rng.standard_normal((batch, 3, 32, 32), np.float32)}


def expected(model: bytes, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


@pytest.mark.parametrize("level", [0, 1, 2])
@pytest.mark.parametrize("threads", [1, 2])
def test_fp32_equals_onnxruntime(level: int, threads: int) -> None:
    model = residual_net()
    engine = camshaft.build(model, optimization_level=level, threads=threads)
    for seed in range(3):
        want, got = expected(model, image(seed)), engine(image(seed))
        assert list(got) == list(want)
        for name, array in want.items():
            np.testing.assert_allclose(got[name], array, rtol=1e-4, atol=1e-5)


def test_results_do_not_depend_on_threads_and_contexts() -> None:
    engine = camshaft.build(residual_net(), optimization_level=1, threads=3)
    want = engine.create_context(1).run(image(4))
    for threads in (2, 3):
        for _ in range(3):
            got = engine.create_context(threads).run(image(4))
            for name, array in want.items():
                np.testing.assert_array_equal(got[name], array)


def test_batch_is_open_unless_fixed_by_shapes() -> None:
    model = residual_net("batch")
    engine = camshaft.build(model, optimization_level=1)
    fixed = camshaft.build(model, shapes={"x": (3, 3, 32, 32)}, optimization_level=1)
    for count in (1, 3, 2):
        want, got = expected(model, image(1, count)), engine(image(1, count))
        np.testing.assert_allclose(got["fc"], want["fc"], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(fixed(image(1, 3))["fc"], engine(image(1, 3))["fc"])
    with pytest.raises(camshaft.BindingError, match="expected"):
        fixed(image(1, 2))


def test_int8_stays_close_and_says_why(tmp_path: Path) -> None:
    model = residual_net()
    calibration = [image(s) for s in range(8)]
    config = BuildConfig(
        precision=frozenset({"int8"}),
        optimization_level=2,
        threads=1,
        calibration_cache=tmp_path / "ranges.cache",
        layer_precision={"a": "int8", "right": "fp32"},
    )
    session = BuildSession(model, config, calibration)
    engine = session.run()
    precision = {s.origin[0]: s.precision for s in engine.notes if s.op == "conv"}
    assert precision["a"] == "u8" and precision["right"] == "f32"
    reasons = {s.origin[0]: s.reason for s in engine.notes if s.op == "conv"}
    assert reasons["a"].startswith("int8: layer_precision")
    assert reasons["right"].startswith("fp32: layer_precision")
    want, got = expected(model, image(99)), engine(image(99))
    assert np.abs(got["fc"] - want["fc"]).max() < 0.1 * np.abs(want["fc"]).max()
    # Ranges come from the cache now (which has no means for bias correction).
    again = camshaft.build(model, config)(image(99))
    assert np.abs(again["fc"] - want["fc"]).max() < 0.1 * np.abs(want["fc"]).max()


def test_two_builds_with_one_timing_cache_give_the_same_bytes(tmp_path: Path) -> None:
    model, cache = residual_net(), tmp_path / "timing.json"
    files = []
    for n in range(3):
        options = {"timing_cache": cache, "optimization_level": 2, "frozen_cache": n == 2}
        engine = camshaft.build(model, threads=1, **options)
        engine.save(tmp_path / f"{n}.engine")
        files.append((tmp_path / f"{n}.engine").read_bytes())
    assert files[0] == files[1] == files[2]


def test_a_frozen_cache_that_misses_names_the_layer(tmp_path: Path) -> None:
    cache = tmp_path / "timing.json"
    camshaft.build(one_conv(), timing_cache=cache, optimization_level=2, threads=1)
    with pytest.raises(camshaft.TimingCacheError, match="frozen timing cache has no entry"):
        camshaft.build(residual_net(), timing_cache=cache, frozen_cache=True, threads=1)


def test_a_frozen_cache_is_asked_for_times_only(tmp_path: Path) -> None:
    options = {"timing_cache": tmp_path / "timing.json", "optimization_level": 1, "threads": 1}
    first = camshaft.build(residual_net(), **options)
    again = camshaft.build(residual_net(), **options, frozen_cache=True)
    assert again.to_bytes() == first.to_bytes()


def one_conv() -> bytes:
    n = Net()
    n.conv("x", 3, 4, 3, "y")
    return n.model([1, 3, 32, 32], {"y": 4})


def test_saved_engine_runs_the_same(tmp_path: Path) -> None:
    engine = camshaft.build(residual_net(), optimization_level=1)
    engine.save(tmp_path / "net.engine")
    loaded = camshaft.load(tmp_path / "net.engine")
    np.testing.assert_array_equal(loaded(image(5))["prob"], engine(image(5))["prob"])


def test_winograd_filters_are_stored_once_and_expanded_on_loading(tmp_path: Path) -> None:
    n = Net()
    n.conv("x", 64, 64, 3, "a")
    n.conv("a", 64, 64, 3, "y")
    model = n.model([1, 64, 14, 14], {"y": 4})
    engine = camshaft.build(model, threads=1)
    winograd = [s for s in engine.notes if s.tactic == "winograd"]
    if not winograd:
        pytest.skip("another tactic is faster on this machine")
    assert len(engine.program.expanded) == len(winograd)
    engine.save(tmp_path / "net.engine")
    entries = header_of((tmp_path / "net.engine").read_bytes()).items()
    spans = [v["data_offsets"] for k, v in entries if k.startswith("weights/")]
    # Another layer's kernel, which hangs on timing, may pack its filters with padding; expanded ones take 1.8 times more.
    assert sum(b - a for a, b in spans) < 1.3 * 4 * 2 * 64 * 64 * 9
    assert engine.inspect()["expanded_bytes"] == sum(e.nbytes for e in engine.program.expanded)
    feeds = {"x": np.random.default_rng(1).standard_normal((1, 64, 14, 14)).astype(np.float32)}
    loaded = camshaft.load(tmp_path / "net.engine")
    np.testing.assert_array_equal(loaded(feeds)["y"], engine(feeds)["y"])
    np.testing.assert_allclose(
        loaded(feeds)["y"], expected(model, feeds)["y"], rtol=1e-4, atol=1e-4
    )


def test_equal_code_with_other_item_counts_is_another_kernel() -> None:
    """Two pools of one geometry on images of different heights share code but not item counts."""
    n = Net()
    parts = []
    for i, rows in enumerate((32, 16, 8)):
        starts = [n.constant(np.array(v, np.int64)) for v in ([0], [rows], [2])]
        x = n.node("Slice", ["x", *starts], f"slice{i}")
        c = n.node("Relu", [n.conv(x, 3, 8, 1, f"conv{i}")], f"relu{i}")
        parts.append(n.node("GlobalMaxPool", [c], f"gap{i}"))
    n.node("Concat", parts, "y", axis=1)
    model = n.model([1, 3, 32, 32], {"y": 4})
    for threads in (1, 2):
        engine = camshaft.build(model, optimization_level=1, threads=threads)
        np.testing.assert_allclose(
            engine(image(3))["y"], expected(model, image(3))["y"], rtol=1e-4, atol=1e-5
        )


def test_an_op_without_kernel_becomes_a_listed_host_step() -> None:
    n = Net()
    c = n.node("Relu", [n.conv("x", 3, 4, 3, "conv")], "relu")
    k = n.constant(np.array([3], np.int64))
    n.nodes.append(helper.make_node("TopK", [c, k], ["values", "indices"], name="topk", axis=3))
    n.node("Neg", ["values"], "y")
    model = n.model([1, 3, 32, 32], {"y": 4})
    session = BuildSession(model, BuildConfig(optimization_level=1))
    engine = session.run()
    assert session.host_steps == ["topk"]
    want = expected(model, image(0))["y"]
    np.testing.assert_allclose(engine(image(0))["y"], want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("batches", "named"),
    [
        ({"x": np.zeros(3)}, "of type dict, must be an iterable"),
        (np.zeros(3), "of type ndarray, must be an iterable"),
        ("photos", "'photos', must be an iterable"),
        (3, "of type int"),
        ([], "no batch"),
        (iter(()), "no batch"),
        ([np.zeros(3)], "batch 0 is of type ndarray"),
        ([None], "batch 0 is of type NoneType"),
        ([{"x": [[1], [1, 2]]}], "'x' is of type list"),
        ([image(0), {"z": image(0)["x"]}], r"batch 1 has inputs \['z'\]"),
        ([{"x": image(0)["x"].astype(">f4")}], "'x' is >f4"),
        ([{"x": image(0)["x"].astype(object)}], "'x' is object"),
        ([{"x": image(0)["x"] * np.float32(np.nan)}], "NaN"),
    ],
)
def test_calibration_that_is_none_is_named(batches: Any, named: str) -> None:
    with pytest.raises(camshaft.CalibrationError, match=named) as caught:
        camshaft.build(
            residual_net(),
            precision={"int8"},
            calibration=batches,
            optimization_level=1,
            threads=1,
        )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_model_in_memory_may_be_any_kind_of_bytes(kind: Any) -> None:
    engine = camshaft.build(kind(residual_net()), optimization_level=0, threads=1)
    assert engine(image(0))["fc"].shape


def test_strings_pass_through() -> None:
    ends = [helper.make_tensor_value_info(n, TensorProto.STRING, [3]) for n in ("x", "y")]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "words", ends[:1], ends[1:]
    )
    words = np.array(["a", "", "ça va"], object)
    opsets = [helper.make_opsetid("", 17)]
    engine = camshaft.build(helper.make_model(graph, ir_version=9, opset_imports=opsets), threads=1)
    np.testing.assert_array_equal(engine(words)["y"], words)


def test_workspace_limit_is_obeyed() -> None:
    engine = camshaft.build(residual_net(), optimization_level=2, workspace_limit=0, threads=1)
    assert not [b for b in engine.program.buffers if b.name.startswith("workspace")]


def test_time_budget_ends_tuning_with_a_usable_engine() -> None:
    engine = camshaft.build(residual_net(), time_budget=0.01, optimization_level=5)
    want = expected(residual_net(), image(2))["fc"]
    np.testing.assert_allclose(engine(image(2))["fc"], want, rtol=1e-4, atol=1e-5)
    assert any("time budget" in s.reason for s in engine.notes)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"precison": {"int8"}}, camshaft.ConfigError, "precison"),
        ({"precision": "int8"}, camshaft.ConfigError, "is a set"),
        ({"precision": {"fp8"}}, camshaft.ConfigError, "fp8"),
        ({"optimization_level": 9}, camshaft.ConfigError, "0 to 5"),
        ({"frozen_cache": True}, camshaft.ConfigError, "timing_cache"),
        ({"target": "z80"}, camshaft.CamshaftError, "z80"),
        ({"precision": {"int8"}}, camshaft.CalibrationError, "needs ranges"),
        ({"calibration": [image(0)]}, camshaft.ConfigError, "not permitted"),
        (
            {"precision": {"int8"}, "dynamic_ranges": {"nowhere": 1.0}},
            camshaft.CalibrationError,
            "nowhere",
        ),
        ({"layer_precision": {"a": "int8"}}, camshaft.ConfigError, "is not permitted"),
        ({"layer_precision": {"nowhere": "fp32"}}, camshaft.ConfigError, "nowhere"),
        ({"calibration": image(0)["x"]}, camshaft.ConfigError, "not permitted"),
        (
            {"precision": {"int8"}, "calibration_cache": "nowhere.cache"},
            camshaft.CalibrationError,
            "nowhere.cache",
        ),
        ({"timing_cache": "no/such/folder.json"}, camshaft.TimingCacheError, "folder.json"),
        ({"shapes": {"z": (1, 3, 32, 32)}}, camshaft.CamshaftError, "z"),
    ],
)
def test_wrong_options_are_named(options: dict, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        camshaft.build(residual_net(), **options)


@pytest.mark.parametrize("change", [{"tactic": "bogus"}, {"params": {"rows": 9999}}])
def test_a_timing_cache_that_names_no_candidate_is_damaged(tmp_path: Path, change: dict) -> None:
    path = tmp_path / "t.json"
    options = {"timing_cache": path, "optimization_level": 2, "threads": 1}
    camshaft.build(residual_net(), **options)
    data = json.loads(path.read_text())
    for records in data["entries"].values():
        for record in records:  # as if timed: nothing is missing, only the winner is impossible
            records.append(dict(record))
            record.update(change, time_us=0.001)
            break
    path.write_text(json.dumps(data))
    with pytest.raises(camshaft.TimingCacheError, match=r"(bogus|9999).*delete it"):
        camshaft.build(residual_net(), **options)


def wide_conv() -> bytes:
    """A convolution that many candidates compute, some with a workspace."""
    n = Net()
    n.conv("x", 64, 64, 3, "y")
    return n.model([1, 64, 28, 28], {"y": 4})


def test_a_higher_level_times_what_a_cache_of_a_lower_one_lacks(tmp_path: Path) -> None:
    path = tmp_path / "t.json"

    def records(level: int) -> list[int]:
        camshaft.build(wide_conv(), timing_cache=path, optimization_level=level, threads=1)
        return [len(r) for r in json.loads(path.read_text())["entries"].values()]

    low = records(2)
    high = records(4)
    assert max(high) > max(low)
    assert records(2) == records(4) == high  # a lower level asks nothing new


def test_a_warm_timing_cache_does_not_lift_the_workspace_limit(tmp_path: Path) -> None:
    model = wide_conv()
    options = {"timing_cache": tmp_path / "t.json", "optimization_level": 3, "threads": 1}
    free = camshaft.build(model, **options)
    tight = camshaft.build(model, workspace_limit=0, **options)
    assert not [b for b in tight.program.buffers if b.name.startswith("workspace")]
    again = camshaft.build(model, **options)
    assert [s.tactic for s in again.notes] == [s.tactic for s in free.notes]
