"""Depthwise and grouped convolutions of symbolic batch, height and width: one kernel, many sizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from camshaft.backends.base import KernelSpec
from camshaft.backends.cpu.conv.depthwise.tactic import ConvDepthwiseI8
from camshaft.backends.cpu.conv.grouped import ConvGrouped
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.extents.extent import extent_of
from camshaft.ir.extents.symbol import Symbol
from grouped_cases import Case, Problem, assert_expected, depthwise, open_spec, problem
from kernel_harness import SymbolicKernel
from targets import PLAIN, each_target
from thinning import every_second

pytestmark = pytest.mark.sampled

N = extent_of(Symbol("n", 1, 1, 5))
H = extent_of(Symbol("h", 1, 14, 40))
W = extent_of(Symbol("w", 1, 24, 70))
TALL = extent_of(Symbol("h", 9, 14, 40))
NARROW = extent_of(Symbol("w", 1, 7, 40))
WIDE = extent_of(Symbol("w", 9, 24, 70))

DEPTHWISE = (
    depthwise((N, 9, 11), 24, zero_point=3),
    depthwise((N, 7, 8), 37, kernel=(5, 5), pads=(2, 2, 2, 2), epilogue="residual", pitches=(5, 3)),
    depthwise((N, H, 13), 40, epilogue="gate", zero_point=9),
    depthwise((1, H, 12), 16, strides=(2, 2), pads=(1, 0, 2, 1), zero_point=200),
    depthwise((1, 8, W), 33, zero_point=4),
    depthwise((N, H, W), 24, kernel=(5, 5), pads=(2, 2, 2, 2), zero_point=250, pitches=(2, 0)),
    depthwise((1, 6, W), 40, strides=(2, 2), epilogue="none", zero_point=3),
    depthwise((1, H, W), 20, kernel=(5, 5), strides=(2, 3), pads=(2, 1, 2, 3), epilogue="gate"),
    depthwise((1, H, W), 12, kernel=(7, 7), pads=(3, 3, 3, 3), epilogue="scalar", zero_point=1),
    depthwise((1, H, W), 18, dilations=(2, 3), pads=(2, 3, 2, 3), epilogue="float", zero_point=9),
    depthwise((N, 5, WIDE), 34, pads=(0, 0, 0, 0), epilogue="residual", zero_point=7),
    depthwise((1, 4, W), 65, kernel=(1, 3), pads=(0, 1, 0, 1), zero_point=255),
    depthwise((1, 6, W), 33, kernel=(4, 2), strides=(3, 2), pads=(3, 1, 0, 0), epilogue="none"),
    depthwise((1, 2, W), 3, kernel=(5, 5), pads=(4, 4, 4, 4), epilogue="none", zero_point=77),
    depthwise((1, H, W), 24, kernel=(1, 1), strides=(2, 3), pads=(0, 0, 0, 0), zero_point=50),
    depthwise((N, H, W), 17, kernel=(1, 1), pads=(0, 0, 0, 0), pitches=(3, 0), zero_point=50),
    depthwise((N, H, W), 16, kernel=(1, 1), pads=(0, 0, 0, 0), zero_point=50),
    depthwise((N, H, NARROW), 40, zero_point=60),
    depthwise((1, 7, NARROW), 64, kernel=(5, 5), pads=(2, 2, 2, 2), epilogue="swish"),
    depthwise((N, H, W), 16, epilogue="bias", zero_point=9),
    depthwise((1, H, W), 8, kernel=(5, 3), pads=(2, 2, 2, 1), zero_point=9),
    depthwise((1, H, W), 32, kernel=(3, 5), pads=(1, 3, 1, 1), zero_point=130),
    depthwise((1, TALL, 9), 65, kernel=(5, 3), strides=(3, 1), dilations=(2, 1), pads=(3, 1, 2, 1)),
)

GROUPED = (
    Case((N, 7, 15), (32, 32), 8, zero_point=5),
    Case((N, H, 9), (36, 36), 9, epilogue="residual", pitches=(3, 5), zero_point=2),
    Case((1, 8, W), (32, 32), 8, zero_point=200, pitches=(0, 3)),
    Case((N, H, W), (24, 24), 6, strides=(2, 2), epilogue="none", zero_point=255),
    Case((1, H, W), (24, 24), 6, (3, 5), (2, 2), (1, 2, 1, 2), epilogue="scalar", zero_point=9),
    Case((1, H, W), (32, 32), 8, dilations=(2, 2), pads=(2, 2, 2, 2), epilogue="float"),
    Case((1, 9, WIDE), (48, 48), 12, pads=(0, 0, 0, 0), epilogue="gate", zero_point=77),
    Case((N, H, NARROW), (32, 32), 8, zero_point=66),
    Case((1, H, 6), (24, 24), 6, (5, 3), (2, 2), (2, 1, 2, 1), zero_point=9),
)


def sizes_of(spec: KernelSpec, rng: np.random.Generator) -> Iterator[dict[str, int]]:
    """Least, typical, most, all the small ones, some at random."""
    symbols = spec.symbols
    yield {s.name: s.typical for s in symbols}
    yield {s.name: s.high or 0 for s in symbols}
    for extra in range(20):
        yield {s.name: min(s.low + extra, s.high or 0) for s in symbols}
    for _ in range(8):
        yield {s.name: int(rng.integers(s.low, (s.high or 0) + 1)) for s in symbols}


@lru_cache(maxsize=2 * (len(DEPTHWISE) + len(GROUPED)))
def sized(case: Case, integer: bool) -> list[tuple[dict[str, int], Problem]]:
    """The case at each of its sizes."""
    every = sizes_of(open_spec(case, integer=integer), np.random.default_rng(0))
    return [
        (sizes, problem(case.at(sizes), integer=integer, seed=n)) for n, sizes in enumerate(every)
    ]


def check(tactic: Any, target: CpuTarget, case: Case, integer: bool) -> None:
    """The best guess at all sizes, the oddest candidate at every other."""
    case = case if integer else replace(case, zero_point=0)
    candidates = tactic.plan(open_spec(case, integer=integer), target, 2)
    assert candidates
    for step, candidate in enumerate((candidates[0], *candidates[1:][-1:]), 1):
        kernel = SymbolicKernel(candidate, target)
        for number, (sizes, given) in list(enumerate(sized(case, integer)))[::step]:
            run = kernel.laid_out(sizes, given.arrays, given.consts, threads=1 + number % 3)
            run.run(parallel=number % 4 >= 2)
            run.check_guards()
            assert_expected(run.outputs()[0], given, f"{sizes} {candidate.params}")


@every_second(("target", PLAIN), ("case", DEPTHWISE))
def test_depthwise_f32(target: CpuTarget, case: Case) -> None:
    check(ConvGrouped(), target, case, integer=False)


@every_second(("target", PLAIN), ("case", (*DEPTHWISE[1:], DEPTHWISE[0])))
def test_depthwise_i8(target: CpuTarget, case: Case) -> None:
    check(ConvDepthwiseI8(), target, case, integer=True)


@each_target
@every_second(("case", GROUPED), ("integer", (False, True)))
def test_grouped(target: CpuTarget, case: Case, integer: bool) -> None:
    case = case if integer else replace(case, zero_point=0)
    if not ConvGrouped().plan(open_spec(case, integer=integer), target, 1):
        assert target.vector_bits < 512  # wide vectors take them all; here a group is too large
        return
    check(ConvGrouped(), target, case, integer)
