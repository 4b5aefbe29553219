"""Q/DQ models made with ONNX Runtime's static quantizer: the explicit INT8 path, and INT8 peers.

The settings are those that its documentation recommends for x86 CPUs with VNNI: QDQ format, u8
activations, s8 weights per output channel.  Variants with s8 activations and per-tensor weights
exist to test that camshaft reads every spelling.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import version_converter
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from benchmarks.zoo_model import Feeds

PER_AXIS, OPSET = 13, 17
"""The first opset with scales per axis, and the one that older models are brought to."""


METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}


@dataclass(frozen=True)
class Variant:
    """One way to make a Q/DQ model, and to spell it.  method: how ranges are found.  reduce_range: weights of 7 bits."""

    activations: str = "u8"
    per_channel: bool = True
    method: str = "minmax"
    reduce_range: bool = False


VARIANTS: dict[str, Variant] = {
    "qdq": Variant(),
    "qdq-s8": Variant(activations="s8"),
    "qdq-tensor": Variant(per_channel=False),
    "qdq-s8-tensor": Variant(activations="s8", per_channel=False),
}


class _Batches(CalibrationDataReader):
    def __init__(self, batches: Sequence[Feeds]) -> None:
        self._feeds: Iterator[dict[str, np.ndarray]] = iter([dict(b) for b in batches])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


def quantize(source: Path, path: Path, variant: Variant, batches: Sequence[Feeds]) -> None:
    """Write the Q/DQ form of the float model `source`, calibrated on `batches`."""
    types = {"u8": QuantType.QUInt8, "s8": QuantType.QInt8}
    # The quantizer's own advice ("consider pre-processing") is followed here; the log repeats it.
    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        recent, prepared = Path(scratch) / "recent.onnx", Path(scratch) / "prepared.onnx"
        onnx.save(_recent(onnx.load(str(source))), str(recent))
        quant_pre_process(str(recent), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(path),
            _Batches(batches),
            quant_format=QuantFormat.QDQ,
            activation_type=types[variant.activations],
            weight_type=QuantType.QInt8,
            per_channel=variant.per_channel,
            reduce_range=variant.reduce_range,
            calibrate_method=METHODS[variant.method],
            extra_options={"ActivationSymmetric": variant.activations == "s8"},
        )


def _recent(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` in an opset that knows scales per axis; older files convert without loss."""
    version = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    return model if version >= PER_AXIS else version_converter.convert_version(model, OPSET)
