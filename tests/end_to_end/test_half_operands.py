"""Elementwise work on half floats whose operands are spread over lanes, rows and columns: a scalar, one
element, one for each row.  Each kernel is compiled and linked for every target."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, helper

import camshaft
from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.link import link
from camshaft.backends.cpu.tactics import PREFERENCES, TACTICS
from camshaft.backends.cpu.target import CpuTarget
from camshaft.builder.bufferize import bufferize
from camshaft.builder.tasks import tasks_of
from camshaft.frontends.onnx import import_onnx
from camshaft.ir.types import DType, bf16, f16
from camshaft.passes.pipeline import optimize
from onnx_models import model_of
from targets import each_half_target, skip_unless_runnable

pytestmark = pytest.mark.sampled

OPSET = 20
EXACT = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Max": np.maximum,
    "Min": np.minimum,
    "Sum": np.add,
    "Mean": lambda a, b: (a + b) / 2,
    "PRelu": lambda a, b: np.where(a < 0, a * b, a),
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
}
ROUNDED = {"Div": np.divide, "Pow": lambda a, b: np.abs(a) ** b}
"""The result may fall to the other side of a tie."""

SHAPES = [
    ((8, 33), ()),
    ((8, 32), (1,)),
    ((8, 33), (1, 33)),
    ((8, 1), (8, 33)),
    ((2, 3, 70), (3, 1)),
]
each_half = pytest.mark.parametrize("half", [bf16, f16], ids=str)


def link_all(model: ModelProto, target: CpuTarget) -> None:
    """Compile and link every candidate of a model's work; the test ends here, skipped, if this machine cannot run them."""
    compiler = CpuCompiler(target)
    for task in tasks_of(bufferize(optimize(import_onnx(model.SerializeToString())), PREFERENCES)):
        assert task.spec is not None
        candidates = [c for t in TACTICS for c in t.plan(task.spec, target, 1)]
        assert candidates, task.spec
        for candidate in candidates:
            kernel = compiler.compile(candidate.emit())
            link(kernel.code, [p.symbol for p in kernel.phases])
    skip_unless_runnable(target)


def run(
    model: ModelProto, target: CpuTarget, feeds: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The model's outputs as f32 or bool."""
    link_all(model, target)
    engine = camshaft.build(
        model.SerializeToString(), optimization_level=1, threads=1, target=target.name
    )
    return {
        name: np.asarray(y if y.dtype == bool else y.astype(np.float32))
        for name, y in engine(feeds).items()
    }


def rounded(x: np.ndarray, half: DType) -> np.ndarray:
    """f32 rounded to a half float, as f32."""
    return np.asarray(x.astype(half.numpy).astype(np.float32))


def values(shape: tuple[int, ...], half: DType, seed: int) -> np.ndarray:
    """Numbers of the half type from 0.1 to 4 in size, some of them equal between seeds."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0.1, 4, shape) * rng.choice([-1, 1], shape)
    return np.asarray(np.where(rng.random(shape) < 0.2, 1.5, x)).astype(half.numpy)


@each_half_target
@each_half
@pytest.mark.parametrize(("left", "right"), SHAPES, ids=str)
def test_binary_operators(
    target: CpuTarget, half: DType, left: tuple[int, ...], right: tuple[int, ...]
) -> None:
    a, b = values(left, half, 1), values(right, half, 2)
    nodes = [
        helper.make_node(op, ["a", "b"], [op])
        for op in EXACT
        if op != "PRelu" or (len(right) > 0 and left == np.broadcast_shapes(left, right))
    ]
    nodes += [
        helper.make_node("Div", ["a", "b"], ["Div"]),
        helper.make_node("Abs", ["a"], ["size"]),
        helper.make_node("Pow", ["size", "b"], ["Pow"]),
        helper.make_node("Greater", ["a", "b"], ["chosen"]),
        helper.make_node("Where", ["chosen", "a", "b"], ["Where"]),
    ]
    outputs = [n.output[0] for n in nodes if n.output[0] not in ("size", "chosen")]
    got = run(model_of(nodes, {"a": a, "b": b}, outputs, opset=OPSET), target, {"a": a, "b": b})
    x, y = a.astype(np.float32), b.astype(np.float32)
    reference = {**EXACT, **ROUNDED, "Where": lambda p, q: np.where(p > q, p, q)}
    for name, result in got.items():
        want = reference[name](x, y)
        if want.dtype != bool:
            want = rounded(want, half)
        if name in ROUNDED:
            np.testing.assert_allclose(result, want, rtol=1.01 * half.step, err_msg=name)
        else:
            np.testing.assert_array_equal(result, want, err_msg=name)


@each_half_target
@each_half
def test_clip_with_bounds_that_are_inputs(target: CpuTarget, half: DType) -> None:
    x = values((5, 37), half, 1)
    feeds = {"x": x, "low": np.array(-0.75, half.numpy), "high": np.array(2.0, half.numpy)}
    nodes = [helper.make_node("Clip", ["x", "low", "high"], ["y"])]
    got = run(model_of(nodes, feeds, ["y"], opset=OPSET), target, feeds)
    np.testing.assert_array_equal(got["y"], np.clip(x.astype(np.float32), -0.75, 2.0))


@each_half_target
@each_half
@pytest.mark.parametrize("scale", [(), (1,), (6, 1), (37,)], ids=str)
def test_what_reads_scaled_rows(target: CpuTarget, half: DType, scale: tuple[int, ...]) -> None:
    """Sums, largest elements, softmax, and what is normalized, of x times s."""
    feeds = {"x": values((6, 37), half, 1), "s": values(scale, half, 2)}
    nodes = [
        helper.make_node("Mul", ["x", "s"], ["t"]),
        helper.make_node("ReduceSum", ["t", "last"], ["sum"]),
        helper.make_node("ReduceMax", ["t", "last"], ["max"]),
        helper.make_node("ReduceMean", ["t", "first"], ["mean"]),
        helper.make_node("Softmax", ["t"], ["softmax"], axis=-1),
        helper.make_node("LayerNormalization", ["t", "s37"], ["norm"], axis=-1),
    ]
    gain = values((37,), half, 3)
    constants = {"last": np.array([1]), "first": np.array([0]), "s37": gain}
    outputs = ["sum", "max", "mean", "softmax", "norm"]
    got = run(model_of(nodes, feeds, outputs, constants, opset=OPSET), target, feeds)
    t = feeds["x"].astype(np.float64) * feeds["s"].astype(np.float64)
    power = np.exp(t - t.max(1, keepdims=True))
    centred = t - t.mean(1, keepdims=True)
    normal = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5)
    want = {
        "sum": t.sum(1, keepdims=True),
        "max": t.max(1, keepdims=True),
        "mean": t.mean(0, keepdims=True),
        "softmax": power / power.sum(1, keepdims=True),
        "norm": normal * gain.astype(np.float64),
    }
    for name in outputs:
        error = np.abs(got[name] - want[name])
        # x times s is rounded where it is stored, and the result is.
        assert (error <= 2 * half.step * np.abs(t).max() * 8).all(), name
