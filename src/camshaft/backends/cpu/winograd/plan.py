"""Sizes and memory layouts of a Winograd convolution, and its weights: stored, expanded.

The engine file stores the filters themselves, W [panel][C][9 taps][panel width], and code of the
kernel makes U [position][panel][C][panel width] of them when it is linked: U is 16/9 (F(2,3)) or
4 (F(4,3)) times as large.  Both f32, channels of the last panel zero-padded.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from camshaft.backends.base import KernelSpec, Params
from camshaft.backends.cpu.lang import Module
from camshaft.backends.cpu.winograd.transforms import TAPS, transform_weights
from camshaft.ir.extents.extent import Extent, ceil_div
from camshaft.ir.extents.sizes import fixed_extent
from camshaft.ir.types import f32, f64

LINE = 16
"""Elements of a cache line."""


@dataclass(frozen=True)
class WinogradLayout:
    """Sizes that follow from a spec, its parameters and the target (all in elements).

    Of open images, how many tiles there are is symbolic, and so is what follows from it.
    """

    spec: KernelSpec
    m: int
    rows: int
    panel: int
    groups: int
    by_panels: bool
    lanes: int

    @staticmethod
    def of(spec: KernelSpec, params: Params, lanes: int) -> WinogradLayout:
        """The layout of a candidate with these parameters; lanes: f32 elements of a vector."""
        m, rows, panel, groups = (int(params[n]) for n in ("m", "rows", "panel", "groups"))
        return WinogradLayout(spec, m, rows, panel, groups, params["schedule"] == "panels", lanes)

    @property
    def positions(self) -> int:
        """Products of a tile: (m + 2)^2."""
        return (self.m + TAPS - 1) ** 2

    @property
    def channels(self) -> int:
        """Input channels."""
        return fixed_extent(self.spec.inputs[0].shape[3], "input channels")

    @property
    def outputs(self) -> int:
        """Output channels."""
        return fixed_extent(self.spec.outputs[0].shape[3], "output channels")

    @property
    def padded_channels(self) -> int:
        """Pitch of V's rows: whole lines, and never a distance at which rows share L1 sets."""
        lines = -(-self.channels // LINE)
        return LINE * (lines + (lines % 16 == 0))

    @property
    def cols(self) -> int:
        """Vectors of output channels in a panel."""
        return self.panel // self.lanes

    @property
    def panels(self) -> int:
        """Panels of output channels."""
        return -(-self.outputs // self.panel)

    @property
    def tiles_yx(self) -> tuple[Extent, Extent]:
        """Rows and columns of tiles in an output image."""
        _, oh, ow, _ = self.spec.outputs[0].shape
        return ceil_div(oh, self.m), ceil_div(ow, self.m)

    @property
    def tiles(self) -> Extent:
        """Tiles of all images."""
        return self.spec.outputs[0].shape[0] * prod(self.tiles_yx)

    @property
    def block(self) -> int:
        """Tiles of a block."""
        return self.rows * self.groups

    @property
    def blocks(self) -> Extent:
        """Blocks of tiles."""
        return ceil_div(self.tiles, self.block)

    @property
    def tiles_in_v(self) -> Extent:
        """Tiles for which V has room: a block, or all of them in whole blocks."""
        return self.block * (self.blocks if self.by_panels else 1)

    @property
    def v_size(self) -> Extent:
        """Elements of V."""
        return self.positions * self.tiles_in_v * self.padded_channels

    @property
    def m_size(self) -> int:
        """Elements of M."""
        return self.positions * self.block * self.panel

    @property
    def u_bytes(self) -> int:
        """Size of U."""
        return 4 * self.positions * self.panels * self.channels * self.panel

    def workspace(self, threads: int) -> Extent:
        """Bytes: V (shared, or one a worker) and M (one a worker)."""
        if self.by_panels:
            return 4 * (self.v_size + threads * self.m_size)
        return 4 * threads * (self.v_size + self.m_size)


def stored_weights(plan: WinogradLayout, w: np.ndarray) -> np.ndarray:
    """w [K,3,3,C] as W [panel][C][9][panel width], zero-padded; f32."""
    padded = np.zeros((plan.panels * plan.panel, TAPS, TAPS, plan.channels), np.float32)
    padded[: w.shape[0]] = w
    split = padded.reshape(plan.panels, plan.panel, TAPS * TAPS, plan.channels)
    return np.ascontiguousarray(split.transpose(0, 3, 2, 1))


def emit_expansion(module: Module, plan: WinogradLayout) -> None:
    """The function that makes U of W, in float64 and rounded once; an item is one panel."""
    taps = TAPS * TAPS
    step = plan.panels * plan.channels * plan.panel  # from one position to the next
    with module.expansion("winograd_weights", plan.panels, 0, f32, f32, plan.u_bytes) as k:
        first, last = k.begin * plan.channels, k.end * plan.channels
        with k.loop(first, last) as line, k.loop(0, plan.cols) as j:
            w = k.args["stored"].at(line * (taps * plan.panel)).at(j * plan.lanes)
            u = k.args["expanded"].at(line * plan.panel).at(j * plan.lanes)
            vectors = [k.load(w.at(i * plan.panel), plan.lanes) for i in range(taps)]
            wide = [k.cast(v, f64) for v in vectors]
            grid = [wide[r * TAPS : (r + 1) * TAPS] for r in range(TAPS)]
            for i, row in enumerate(transform_weights(k, grid, plan.m)):
                for n, value in enumerate(row):
                    at = u.at((i * (plan.m + 2) + n) * step)
                    k.store(k.cast(value, f32), at)
