"""Names of tensors that hold a model's tensor in another shape, order or width."""

from __future__ import annotations

import re

_LAID_OUT = re.compile(
    r"(:(nhwc|nchw|rows|transposed|turned|reordered|reshape|pool|rounded)(#\d+)?)+$"
)
"""What optimizations append."""


def of_model(name: str) -> str:
    """The name of the model's tensor that has the same elements, but for rounding to a half type."""
    return _LAID_OUT.sub("", name)
