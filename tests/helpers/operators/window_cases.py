"""Cases of convolutions and pools.

ONNX Runtime ignores dilations where auto_pad is SAME_*, and refuses them for convolutions; the
specification's formula does not: tests/ops/test_hosted_specification.py has that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from operator_case import Case, Generate, Rng, extents, floats, given, maybe, pick


def window(rng: Rng, rank: int, *, dilated: bool = True) -> dict[str, Any]:
    """kernel_shape, strides, dilations and padding that fit extents from 5 on."""
    kernel = extents(rng, rank, 1, 3)
    auto = pick(rng, None, None, "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
    pads = [int(rng.integers(0, k)) for k in kernel * 2] if auto in (None, "NOTSET") else None
    same = auto in ("SAME_UPPER", "SAME_LOWER")
    strides = maybe(rng, extents(rng, rank, 1, 3))
    if same and strides:  # ONNX Runtime refuses windows that leave gaps
        strides = [min(s, k) for s, k in zip(strides, kernel, strict=True)]
    return given(
        kernel_shape=kernel,
        strides=strides,
        dilations=maybe(rng, extents(rng, rank, 1, 2)) if dilated and not same else None,
        auto_pad=auto,
        pads=maybe(rng, pads, 0.8),
    )


def image(rng: Rng, rank: int, channels: int | None = None) -> np.ndarray:
    c = channels or int(rng.integers(1, 4))
    return floats(rng, int(rng.integers(1, 3)), c, *extents(rng, rank, 5, 7))


def max_pool(rng: Rng, opset: int) -> Case:
    rank = pick(rng, 1, 2, 2, 3)
    attrs = window(rng, rank, dilated=opset >= 10)
    if opset >= 10:
        attrs |= given(ceil_mode=maybe(rng, 1))
    outputs = pick(rng, ("y",), ("y", "i")) if opset >= 8 else ("y",)
    if len(outputs) == 2:
        attrs |= given(storage_order=maybe(rng, 1))
    x = image(rng, rank)
    if opset >= 12 and rng.random() < 0.3:
        x = rng.integers(-128, 128, x.shape).astype(np.int8)
    return Case("MaxPool", opset, [x], attrs, outputs)


def average_pool(rng: Rng, opset: int) -> Case:
    rank = pick(rng, 1, 2, 2, 3)
    attrs = window(rng, rank, dilated=opset >= 19)
    attrs |= given(count_include_pad=maybe(rng, 1))
    if opset >= 10:
        attrs |= given(ceil_mode=maybe(rng, 1))
    return Case("AveragePool", opset, [image(rng, rank)], attrs)


def lp_pool(rng: Rng, opset: int) -> Case:
    rank = pick(rng, 1, 2, 3)
    attrs = window(rng, rank, dilated=opset >= 18) | given(p=maybe(rng, pick(rng, 1, 2, 3)))
    if opset >= 18:
        attrs |= given(ceil_mode=maybe(rng, 1))
    return Case("LpPool", opset, [image(rng, rank)], attrs)


def global_pool(op_type: str) -> Generate:
    def generate(rng: Rng, opset: int) -> Case:
        attrs = given(p=maybe(rng, pick(rng, 1, 2, 3))) if op_type == "GlobalLpPool" else {}
        peer = 21 if op_type == "GlobalLpPool" and opset > 21 else None
        return Case(op_type, opset, [image(rng, pick(rng, 1, 2, 3))], attrs, peer_opset=peer)

    return generate


def max_unpool(rng: Rng, opset: int) -> Case:
    """The indices are those of windows side by side, as MaxPool gives them."""
    rank = pick(rng, 1, 2, 3)
    kernel = extents(rng, rank, 1, 3)
    shape = [1, 2, *extents(rng, rank, 1, 3)]
    full = [n * k for n, k in zip(shape[2:], kernel, strict=True)]
    base = np.arange(2 * int(np.prod(full))).reshape(1, 2, *full)
    at = base[(slice(None), slice(None), *(slice(None, None, k) for k in kernel))]
    return Case(
        "MaxUnpool", opset, [floats(rng, *shape), at], {"kernel_shape": kernel, "strides": kernel}
    )


def _weights(rng: Rng, x: np.ndarray, kernel: list[int], groups: int) -> np.ndarray:
    outputs = groups * int(rng.integers(1, 3))
    return floats(rng, outputs, x.shape[1] // groups, *kernel)


def conv(rng: Rng, opset: int) -> Case:
    rank, groups = pick(rng, 1, 2, 3), pick(rng, 1, 1, 2)
    attrs = window(rng, rank) | given(group=groups if groups > 1 else None)
    x = image(rng, rank, groups * pick(rng, 1, 2))
    w = _weights(rng, x, attrs["kernel_shape"], groups)
    return Case("Conv", opset, [x, w, maybe(rng, floats(rng, len(w)))], attrs)


def conv_transpose(rng: Rng, opset: int) -> Case:
    rank, groups = pick(rng, 1, 2, 2, 3), pick(rng, 1, 1, 2)
    x = floats(rng, pick(rng, 1, 2), groups * pick(rng, 1, 2), *extents(rng, rank, 2, 4))
    kernel, strides = extents(rng, rank, 1, 3), extents(rng, rank, 1, 3)
    dilations = extents(rng, rank, 1, 2)
    w = floats(rng, x.shape[1], pick(rng, 1, 2), *kernel)
    extra = [int(rng.integers(0, s)) for s in strides]
    attrs = given(
        group=groups if groups > 1 else None,
        kernel_shape=maybe(rng, kernel),
        strides=strides,
        dilations=dilations,
        output_padding=maybe(rng, extra),
    )
    full = [
        s * (n - 1) + o + (k - 1) * d + 1
        for n, k, s, d, o in zip(
            x.shape[2:],
            kernel,
            strides,
            dilations,
            attrs.get("output_padding", [0] * rank),
            strict=True,
        )
    ]
    how = pick(rng, "pads", "pads", "VALID", "SAME_UPPER", "SAME_LOWER", "shape")
    if how == "pads":
        attrs["pads"] = [min(int(rng.integers(0, 2)), (f - 1) // 2) for f in full * 2]
    elif how == "shape":
        attrs["output_shape"] = [max(1, f - int(rng.integers(0, 3))) for f in full]
        attrs |= given(auto_pad=maybe(rng, pick(rng, "SAME_UPPER", "SAME_LOWER", "NOTSET")))
    elif how == "VALID" or all(
        f >= n * s for f, n, s in zip(full, x.shape[2:], strides, strict=True)
    ):
        attrs["auto_pad"] = how
    inputs = [x, w, maybe(rng, floats(rng, groups * w.shape[1]))]
    return Case("ConvTranspose", opset, inputs, attrs)


def conv_integer(rng: Rng, opset: int) -> Case:
    groups = pick(rng, 1, 1, 2)
    attrs = window(rng, 2) | given(group=groups if groups > 1 else None)
    x = image(rng, 2, groups * pick(rng, 1, 2))
    kind = pick(rng, np.uint8, np.int8)
    w = _weights(rng, x, attrs["kernel_shape"], groups)
    low, high = (0, 256) if kind == np.uint8 else (-128, 128)
    quantized = [rng.integers(0, 256, x.shape).astype(np.uint8)]
    quantized.append(rng.integers(low, high, w.shape).astype(kind))
    quantized.append(maybe(rng, np.array(rng.integers(0, 256), np.uint8)))
    quantized.append(maybe(rng, np.array(rng.integers(low, high), kind)))
    return Case("ConvInteger", opset, quantized, attrs)


def qlinear_conv(rng: Rng, opset: int) -> Case:
    groups = pick(rng, 1, 1, 2)
    attrs = window(rng, 2) | given(group=groups if groups > 1 else None)
    x = image(rng, 2, groups * pick(rng, 1, 2))
    w = _weights(rng, x, attrs["kernel_shape"], groups)
    per_channel = rng.random() < 0.5
    count = (len(w),) if per_channel else ()
    inputs = [
        rng.integers(0, 256, x.shape).astype(np.uint8),
        np.float32(0.02),
        np.uint8(rng.integers(256)),
        rng.integers(-64, 64, w.shape).astype(np.int8),  # see SMALL_WEIGHTS in onnx_models.py
        rng.uniform(0.005, 0.05, count).astype(np.float32),
        np.zeros(count, np.int8),
        np.float32(rng.uniform(0.02, 0.1)),
        np.uint8(rng.integers(256)),
        maybe(rng, rng.integers(-500, 500, len(w)).astype(np.int32)),
    ]
    return Case("QLinearConv", opset, [None if v is None else np.asarray(v) for v in inputs], attrs)


def col2im(rng: Rng, opset: int) -> Case:
    rank = pick(rng, 1, 2, 3)
    block, size = extents(rng, rank, 1, 3), extents(rng, rank, 5, 7)
    strides, dilations = extents(rng, rank, 1, 2), [1] * rank  # ORT gets dilations wrong
    pads = [int(n) for n in rng.integers(0, 2, 2 * rank)]
    count = [
        (n + pads[i] + pads[rank + i] - (b - 1) * d - 1) // s + 1
        for i, (n, b, s, d) in enumerate(zip(size, block, strides, dilations, strict=True))
    ]
    x = floats(rng, 2, 2 * int(np.prod(block)), int(np.prod(count)))
    attrs = {"strides": strides, "dilations": dilations, "pads": pads}
    return Case("Col2Im", opset, [x, np.array(size), np.array(block)], attrs)


def deform_conv(rng: Rng, opset: int) -> Case:
    parts, groups = pick(rng, 1, 2), pick(rng, 1, 2)
    kernel, size = extents(rng, 2, 1, 3), extents(rng, 2, 5, 7)
    strides, dilations = extents(rng, 2, 1, 2), extents(rng, 2, 1, 2)
    pads = [int(n) for n in rng.integers(0, 2, 4)]
    out = [
        (n + pads[i] + pads[2 + i] - (k - 1) * d - 1) // s + 1
        for i, (n, k, s, d) in enumerate(zip(size, kernel, strides, dilations, strict=True))
    ]
    x, w = floats(rng, 2, 4, *size), floats(rng, 4, 4 // groups, *kernel)
    taps = kernel[0] * kernel[1]
    inputs = [
        x,
        w,
        floats(rng, 2, parts * taps * 2, *out),
        maybe(rng, floats(rng, 4)),
        maybe(rng, rng.random((2, parts * taps, *out), np.float32)),
    ]
    attrs = {
        "kernel_shape": kernel, "strides": strides, "dilations": dilations, "pads": pads,
        "group": groups, "offset_group": parts,
    }  # fmt: skip
    return Case("DeformConv", opset, inputs, attrs, rtol=1e-4, atol=1e-5)


WINDOWS: Mapping[str, Generate] = {
    "AveragePool": average_pool,
    "Col2Im": col2im,
    "Conv": conv,
    "ConvInteger": conv_integer,
    "ConvTranspose": conv_transpose,
    "DeformConv": deform_conv,
    "GlobalAveragePool": global_pool("GlobalAveragePool"),
    "GlobalLpPool": global_pool("GlobalLpPool"),
    "GlobalMaxPool": global_pool("GlobalMaxPool"),
    "LpPool": lp_pool,
    "MaxPool": max_pool,
    "MaxUnpool": max_unpool,
    "QLinearConv": qlinear_conv,
}
