"""Models as files for other programs, of any size."""

from __future__ import annotations

import math
from pathlib import Path

import onnx
from onnx import ModelProto, helper

LARGEST = (1 << 31) - (1 << 24)
"""Bytes of weights that one ONNX file holds, with room for the rest of the model: protobuf ends at 2 GiB."""


def weight_bytes(proto: ModelProto) -> int:
    """The size of the model's weights."""
    return sum(
        math.prod(t.dims) * helper.tensor_dtype_to_np_dtype(t.data_type).itemsize
        for t in proto.graph.initializer
    )


def write_model(proto: ModelProto, path: Path) -> None:
    """Write a model, with its weights in a file beside it where one file cannot hold them."""
    if weight_bytes(proto) <= LARGEST:
        path.write_bytes(proto.SerializeToString())
        return
    copy = ModelProto()
    copy.CopyFrom(proto)  # what follows moves the weights out of it
    beside = f"{path.name}.weights"
    onnx.save(copy, str(path), save_as_external_data=True, location=beside, size_threshold=0)
