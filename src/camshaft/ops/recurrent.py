"""Recurrent layers.  They have no kernels yet: their references run as host steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.extents.constraints import require_equal
from camshaft.ir.op import Attribute, OpDef, Types
from camshaft.ir.types import TensorType, f32, i8, u8

Attrs = Mapping[str, Any]

DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
"""Whether each direction of a layer runs from the last step to the first."""
_EXACT_FLOATS = 1 << 24
"""Whole numbers up to here are exact in f32."""


def _infer(types: Types, attrs: Attrs) -> list[TensorType]:
    x, w, r, *quantized, bias, h, c, peepholes = types
    if attrs["direction"] not in DIRECTIONS:
        raise ModelError(f"direction {attrs['direction']!r} is none of {', '.join(DIRECTIONS)}")
    if any(t.rank != 3 for t in (x, w, r, h, c)) or not isinstance(r.shape[1], int):
        raise ModelError(f"input {x}, weights {w}, {r} and states {h}, {c} must have rank 3")
    directions, hidden = len(DIRECTIONS[attrs["direction"]]), r.shape[1]
    steps, batch, width = x.shape
    wanted = {
        "weights": (w, (directions, width, 4 * hidden)),
        "recurrent weights": (r, (directions, hidden, 4 * hidden)),
        "bias": (bias, (directions, 8 * hidden)),
        "initial hidden state": (h, (directions, batch, hidden)),
        "initial cell state": (c, (directions, batch, hidden)),
        "peepholes": (peepholes, (directions, 3 * hidden)),
    }
    for what, (t, shape) in wanted.items():
        misfit = f"{what} {t} must have the shape {list(shape)}, for an input {x}"
        if t.rank != len(shape):
            raise ModelError(misfit)
        for a, b in zip(t.shape, shape, strict=True):
            require_equal(a, b, misfit)
    for scale, zero, stored in ((*quantized[:2], w), (*quantized[2:], r)):
        if scale.shape not in ((directions,), (directions, 4 * hidden)):
            raise ModelError(f"scales {scale} are neither one a direction nor one a column")
        if zero.shape != scale.shape or zero.dtype != stored.dtype or zero.dtype not in (i8, u8):
            raise ModelError(f"zero points {zero} do not fit scales {scale} and weights {stored}")
    if any(t.dtype != f32 for t in (x, bias, h, c, peepholes)):
        raise ModelError(f"input {x}, bias, states and peepholes must be f32")
    return [
        TensorType(f32, (steps, directions, batch, hidden)),
        TensorType(f32, (directions, batch, hidden)),
        TensorType(f32, (directions, batch, hidden)),
    ]


class _Matrix:
    """Bytes [K, N] of one direction, with scales and zero points for all or for each column."""

    def __init__(self, stored: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> None:
        wide = stored.astype(np.float32) - zero
        exact = 255 * len(wide) * float(np.abs(wide).max(initial=0)) <= _EXACT_FLOATS
        self.weights, self.scale = wide if exact else wide.astype(np.float64), scale

    def times(self, x: np.ndarray) -> np.ndarray:
        """x @ weights, for x quantized to u8 by its own range; sums of integers are exact."""
        low, high = x.min(initial=np.float32(0)), x.max(initial=np.float32(0))
        scale = (high - low) / np.float32(255) if low < high else np.float32(1)
        zero = np.rint(-low / scale)
        q = np.clip(np.rint(x / scale) + zero, 0, 255) - zero
        sums = q.astype(self.weights.dtype) @ self.weights
        return np.asarray(sums.astype(np.float32) * (scale * self.scale))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)), np.float32)


def _run(
    gates: np.ndarray,
    recur: Callable[[np.ndarray], np.ndarray],
    state: tuple[np.ndarray, np.ndarray],
    peepholes: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One direction.  gates: [T, N, 4H], what x and biases add to the gates, in ONNX's order i, o, f, c."""
    h, c = state
    pi, po, pf = np.split(peepholes, 3)
    y = np.empty((*gates.shape[:2], h.shape[-1]), np.float32)
    for t in range(len(gates)):
        i, o, f, g = np.split(gates[t] + recur(h), 4, axis=-1)
        i, f = _sigmoid(i + pi * c), _sigmoid(f + pf * c)
        c = f * c + i * np.tanh(g)
        h = _sigmoid(o + po * c) * np.tanh(c)
        y[t] = h
    return y, h, c


def _reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> list[np.ndarray]:
    x, w, r, w_scale, w_zero, r_scale, r_zero, bias, h, c, peepholes = arrays
    results = []
    with np.errstate(over="ignore"):  # exp of a large argument: the sigmoid is 0
        for d, backward in enumerate(DIRECTIONS[attrs["direction"]]):
            seen = x[::-1] if backward else x
            enter, recur = (
                _Matrix(w[d], w_scale[d], w_zero[d]),
                _Matrix(r[d], r_scale[d], r_zero[d]),
            )
            gates = enter.times(seen) + sum(np.split(bias[d], 2))
            y, *last = _run(gates, recur.times, (h[d], c[d]), peepholes[d])
            results.append((y[::-1] if backward else y, *last))
    y, h, c = (np.stack(part) for part in zip(*results, strict=True))
    return [np.ascontiguousarray(y.transpose(1, 0, 2, 3)), h, c]


DYNAMIC_LSTM = OpDef(
    "dynamic_lstm",
    "LSTM of x [T, N, I] whose weights are bytes: w [D, I, 4H] and r [D, H, 4H], the gates in the order "
    "input, output, forget, cell.  Before each product the input, or the state, is quantized to u8 by "
    "its own range, and sums are exact.  Further inputs: scales and zero points of w and r, [D] or "
    "[D, 4H]; bias [D, 8H]; the states h and c [D, N, H]; peepholes [D, 3H], of input, output and "
    "forget gate.  Gives y [T, D, N, H] and the last h and c.",
    _infer,
    _reference,
    {"direction": Attribute('"forward", "reverse" or "bidirectional"', "forward")},
    "recurrent",
)

OPS = (DYNAMIC_LSTM,)
