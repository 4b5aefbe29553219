"""Winograd: the algebra is exact, the kernel equals the reference on odd shapes and tails."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from camshaft.backends.base import KernelSpec, Operand
from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.link import call, link, pointer_table
from camshaft.backends.cpu.target import TARGETS, CpuTarget
from camshaft.backends.cpu.winograd.tactic import Winograd, WinogradCandidate
from camshaft.backends.cpu.winograd.transforms import filter_matrix, input_matrix, output_matrix
from camshaft.ir import expr as E
from camshaft.ir.types import f32, row_major_strides
from camshaft.ops import CONV
from kernel_harness import candidate_with, params_of, run_kernel
from targets import RUNNABLE, each_target, skip_unless_runnable


class AnyTiling:
    """Winograd with the tiling that a test asks for, also where no tiling would be worth timing."""

    name = Winograd.name

    def plan(self, spec: KernelSpec, target: CpuTarget, threads: int) -> list[WinogradCandidate]:
        return [WinogradCandidate(spec, target, None)]


@pytest.mark.parametrize("m", [2, 4])
def test_transforms_compute_a_correlation(m: int) -> None:
    rng = np.random.default_rng(0)
    d, g = rng.standard_normal(m + 2), rng.standard_normal(3)
    got = output_matrix(m) @ ((filter_matrix(m) @ g) * (input_matrix(m) @ d))
    np.testing.assert_allclose(got, np.correlate(d, g, "valid"), rtol=1e-12, atol=1e-12)


def make_case(
    shape: tuple[int, int, int, int],
    out_channels: int,
    pads: tuple[int, int, int, int],
    *,
    residual: bool = False,
    pitch: int = 0,
    seed: int = 0,
) -> tuple[KernelSpec, list[np.ndarray], list[np.ndarray], np.ndarray]:
    """(spec, variable inputs, constants, expected output)."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape).astype(np.float32)
    w = rng.standard_normal((out_channels, 3, 3, shape[3])).astype(np.float32)
    bias = rng.standard_normal(out_channels).astype(np.float32)
    expr = E.add(E.inp(0), E.inp(1))
    top, left, bottom, right = pads
    y_shape = (shape[0], shape[1] + top + bottom - 2, shape[2] + left + right - 2, out_channels)
    operands, extra = [bias], []
    if residual:
        extra = [rng.standard_normal(y_shape).astype(np.float32)]
        expr = E.add(expr, E.inp(2))
    expr = E.maximum(expr, E.const(0.0))
    strides = row_major_strides((*shape[:3], shape[3] + pitch))
    y_strides = row_major_strides((*y_shape[:3], out_channels + pitch))
    attrs = {
        "strides": (1, 1),
        "pads": pads,
        "dilations": (1, 1),
        "groups": 1,
        "x_zero_point": 0,
        "epilogue": expr,
    }
    inputs = [
        Operand(f32, shape, strides),
        Operand.dense(f32, w.shape, const=True),
        Operand.dense(f32, (out_channels,), const=True),
        *(Operand.dense(f32, y_shape) for _ in extra),
    ]
    out = Operand(f32, y_shape, y_strides)
    spec = KernelSpec("conv", tuple(inputs), (out,), tuple(sorted(attrs.items())))
    wide = [a.astype(np.float64) for a in (x, w, *operands, *extra)]
    full = CONV.complete({**attrs, "layout": "NHWC", "epilogue": E.inp(0)})
    (acc,) = CONV.reference(wide[:2], full)
    want = np.maximum(acc + wide[2] + (wide[3] if residual else 0), 0)
    return spec, [x, *extra], [w, bias], want


