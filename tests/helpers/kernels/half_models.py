"""Instructions on half floats in NumPy, to the bit: what processors that have them compute.

Sources: Intel 64 and IA-32 Architectures Software Developer's Manual, VDPBF16PS, VCVTNEPS2BF16, TDPBF16PS,
TDPBUSD and the other instructions of AMX.
"""

from __future__ import annotations

import ctypes
from collections import Counter

import numpy as np

from camshaft.ir.types import bf16, f32

_SMALL, _SCALE = 2.0**-100, 2.0**64


def vdpbf16ps(acc: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """acc, f32 [...], plus the products of a and b, bf16 [..., 2]: the odd one first, each added by a
    multiply-add that rounds half to even, takes subnormal operands as 0 and flushes subnormal sums."""
    x, y = _daz(a.astype(f32.numpy)), _daz(b.astype(f32.numpy))
    odd = fma_ftz(x[..., 1], y[..., 1], acc)
    return fma_ftz(x[..., 0], y[..., 0], odd)


def vcvtneps2bf16(x: np.ndarray) -> np.ndarray:
    """f32 as bf16, half to even, subnormal ones as zeros of their signs."""
    return _daz(x).astype(bf16.numpy)


def fma_ftz(x: np.ndarray, y: np.ndarray, acc: np.ndarray) -> np.ndarray:
    """x * y + acc of f32 that hold bf16, rounded once to f32; subnormals are zeros, before and after."""
    with np.errstate(over="ignore", invalid="ignore"):
        return _added(_product(x, y), _daz(acc))


def _product(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x * y of f32 that hold bf16, in f64: exact, it has 16 bits."""
    return x.astype(np.float64) * y.astype(np.float64)


def _added(product: np.ndarray, acc: np.ndarray) -> np.ndarray:
    """product, f64, + acc, f32 and not subnormal, rounded once to f32; subnormals are zeros."""
    wide = _sum_to_odd(product, acc.astype(np.float64))
    rounded = wide.astype(np.float32)
    small = (np.abs(wide) < _SMALL) & (wide != 0)
    if not small.any():
        return rounded
    scaled = np.where(small, wide * _SCALE, 0.0).astype(np.float32)  # rounded as if it were normal
    tiny = small & (np.abs(scaled) < 2.0**-126 * _SCALE)
    return np.where(tiny, np.copysign(np.float32(0), rounded), rounded)


def _sum_to_odd(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a + b in f64 with the last bit set where something was cut off, so that rounding once more to f32
    is rounding once.  The error of the sum is Knuth's TwoSum."""
    total = a + b
    back = total - a
    error = (a - (total - back)) + (b - back)
    inexact = np.isfinite(total) & (error != 0)
    if not inexact.any():
        return total
    inexact &= (np.ascontiguousarray(total).view(np.int64) & 1) == 0  # the last bit is 0
    beyond = np.nextafter(total, np.where(error > 0, np.inf, -np.inf))
    return np.where(inexact, beyond, total)


def _daz(x: np.ndarray) -> np.ndarray:
    subnormal = np.abs(x) < f32.tiny
    return np.where(subnormal, np.copysign(np.float32(0), x), x).astype(np.float32, copy=False)


def tdpbf16ps(acc: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """acc, f32 [M, N], plus a, bf16 [M, K, 2], times b, bf16 [K, N, 2]: even and odd products are summed
    apart from 0, each added by a multiply-add, then both sums to one another and that to acc."""
    x = _daz(a.astype(f32.numpy)).transpose(1, 2, 0)[..., None]  # [K, 2, M, 1]
    y = _daz(b.astype(f32.numpy)).transpose(0, 2, 1)[:, :, None]  # [K, 2, 1, N]
    parts = np.zeros((2, *acc.shape), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for product in _product(x, y):
            parts = _added(product, parts)
    ones = np.ones((), np.float32)
    return fma_ftz(fma_ftz(parts[0], ones, parts[1]), ones, acc)


class AmxTiles:
    """The eight tiles of AMX: what the instructions do, on the memory of this process.

    AssertionError where a processor would fault: an unconfigured tile, one that is too large.
    """

    def __init__(self) -> None:
        self.rows: list[int] | None = None
        self.bytes: list[int] = []
        self.tiles = np.zeros((8, 16, 64), np.uint8)
        self.counts: Counter[str] = Counter()

    def ldtilecfg(self, address: int) -> None:
        config = _memory(address, 64)
        assert config[0] == 1 and not config[1:16].any(), "palette 1, from the start"
        self.bytes = [int(n) for n in config[16:32].view(np.uint16)]
        self.rows = [int(n) for n in config[48:56]]
        assert all(n <= 64 for n in self.bytes) and all(n <= 16 for n in self.rows)
        self.tiles[:] = 0

    def tilerelease(self) -> None:
        self.rows = None

    def tilezero(self, tile: int) -> None:
        assert self.rows is not None
        self.tiles[tile] = 0

    def tileloadd64(self, tile: int, address: int, stride: int) -> None:
        assert self.rows is not None
        self.tiles[tile] = 0
        rows, width = self.rows[tile], self.bytes[tile]
        self.tiles[tile, :rows, :width] = _rows(address, stride, rows, width)

    def tilestored64(self, tile: int, address: int, stride: int) -> None:
        assert self.rows is not None
        rows, width = self.rows[tile], self.bytes[tile]
        _rows(address, stride, rows, width)[:] = self.tiles[tile, :rows, :width]

    def tdpbf16ps(self, acc: int, a: int, b: int) -> None:
        x, y, total = self._operands(acc, a, b)
        left, right = x.view(bf16.numpy), y.view(bf16.numpy)
        sums = tdpbf16ps(
            total.view(np.float32),
            left.reshape(len(x), -1, 2),
            right.reshape(len(y), -1, 2),
        )
        self._store(acc, sums)

    def tdpbusd(self, acc: int, a: int, b: int) -> None:
        x, y, total = self._operands(acc, a, b)
        left = x.reshape(len(x), -1, 4).astype(np.int64)
        right = y.view(np.int8).reshape(len(y), -1, 4).astype(np.int64)
        products = np.einsum("mkg,kng->mn", left, right)
        self._store(acc, (total.view(np.int32) + products).astype(np.int32))

    def _operands(self, acc: int, a: int, b: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        assert self.rows is not None and len({acc, a, b}) == 3
        rows, width = self.rows, self.bytes
        assert rows[acc] == rows[a] and width[acc] == width[b] and width[a] // 4 == rows[b]
        found = (self.tiles[t, : rows[t], : width[t]] for t in (a, b, acc))
        x, y, total = (np.ascontiguousarray(tile) for tile in found)
        return x, y, total

    def _store(self, acc: int, sums: np.ndarray) -> None:
        assert self.rows is not None
        whole = np.ascontiguousarray(sums).view(np.uint8)
        self.tiles[acc, : self.rows[acc], : self.bytes[acc]] = whole


def _rows(address: int, stride: int, rows: int, width: int) -> np.ndarray:
    """Rows of bytes of this process, `stride` bytes from one to the next."""
    whole = _memory(address, max(0, rows - 1) * stride + width)
    return np.ndarray((rows, width), np.uint8, whole, strides=(stride, 1))


def _memory(address: int, nbytes: int) -> np.ndarray:
    """Bytes of this process."""
    return np.frombuffer((ctypes.c_uint8 * nbytes).from_address(address), np.uint8)
