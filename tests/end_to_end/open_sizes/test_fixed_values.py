"""Inputs that the build is given the values of: what they decide, and what a call may say of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, numpy_helper, parser

import camshaft
from camshaft import BindingError, CalibrationError, ConfigError, ShapeError
from camshaft.frontends.onnx import import_onnx
from camshaft.session import BuildSession
from value_models import voice

onnxruntime = pytest.importorskip("onnxruntime", reason="results are compared with it")
QUICK: dict[str, Any] = {"optimization_level": 1, "threads": 1}
RNG = np.random.default_rng(0)


def audio(batch: int, n: int) -> np.ndarray:
    return RNG.standard_normal((batch, n)).astype(np.float32)


def theirs(model: ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, feeds))


@pytest.mark.parametrize("sr", [16000, 8000])
@pytest.mark.parametrize("form", [int, np.int64, lambda v: np.array(v, np.int32), lambda v: [v]])
def test_the_branch_taken_is_the_one_built(sr: int, form: Any) -> None:
    value = form(sr)
    if isinstance(value, list):
        with pytest.raises(ConfigError, match=r"values\['sr'\] has the shape \[1\].*input \[\]"):
            camshaft.build(voice(), values={"sr": value}, **QUICK)
        return
    engine = camshaft.build(voice(), values={"sr": value}, **QUICK)
    assert list(engine.inputs) == ["audio"]
    for batch, n in ((1, 512), (2, 1024), (1, 512)):
        x = audio(batch, n)
        want = theirs(voice(), {"audio": x, "sr": np.array(sr)})
        for given in ({"audio": x}, {"audio": x, "sr": sr}, {"audio": x, "sr": np.array(sr)}):
            got = engine(given)
            np.testing.assert_array_equal(got["y"], want[0])
            assert got["step"] == want[1] == sr // 8000


def test_a_call_may_say_the_value_again_and_no_other(tmp_path: Path) -> None:
    engine = camshaft.build(voice(), values={"sr": 8000}, **QUICK)
    engine.save(tmp_path / "e.engine")
    x = audio(1, 512)
    for each in (engine, camshaft.load(tmp_path / "e.engine")):
        assert each.fixed_inputs == {"sr": 8000}
        assert each.inspect()["fixed_inputs"] == {"sr": 8000}
        words = r"input 'sr' is 16000; the build fixed it to 8000 \(values=\)"
        for wrong in (16000, np.array(16000), np.int64(16000)):
            with pytest.raises(BindingError, match=words):
                each({"audio": x, "sr": wrong})
            with pytest.raises(BindingError, match=words):
                each.output_shapes({"audio": (1, 512), "sr": wrong})
        for wrong, fault in ((8000.0, "is 8000.0, which is no int64"), ("8000", "is a builtins.str"),
                             (np.array(8000, np.int32), "dtype int32"),
                             (np.array([8000]), r"shape \(1,\)")):  # fmt: skip
            with pytest.raises(BindingError, match=fault):
                each({"audio": x, "sr": wrong})
        with pytest.raises(BindingError, match="unknown input 'rate'"):
            each({"audio": x, "rate": 3, "sr": 8000})
        outputs = each(x)
        each.create_context().run_into({"audio": x, "sr": 8000}, outputs)
        assert each.output_shapes({"audio": (1, 512), "sr": 8000})["y"] == (2, 256)


def test_positions_are_those_that_the_model_declares(tmp_path: Path) -> None:
    model, x = picked(), audio(5, 4)
    at, scale = np.array([3, 0], np.int32), np.array([1, 2, 4, -1], np.float16)
    add, bias = np.array([True]), np.zeros((2, 4), np.float32)
    engine = camshaft.build(model, values={"at": at, "add": True, "bias": bias}, **QUICK)
    engine.save(tmp_path / "e.engine")
    for each in (engine, camshaft.load(tmp_path / "e.engine")):
        want = each({"x": x, "scale": scale})["y"]
        np.testing.assert_array_equal(want, x[at] * scale.astype(np.float32))
        np.testing.assert_array_equal(each(x, scale)["y"], want)
        np.testing.assert_array_equal(each(x, at, scale, add, bias)["y"], want)
        with pytest.raises(BindingError, match="input 'at' is 0 at index"):
            each(x, at[::-1].copy(), scale, add, bias)
        with pytest.raises(
            BindingError, match=r"3 arrays passed.*takes 2 inputs.*fixed \(at, add, bias\)"
        ):
            each(x, at, scale)


def test_sizes_of_outputs_are_asked_with_the_shapes_of_all_inputs() -> None:
    engine = camshaft.build(picked(), values={"at": [3, 0, 3], "add": True}, **QUICK)
    shapes: dict[str, Any] = {"x": (5, 4), "at": (3,), "scale": [4], "add": (1,)}
    context = engine.create_context()
    for asked in (engine.output_shapes, context.output_shapes):
        assert asked(shapes) == asked({**shapes, "at": np.array([3, 0, 3], np.int32)})
        assert asked(shapes)["y"] == (3, 4)
        with pytest.raises(ShapeError, match=r"'at' is given the shape \(2,\).*shape \(3,\)"):
            asked({**shapes, "at": (2,)})
    scalar = camshaft.build(voice(), values={"sr": 8000}, **QUICK)
    assert scalar.output_shapes({"audio": (1, 512), "sr": ()})["y"] == (2, 256)


def test_without_a_value_each_call_decides(tmp_path: Path) -> None:
    engine = camshaft.build(voice(), **QUICK)
    engine.save(tmp_path / "e.engine")
    for each in (engine, camshaft.load(tmp_path / "e.engine")):
        for sr, n in ((16000, 512), (8000, 1024), (8000, 256), (16000, 1024)):
            given = {"audio": audio(2, n), "sr": np.array(sr)}
            for got, want in zip(each(given).values(), theirs(voice(), given), strict=True):
                np.testing.assert_array_equal(got, want)


def picked() -> ModelProto:
    """Arrays of values: y = gather(x, at) * scale + bias, where bias has a default."""
    return parser.parse_model(
        """
        <ir_version: 9, opset_import: ["" : 17]>
        picked (float[n, 4] x, int32[k] at, float16[4] scale, bool[1] add, float[k, 4] bias)
            => (float[a, 4] y)
        <float[1, 4] bias = {1, 2, 3, 4}>
        {
            rows = Gather (x, at)
            wide = Cast <to = 1> (scale)
            scaled = Mul (rows, wide)
            sum = Add (scaled, bias)
            y = Where (add, sum, scaled)
        }
        """
    )


def test_values_of_every_kind() -> None:
    model, x = picked(), audio(5, 4)
    at, scale = [3, 0, 3], np.array([0.5, 2, 4, -1], np.float16)
    bias = np.arange(12, dtype=np.float32).reshape(3, 4)
    values = {"at": at, "scale": scale, "add": True, "bias": bias.tolist()}
    engine = camshaft.build(model, values=values, **QUICK)
    assert list(engine.inputs) == ["x"] and repr(engine.outputs["y"]) == "f32[3,4]"
    want = x[at] * scale.astype(np.float32) + bias
    np.testing.assert_allclose(engine(x)["y"], want, rtol=1e-6)
    again = {"x": x, "scale": scale, "add": np.array([True]), "bias": bias}
    np.testing.assert_allclose(engine(again)["y"], want, rtol=1e-6)
    with pytest.raises(BindingError, match=r"input 'bias' is 9.0 at index \(1, 2\)"):
        engine({"x": x, "bias": bias + np.float32(3) * (bias == 6)})
    default = camshaft.build(model, values={"at": at, "add": True, "scale": scale}, **QUICK)
    np.testing.assert_allclose(default(x)["y"], want - bias + [1, 2, 3, 4], rtol=1e-5)


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"at": [1.5]}, r"values\['at'\] holds 1.5, and the input holds i32"),
        ({"at": [1 << 31]}, "holds 2147483648"),
        ({"at": [True]}, "holds True"),
        ({"add": 1}, "holds 1, and the input holds bool"),
        ({"bias": 1e300}, r"values\['bias'\] holds 1e\+300, and the input holds f32"),
        ({"scale": 65520}, "holds 65520, and the input holds f16"),
        ({"bias": -(10**400)}, "holds an integer of 1329 bits, and the input holds f32"),
        ({"at": (0, 1, 10**5000)}, "holds an integer of 16610 bits, and the input holds i32"),
        ({"scale": [1, 2, 3]}, r"shape \[3\], the model's input \[4\]"),
        ({"at": [[1, 2]]}, r"shape \[1, 2\], the model's input \[k\]"),
        ({"bias": 3}, r"shape \[\], the model's input \[k, 4\]"),
        ({"x": 3}, r"shape \[\], the model's input \[n, 4\]"),
        ({"sr": 1}, r"values= names \['sr'\].*its inputs are \['x', 'at'"),
    ],
)
def test_values_that_do_not_fit(values: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        import_onnx(picked(), values=camshaft.BuildConfig(values=values).values)


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("1..x", "none of"),
        (object(), "must be a number, a list"),
        ([1, [2]], "differ in length"),
        (1j, "must be a number"),
        (b"1", "must be a number"),
    ],
)
def test_values_that_are_none(value: Any, fault: str) -> None:
    with pytest.raises(ConfigError, match=rf"values\['sr'\].*{fault}"):
        camshaft.build(voice(), values={"sr": value})


def test_the_fingerprint_says_the_values() -> None:
    config = camshaft.BuildConfig(values={"sr": np.int64(8000), "at": [1, 2], "w": np.zeros(99)})
    assert "values=sr:8000;at:1,2;w:99 values" in config.summary()
    assert camshaft.BuildConfig(values=None).values == {}


def test_calibration_batches_may_hold_fixed_inputs() -> None:
    model = parser.parse_model(
        """
        <ir_version: 9, opset_import: ["" : 17]>
        net (float[batch, 16] x, float[1] scale) => (float[batch, 16] y) {
            scaled = Mul (x, scale)
            y = MatMul (scaled, w)
        }
        """
    )
    w = RNG.standard_normal((16, 16)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(w, "w"))
    batches = [{"x": audio(4, 16), "scale": np.ones(1, np.float32) * 2} for _ in range(3)]
    session = BuildSession(
        model,
        camshaft.BuildConfig(values={"scale": 2.0}, precision=frozenset({"int8"}), **QUICK),
        calibration=batches,
    )
    engine = session.run()
    x = batches[0]["x"]
    want = 2 * x @ w
    np.testing.assert_allclose(engine(x)["y"], want, atol=0.05 * np.abs(want).max())
    batches[1]["scale"] = np.ones(1, np.float32)
    with pytest.raises(CalibrationError, match=r"batch 1: 'scale' differs from \[2.0\]"):
        replaced = BuildSession(model, session.config, calibration=batches)
        replaced.run()
