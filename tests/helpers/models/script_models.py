"""Models that decide while they run, held against ONNX Runtime without its optimizations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnx import ModelProto, numpy_helper, parser

import camshaft
from camshaft import Engine

QUICK: dict[str, Any] = {"optimization_level": 1, "threads": 2}
Feeds = Mapping[str, Any]


def text_model(body: str, *, opset: int = 17, **constants: np.ndarray) -> ModelProto:
    """A model in ONNX's text form: `(inputs) => (outputs) { nodes }`.  constants: initializers."""
    model = parser.parse_model(f'<ir_version: 9, opset_import: ["" : {opset}]> net {body}')
    for name, array in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


def theirs(model: ModelProto, feeds: Feeds) -> list[Any]:
    """ONNX Runtime's results as they come."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, dict(feeds)))


def same(got: Any, want: Any, tolerance: float = 1e-5) -> None:
    """Results are of one kind, type and shape, and alike.

    Of what a loop without a trip collects ONNX Runtime makes every open extent 0; here they keep their sizes.
    """
    if isinstance(want, list):
        assert isinstance(got, list) and len(got) == len(want)
        for one, other in zip(got, want, strict=True):
            same(one, other, tolerance)
    elif isinstance(want, dict):
        assert isinstance(got, dict) and [*got] == [*want]  # in the same order
        for key, value in want.items():
            assert type(got[key]) is type(value)
            np.testing.assert_allclose(got[key], value, rtol=tolerance, atol=tolerance)
    elif want is None:
        assert got is None
    else:
        wanted = np.asarray(want)
        assert got.dtype == wanted.dtype
        if wanted.ndim > 1 and not any(wanted.shape):
            assert got.ndim == wanted.ndim and got.shape[0] == 0
            return
        assert got.shape == wanted.shape
        if wanted.dtype.kind == "f":
            np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)
        else:
            np.testing.assert_array_equal(got, wanted)


def check(
    model: ModelProto, calls: Sequence[Feeds], folder: Path | None = None, **options: Any
) -> Engine:
    """Build, and compare with ONNX Runtime: with one thread and two, in two contexts by turns, and as
    saved to `folder` and loaded.  The first call is repeated at the end."""
    engine = camshaft.build(model, **{**QUICK, **options})
    engines = [engine]
    if folder is not None:
        engine.save(folder / "script.engine")
        engines.append(camshaft.load(folder / "script.engine"))
    contexts = [e.create_context(threads) for e in engines for threads in (1, 2)]
    wanted = [theirs(model, feeds) for feeds in calls]
    for feeds, want in zip((*calls, calls[0]), (*wanted, wanted[0]), strict=True):
        for context in contexts:
            for got, expected in zip(context.run(feeds).values(), want, strict=True):
                same(got, expected)
    return engine
