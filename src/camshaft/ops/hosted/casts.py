"""Cast and CastLike, to strings and from them too."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import numpy as np

from camshaft.ops.hosted.call import STRING, Call, Value


def cast(call: Call) -> Sequence[Value]:
    """Cast(X) -> Y of the type that attribute `to` numbers."""
    if call.attr_int("to") == STRING:
        return [_written(call.array(0))]
    return [_converted(call.array(0), call.attr_type("to"))]


def cast_like(call: Call) -> Sequence[Value]:
    """CastLike(X, T) -> Y of T's type."""
    dtype = call.array(1).dtype
    return [_written(call.array(0)) if dtype.kind == "O" else _converted(call.array(0), dtype)]


def _written(x: np.ndarray) -> np.ndarray:
    """Numbers as strings.  The specification asks for plain floats, never with an exponent; that they have eight
    digits, and what whole numbers, NaN, infinities and bools look like, is as ONNX Runtime has it."""
    texts = np.empty(x.size, object)
    if x.dtype.kind in "fV":
        texts[:] = [_float_text(v) for v in x.astype(np.float64).reshape(-1).tolist()]
    else:
        values = x.astype(np.int64) if x.dtype == np.bool_ else x
        texts[:] = [str(v) for v in values.reshape(-1).tolist()]
    return texts.reshape(x.shape)


def _float_text(value: float) -> str:
    if value != value:
        return "NaN"
    if value in (np.inf, -np.inf):
        return "INF" if value > 0 else "-INF"
    text = f"{value:.8g}"
    return f"{Decimal(text):f}" if "e" in text else text


def _converted(x: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Numbers of another type.  Strings may hold plain or scientific numbers; of those with a fraction an integer
    takes the whole part, as in ONNX Runtime, and a bool is whether that is not 0."""
    if x.dtype.kind != "O":
        return x.astype(dtype)
    texts = x.reshape(-1).tolist()
    if dtype.kind == "f":
        return np.array([float(t) for t in texts], dtype).reshape(x.shape)
    wide = np.uint64 if dtype == np.uint64 else np.int64
    return np.array([_whole(t) for t in texts], wide).astype(dtype).reshape(x.shape)


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return int(float(text))
