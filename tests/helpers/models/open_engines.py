"""Models with open extents: one engine, saved and loaded, at many sizes, beside ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

import camshaft
from camshaft.config import BuildConfig
from camshaft.runtime.engine import Engine
from camshaft.session import BuildSession
from onnx_models import Arrays, compare

Dims = Sequence[int | str]


def open_model(
    nodes: Sequence[Any],
    inputs: Mapping[str, Dims],
    outputs: Sequence[str] = ("y",),
    constants: Arrays | None = None,
    *,
    types: Mapping[str, Any] | None = None,
    opset: int = 18,
    domains: Sequence[str] = (),
) -> ModelProto:
    """A model whose inputs have names for open extents; they are floats unless `types` says else."""
    kinds = {n: helper.np_dtype_to_tensor_dtype(np.dtype(t)) for n, t in (types or {}).items()}
    graph = helper.make_graph(
        list(nodes),
        "open",
        [
            helper.make_tensor_value_info(n, kinds.get(n, TensorProto.FLOAT), list(d))
            for n, d in inputs.items()
        ],
        [helper.make_tensor_value_info(n, kinds.get(n, TensorProto.FLOAT), None) for n in outputs],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def onnxruntime_session(model: ModelProto | str, **entries: str) -> Any:
    """ONNX Runtime, one thread; entries: of its session configuration, dots written as underscores."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    for name, value in entries.items():
        options.add_session_config_entry(name.replace("_", "."), value)
    source = model if isinstance(model, str) else model.SerializeToString()
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def open_engine(
    model: ModelProto | str, folder: Path, *, host: Sequence[str] = (), **options: Any
) -> Engine:
    """An engine that was saved and loaded.  host: the names of all steps that run on the host."""
    config = BuildConfig.of(None, {"optimization_level": 1, "threads": 2, **options})
    session = BuildSession(model, config)
    engine = session.run()
    assert session.host_steps == list(host)
    engine.save(folder / "open.engine")
    return camshaft.load(folder / "open.engine")


def check_open(
    model: ModelProto | str,
    batches: Sequence[Arrays],
    folder: Path,
    *,
    tolerance: float = 2e-5,
    host: Sequence[str] = (),
    like: ModelProto | None = None,
    **options: Any,
) -> Engine:
    """One engine gives what ONNX Runtime gives for all batches, or makes of the model `like`; the same bits when they come again.

    Integers are equal, floats within `tolerance` of the largest.  Returns the engine.
    """
    engine = open_engine(model, folder, host=host, **options)
    session = onnxruntime_session(model if like is None else like)
    first = []
    for feeds in batches:
        got = {n: np.array(y) for n, y in engine(feeds).items()}
        want = session.run(None, dict(feeds))
        for (name, y), z in zip(got.items(), want, strict=True):
            assert y.shape == z.shape, (name, {n: x.shape for n, x in feeds.items()})
            compare(y, z, tolerance)
        first.append(got)
    for feeds, before in zip(reversed(batches), reversed(first), strict=True):
        for name, y in engine(feeds).items():
            np.testing.assert_array_equal(y, before[name])
    return engine
