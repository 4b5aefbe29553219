"""Which tiles of a direct convolution are worth timing: a rough cost model orders them.

The model counts cycles per filter element: one fma (or dot4) per accumulator against the loads
that feed them, wasted lanes and pixels, and the cost of pixels that share an L1 set.
"""

from __future__ import annotations

from math import ceil, gcd

import numpy as np

from camshaft.backends.base import Params
from camshaft.backends.cpu.conv.plan import vector_widths
from camshaft.backends.cpu.conv.problem import ConvProblem, SizedConvProblem
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.types import HALVES, f32

_MOST = 5
_FEW_PIXELS = 2
_NARROW = (2, 3)
"""Vectors in the panels that kernels of many pixels read."""


def candidates(problem: ConvProblem, target: CpuTarget, threads: int) -> tuple[Params, ...]:
    """Parameter sets for a problem, best guess first, at most 5.

    Measured on the layers of ResNet-50 and MobileNetV2, timing more of them gains half a percent.
    """
    p, lanes = problem.typical, target.lanes(f32)
    scored: list[tuple[float, int, int, str, int]] = []
    for cols in range(1, 5):
        if cols > -(-p.k // lanes):
            break
        panels = -(-p.k // (cols * lanes)) * p.groups
        for rows in _row_counts(p, cols, target):
            cost = cycles(p, rows, cols, target)
            for rank, order in enumerate(("panel", "pixel") if panels > 1 else ("panel",)):
                block = _block(p, rows, cols, target, threads)
                # Weight panels in turn read the pixels again; a slight preference breaks ties.
                idle = imbalance(p, rows, cols, order, block, target, threads)
                scored.append((cost * idle * (1 + 0.005 * rank), rows, cols, order, block))
    scored.sort()
    worst = 1.3 * scored[0][0]
    found: list[Params] = [
        {"rows": rows, "cols": cols, "block": block, "order": order}
        for cost, rows, cols, order, block in scored[:_MOST]
        if cost <= worst
    ]
    few = problem.has_open_columns and p.n * p.oh * p.ow <= _FEW_PIXELS
    return (*found, *(_narrow_panels(p, target, threads) if few else ()))


def _narrow_panels(p: SizedConvProblem, target: CpuTarget, threads: int) -> list[Params]:
    """Tiles of few pixels of an open number, for panels that are as wide as many pixels like them.

    Few pixels take the time that the weights take to arrive, whatever panels they come in, once two sums take turns
    where there are too few to hide a multiply-add's latency; and the layer's weights need not be packed twice.
    """
    lanes, found = target.lanes(f32), list[Params]()
    for cols in _NARROW:
        if (cols - 1) * lanes < p.k:
            block = _block(p, p.ow, cols, target, threads)
            turns = {"sums": 2} if p.ow * cols <= 4 else {}
            found += [
                {"rows": p.ow, "cols": cols, "block": block, "order": order, **turns}
                for order in ("panel", "pixel")
            ]
    return found


def accumulators(p: SizedConvProblem, cols: int, target: CpuTarget) -> int:
    """Accumulators that fit in registers beside `cols` weights, an input and scratch."""
    scratch = 0 if target.has_fma else 1
    widened = p.form.extra_registers(cols, target) if p.w_dtype in HALVES else 0
    if p.is_int8 and not target.has_vnni:
        scratch = 3
    elif target.registers > 16:
        scratch = 1
    return target.registers - cols - 1 - scratch - widened


def _row_counts(p: SizedConvProblem, cols: int, target: CpuTarget) -> list[int]:
    """Tile heights: the highest that fits, evened out over the row, and half of it."""
    most = max(1, accumulators(p, cols, target) // cols)
    counts: dict[int, None] = {}
    for limit in (most, 7, most // 2):
        limit = max(1, min(limit, most, p.ow))
        counts[-(-p.ow // -(-p.ow // limit))] = None
    return list(counts)


def cycles(p: SizedConvProblem, rows: int, cols: int, target: CpuTarget, sums: int = 1) -> float:
    """Cycles per filter element and useful output element, up to a constant."""
    lanes = target.lanes(f32)
    panels = -(-p.k // (cols * lanes))
    last = sum(vector_widths(p.k - (panels - 1) * cols * lanes, lanes)) / lanes
    # Fewer than about eight independent sums do not hide the latency of an fma, fewer than
    # twelve that of a bf16 dot product.
    latency = 12.0 if p.form.dot and target.has_bf16 and not p.is_int8 else 8.0
    full, rest = divmod(p.ow, rows)
    cycles = 0.0
    for pixels, tiles in ((rows, full), (rest, int(rest > 0))):
        for width, count in ((cols, panels - 1), (last, 1)):
            products = pixels * width
            loads = (0.9 if target.vector_bits >= 512 else 1.15) * (ceil(width) + pixels)
            # Each tile streams the panel's weights once more: small tiles pay for it.
            stream = 0.35 * width
            cycles += tiles * count * (max(products, loads, latency / sums) + 0.1 * loads + stream)
    return cycles * _conflicts(p, rows, target)


def _conflicts(p: SizedConvProblem, rows: int, target: CpuTarget) -> float:
    """Slowdown where the pixels of a tile fall into few L1 sets."""
    distance = p.stride[1] * p.x_strides[2] * p.x_dtype.bytes
    if distance <= 0:
        return 1.0
    way = target.l1_bytes // target.l1_ways  # addresses that far apart share a set
    sets = max(1, way // gcd(distance, way))
    return 1.3 if rows > sets * (target.l1_ways - 1) else 1.0


def _block(p: SizedConvProblem, rows: int, cols: int, target: CpuTarget, threads: int) -> int:
    """Rows (or tiles) of a work item: some 20 thousand cycles, yet items for every worker."""
    pixels = rows if p.n * p.oh == 1 else p.ow
    steps = p.reduction / p.form.group
    wanted = max(1, round(20_000 / (pixels * cols * steps)))
    panels = -(-p.k // (cols * target.lanes(f32))) * p.groups
    items = max(1, 6 * threads // panels)
    return max(1, min(wanted, units(p, rows) // items))


def units(p: SizedConvProblem, rows: int) -> int:
    """Of what a work item has `block`: rows of pixels, or tiles where all pixels form one row."""
    return -(-p.ow // rows) if p.n * p.oh == 1 else p.n * p.oh


def imbalance(
    p: SizedConvProblem,
    rows: int,
    cols: int,
    order: str,
    block: int,
    target: CpuTarget,
    threads: int,
) -> float:
    """The busiest worker's share of the work, in units of an even share."""
    if threads == 1:
        return 1.0
    lanes = target.lanes(f32)
    per_group = -(-p.k // (cols * lanes))
    rest = sum(vector_widths(p.k - (per_group - 1) * cols * lanes, lanes)) / lanes
    panels = np.array(([float(cols)] * (per_group - 1) + [rest]) * p.groups)
    count = units(p, rows)
    blocks = np.diff(np.append(np.arange(0, count, block), count))
    work = np.outer(panels, blocks) if order == "panel" else np.outer(blocks, panels)
    done = np.concatenate([[0], np.cumsum(work)])
    edges = [work.size * w // threads for w in range(threads + 1)]
    return float(np.diff(done[edges]).max() * threads / done[-1])
