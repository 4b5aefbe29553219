"""Convolutions on AMX's tiles, without a machine that has them: see `tile_interpreter`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.conv.amx import ConvAmx
from camshaft.backends.cpu.target import AMX, AVX512_FP16
from camshaft.ir.extents.extent import extent_of
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.types import DType, bf16, f16, f32
from grouped_cases import Case, assert_expected, open_spec, problem
from machine_code import inner_loop, spills
from tile_interpreter import INTERPRETED, interpreted

TACTIC = ConvAmx()
NONE = (0, 0, 0, 0)

CASES = {
    "pointwise": Case((1, 5, 7), (40, 37), 1, (1, 1), pads=NONE),
    "pointwise, gaps": Case((3, 4, 4), (17, 33), 1, (1, 1), pads=NONE, pitches=(4, 3)),
    "pointwise, stride": Case((2, 9, 7), (64, 16), 1, (1, 1), (2, 2), pads=NONE),
    "padded": Case((1, 8, 19), (16, 32), 1, zero_point=5),
    "wide": Case((1, 3, 38), (65, 50), 1, zero_point=255),
    "one pixel": Case((1, 1, 1), (24, 40), 1, zero_point=7),
    "asymmetric": Case((2, 7, 6), (33, 18), 1, (3, 2), (2, 1), (0, 2, 1, 0)),
    "dilated": Case((1, 11, 12), (32, 8), 1, pads=(2, 4, 3, 2), dilations=(2, 3), zero_point=9),
    "first tap outside": Case((1, 3, 4), (16, 16), 1, (5, 5), pads=(4, 4, 4, 4)),
    "residual": Case((1, 6, 7), (24, 20), 1, epilogue="residual", pitches=(0, 5)),
}


@pytest.mark.parametrize("integer", [False, True], ids=["bf16", "i8"])
@pytest.mark.parametrize("name", CASES)
def test_equals_the_reference(name: str, integer: bool) -> None:
    """bf16 to the rounding of f32 sums, bytes to the bit; padding is a zero point or 0."""
    case = CASES[name] if integer else replace(CASES[name], zero_point=0)
    given = problem(case, integer=integer, types=(bf16, bf16))
    candidates = TACTIC.plan(given.spec, INTERPRETED, 2)
    assert candidates
    for n, candidate in enumerate(candidates):
        got, tiles = interpreted(candidate, {}, given.arrays, given.consts, 1 + n % 3)
        assert_expected(got, given, str(candidate.params))
        assert tiles.counts["tdpbusd" if integer else "tdpbf16ps"]


H = extent_of(Symbol("h", 3, 9, 20))
W = extent_of(Symbol("w", 2, 12, 40))
OPEN = (
    Case((1, H, W), (20, 24), 1, zero_point=5),
    Case((1, H, W), (32, 24), 1, (1, 1), pads=NONE),
    Case((2, H, 9), (16, 8), 1, strides=(2, 2)),
)


@pytest.mark.parametrize("integer", [False, True], ids=["bf16", "i8"])
@pytest.mark.parametrize("case", OPEN, ids=str)
def test_any_height_and_width(case: Case, integer: bool) -> None:
    case = case if integer else replace(case, zero_point=0)
    spec = open_spec(case, integer=integer, types=(bf16, bf16))
    candidate = TACTIC.plan(spec, INTERPRETED, 2)[0]
    for n, (h, w) in enumerate([(3, 2), (9, 12), (20, 33)]):
        sizes = {s.name: h if s.name == "h" else w for s in spec.symbols}
        given = problem(case.at(sizes), integer=integer, seed=n, types=(bf16, bf16))
        got, _ = interpreted(candidate, sizes, given.arrays, given.consts, 1 + n)
        assert_expected(got, given, str(sizes))


@pytest.mark.parametrize("integer", [False, True], ids=["bf16", "i8"])
def test_the_code_for_amx(integer: bool) -> None:
    """A product for each pair of tiles, each tile loaded once a step, nothing else in the innermost loop."""
    name = "tdpbusd" if integer else "tdpbf16ps"
    given = problem(Case((1, 14, 40), (128, 96), 1), integer=integer, types=(bf16, bf16))
    for candidate in TACTIC.plan(given.spec, AMX, 1):
        body = inner_loop(CpuCompiler(AMX).assembly(candidate.emit()), name)
        rows, cols = int(candidate.params["rows"]), int(candidate.params["cols"])
        assert sum(name in line for line in body) == rows * cols
        assert sum("tileloadd" in line for line in body) == rows + cols
        assert not spills(body) and not any("zmm" in line for line in body)


@pytest.mark.parametrize("types", [(bf16, bf16), (f16, f16), (f32, bf16)], ids=str)
def test_what_it_leaves_to_others(types: tuple[DType, DType]) -> None:
    wide = problem(Case((1, 5, 7), (40, 37), 1), integer=False, types=types).spec
    assert bool(TACTIC.plan(wide, AMX, 1)) == (types == (bf16, bf16))
    assert not TACTIC.plan(wide, AVX512_FP16, 1)
    for case in (Case((1, 5, 7), (3, 37), 1), Case((1, 5, 7), (64, 64), 2)):
        assert not TACTIC.plan(problem(case, integer=False, types=types).spec, AMX, 1)
