"""What an INT8 depthwise tile computes: which input bytes meet in a dot product, with which weights.

A tile is `tall` output rows of one column.  The distinct input rows under it are taken four at a
time; each *quad* of rows is interleaved once per input column and serves every output row of the
tile that uses any of its rows, with zero weights for the others.  A single row left over (the fifth
of a 5x5 filter) would waste three of four bytes: its quad is a *line* of four neighbouring columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from camshaft.backends.cpu.byte_lanes import lane_order
from camshaft.backends.cpu.conv.problem import ConvProblem
from camshaft.backends.cpu.target import CpuTarget

Place = tuple[int, int]
"""(number of an input row of the tile, filter columns to the left of the current one, negative)."""

Tap = tuple[int, int, int]
"""(output row of the tile, filter column, quad)."""


@dataclass(frozen=True)
class Quads:
    """Rows and taps of tiles of `tall` output rows."""

    problem: ConvProblem
    tall: int

    @property
    def rows(self) -> list[int]:
        """Distinct input rows of a tile, relative to that under filter row 0 of its first row."""
        p = self.problem
        return sorted(
            {i * p.stride[0] + r * p.dilation[0] for i in range(self.tall) for r in range(p.r)}
        )

    @property
    def quads(self) -> list[list[Place]]:
        """The bytes that are interleaved for each input column, up to four to a quad."""
        count = len(self.rows)
        quads = [[(n, 0) for n in range(m, min(m + 4, count))] for m in range(0, count, 4)]
        if count % 4 == 1 and self.problem.s > 1:
            left = min(4, self.problem.s) - 1
            quads[-1] = [(count - 1, -back) for back in range(left, -1, -1)]
        return quads

    @property
    def back(self) -> int:
        """How many input columns to the left of the current one quads reach."""
        return -min(left for quad in self.quads for _, left in quad) * self.problem.dilation[1]

    def filter_taps(self, i: int, s: int, q: int) -> list[tuple[int, int] | None]:
        """(filter row, filter column) with which output row i of the tile uses each byte of quad q
        when the current column lies under its filter column s; None for bytes it does not use."""
        p = self.problem
        quad = self.quads[q]
        done = s - 1
        if quad[0][1] < 0:  # a line: used when full, and at the last filter column for the rest
            if s % len(quad) != len(quad) - 1 and s != p.s - 1:
                return [None] * len(quad)
            done = s // len(quad) * len(quad) - 1
        result: list[tuple[int, int] | None] = []
        for n, left in quad:
            r, rest = divmod(self.rows[n] - i * p.stride[0], p.dilation[0])
            used = rest == 0 and 0 <= r < p.r and s + left > done
            result.append((r, s + left) if used else None)
        return result

    def taps(self) -> dict[Tap, int]:
        """All dot products of a tile, numbered in the order of their packed weights."""
        found: dict[Tap, int] = {}
        for s in range(self.problem.s):
            for q in range(len(self.quads)):
                for i in range(self.tall):
                    if any(tap is not None for tap in self.filter_taps(i, s, q)):
                        found[i, s, q] = len(found)
        return found


@dataclass(frozen=True)
class ChannelBlocks:
    """Blocks of channels: `count` from `channel` on, `width` bytes wide, of which `valid` exist.

    Four vectors of width/4 i32 lanes hold a block.  fold: neighbouring pixels in a block, each with
    all channels.  room: its constants are packed as for a block that is so wide (0: as wide as it).
    """

    channel: int
    count: int
    width: int
    valid: int
    fold: int = 1
    room: int = 0

    @property
    def lanes(self) -> int:
        """i32 lanes of each of the four vectors."""
        return self.width // 4

    @property
    def packed(self) -> int:
        """i32 lanes from one of the four vectors to the next in packed constants."""
        return (self.room or self.width) // 4

    @property
    def alone(self) -> ChannelBlocks:
        """The block for a pixel at a time."""
        if self.fold == 1:
            return self
        channels = self.width // self.fold
        return ChannelBlocks(0, 1, _narrow(channels), channels, room=self.width)


def channel_blocks(channels: int, target: CpuTarget, fold: int = 1) -> list[ChannelBlocks]:
    """Full blocks of a vector of bytes, then one narrower block for the rest; or one folded."""
    width = target.vector_bits // 8
    if fold > 1:
        return [ChannelBlocks(0, 1, width, width, fold)]
    full, rest = divmod(channels, width)
    blocks = [ChannelBlocks(0, full, width, width)] if full else []
    if rest:
        blocks.append(ChannelBlocks(full * width, 1, _narrow(rest), rest))
    return blocks


def _narrow(channels: int) -> int:
    """Bytes of the narrowest vector that holds so many."""
    return next(w for w in (16, 32, 64) if w >= channels)


def padded_channels(blocks: Sequence[ChannelBlocks]) -> int:
    """Channels of all blocks, those that do not exist included."""
    return sum(b.count * b.width for b in blocks)


def to_lane_order(values: np.ndarray, blocks: Sequence[ChannelBlocks]) -> np.ndarray:
    """Per-channel values [..., C], repeated where pixels are folded, padded with 0, and each
    block permuted into lane order."""
    padded = np.zeros((*values.shape[:-1], padded_channels(blocks)), values.dtype)
    tiled = np.tile(values, blocks[0].fold)
    padded[..., : tiled.shape[-1]] = tiled
    order = [
        b.channel + n * b.width + c
        for b in blocks
        for n in range(b.count)
        for c in lane_order(b.width)
    ]
    return np.ascontiguousarray(padded[..., order])


def pack_weights(
    quads: Quads, w: np.ndarray, blocks: Sequence[ChannelBlocks], *, halves: bool
) -> np.ndarray:
    """Weights [C,R,S] s8 in the order of the kernel: [block][tap][4 vectors][lane][4 rows].

    halves: for targets without a byte dot product, i16 instead, even rows apart from odd ones:
    [block][tap][2][4 vectors][lane][2 rows].
    """
    taps = quads.taps()
    channels = w.shape[0]
    table = np.zeros((len(taps), 4, channels), np.int8)
    for (i, s, q), place in taps.items():
        for byte, tap in enumerate(quads.filter_taps(i, s, q)):
            if tap is not None:
                table[place, byte] = w[:, tap[0], tap[1]]
    ordered = to_lane_order(table, blocks)
    parts = []
    start = 0
    for block in blocks:
        for _ in range(block.count):
            part = ordered[:, :, start : start + block.width].transpose(0, 2, 1)
            if halves:
                wide = part.astype(np.int16)
                part = np.stack([wide[..., 0::2], wide[..., 1::2]], axis=1)
            parts.append(np.ascontiguousarray(part).reshape(-1))
            start += block.width
    return np.concatenate(parts)


def pack_compensation(
    problem: ConvProblem, w: np.ndarray, blocks: Sequence[ChannelBlocks]
) -> np.ndarray:
    """First values of the sums, -zero_point * (sum of the channel's weights), i32, lane order."""
    total = w.astype(np.int64).sum(axis=(1, 2))
    return to_lane_order((-problem.zero_point * total).astype(np.int32), blocks)
