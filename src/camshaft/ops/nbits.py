"""Products with constant weights of few bits, which are never expanded to floats.

Weights stay integers, with a scale and perhaps a zero point for each block of a row.  The op says
whether activations may become 8 bits too; then the sums of a block are exact integers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import fixed_extent
from camshaft.ir.few_bits import LEAST_MAGNITUDE, packed_width, unpacked
from camshaft.ir.op import Attribute, OpDef, Types
from camshaft.ir.types import TensorType, bf16, f16, f32, u8
from camshaft.ops.common import EPILOGUE, apply_epilogue, epilogue_type

Attrs = Mapping[str, Any]

BITS = (4, 8)
_WEIGHTS_AT_ONCE = 1 << 20


def _infer(types: Types, attrs: Attrs) -> list[TensorType]:
    x, w, scale, zero = types[:4]
    bits, block = attrs["bits"], attrs["block"]
    if bits not in BITS or block < 1:
        raise ModelError(f"weights of {bits} bits in blocks of {block}: there is {BITS}")
    if x.rank < 2 or x.dtype != f32 or w.dtype != u8 or w.rank != 2:
        raise ModelError(f"{x} times packed weights {w}: must be f32 [..., M, K] and u8 [N, bytes]")
    k, n = fixed_extent(x.shape[-1], "K of packed weights"), w.shape[0]
    tables = (n, -(-k // block))
    if w.shape[1] != packed_width(k, bits):
        raise ModelError(f"rows of {w} do not hold {k} integers of {bits} bits")
    if scale.dtype not in (f32, f16, bf16) or scale.shape != tables:
        raise ModelError(f"scale {scale} must be floats {list(tables)}")
    if zero.dtype not in (f32, u8) or zero.shape not in (tables, (0, 0)):
        raise ModelError(f"zero points {zero} must be u8 or f32 {list(tables)}, or [0, 0]")
    anchor = TensorType(f32, (*x.shape[:-1], n))
    return [epilogue_type(anchor, types[4:], attrs)]


def centred_weights(arrays: Sequence[np.ndarray], k: int, attrs: Attrs) -> np.ndarray:
    """Integers less their zero points, f32 [N, k].  arrays: w and zero."""
    w, zero = arrays
    whole = unpacked(w, k, attrs["bits"]).astype(np.float32)
    if not zero.size:
        return np.asarray(whole - np.float32(1 << attrs["bits"] - 1))
    return np.asarray(whole - _spread(zero.astype(np.float32), k, attrs["block"]))


def dequantized(
    w: np.ndarray, scale: np.ndarray, zero: np.ndarray, k: int, attrs: Attrs
) -> np.ndarray:
    """The weights as floats, f32 [N, k]."""
    wide = centred_weights((w, zero), k, attrs)
    return np.asarray(wide * _spread(scale.astype(np.float32), k, attrs["block"]))


def _spread(table: np.ndarray, k: int, block: int) -> np.ndarray:
    """[N, blocks] -> [N, k]."""
    return np.repeat(table, block, axis=1)[:, :k]


def bytes_of_rows(x: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows [..., K] quantized block by block: integers as f32 [..., blocks, block] (zeros behind K),
    and the scale of each block, f32 [..., blocks].

    scale = largest magnitude / 127, q = round_half_even(x * (127 / largest magnitude)), each operation
    rounded to f32.  A block with infinities or NaN has integers 0 and a scale that is not finite.
    """
    k = x.shape[-1]
    blocks = -(-k // block)
    padded = np.zeros((*x.shape[:-1], blocks * block), np.float32)
    padded[..., :k] = x
    parts = padded.reshape(*x.shape[:-1], blocks, block)
    largest = np.abs(parts).max(axis=-1)
    with np.errstate(all="ignore"):
        normal = np.isfinite(largest) & (largest > np.float32(LEAST_MAGNITUDE))
        inverse = np.where(normal, np.float32(127) / largest, np.float32(0))
        whole = np.rint(parts * inverse[..., None])
        scales = largest * np.float32(1 / 127)
    return np.where(normal[..., None], whole, np.float32(0)), scales


def _product_of_bytes(
    x: np.ndarray, w: np.ndarray, scale: np.ndarray, zero: np.ndarray, attrs: Attrs
) -> np.ndarray:
    """Sums of x, quantized, times integers less their zero points, scaled block by block."""
    k, block = x.shape[-1], attrs["block"]
    wide = centred_weights((w, zero), k, attrs)
    whole, scales = bytes_of_rows(x, block)
    y = np.zeros((*x.shape[:-1], len(w)), np.float32)
    with np.errstate(all="ignore"):
        for b, start in enumerate(range(0, k, block)):
            part = wide[:, start : start + block].astype(np.float64)
            sums = whole[..., b, : part.shape[1]].astype(np.float64) @ part.T
            y += sums.astype(np.float32) * scales[..., b, None] * scale[:, b].astype(np.float32)
    return y


def _product(
    x: np.ndarray, w: np.ndarray, scale: np.ndarray, zero: np.ndarray, attrs: Attrs
) -> np.ndarray:
    if attrs["int8"]:
        return _product_of_bytes(x, w, scale, zero, attrs)
    return np.asarray(np.matmul(x, dequantized(w, scale, zero, x.shape[-1], attrs).T))


def _reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> list[np.ndarray]:
    """Some columns after the other: the weights are never floats all at once."""
    x, w, scale, zero = arrays[:4]
    y = np.empty((*x.shape[:-1], len(w)), np.float32)
    step = max(1, _WEIGHTS_AT_ONCE // x.shape[-1])
    for first in range(0, len(w), step):
        part = slice(first, first + step)
        y[..., part] = _product(x, w[part], scale[part], zero[part], attrs)
    return [apply_epilogue(y, arrays[4:], attrs)]


def _macs(types: Types, output: TensorType, attrs: Attrs) -> Extent:
    return output.size * types[0].shape[-1]


MATMUL_NBITS = OpDef(
    "matmul_nbits",
    "Products of rows x f32 [..., M, K] and the rows of a constant matrix of integers of 4 or 8 bits: "
    "x times the transpose of (w - zero) scale.  w: u8 [N, K bits / 8], the first integer of a byte in its "
    "lowest bits.  scale: f32, f16 or bf16 [N, K / block], one for each block of a row.  zero: u8 or f32 "
    "of the scale's shape, or [0, 0], which stands for 2**(bits - 1) everywhere.",
    _infer,
    _reference,
    {
        "bits": Attribute("of a weight: 4 or 8"),
        "block": Attribute(
            "how many neighbours in a row share a scale; the last block may be short"
        ),
        "int8": Attribute(
            "whether x is quantized too, each block of a row by its own largest magnitude: "
            "s8 in [-127, 127], summed in integers",
            False,
        ),
        "epilogue": EPILOGUE,
    },
    "contraction",
    anchors=4,
    smooths=True,
    macs=_macs,
)

OPS = (MATMUL_NBITS,)
