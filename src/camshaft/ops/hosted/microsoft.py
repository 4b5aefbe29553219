"""Operators of ONNX Runtime's domain that ONNX has not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from camshaft.errors import ModelError
from camshaft.ops.hosted.call import Call, Value, computed
from camshaft.ops.hosted.recurrent import lstm


def inverse(call: Call) -> Sequence[Value]:
    """Inverse(X) -> Y: of square matrices, in any number of batch axes; singular ones are an error."""
    x = call.array(0)
    return [np.linalg.inv(computed(x)).astype(x.dtype)]


def dynamic_quantize_lstm(call: Call) -> Sequence[Value]:
    """DynamicQuantizeLSTM(X, W, R, B, sequence_lens, initial_h, initial_c, P, then scales and zero points of
    W and R) -> Y, Y_h, Y_c: LSTM whose products are of bytes.

    W [D, I, 4H] and R [D, H, 4H] have a scale and a zero point for each direction, or for each column of
    it.  Before each product the input, or the states of all sequences, are quantized to u8 by their own
    range, as ONNX Runtime does for a batch that one thread computes.
    """
    stored = [_weights(call, 1, 8), _weights(call, 2, 10)]
    x, lengths = call.array(0), call.given(4)
    if lengths is not None:  # steps that no sequence reaches have no part in the range
        x = np.where(np.arange(len(x))[:, None, None] < lengths.max(initial=0), x, np.float32(0))
    inputs = (x, *stored, *call.inputs[3:8])
    return lstm(replace(call, op_type="LSTM", inputs=inputs), _in_bytes)


def _weights(call: Call, index: int, scale: int) -> np.ndarray:
    """Weights as LSTM has them, [D, 4H, ...], of bytes [D, ..., 4H], scales and zero points."""
    stored, scales = call.array(index), call.array(scale)
    zeros = call.given(scale + 1)
    if scales.shape not in ((len(stored),), (len(stored), stored.shape[-1])):
        raise ModelError(f"scales {list(scales.shape)} do not fit weights {list(stored.shape)}")
    scales = scales.reshape(len(stored), 1, -1)
    wide = stored.astype(np.float32)
    if zeros is not None:
        wide = wide - zeros.reshape(scales.shape)
    return np.ascontiguousarray((wide * scales).swapaxes(1, 2))


def _in_bytes(x: np.ndarray) -> np.ndarray:
    """x quantized to u8 by its own range, and back."""
    low, high = x.min(initial=np.float32(0)), x.max(initial=np.float32(0))
    scale = (high - low) / np.float32(255) if low < high else np.float32(1)
    zero = np.rint(-low / scale)
    return np.asarray((np.clip(np.rint(x / scale) + zero, 0, 255) - zero) * scale)
