"""The other side of a comparison: a model in ONNX Runtime or in ONNX's reference evaluator."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from onnx import ModelProto, ValueInfoProto, version_converter
from onnx.reference import ReferenceEvaluator

from camshaft.bench.peers import peer_errors, read_by_all
from camshaft.compare import files
from camshaft.errors import ConfigError, ModelError
from camshaft.extras import require_package

Arrays = Mapping[str, np.ndarray]
Run = Callable[[ModelProto, Arrays], list[np.ndarray]]
_NEW_OPSET = 21


def with_outputs(proto: ModelProto, names: Sequence[str]) -> ModelProto:
    """A copy of the model whose outputs are its tensors `names`."""
    copy = ModelProto()
    copy.CopyFrom(proto)
    declared = {v.name: v for v in proto.graph.output}
    del copy.graph.output[:]
    copy.graph.output.extend(declared.get(n, ValueInfoProto(name=n)) for n in names)
    return copy


def _onnxruntime(proto: ModelProto, feeds: Arrays) -> list[np.ndarray]:
    ort = require_package("onnxruntime", "comparing", ", or compare with the reference")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    # As the model is written: fusions change what tensors between hold, even where they are outputs.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    read_by_all(proto)
    with (
        TemporaryDirectory(prefix="camshaft-") as folder,
        peer_errors("onnxruntime", "run the model"),
    ):
        if files.weight_bytes(proto) <= files.LARGEST:
            source: str | bytes = proto.SerializeToString()
        else:
            source = os.path.join(folder, "model.onnx")
            files.write_model(proto, Path(source))
        session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        return list(session.run(None, dict(feeds)))


def _reference(proto: ModelProto, feeds: Arrays) -> list[np.ndarray]:
    try:
        try:
            evaluator = ReferenceEvaluator(proto)
        except RuntimeError:  # it lacks old versions of some operators
            evaluator = ReferenceEvaluator(version_converter.convert_version(proto, _NEW_OPSET))
        return [np.asarray(a) for a in evaluator.run(None, dict(feeds))]
    except Exception as error:  # operators written in Python, which check little: anything goes
        raise ModelError(
            f"reference cannot run the model: {type(error).__name__}: {str(error).strip()}"
        ) from error


OTHERS: dict[str, Run] = {"onnxruntime": _onnxruntime, "reference": _reference}
"""What to compare with: name -> a function that runs a model."""


def check_other(other: str) -> None:
    """ConfigError if the runtime `other` is not known or not installed."""
    if other not in OTHERS:
        raise ConfigError(f"no runtime {other!r} to compare with; known: {', '.join(OTHERS)}")
    if other == "onnxruntime":
        require_package("onnxruntime", "comparing", ", or compare with the reference")


def run_other(other: str, proto: ModelProto, feeds: Arrays, names: Sequence[str]) -> Arrays:
    """The tensors `names` of the model as the runtime `other` computes them.

    ConfigError for a runtime that is not known or not installed, ModelError if it fails.
    """
    check_other(other)
    results = OTHERS[other](with_outputs(proto, names), feeds)
    return dict(zip(names, results, strict=True))
