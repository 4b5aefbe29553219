"""What the time of a blocked product depends on, as numbers for the cost model (see `conv.features`)."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, log

from camshaft.backends.base import Params
from camshaft.backends.cpu.conv.features import IDLE, above_one, idle_of, tile_features
from camshaft.backends.cpu.matmul.problem import MatmulProblem
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.extents.sizes import typical
from camshaft.ir.types import f32


def blocked_features(
    p: MatmulProblem, params: Params, target: CpuTarget, threads: int
) -> Mapping[str, float]:
    """Features of `matmul_blocked` of f32 with these parameters, at typical sizes."""
    rows, cols, depth, tiles, panels = (
        int(params[n]) for n in ("rows", "cols", "depth", "tiles", "panels")
    )
    lanes = target.lanes(f32)
    m, n, k, batches = (typical(e) for e in (p.m, p.n, p.k, p.batches))
    width = cols * lanes
    row_blocks, column_blocks = -(-m // (rows * tiles)), -(-n // (panels * width))
    items = row_blocks * column_blocks * batches
    even = (m / (rows * tiles)) * (n / (panels * width)) * batches
    found = {
        "": 1.0,
        **tile_features(m, rows, cols),
        "lanes": log(ceil(n / width) * width / n),
        "pieces": log(-(-k // depth)),
        "short": rows * cols / k,
        "outputs": 1 / n,
        "weights": above_one(4 * n * k / target.l2_bytes),
        "image": above_one(4 * m * k / target.l2_bytes),
        "panel in L1": above_one(4 * width * depth / target.l1_bytes),
        "row blocks": log(row_blocks),
        "column blocks": log(column_blocks),
        "cols 3": float(cols == 3),
        "cols 4": float(cols == 4),
    }
    idle = idle_of(items, even, threads)
    return {IDLE: idle} | {
        f"matmul_blocked {name}".strip(): float(value) for name, value in found.items()
    }
