"""Fourier transforms, windows and mel weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camshaft.errors import ModelError
from camshaft.ops.hosted.call import Call, Value, computed

Array = np.ndarray


def _complex(x: Array) -> Array:
    """[..., 1 or 2], real and imaginary part, as complex numbers of twice the size."""
    wide = computed(x)
    if wide.shape[-1] not in (1, 2):
        raise ModelError(f"the last axis of {list(x.shape)} is neither 1, real, nor 2, complex")
    pair = np.complex128 if wide.dtype == np.float64 else np.complex64
    z: Array = wide[..., 0].astype(pair)
    if wide.shape[-1] == 2:
        z.imag = wide[..., 1]
    return z


def _parts(z: Array, dtype: np.dtype) -> Array:
    return np.stack([z.real, z.imag], axis=-1).astype(dtype)


def dft(call: Call) -> Sequence[Value]:
    """DFT(input [..., 1 or 2], dft_length, axis): the axis was an attribute before opset 20.

    inverse divides by the length.  onesided gives the first half; of its inverse (opset 20), whose
    input is such a half, the result is real.
    """
    x = call.array(0)
    if call.opset < 20:
        axis = call.attr_int("axis", 1)
    else:
        axis = call.number(2, "axis") if call.has(2) else -2
    if not -x.ndim <= axis < x.ndim or axis in (-1, x.ndim - 1):
        raise ModelError(f"axis {axis} is no axis of a signal of rank {x.ndim}")
    axis %= x.ndim
    inverse, onesided = call.attr_flag("inverse"), call.attr_flag("onesided")
    length = call.number(1, "dft_length") if call.has(1) else None
    if length is not None and length < 1:
        raise ModelError(f"dft_length {length} is below 1")
    z = _complex(x)
    if inverse and onesided:
        count = length or 2 * (z.shape[axis] - 1)
        return [np.fft.irfft(z, count, axis)[..., None].astype(x.dtype)]
    if onesided and x.shape[-1] == 2 and call.opset >= 20:
        raise ModelError("onesided takes a real signal")
    y = np.fft.ifft(z, length, axis) if inverse else np.fft.fft(z, length, axis)
    if onesided:
        y = np.take(y, range(y.shape[axis] // 2 + 1), axis)
    return [_parts(y, x.dtype)]


def stft(call: Call) -> Sequence[Value]:
    """STFT(signal [N, T, 1 or 2], frame_step, window, frame_length) -> [N, frames, bins, 2]."""
    x, window = call.array(0), call.given(2)
    step = call.number(1, "frame_step")
    if call.has(3):
        length = call.number(3, "frame_length")
    elif window is not None:
        length = window.shape[0]
    else:
        raise ModelError("neither a window nor frame_length is given")
    if x.ndim == 2:
        x = x[..., None]
    if window is not None and window.shape != (length,):
        raise ModelError(f"a window {list(window.shape)} does not fit frames of {length}")
    if step < 1 or not 0 < length <= x.shape[1]:
        raise ModelError(f"frames of {length} every {step} do not fit a signal {list(x.shape)}")
    z = _complex(x)
    frames = np.lib.stride_tricks.sliding_window_view(z, length, axis=1)[:, ::step]
    if window is not None:
        frames = frames * computed(window)
    y = np.fft.fft(frames, axis=-1)
    if call.attr_flag("onesided", True):
        y = y[..., : length // 2 + 1]
    return [_parts(y, x.dtype)]


def mel_weight_matrix(call: Call) -> Sequence[Value]:
    """MelWeightMatrix(bins, dft_length, sample_rate, lower, upper) -> [dft_length // 2 + 1, bins].

    Triangles over the mel scale, their corners rounded down to whole bins, as ONNX's own case and
    ONNX Runtime have it.
    """
    bins, length, rate = (call.number(i, n) for i, n in enumerate(("bins", "length", "rate")))
    lower, upper = (float(call.array(i).reshape(-1)[0]) for i in (3, 4))
    if bins < 1 or length < 1 or rate < 1 or not lower < upper:
        raise ModelError(
            f"{bins} bins of {length} at {rate} from {lower} to {upper} make no matrix"
        )
    spectrum = length // 2 + 1
    ends = 2595 * np.log10(1 + np.array([lower, upper]) / 700)
    mels = ends[0] + np.arange(bins + 2) * (ends[1] - ends[0]) / (bins + 2)
    hertz = 700 * (10 ** (mels / 2595) - 1)
    corners = ((length + 1) * hertz // rate).astype(np.int64)
    y = np.zeros((spectrum, bins))
    for i, (low, centre, high) in enumerate(zip(corners, corners[1:], corners[2:], strict=False)):
        if low == centre:
            if centre < spectrum:
                y[centre, i] = 1
        else:
            rising = np.arange(low, min(centre + 1, spectrum))
            y[rising, i] = (rising - low) / (centre - low)
        if high > centre:
            falling = np.arange(centre, min(high, spectrum))
            y[falling, i] = (high - falling) / (high - centre)
    return [y.astype(call.attr_type("output_datatype"))]


_WINDOWS = {
    "HannWindow": (0.5, 0.5, 0.0),
    "HammingWindow": (25 / 46, 21 / 46, 0.0),
    "BlackmanWindow": (0.42, 0.5, 0.08),
}
"""a, b, c of a - b cos(2 pi n / N) + c cos(4 pi n / N)."""


def window(call: Call) -> Sequence[Value]:
    """HannWindow, HammingWindow, BlackmanWindow: of `size` elements, periodic or symmetric."""
    size = call.number(0, "size")
    a, b, c = _WINDOWS[call.op_type]
    around = size if call.attr_flag("periodic", True) else size - 1
    turn = 2 * np.pi * np.arange(size) / max(around, 1)
    y = a - b * np.cos(turn) + c * np.cos(2 * turn)
    return [y.astype(call.attr_type("output_datatype"))]
