"""Byte interleaving and narrowing: their permutations cancel, their cast is that of `ir.expr`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from camshaft.backends.base import Operand
from camshaft.backends.cpu.byte_lanes import (
    interleave4,
    lane_order,
    narrow,
    natural_order,
    only_negative_nans,
    with_negative_nans,
)
from camshaft.backends.cpu.lang import Arg, FunctionBuilder, Module
from camshaft.backends.cpu.link import call, pointer_table
from camshaft.backends.cpu.target import TARGETS, CpuTarget
from camshaft.ir import expr as E
from camshaft.ir.types import DType, f32, i8, i32, u8
from targets import each_target, runnable_code


def run(
    target: CpuTarget,
    args: list[Arg],
    arrays: list[np.ndarray],
    body: Callable[[FunctionBuilder], None],
) -> None:
    """Run `body` once on the arrays."""
    module = Module(target)
    with module.phase("test", 1, args) as k:
        body(k)
    library = runnable_code(module.source(), target)
    call(library["test"], pointer_table([a.ctypes.data for a in arrays]), 0, 1)


@each_target
def test_interleaving_puts_four_rows_into_each_lane(target: CpuTarget) -> None:
    channels = target.vector_bits // 8
    rows = np.random.default_rng(0).integers(0, 256, (4, channels)).astype(np.uint8)
    quads = np.zeros((channels, 4), np.uint8)

    def body(k: FunctionBuilder) -> None:
        x, y = k.args["x"], k.args["y"].as_type(i32)
        values = [k.load(x.at(r * channels), channels) for r in range(4)]
        for g, quad in enumerate(interleave4(k, values)):
            k.store(quad, y.at(g * channels // 4))

    run(target, [Arg("x", u8), Arg("y", u8)], [rows, quads], body)
    np.testing.assert_array_equal(quads, rows.T[lane_order(channels)])
    assert [lane_order(channels)[place] for place in natural_order(channels)] == list(
        range(channels)
    )


SPECIAL = [0.0, -0.0, 0.5, 1.5, 2.5, -0.5, 126.5, 127.5, -128.5, 254.5, 255.4, 255.5, 1e9, 3e9]
SPECIAL += [2.0**31, -(2.0**31), 1e20, -1e20, 3e38, np.inf, -np.inf, 1e-40]


@pytest.mark.parametrize("to", (u8, i8), ids=str)
@pytest.mark.parametrize("negative_nans", (False, True))
@pytest.mark.parametrize("target", [t for t in TARGETS if t.is_x86], ids=lambda t: t.name)
def test_narrowing_is_the_saturating_cast(
    target: CpuTarget, to: DType, negative_nans: bool
) -> None:
    channels = target.vector_bits // 8
    nans = [np.copysign(np.nan, -1.0)] if negative_nans else [np.nan, np.copysign(np.nan, -1.0)]
    rng = np.random.default_rng(1)
    spread = rng.uniform(-400, 400, 8 * channels - len(SPECIAL) - len(nans))
    values = np.concatenate([SPECIAL, nans, spread]).astype(np.float32)
    values = rng.permutation(values).reshape(8, channels)
    result = np.zeros((8, channels), to.numpy)
    ordered = np.ascontiguousarray(values[:, lane_order(channels)])

    def body(k: FunctionBuilder) -> None:
        x, y = k.args["x"], k.args["y"]
        lanes = channels // 4
        for row in range(8):
            vectors = [k.load(x.at(row * channels + g * lanes), lanes) for g in range(4)]
            k.store(narrow(k, vectors, to, negative_nans=negative_nans), y.at(row * channels))

    run(target, [Arg("x", f32), Arg("y", to)], [ordered, result], body)
    np.testing.assert_array_equal(result, E.convert(values, to))


def test_signs_of_nans_are_known_for_plain_requantization_only() -> None:
    scale, residual = Operand.dense(f32, (8,), const=True), Operand.dense(f32, (2, 8))
    plain = E.cast(E.add(E.mul(E.cast(E.inp(0), f32), E.inp(1)), E.inp(1)), u8)
    assert only_negative_nans(plain, [scale])
    assert not only_negative_nans(plain, [residual])
    assert not only_negative_nans(E.cast(E.unary("neg", E.cast(E.inp(0), f32)), u8), [scale])
    values = with_negative_nans(np.array([1.0, np.nan, -np.nan, -2.0], np.float32))
    assert np.signbit(values).tolist() == [False, True, True, True]
