"""What the time of a convolution depends on, as numbers for the cost model.

Each number is the logarithm of a factor by which a candidate may be slower than others of its spec, or
says whether such a factor is there.  The model (`builder.tuning.cost_model`) finds their weights from
timings.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log

from camshaft.backends.base import Params
from camshaft.backends.cpu.conv.grouped_tiles import Shape
from camshaft.backends.cpu.conv.problem import SizedConvProblem
from camshaft.backends.cpu.conv.search import cycles, imbalance
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.types import f32

IDLE = "idle"
"""The busiest worker's share of the work, in units of an even share: time grows as it does."""
LATENCY = 8
"""Independent sums that hide the latency of a multiply-add."""


def above_one(x: float) -> float:
    """log(x), 0 below 1: how far something exceeds the cache it should fit in."""
    return log(max(1.0, x))


def tile_features(extent: int, rows: int, cols: int, sums: int = 1) -> dict[str, float]:
    """What a register tile costs that is `rows` of an extent high and `cols` vectors wide, of so many sums each."""
    full, rest = divmod(extent, rows)
    return {
        "latency": above_one(LATENCY / (rows * cols * sums)),
        "loads": (rows + cols) / (rows * cols),
        "rest": (rest > 0) / (full + 1),
        "rest latency": (rest > 0) * above_one(LATENCY / (max(rest, 1) * cols * sums)) / (full + 1),
    }


def idle_of(items: int, even: float, threads: int) -> float:
    """IDLE where each worker takes as many of `items`.  even: how many there were if none were partly empty."""
    return log(-(-items // threads) * threads / even) if threads > 1 else 0.0


def direct_features(
    p: SizedConvProblem, params: Params, target: CpuTarget, threads: int
) -> Mapping[str, float]:
    """Features of `conv_direct` with these parameters; names of INT8's end in "/i8"."""
    rows, cols, block = (int(params[n]) for n in ("rows", "cols", "block"))
    sums = int(params.get("sums", 1))
    by_panel = params["order"] == "panel"
    lanes = target.lanes(f32)
    panels = -(-p.k // (cols * lanes))
    image = p.n * p.h * p.w * p.c * p.groups * p.x_dtype.bytes
    weights = p.k * p.groups * p.reduction * p.x_dtype.bytes
    steps = p.reduction / (4 if p.is_int8 else 1)
    flat = p.n * p.oh == 1
    found = {
        "cycles": log(cycles(p, rows, cols, target, sums)),
        **tile_features(p.ow, rows, cols, sums),
        "lanes": log(panels * cols * lanes / p.k),
        "pixel": float(not by_panel),
        "weights by pixel": (not by_panel) * above_one(weights / target.l2_bytes),
        "weights by panel": by_panel * above_one(weights / target.l2_bytes),
        "image by panel": by_panel * (panels > 1) * above_one(image / target.l2_bytes),
        "panels by pixel": (not by_panel) * log(panels),
        "panels by panel": by_panel * log(panels),
        "short": rows * cols / steps,
        "block": log(block * (rows if flat else p.ow)),
        "panel in L1": above_one(4 * cols * lanes * steps / target.l1_bytes),
        **{f"cols {n}": float(cols == n) for n in (1, 3, 4)},
    }
    suffix = "/i8" if p.is_int8 else ""
    idle = log(imbalance(p, rows, cols, str(params["order"]), block, target, threads))
    named = {f"conv_direct {name}{suffix}": float(value) for name, value in found.items()}
    return {IDLE: idle, **named}


def grouped_features(
    p: SizedConvProblem, shape: Shape, params: Params, target: CpuTarget, threads: int
) -> Mapping[str, float]:
    """Features of `conv_grouped` with these parameters; names of INT8's end in "/i8"."""
    cols, rows = int(params["cols"]), int(params["rows"])
    full, rest = divmod(p.ow, cols)
    bands = -(-p.oh // rows)
    blocks = -(-shape.vectors // max(1, 16 // shape.lanes))
    items = p.n * bands * blocks
    halo = (rows - 1) * p.stride[0] + (p.r - 1) * p.dilation[0] + 1
    found = {
        "latency": above_one(LATENCY / cols),
        "loads": (cols + p.s) / (cols * p.s),
        "rest": (rest > 0) / (full + 1),
        "rest latency": (rest > 0) * above_one(LATENCY / max(rest, 1)) / (full + 1),
        "tiles": log(full + (rest > 0)),
        "halo": log(halo / (rows * p.stride[0])),
        "rows": log(rows),
        "strip in L1": above_one(
            rows * p.stride[0] * cols * shape.lanes * p.x_dtype.bytes / target.l1_bytes
        ),
    }
    suffix = "/i8" if p.is_int8 else ""
    even = p.n * p.oh / rows * blocks
    idle = idle_of(items, even, threads)
    named = {f"conv_grouped {name}{suffix}": float(value) for name, value in found.items()}
    return {IDLE: idle, **named}
