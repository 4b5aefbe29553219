"""Winograd convolutions of symbolic batch, height and width: one kernel, many sizes."""

from __future__ import annotations

import numpy as np
import pytest

from camshaft.backends.base import KernelSpec, Operand
from camshaft.backends.cpu.target import CpuTarget
from camshaft.backends.cpu.winograd.tactic import Winograd, WinogradCandidate
from camshaft.ir import expr as E
from camshaft.ir.extents.extent import Extent, extent_of
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.types import f32, row_major_strides
from camshaft.ops import CONV
from kernel_harness import SymbolicKernel, at_sizes
from targets import each_target

N = extent_of(Symbol("n", 1, 1, 6))
H = extent_of(Symbol("h", 3, 14, 40))
W = extent_of(Symbol("w", 3, 20, 50))
ROUNDS = (
    {"n": 1, "h": 14, "w": 20},
    {"n": 1, "h": 3, "w": 3},
    {"n": 2, "h": 4, "w": 9},
    {"n": 6, "h": 5, "w": 6},
    {"n": 3, "h": 8, "w": 8},
    {"n": 1, "h": 40, "w": 50},
    {"n": 2, "h": 13, "w": 31},
)
LAYERS: dict[
    str, tuple[tuple[Extent, Extent, Extent, int], int, tuple[int, int, int, int], int]
] = {
    "batch": ((N, 9, 11, 19), 21, (1, 1, 1, 1), 0),
    "height": ((1, H, 12, 16), 32, (1, 1, 1, 1), 3),
    "width": ((1, 8, W, 32), 40, (0, 2, 1, 0), 0),
    "all": ((N, H, W, 24), 33, (1, 1, 1, 1), 5),
}


def spec_of(layer: str) -> KernelSpec:
    (n, h, w, c), channels, pads, pitch = LAYERS[layer]
    top, left, bottom, right = pads
    shape = (n, h + top + bottom - 2, w + left + right - 2, channels)
    total = E.add(E.add(E.inp(0), E.inp(1)), E.inp(2))
    attrs = {
        "strides": (1, 1),
        "pads": pads,
        "dilations": (1, 1),
        "groups": 1,
        "x_zero_point": 0,
        "epilogue": E.maximum(total, E.const(0.0)),
    }
    inputs = (
        Operand(f32, (n, h, w, c), row_major_strides((n, h, w, c + pitch))),
        Operand.dense(f32, (channels, 3, 3, c), const=True),
        Operand.dense(f32, (channels,), const=True),
        Operand.dense(f32, shape),
    )
    strides = row_major_strides((*shape[:3], channels + pitch))
    out = Operand(f32, shape, strides)
    return KernelSpec("conv", inputs, (out,), tuple(sorted(attrs.items())))


@pytest.mark.parametrize("m,schedule", [(2, "panels"), (4, "blocks"), (4, "panels")])
@pytest.mark.parametrize("layer", LAYERS)
@each_target
def test_open_images(target: CpuTarget, layer: str, m: int, schedule: str) -> None:
    spec = spec_of(layer)
    rng = np.random.default_rng(0)
    lanes = target.lanes(f32)
    params = {"m": m, "rows": 3, "panel": 2 * lanes, "groups": 2, "schedule": schedule}
    kernel = SymbolicKernel(WinogradCandidate(spec, target, None, params), target)
    for number, sizes in enumerate(ROUNDS):
        fixed = at_sizes(spec, sizes)
        arrays = [rng.standard_normal(o.shape).astype(np.float32) for o in fixed.inputs]
        attrs = CONV.complete({**dict(fixed.attrs), "layout": "NHWC"})
        (want,) = CONV.reference([a.astype(np.float64) for a in arrays], attrs)
        run = kernel.laid_out(sizes, [arrays[0], arrays[3]], arrays[1:3], 1 + number % 3)
        run.run()
        run.check_guards()
        error = np.abs(run.outputs()[0] - want).max() / np.abs(want).max()
        assert error < 1e-5, (sizes, error)


@each_target
def test_open_images_have_candidates_of_the_typical_size(target: CpuTarget) -> None:
    spec = spec_of("all")
    fixed = at_sizes(spec, {s.name: s.typical for s in spec.symbols})
    found, want = (Winograd().plan(s, target, 2) for s in (spec, fixed))
    assert [c.params for c in found] == [c.params for c in want]
    for candidate in found:
        SymbolicKernel(candidate, target)
