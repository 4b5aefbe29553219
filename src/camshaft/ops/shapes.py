"""Integers that follow from shapes: extents as data, and numbers in a row for index arithmetic.

`extents` itself is defined beside the graph builder, which makes it of what shape arithmetic leaves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from camshaft.ir.extents.constraints import require_at_least
from camshaft.ir.extents.shape_values import EXTENTS
from camshaft.ir.op import Attribute, OpDef, Rounding
from camshaft.ir.types import TensorType, i64

Attrs = Mapping[str, Any]


def _infer(types: Sequence[TensorType], attrs: Attrs) -> list[TensorType]:
    count = attrs["count"]
    require_at_least(count, 0, f"there cannot be {count} numbers")
    return [TensorType(i64, (count,))]


IOTA = OpDef(
    "iota",
    "The i64 numbers 0, 1, ..., count - 1.",
    _infer,
    lambda arrays, attrs: [np.arange(attrs["count"], dtype=np.int64)],
    {"count": Attribute("how many there are")},
    "shapes",
    rounding=lambda types, attrs: Rounding.EXACT,
)

OPS = (EXTENTS, IOTA)
