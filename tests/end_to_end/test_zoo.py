"""Whole models as engines beside ONNX Runtime: 1e-4 in FP32, Q/DQ models no further than ONNX Runtime.

Kernels are chosen by timing, so that Winograd and merged steps take part.  Models are found where
`benchmarks.zoo` puts them; others are exported here, with every exporter that PyTorch has.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import camshaft
from camshaft.config import BuildConfig
from camshaft.frontends.onnx import import_onnx
from camshaft.session import BuildSession
from zoo_models import is_quantized, noise, shapes_of, zoo_files

ort = pytest.importorskip("onnxruntime", reason="engines are compared with ONNX Runtime")
pytestmark = [pytest.mark.peers, pytest.mark.slow]

REFUSED = ("centerface_as_shipped", "light_")
"""Names, or their beginnings, of models whose shapes are of no use or whose weights say nothing."""
QUANTIZED_BY_ROWS = ("dynamic", "fused-dynamic")
"""Ends of names of peers' files that quantize rows as they run: ONNX Runtime saturates them on some processors."""


def onnxruntime(path: Path, feeds: dict[str, np.ndarray], *, optimized: bool) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if not optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def _files(quantized: bool) -> list[Path]:
    return [
        p
        for p in zoo_files()
        if is_quantized(p) is quantized
        and not p.stem.startswith(REFUSED)
        and not p.stem.endswith(QUANTIZED_BY_ROWS)
    ]


def _assert_tight(engine: camshaft.Engine) -> None:
    """The arena is hardly larger than the most bytes that live at once."""
    assert engine.program.arena.nbytes <= 1.15 * engine.program.arena.lower_bound


def _worst(got: list[np.ndarray], want: list[np.ndarray]) -> float:
    """The largest difference relative to each output's largest magnitude."""
    return max(float(np.abs(g - w).max() / np.abs(w).max()) for g, w in zip(got, want, strict=True))


@pytest.mark.parametrize("path", _files(quantized=False), ids=lambda p: p.stem)
def test_float_engine_equals_onnxruntime(path: Path) -> None:
    feeds = noise(import_onnx(path, shapes=shapes_of(path)))
    engine = camshaft.build(path, optimization_level=2, shapes=shapes_of(path) or {})
    assert _worst(list(engine(feeds).values()), onnxruntime(path, feeds, optimized=True)) < 1e-4
    _assert_tight(engine)


@pytest.mark.parametrize("path", _files(quantized=True), ids=lambda p: p.stem)
def test_quantized_engine_is_no_further_than_onnxruntime_from_itself(path: Path) -> None:
    """A sum that rounds the other way moves a value by a whole quantum, in ONNX Runtime too."""
    feeds = noise(import_onnx(path, shapes=shapes_of(path)))
    options = {"optimization_level": 1, "precision": {"int8"}, "shapes": shapes_of(path) or {}}
    engine = camshaft.build(path, **options)
    _assert_tight(engine)
    got = engine(feeds)
    theirs = onnxruntime(path, feeds, optimized=True)
    plain = onnxruntime(path, feeds, optimized=False)
    for mine, other, want in zip(got.values(), theirs, plain, strict=True):
        distance = float(np.abs(mine - want).mean()), float(np.abs(other - want).mean())
        assert distance[0] <= 1.5 * distance[1] + 0.02 * float(np.abs(want).max())


EXPORTS = {
    "TorchScript, opset 11": {"dynamo": False, "opset_version": 11},
    "TorchScript, opset 20": {"dynamo": False, "opset_version": 20},
    "dynamo": {"dynamo": True, "external_data": False, "verbose": False},
}
NETS = ("mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x1_0", "convnext_tiny")
SIZE = 96


@pytest.mark.parametrize("exporter", EXPORTS)
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", NETS)
def test_exported_net_equals_onnxruntime(
    name: str, exporter: str, batch: int, tmp_path: Path
) -> None:
    """batch 3: the exported batch is a symbol, which `shapes=` fixes."""
    torch = pytest.importorskip("torch", reason="networks are exported with torch")
    if importlib.util.find_spec("torchvision") is None:  # which may be there and not fit torch
        pytest.skip("the networks are torchvision's")
    models = pytest.importorskip("benchmarks.torch_models", reason="needs torchvision and pillow")
    options = dict(EXPORTS[exporter])
    if options["dynamo"]:
        pytest.importorskip("onnxscript", reason="the dynamo exporter needs onnxscript")
    if batch > 1 and options["dynamo"]:
        options["dynamic_shapes"] = ({0: torch.export.Dim("batch", min=1, max=8)},)
    elif batch > 1:
        options["dynamic_axes"] = {"input": {0: "batch"}}
    path = tmp_path / "net.onnx"
    with torch.no_grad():
        example = torch.zeros(min(batch, 2), 3, SIZE, SIZE)
        net = models.torchvision_model(name, SIZE)
        torch.onnx.export(net, (example,), str(path), input_names=["input"], **options)
    shape = (batch, 3, SIZE, SIZE)
    feeds = {"input": np.random.default_rng(1).standard_normal(shape).astype(np.float32)}
    session = BuildSession(path, BuildConfig(optimization_level=1, shapes={"input": shape}))
    got = session.run()(feeds)
    assert not session.host_steps
    assert _worst(list(got.values()), onnxruntime(path, feeds, optimized=True)) < 1e-4
