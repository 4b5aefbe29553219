"""Operators of ONNX Runtime's domain that ONNX has too, by now."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from camshaft.ir.interpret import interpret
from foreign_models import Fixed, check_foreign, foreign, runtime_results
from onnx_models import compare, host_ops, imported

pytest.importorskip("onnxruntime", reason="operators are compared with ONNX Runtime")
pytestmark = pytest.mark.peers

RNG = np.random.default_rng(17)


def f(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("pads", [[0, 1, 2, 0], [[1, 0, 0, 2]]])
@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
def test_pad(mode: str, pads: Any) -> None:
    value = [Fixed(np.array(0.5, np.float32))] if mode == "constant" else []
    check_foreign("Pad", [f(4, 5), Fixed(np.array(pads)), *value], mode=mode, dims={0: "n 5"})


def test_names_that_onnx_has_too() -> None:
    dims = {0: "b s 5"}
    for upper in (0, 1):
        check_foreign("Trilu", [f(2, 4, 5), Fixed(np.array(1))], upper=upper, dims=dims)
        check_foreign("Trilu", [f(2, 4, 5)], upper=upper)
    check_foreign("ExpandDims", [f(2, 4, 5), Fixed(np.array(1, np.int32))], dims=dims)
    check_foreign("ExpandDims", [f(2, 3), Fixed(np.array(-1, np.int32))])
    one, three, eight = (Fixed(np.array(v, np.float32)) for v in (1, 3, [8]))
    check_foreign("Range", [one, eight, three])
    check_foreign("Range", [one, eight])


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_gather_nd(dtype: Any) -> None:
    model, feeds = foreign("GatherND", [f(3, 4, 5), np.array([[0, 1], [2, 3]], dtype)])
    (there,) = runtime_results(model, feeds)
    compare(interpret(imported(model), feeds)["y0"], there, 0)


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
def test_grid_sample(mode: str) -> None:
    grid = RNG.uniform(-1.2, 1.2, (2, 3, 4, 2)).astype(np.float32)
    model, feeds = foreign("GridSample", [f(2, 3, 5, 6), grid], mode=mode, align_corners=1)
    (there,) = runtime_results(model, feeds)
    compare(interpret(imported(model), feeds)["y0"], there, 2e-5)


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean"])
def test_distances(metric: str) -> None:
    check_foreign("CDist", [f(4, 6), f(3, 6)], metric=metric, dims={0: "m 6", 1: "n 6"})


@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 4)])
def test_inverse_is_a_host_step(shape: tuple[int, ...]) -> None:
    x = f(*shape) + 3 * np.eye(shape[-1], dtype=np.float32)
    dims = {0: "b 4 4"} if len(shape) == 3 else None
    model, feeds = foreign("Inverse", [x], dims=dims)
    graph = imported(model)
    assert host_ops(graph) == ["Inverse"]
    compare(interpret(graph, feeds)["y0"], runtime_results(model, feeds)[0], 1e-5)


def test_fourier_transforms_of_real_signals() -> None:
    x = f(2, 3, 10)
    found = np.fft.rfft(x)
    pairs = np.stack([found.real, found.imag], -1).astype(np.float32)
    check_foreign("Rfft", [x], want=[pairs], dims={0: "b s 10"}, signal_ndim=1)
    attrs = {"signal_ndim": 1, "onesided": 1, "normalized": 0}
    check_foreign("Irfft", [pairs], want=[x], dims={0: "b s 6 2"}, **attrs)


@pytest.mark.codegen
def test_unique_elements() -> None:
    """How many there are only a run says."""
    x = np.array([3, 1, 1, 2, 3], np.float32)
    names, types = ("y0", "y1", "y2"), [TensorProto.FLOAT, TensorProto.INT64, TensorProto.INT64]
    check_foreign("Unique", [x], outputs=names, types=types)
