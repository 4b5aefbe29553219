"""INT8 engines of open batch, height and width: the same bits as engines of fixed sizes.

Sums of bytes are exact, so bits agree whichever kernels compute them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import camshaft
from camshaft.backends.cpu.processor import host_target
from camshaft.builder.engine_builder import Builder
from camshaft.builder.tuning.timing_cache import TimingCache
from camshaft.errors import CalibrationError
from camshaft.frontends.onnx import import_onnx
from camshaft.ir.graph import Graph
from camshaft.ir.interpret import interpret
from camshaft.machine.backend import backend_of
from camshaft.passes.pipeline import optimize
from camshaft.passes.qdq.lowering import lower_quantization
from camshaft.program.program import Launch
from camshaft.runtime.engine import Engine
from random_builds import bits, seeds
from random_open_models import QuantizedOpenModel

pytestmark = pytest.mark.codegen

NAMES = ("n", "m", "k", "l")
TYPICAL = (4, 5, 6, 7)
SIZES = ((1, 2, 3, 5), (3, 5, 7, 2), (1, 1, 1, 1), (2, 9, 17, 4), (1, 2, 3, 5))


# -- Q/DQ models -----------------------------------------------------------------------------------


def said(made: QuantizedOpenModel) -> dict[str, list[int | str]]:
    ranges = {name: f"{name}=1..{size}.." for name, size in zip(NAMES, TYPICAL, strict=True)}
    return {
        n: [e if isinstance(e, int) else ranges[e] for e in made.shapes[n]] for n in made.inputs
    }


def engine_of(graph: Graph) -> Engine:
    on = backend_of(host_target())
    builder = Builder(on, TimingCache(), level=1, threads=2, workspace_limit=1 << 30)
    return builder.finish(builder.tune(graph), on.fingerprint)


def lowered(proto: ModelProto, shapes: Any = None) -> Graph:
    return lower_quantization(optimize(import_onnx(proto, shapes=shapes)))


@pytest.mark.parametrize("seed", seeds(8))
def test_random_quantized_models_keep_their_bits(seed: int) -> None:
    made = QuantizedOpenModel(seed, 4 + seed % 12, kinds="quantized")
    engine = engine_of(lowered(made.proto(NAMES), said(made)))
    for sizes in SIZES:
        made.sizes = dict(zip(NAMES, sizes, strict=True))
        x = made.feeds()
        assert bits(engine(x)) == bits(engine_of(lowered(made.proto()))(x)), sizes


@pytest.mark.parametrize("seed", seeds(8, first=100))
def test_random_models_with_quantized_layers_stay_close(seed: int) -> None:
    made = QuantizedOpenModel(seed, 4 + seed % 16)
    graph = lowered(made.proto(NAMES), said(made))
    engine = engine_of(graph)
    for sizes in SIZES:
        made.sizes = dict(zip(NAMES, sizes, strict=True))
        x = made.feeds()
        got = engine(x)
        for name, y in interpret(graph, x).items():
            error = np.abs(got[name].astype(np.float64) - y) / max(1.0, float(np.abs(y).max()))
            assert got[name].shape == y.shape
            assert error.max() < 0.15 and error.mean() < 0.03, (sizes, name)


# -- float models with ranges ----------------------------------------------------------------------


def net(
    batch: Any = "batch", rows: Any = "rows", columns: Any = "columns", tail: bool = True
) -> ModelProto:
    """Convolutions of stride 1 and 2, a depthwise one, a residual, pools; tail: a classifier."""
    rng = np.random.default_rng(3)

    def weight(name: str, *shape: int) -> Any:
        scale = 1.0 / np.sqrt(np.prod(shape[1:]))
        return numpy_helper.from_array(
            (rng.standard_normal(shape) * scale).astype(np.float32), name
        )

    weights = [
        weight("w1", 8, 3, 3, 3), weight("w2", 8, 1, 3, 3), weight("w3", 16, 8, 1, 1),
        weight("w4", 16, 16, 3, 3), weight("w5", 16, 5)]  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], "stem", pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["ar"]),
        helper.make_node("Conv", ["ar", "w2"], ["b"], "depthwise", pads=[1] * 4, group=8),
        helper.make_node("MaxPool", ["b"], ["p"], kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Conv", ["p", "w3"], ["c"], "pointwise"),
        helper.make_node("Conv", ["c", "w4"], ["d"], "body", pads=[1] * 4),
        helper.make_node("Add", ["c", "d"], ["s"]),
        helper.make_node("Relu", ["s"], ["sr"]),
        helper.make_node("GlobalAveragePool", ["sr"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("MatMul", ["f", "w5"], ["y"], "classifier"),
    ]
    graph = helper.make_graph(
        nodes if tail else nodes[:8],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, rows, columns])],
        [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, None)
            for n in ("sr", "y")[: 1 + tail]
        ],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def images(*shape: int) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(shape).standard_normal(shape).astype(np.float32)}


CONVS = dict.fromkeys(("stem", "depthwise", "pointwise", "body"), "int8")
OPTIONS: dict[str, Any] = {
    "precision": {"int8"},
    "layer_precision": CONVS,
    "optimization_level": 1,
    "calibrator": "minmax",
    "bias_correction": False,
}
BATCHES = ((1, 3, 12, 16), (4, 3, 9, 9), (2, 3, 24, 7), (1, 3, 12, 16))


def test_calibration_takes_batches_of_any_sizes(tmp_path: Path) -> None:
    ranges = tmp_path / "ranges"
    batches = [images(*shape) for shape in BATCHES]
    body = net(tail=False)
    engine = camshaft.build(body, calibration=batches, calibration_cache=ranges, **OPTIONS)
    assert any("conv" in n.op and n.precision == "u8" for n in engine.notes)
    assert all(isinstance(i, Launch) for i in engine.program.instructions)
    for shape in ((1, 3, 12, 16), (3, 3, 33, 5), (1, 3, 1, 1), (2, 3, 8, 8)):
        proto = net(shape[0], *shape[2:], tail=False)
        fixed = camshaft.build(proto, calibration_cache=ranges, **OPTIONS)
        x = images(*shape)
        assert bits(engine(x)) == bits(fixed(x))


def test_biases_are_corrected_with_open_extents() -> None:
    batches = [images(*shape) for shape in BATCHES]
    options = {**OPTIONS, "bias_correction": True}
    engine = camshaft.build(net(), calibration=batches, **options)
    plain = camshaft.build(net(), optimization_level=1)
    for x in batches:
        want, got = plain(x)["sr"], engine(x)["sr"]
        assert np.abs(got - want).max() < 0.1 * np.abs(want).max()


def test_an_open_batch_is_calibrated_and_chosen_by_time(tmp_path: Path) -> None:
    options = {**OPTIONS, "layer_precision": {}, "optimization_level": 2}
    shapes = {"x": ("batch=1..2..8", 3, 16, 16)}
    batches = [images(n, 3, 16, 16) for n in (1, 3, 8, 2)]  # whatever is INT8: no range is left
    engine = camshaft.build(net(), shapes=shapes, calibration=batches, **options)
    float_engine = camshaft.build(net(), shapes=shapes, optimization_level=1)
    for n in (1, 8, 2):
        x = images(n, 3, 16, 16)
        assert np.abs(engine(x)["y"] - float_engine(x)["y"]).max() < 0.1


@pytest.mark.parametrize(
    ("shapes", "batch", "words"),
    [
        (None, (1, 4, 8, 8), r"batch 0: 'x' is float32\[1, 4, 8, 8\], the model takes f32"),
        (None, (3, 8, 8), r"batch 0: 'x' is float32\[3, 8, 8\], the model takes f32"),
        ({"x": ("n=1..2", 3, 8, 8)}, (3, 3, 8, 8), r"batch 0: .*n = 3, within 1\.\.2"),
    ],
)
def test_batches_outside_the_model_are_refused(shapes: Any, batch: Any, words: str) -> None:
    with pytest.raises(CalibrationError, match=words):
        camshaft.build(net(), shapes=shapes, calibration=[images(*batch)], **OPTIONS)


# -- means over open height and width ---------------------------------------------------------------


def pooled(op_type: str, shape: Any = ("batch", 3, "rows", "columns"), **attrs: Any) -> ModelProto:
    """A Q/DQ convolution whose bytes are averaged and quantized again."""
    rng = np.random.default_rng(8)
    weights = {
        "w": rng.integers(-60, 61, (16, 3, 3, 3)).astype(np.int8),
        "ws": rng.uniform(0.002, 0.004, 16).astype(np.float32),
        "wz": np.zeros(16, np.int8),
        "s": np.array(0.02, np.float32),
        "z": np.array(121, np.uint8),
        "s2": np.array(0.003, np.float32),
    }
    q, dq = "QuantizeLinear", "DequantizeLinear"
    nodes = [
        helper.make_node(q, ["x", "s", "z"], ["xq"]),
        helper.make_node(dq, ["xq", "s", "z"], ["xd"]),
        helper.make_node(dq, ["w", "ws", "wz"], ["wd"], axis=0),
        helper.make_node("Conv", ["xd", "wd"], ["c"], "conv", pads=[1] * 4),
        helper.make_node(q, ["c", "s", "z"], ["cq"]),
        helper.make_node(dq, ["cq", "s", "z"], ["cd"]),
        helper.make_node(op_type, ["cd"], ["p"], "pool", **attrs),
        helper.make_node(q, ["p", "s2", "z"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "pooled",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, None)],
        [numpy_helper.from_array(a, n) for n, a in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.mark.parametrize(
    ("op_type", "attrs"),
    [
        ("GlobalAveragePool", {}),
        ("ReduceMean", {"axes": [2, 3]}),
        ("ReduceMean", {"axes": [-1, -2], "keepdims": 0}),
    ],
)
def test_means_of_bytes_are_bytes_summed(
    op_type: str, attrs: dict[str, Any], tmp_path: Path
) -> None:
    """The pool reads the convolution's bytes; every size gives the bits of the reference, and of an
    engine of that size."""
    options: dict[str, Any] = {"precision": {"int8"}, "optimization_level": 1}
    engine = camshaft.build(pooled(op_type, **attrs), **options)
    engine.save(tmp_path / "pooled.engine")
    engine = camshaft.load(tmp_path / "pooled.engine")
    assert [(n.op, n.tactic) for n in engine.notes if n.op == "pool"] == [("pool", "pool_global")]
    assert all(isinstance(i, Launch) for i in engine.program.instructions)
    assert [str(n.precision) for n in engine.notes if n.op in ("conv", "pool")] == ["u8", "u8"]
    for n, h, w in ((1, 7, 7), (2, 1, 1), (1, 33, 5), (3, 1, 300), (1, 80, 64), (1, 7, 7)):
        shape = (n, 3, h, w)
        x = {"x": np.random.default_rng(n * h * w).standard_normal(shape).astype(np.float32)}
        got = engine(x)
        reference = interpret(lowered(pooled(op_type, shape, **attrs)), x)
        np.testing.assert_array_equal(got["y"], reference["y"], str(shape))
        assert bits(got) == bits(camshaft.build(pooled(op_type, shape, **attrs), **options)(x))


def test_a_calibrated_mean_keeps_its_bits(tmp_path: Path) -> None:
    """With the classifier behind it: its input is the mean, which is made of bytes at any size."""
    ranges = tmp_path / "ranges"
    batches = [images(*shape) for shape in BATCHES]
    options = {**OPTIONS, "noise_reduction": False}
    engine = camshaft.build(net(), calibration=batches, calibration_cache=ranges, **options)
    assert {"pool": "u8"}.items() <= {n.op: n.precision for n in engine.notes}.items()
    for shape in ((1, 3, 12, 16), (3, 3, 33, 5), (1, 3, 5, 3)):
        fixed = camshaft.build(net(shape[0], *shape[2:]), calibration_cache=ranges, **options)
        x = images(*shape)
        assert bits(engine(x)) == bits(fixed(x)), shape
