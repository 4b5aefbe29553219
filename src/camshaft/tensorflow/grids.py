"""What TensorFlow's quantizers say: which numbers they round to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

FAKE = ("FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxVarsPerChannel")
SYMMETRIC = ("QuantizeAndDequantizeV2", "QuantizeAndDequantizeV3", "QuantizeAndDequantizeV4")
QUANTIZERS = (*FAKE, *SYMMETRIC)


@dataclass(frozen=True)
class Grid:
    """The numbers (level - zero) * scale of levels from `first` to `last`.

    scale: float32, [] or [C].  zero: int64, of the same shape.  axis: that of C; None: one scale for all.  half_up: whether halves are rounded
    up, in place of to even.
    """

    first: int
    last: int
    scale: np.ndarray
    zero: np.ndarray
    axis: int | None
    half_up: bool

    @property
    def has_bytes(self) -> bool:
        """Whether levels are bytes."""
        return self.last - self.first < 256

    @property
    def stored(self) -> Any:
        """The type of levels in a byte: signed where some are negative."""
        return np.dtype(np.int8 if self.first < 0 else np.uint8)

    @property
    def is_clipped(self) -> bool:
        """Whether there are fewer levels than the type has."""
        info = np.iinfo(self.stored)
        return (self.first, self.last) != (info.min, info.max)

    def aligned(self, values: np.ndarray, rank: int) -> np.ndarray:
        """Numbers per scale so that they broadcast against a tensor of a rank."""
        if self.axis is None:
            return values
        shape = [1] * rank
        shape[self.axis] = values.size
        return values.reshape(shape)

    def ends(self, rank: int) -> tuple[np.ndarray, np.ndarray]:
        """The least and the greatest number, float32, for a tensor of a rank."""
        made = ((np.float32(e) - self.zero.astype(np.float32)) * self.scale for e in self._ends)
        low, high = (self.aligned(e.astype(np.float32), rank) for e in made)
        return low, high

    @property
    def _ends(self) -> tuple[int, int]:
        return self.first, self.last

    def levels(self, numbers: np.ndarray) -> np.ndarray:
        """The levels of numbers that are on the grid, int8, with zeros moved as `signed` has them."""
        scale, zero = (self.aligned(v, numbers.ndim) for v in (self.scale, self.zero))
        found: np.ndarray = np.rint(numbers.astype(np.float64) / scale) + zero - self._moved
        bytes_: np.ndarray = np.clip(found, -128, 127).astype(np.int8)
        return bytes_

    @property
    def signed(self) -> tuple[np.ndarray, np.ndarray]:
        """Scale and zero, float32 and int8, of levels that are signed bytes."""
        return self.scale, (self.zero - self._moved).astype(np.int8)

    @property
    def _moved(self) -> int:
        return 0 if self.first < 0 else 128


def bits_of(attributes: Mapping[str, Any], inputs: Sequence[np.ndarray]) -> int:
    """How many bits a quantizer's levels have.  inputs: its parameters, of which V3 has bits for the third."""
    return int(inputs[2]) if len(inputs) > 2 else int(attributes["num_bits"])


def grid_of(
    op: str, attributes: Mapping[str, Any], inputs: Sequence[np.ndarray], rank: int
) -> Grid:
    """What a quantizer rounds to whose range is given.

    inputs: what it reads besides the tensor.  rank: the tensor's.  ValueError, in words, for ranges that hold no number but 0.
    """
    if op in FAKE:
        return _fake_grid(op, attributes, inputs, rank)
    bits = bits_of(attributes, inputs)
    signed, narrow = bool(attributes["signed_input"]), bool(attributes["narrow_range"])
    first = (-(2 ** (bits - 1)) + narrow) if signed else 0
    last = 2 ** (bits - 1) - 1 if signed else 2**bits - 1
    low, high = (np.asarray(x, np.float32) for x in inputs[:2])
    with np.errstate(divide="ignore", invalid="ignore"):
        below = np.where(first * low > 0, low / np.float32(first or 1), np.float32(0))
        above = np.where(last * high > 0, high / np.float32(last), np.float32(0))
    scale = np.maximum(below, above).astype(np.float32)
    if not np.all(scale > 0):
        raise ValueError(f"its range [{low.min()}, {high.max()}] holds no level but 0")
    half_up = _text(attributes.get("round_mode", b"HALF_TO_EVEN")) == "HALF_UP"
    axis = _axis(int(attributes.get("axis", -1)), rank)
    return Grid(first, last, scale, np.zeros(scale.shape, np.int64), axis, half_up)


def _fake_grid(
    op: str, attributes: Mapping[str, Any], inputs: Sequence[np.ndarray], rank: int
) -> Grid:
    """TensorFlow's Nudge: the range is moved until 0 is a level."""
    if op == "FakeQuantWithMinMaxArgs":
        inputs = [np.asarray(attributes[end]) for end in ("min", "max")]
    low, high = (np.asarray(x, np.float32) for x in inputs[:2])
    first, last = int(attributes["narrow_range"]), 2 ** int(attributes["num_bits"]) - 1
    if not np.all(low < high):
        raise ValueError(f"its range [{np.min(low)}, {np.max(high)}] is empty")
    scale = np.asarray((high - low) / np.float32(last - first), np.float32)
    exact = np.float32(first) - low / scale
    zero = np.asarray(np.floor(np.clip(exact, first, last) + np.float32(0.5)), np.int64)
    axis = rank - 1 if op == "FakeQuantWithMinMaxVarsPerChannel" else None
    return Grid(first, last, scale, zero, axis, half_up=True)


def _axis(axis: int, rank: int) -> int | None:
    return None if axis == -1 else axis % rank


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
