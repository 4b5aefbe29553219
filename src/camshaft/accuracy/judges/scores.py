"""Scores of classes among a network's outputs."""

from __future__ import annotations

from typing import Any

import numpy as np

from camshaft.accuracy.noise import Outputs
from camshaft.errors import ConfigError
from camshaft.ir.types import dtype_of


def scores_of(outputs: Outputs, number: int) -> np.ndarray:
    """Scores of classes: the output that may hold some, [rows, classes] of float64."""
    able = {n: _class_scores(a) for n, a in outputs.items()}
    found = {n: scores for n, scores in able.items() if scores is not None}
    if len(found) > 1:
        raise ConfigError(
            f"evaluate=: {' and '.join(map(repr, found))} may all be scores of classes; give a function (evaluate=), or "
            "metric='noise'"
        )
    for scores in found.values():
        return scores.astype(np.float64)
    raise ConfigError(
        f"evaluate=: the model has no output of class scores [rows, classes] (sample {number}); give a function "
        "(evaluate=), or metric='noise'"
    )


def chooses(outputs: Outputs) -> bool:
    """Whether all that a network says may be a score for each class."""
    return len(outputs) == 1 and all(_class_scores(a) is not None for a in outputs.values())


def _class_scores(array: Any) -> np.ndarray | None:
    """An output as [rows, classes] if it may be that: no other axis is longer than 1."""
    if not isinstance(array, np.ndarray) or not dtype_of(array).is_float or array.ndim < 2:
        return None
    longer = [d for d in array.shape[1:] if d != 1]
    return array.reshape(len(array), longer[0]) if len(longer) == 1 and longer[0] else None