CASES = [
    # shape, K, pads, residual, pitch
    ((1, 8, 8, 16), 32, (1, 1, 1, 1), False, 0),
    ((2, 7, 9, 19), 21, (1, 1, 1, 1), True, 3),
    ((1, 14, 14, 32), 70, (1, 1, 1, 1), True, 0),
    ((1, 6, 5, 17), 16, (0, 0, 0, 0), False, 5),
    ((3, 3, 4, 16), 40, (2, 0, 1, 3), False, 0),
    ((1, 23, 3, 48), 33, (1, 1, 1, 1), False, 16),
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: "x".join(map(str, c[0])))
@each_target
def test_kernel_equals_reference(target: CpuTarget, case: tuple) -> None:
    shape, channels, pads, residual, pitch = case
    spec, arrays, consts, want = make_case(shape, channels, pads, residual=residual, pitch=pitch)
    lanes = target.lanes(f32)
    for n, (m, schedule) in enumerate(product((2, 4), ("blocks", "panels"))):
        rows, cols, groups = [(3, 2, 2), (5, 1, 1), (1, 2, 3), (4, 3, 1)][n]
        params = {
            "m": m,
            "rows": rows,
            "panel": cols * lanes,
            "groups": groups,
            "schedule": schedule,
        }
        (got,) = run_kernel(AnyTiling(), spec, params, target, arrays, consts, threads=1 + n % 3)
        error = np.abs(got - want).max() / np.abs(want).max()
        assert error < 1e-5, (params, error)


def test_candidates_are_supported_and_distinct() -> None:
    spec, _, _, _ = make_case((1, 28, 28, 128), 128, (1, 1, 1, 1))
    for target in TARGETS:
        assert Winograd().plan(spec, target, 1)
        candidates = [tuple(sorted(c.items())) for c in params_of(Winograd(), spec, target, 2)]
        assert len(set(candidates)) == len(candidates) > 0


def test_error_stays_small_over_many_channels() -> None:
    spec, arrays, consts, want = make_case((1, 8, 8, 512), 16, (1, 1, 1, 1))
    params = {"m": 4, "rows": 4, "panel": 16, "groups": 1, "schedule": "blocks"}
    (got,) = run_kernel(AnyTiling(), spec, params, RUNNABLE[0], arrays, consts)
    assert np.abs(got - want).max() < 1e-5 * np.abs(want).max()


@pytest.mark.parametrize(
    "change",
    [{"strides": (2, 2)}, {"dilations": (2, 2)}, {"groups": 2}],
)
def test_other_convolutions_are_not_supported(change: dict) -> None:
    spec, _, _, _ = make_case((1, 8, 8, 32), 32, (1, 1, 1, 1))
    attrs = tuple(sorted({**dict(spec.attrs), **change}.items()))
    other = KernelSpec("conv", spec.inputs, spec.outputs, attrs)
    assert not any(Winograd().plan(other, target, 1) for target in TARGETS)


@pytest.mark.parametrize("m", [2, 4])
@each_target
def test_expanded_weights_are_the_filters_transformed_in_float64(target: CpuTarget, m: int) -> None:
    spec, _, (w, bias), _ = make_case((1, 6, 6, 19), 37, (1, 1, 1, 1))
    panel = 2 * target.lanes(f32)
    params = {"m": m, "rows": 2, "panel": panel, "groups": 1, "schedule": "blocks"}
    candidate = candidate_with(AnyTiling(), spec, params, target)
    kernel = CpuCompiler(target).compile(candidate.emit())
    (expansion,) = kernel.expansions
    stored = candidate.prepack([w, bias])[0]
    panels = -(-37 // panel)
    assert stored.nbytes == 4 * panels * panel * 19 * 9
    u = np.full(expansion.nbytes // 4 + 16, np.nan, np.float32)
    u = u[-u.ctypes.data % 64 // 4 :][: expansion.nbytes // 4]
    symbol = expansion.phase.symbol
    source = np.empty(stored.size + 16, np.float32)
    source = source[-source.ctypes.data % 64 // 4 :][: stored.size]
    source[:] = stored.ravel()
    table = pointer_table([source.ctypes.data, u.ctypes.data])
    library = link(kernel.code, [symbol])  # code lives as long as this
    skip_unless_runnable(target)
    call(library[symbol], table, 0, expansion.phase.items)
    got = u.reshape(m + 2, m + 2, panels, 19, panel).transpose(0, 1, 2, 4, 3)
    got = got.reshape(m + 2, m + 2, panels * panel, 19)
    g = filter_matrix(m)
    want = np.einsum("ir,jt,krtc->ijkc", g, g, w.astype(np.float64))
    np.testing.assert_allclose(got[:, :, :37], want, rtol=1.2e-7, atol=1e-9)
    assert not got[:, :, 37:].any()
