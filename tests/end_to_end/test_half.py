"""Models in float16 and bfloat16: computed in FP32 by kernels alone, rounded once at the end."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

import camshaft
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.types import bf16, f16
from targets import each_target, skip_unless_buildable

KINDS = {"f16": (TensorProto.FLOAT16, f16.numpy), "bf16": (TensorProto.BFLOAT16, bf16.numpy)}


def half_model(op: str, kind: int, shape: tuple[int, ...], weight: np.ndarray | None) -> bytes:
    """One node `op` of a 16-bit type throughout."""
    weights = []
    if weight is not None:
        weights = [helper.make_tensor("w", kind, weight.shape, weight.reshape(-1).tolist())]
    node = helper.make_node(op, ["x", "w"] if weights else ["x"], ["y"], name="node")
    graph = helper.make_graph(
        [node],
        "half",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, None)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    return bytes(model.SerializeToString())


def eighths(*shape: int) -> np.ndarray:
    """Multiples of 1/8 below 1, so that every sum is exact in f32."""
    return np.random.default_rng(1).integers(-7, 8, shape) / 8


@each_target
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("op", "shape", "weight"),
    [
        ("Conv", (1, 3, 8, 8), (8, 3, 3, 3)),
        ("MatMul", (2, 24), (24, 5)),
        ("ConvTranspose", (1, 3, 6, 6), (3, 4, 3, 3)),
        ("GlobalMaxPool", (1, 5, 4, 4), None),
        ("Relu", (1, 3, 5), None),
    ],
)
def test_half_models_run_in_kernels(
    target: CpuTarget, kind: str, op: str, shape: tuple[int, ...], weight: tuple[int, ...] | None
) -> None:
    number, dtype = KINDS[kind]
    w = None if weight is None else eighths(*weight)
    x = eighths(*shape)
    model = half_model(op, number, shape, w)
    skip_unless_buildable(model, target)
    engine = camshaft.build(model, optimization_level=1, threads=1, target=target.name)
    assert all(note.tactic for note in engine.notes)
    wide = half_model(op, TensorProto.FLOAT, shape, w)
    want = ReferenceEvaluator(wide).run(None, {"x": x.astype(np.float32)})[0]
    got = engine(x.astype(dtype))["y"]
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, want.astype(dtype))
