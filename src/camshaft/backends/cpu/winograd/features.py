"""What the time of a Winograd convolution depends on, as numbers for the cost model (see
`conv.features`)."""

from __future__ import annotations

from collections.abc import Mapping
from math import log

from camshaft.backends.cpu.conv.features import IDLE, LATENCY, above_one
from camshaft.backends.cpu.target import CpuTarget
from camshaft.backends.cpu.winograd.plan import WinogradLayout
from camshaft.ir.extents.sizes import typical


def winograd_features(p: WinogradLayout, target: CpuTarget, threads: int) -> Mapping[str, float]:
    """Features at typical sizes."""
    n, oh, ow, _ = (typical(e) for e in p.spec.outputs[0].shape)
    m, tiles, blocks = p.m, typical(p.tiles), typical(p.blocks)
    items = p.panels * blocks if p.by_panels else blocks
    even = tiles / p.block * (p.outputs / p.panel if p.by_panels else 1.0)
    edge = log(tiles * m * m / (n * oh * ow))
    image = 4 * p.positions * tiles * p.channels
    found = {
        "": 1.0,
        "F(4,3)": float(m == 4),
        "edge": edge,
        "edge F(4,3)": (m == 4) * edge,
        "lanes": log(p.panels * p.panel / p.outputs),
        "latency": above_one(LATENCY / (p.rows * p.cols)),
        "loads": (p.rows + p.cols) / (p.rows * p.cols),
        "cols 1": float(p.cols == 1),
        "cols 3": float(p.cols == 3),
        "panels": float(p.by_panels),
        "image by panels": p.by_panels * above_one(image / target.l2_bytes),
        "weights by blocks": (not p.by_panels) * above_one(p.u_bytes / target.l2_bytes),
        "blocks": (not p.by_panels) * (p.u_bytes > target.l2_bytes) * log(blocks),
        "weights": above_one(p.u_bytes / target.l2_bytes),
        "channels": 1 / p.channels,
        "outputs": 1 / p.outputs,
        "channels F(4,3)": (m == 4) * (1 / p.channels + 1 / p.outputs),
        "groups": log(p.groups),
        "over": log(p.block / min(p.block, tiles)),
    }
    idle = log(-(-items // threads) * threads / even)
    return {IDLE: idle} | {
        f"winograd {name}".strip(): float(value) for name, value in found.items()
    }
