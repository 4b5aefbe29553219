"""Whole models through the importer and the interpreter against ONNX Runtime.

The architectures of the light_* models come with the onnx package; the other models are found where
`benchmarks.zoo` puts them and are left out, with a reason, where they have not been made.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, load

from camshaft.errors import ModelError
from camshaft.frontends.onnx import import_onnx
from camshaft.ir.interpret import interpret
from camshaft.ir.verify import verify
from zoo_models import (
    Shapes,
    is_quantized,
    light_model,
    noise,
    quantizes_as_it_runs,
    shapes_of,
    with_unsigned_weights,
    zoo_files,
)

ort = pytest.importorskip("onnxruntime", reason="models are compared with ONNX Runtime")
pytestmark = pytest.mark.peers

QUICK = ("light_squeezenet", "light_shufflenet", "light_inception_v1")
SLOW = ("light_bvlc_alexnet", "light_densenet121", "light_inception_v2", "light_resnet50")
SLOW += ("light_vgg19", "light_zfnet512")


def _runs(path: Path) -> bool:
    """Whether ONNX Runtime takes the model; what it refuses, camshaft refuses."""
    try:
        ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except ort.capi.onnxruntime_pybind11_state.InvalidGraph:
        return False
    return True


def _session(model: Path | ModelProto, optimized: bool) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    proto = model if isinstance(model, ModelProto) else load(model)
    source = with_unsigned_weights(proto).SerializeToString()
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def _outputs(
    model: Path | ModelProto, shapes: Shapes | None, *optimized: bool
) -> list[list[np.ndarray]]:
    """Outputs of camshaft's interpreter, then of ONNX Runtime with and without optimizations."""
    graph = import_onnx(model, shapes=shapes)
    verify(graph)
    feeds = noise(graph)
    names = list(graph.output_names)
    got = interpret(graph, feeds)
    results = [[got[n] for n in names]]
    results += [_session(model, o).run(names, feeds) for o in optimized]
    for mine, theirs in zip(results[0], results[1], strict=True):
        assert (mine.shape, mine.dtype) == (theirs.shape, theirs.dtype)
    return results


def _worst(model: Path | ModelProto, shapes: Shapes | None) -> float:
    """The largest difference from ONNX Runtime, relative to each output's largest magnitude."""
    got, want = _outputs(model, shapes, True)
    return max(float(np.abs(g - w).max() / np.abs(w).max()) for g, w in zip(got, want, strict=True))


def _no_further_than_onnxruntime_from_itself(path: Path, shapes: Shapes | None) -> None:
    """Of quantized models, where a sum that rounds the other way moves a value by a whole quantum."""
    for got, optimized, plain in zip(*_outputs(path, shapes, True, False), strict=True):
        scale = float(np.abs(plain).max())
        mine, theirs = (float(np.abs(v - plain).mean()) for v in (got, optimized))
        assert mine <= 1.5 * theirs + 0.02 * scale


@pytest.mark.parametrize("name", QUICK)
def test_light_model_equals_onnxruntime(name: str) -> None:
    assert _worst(light_model(name), None) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_big_light_model_equals_onnxruntime(name: str) -> None:
    assert _worst(light_model(name), None) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [p for p in zoo_files() if not p.stem.startswith("light_")], ids=lambda p: p.stem
)
def test_zoo_model_equals_onnxruntime(path: Path) -> None:
    if not _runs(path):
        with pytest.raises(ModelError):
            import_onnx(path)
    elif is_quantized(path) or quantizes_as_it_runs(path):
        _no_further_than_onnxruntime_from_itself(path, shapes_of(path))
    else:
        assert _worst(path, shapes_of(path)) < 1e-4
