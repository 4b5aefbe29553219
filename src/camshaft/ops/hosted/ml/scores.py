"""What ai.onnx.ml makes of scores: attribute post_transform."""

from __future__ import annotations

import numpy as np

from camshaft.errors import ModelError

_NOTHING = 1e-7
"""Scores up to here count as 0 for SOFTMAX_ZERO."""


def transformed(x: np.ndarray, kind: str) -> np.ndarray:
    """Scores [N, C] after a transformation: each by itself, or a row together."""
    if kind == "NONE":
        return x
    if kind == "LOGISTIC":
        with np.errstate(over="ignore"):
            return np.asarray(1 / (1 + np.exp(-x)), x.dtype)
    if kind in ("SOFTMAX", "SOFTMAX_ZERO"):
        e = np.exp(x - x.max(1, keepdims=True))
        if kind == "SOFTMAX_ZERO":
            e[np.abs(x) <= _NOTHING] = 0
        total = e.sum(1, keepdims=True)
        return np.asarray(np.divide(e, total, out=np.zeros_like(e), where=total != 0))
    if kind == "PROBIT":
        return np.asarray(np.sqrt(2) * inverse_erf(2 * x - 1), x.dtype)
    raise ModelError(f"post_transform={kind!r} is not known")


def inverse_erf(x: np.ndarray) -> np.ndarray:
    """The inverse error function by Winitzki's formula, within 2e-3, as ONNX Runtime has it."""
    a = 0.147
    with np.errstate(all="ignore"):
        log = np.log((1 - x) * (1 + x))
        half = 2 / (np.pi * a) + log / 2
        return np.asarray(np.sign(x) * np.sqrt(np.sqrt(half * half - log / a) - half))
