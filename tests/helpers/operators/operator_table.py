"""The generators of all operators, and the opsets in which each is asked."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx

from camshaft.ops.hosted.table import IMPLEMENTATIONS
from image_cases import IMAGES
from index_cases import INDICES
from layer_cases import LAYERS
from number_cases import NUMBERS
from operator_case import Case, Generate, Value
from plain_cases import PLAIN
from window_cases import WINDOWS

GENERATORS: Mapping[str, Generate] = {**WINDOWS, **LAYERS, **IMAGES, **INDICES, **NUMBERS, **PLAIN}
NEWEST_OF_PEER = 26
"""The newest opset that ONNX Runtime 1.31 takes."""
ODD = ("GroupNormalization",)
"""Deprecated in an opset, and back in a later one."""
OLDEST = 7
"""Older models are converted to this opset when they are read."""


def versions(op_type: str) -> list[int]:
    """Every opset that has rules of its own for an operator, as far as models of it are taken."""
    schemas = [s for s in onnx.defs.get_all_schemas_with_history() if s.name == op_type]
    own = sorted(
        {s.since_version for s in schemas if not s.domain and (s.name in ODD or not s.deprecated)}
    )
    since = next((i.since for i in IMPLEMENTATIONS if i.op_type == op_type), OLDEST)
    first = max([v for v in own if v <= OLDEST], default=own[0])
    return [max(v, OLDEST) for v in own if v >= max(first, since if since > OLDEST else first)]


def case_of(op_type: str, opset: int, number: int) -> Case:
    """The case of that number: the same on every run."""
    seed = [zlib.crc32(op_type.encode()), opset, number]
    case = GENERATORS[op_type](np.random.default_rng(seed), opset)
    return replace(case, inputs=[_row_major(v) for v in case.inputs])


def _row_major(value: Value) -> Value:
    """Arrays as engines take them."""
    return np.array(value, order="C") if isinstance(value, np.ndarray) else value
