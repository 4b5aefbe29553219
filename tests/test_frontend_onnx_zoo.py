"""Whole models through the importer and the interpreter against ONNX Runtime.

The light_* models come with the onnx package; the others are found where `benchmarks.zoo` puts
them and are left out, with a reason, where they have not been made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest

from camshaft.errors import ModelError
from camshaft.frontends.onnx import import_onnx
from camshaft.ir.interpret import interpret
from camshaft.ir.verify import verify

ort = pytest.importorskip("onnxruntime", reason="models are compared with ONNX Runtime")
pytestmark = pytest.mark.peers

ROOT = Path(__file__).resolve().parents[1]
LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
QUICK = ("light_squeezenet", "light_shufflenet", "light_inception_v1")
SLOW = ("light_bvlc_alexnet", "light_densenet121", "light_inception_v2", "light_resnet50")
SLOW += ("light_vgg19", "light_zfnet512")
SHAPES: Mapping[str, Mapping[str, Sequence[int]]] = {
    "squeezenet1.1": {"input": [1, 3, 227, 227]},
    "open_nsfw": {"input:0": [1, 224, 224, 3]},
}
LIMITS = {"efficientnet_b0": 1e-3, "efficientnet_b0.qdq": 0.6, "mobilenet_v3_large.qdq": 0.3}
"""Models whose random weights amplify rounding (ONNX Runtime's distance to float64 is no less)."""
QUANTIZED = 0.15
"""Of Q/DQ models: a sum that rounds the other way moves a value by one quantum."""


def _zoo() -> list[Path]:
    return sorted((ROOT / "build/zoo").glob("*/*.onnx"))


def _runs(path: Path) -> bool:
    """Whether ONNX Runtime takes the model; what it refuses, camshaft refuses."""
    try:
        ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except ort.capi.onnxruntime_pybind11_state.InvalidGraph:
        return False
    return True


def _worst(path: Path, shapes: Mapping[str, Sequence[int]] | None) -> float:
    graph = import_onnx(path, shapes=shapes)
    verify(graph)
    rng = np.random.default_rng(7)
    feeds = {
        t.name: rng.standard_normal(t.shape).astype(t.type.dtype.numpy)
        if t.type.dtype.is_float
        else rng.integers(0, 10, t.shape).astype(t.type.dtype.numpy)
        for t in graph.inputs
    }
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    expected = session.run(list(graph.output_names), feeds)
    got = interpret(graph, feeds)
    errors = []
    for name, want in zip(graph.output_names, expected, strict=True):
        assert got[name].shape == want.shape
        assert got[name].dtype == want.dtype
        errors.append(float(np.abs(got[name] - want).max() / np.abs(want).max()))
    return max(errors)


@pytest.mark.parametrize("name", QUICK)
def test_light_model_equals_onnxruntime(name: str) -> None:
    assert _worst(LIGHT / f"{name}.onnx", None) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_big_light_model_equals_onnxruntime(name: str) -> None:
    assert _worst(LIGHT / f"{name}.onnx", None) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("path", _zoo(), ids=lambda p: p.stem)
def test_zoo_model_equals_onnxruntime(path: Path) -> None:
    base, _, _ = path.stem.partition(".qdq")
    if not _runs(path):
        with pytest.raises(ModelError):
            import_onnx(path)
        return
    limit = LIMITS.get(path.stem, 1e-4 if path.stem == base else QUANTIZED)
    assert _worst(path, SHAPES.get(base)) < limit
