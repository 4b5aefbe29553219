"""Which tiles of a direct convolution are worth timing: a rough cost model orders them.

The model counts cycles per filter element: one fma (or dot4) per accumulator against the loads
that feed them, wasted lanes and pixels, and the cost of pixels that share an L1 set.
"""

from __future__ import annotations

from math import gcd

from camshaft.backends.base import Params
from camshaft.backends.cpu.conv_problem import ConvProblem
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.types import f32

_MOST = 10
_L1_WAYS = 8
_PAGE = 4096


def candidates(p: ConvProblem, target: CpuTarget, threads: int) -> tuple[Params, ...]:
    """Parameter sets for problem `p`, best guess first, at most 12."""
    lanes = target.lanes(f32)
    scored: list[tuple[float, int, int]] = []
    for cols in range(1, 5):
        if cols > -(-p.k // lanes):
            break
        for rows in _row_counts(p, cols, target):
            scored.append((_cost(p, rows, cols, target), rows, cols))
    scored = sorted(set(scored))
    best = scored[0][0]
    shapes = [(rows, cols) for cost, rows, cols in scored if cost <= 1.3 * best][:5]
    found: list[Params] = []
    for rows, cols in shapes:
        orders = ("panel", "pixel") if -(-p.k // (cols * lanes)) * p.groups > 1 else ("panel",)
        for order in orders:
            block = _block(p, rows, cols, order, target, threads)
            found.append({"rows": rows, "cols": cols, "block": block, "order": order})
    return tuple(found[:_MOST])


def accumulators(cols: int, target: CpuTarget) -> int:
    """Accumulators that fit in registers beside `cols` weights and one or two inputs."""
    spare = 2 if target.has_fma else 3
    if not target.has_vnni and target.registers <= 16:
        spare += 1
    return target.registers - cols - spare


def _row_counts(p: ConvProblem, cols: int, target: CpuTarget) -> list[int]:
    """Tile heights: the highest that fits, evened out over the row, and half of it."""
    most = max(1, accumulators(cols, target) // cols)
    counts: list[int] = []
    for limit in (most, 7, most // 2):
        limit = max(1, min(limit, most, p.ow))
        even = -(-p.ow // -(-p.ow // limit))
        counts += [n for n in (even, limit) if n not in counts]
    return counts


def _cost(p: ConvProblem, rows: int, cols: int, target: CpuTarget) -> float:
    """Cycles per filter element and useful output element, up to a constant."""
    lanes = target.lanes(f32)
    panels = -(-p.k // (cols * lanes))
    cycles = 0.0
    for pixels in _tile_heights(p.ow, rows):
        last = -(-(p.k - (panels - 1) * cols * lanes) // lanes)
        for width, count in ((cols, panels - 1), (last, 1)):
            products = pixels * width
            loads = width + (pixels if width > 1 else 0.6 * pixels)
            latency = 4.0 if products < 8 else 0.0
            # Each pass over a panel streams its weights once more: small tiles pay for it.
            stream = 0.35 * width
            cycles += count * (max(products, 0.75 * loads, latency) + 0.15 * loads + stream)
    return cycles * _conflicts(p, rows)


def _tile_heights(ow: int, rows: int) -> list[int]:
    full, rest = divmod(ow, rows)
    return [rows] * full + [rest] * (rest > 0)


def _conflicts(p: ConvProblem, rows: int) -> float:
    """Slowdown where the pixels of a tile fall into few L1 sets."""
    distance = p.stride[1] * p.x_strides[2] * p.x_dtype.bytes
    if distance <= 0:
        return 1.0
    sets = max(1, _PAGE // gcd(distance, _PAGE))
    return 1.3 if rows > sets * (_L1_WAYS - 1) else 1.0


def _block(
    p: ConvProblem, rows: int, cols: int, order: str, target: CpuTarget, threads: int
) -> int:
    """Rows (or tiles) of a work item: some 20 thousand cycles, yet items for every worker."""
    lanes = target.lanes(f32)
    pixels = rows if p.n * p.oh == 1 else p.ow
    units = -(-p.ow // rows) if p.n * p.oh == 1 else p.n * p.oh
    steps = p.reduction / (4 if p.is_int8 else 1)
    wanted = max(1, round(20_000 / (pixels * cols * steps)))
    panels = -(-p.k // (cols * lanes)) * p.groups
    items = max(1, 6 * threads // panels)
    return max(1, min(wanted, units // items))
