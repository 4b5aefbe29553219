"""Names of tensors that hold a model's tensor in another shape or order."""

from __future__ import annotations

import re

_LAID_OUT = re.compile(r"(:(nhwc|nchw|rows|transposed|turned|reordered|reshape|pool)(#\d+)?)+$")
"""What optimizations append."""


def of_model(name: str) -> str:
    """The name of the model's tensor that has the same elements."""
    return _LAID_OUT.sub("", name)
