"""Attention on bytes: against a model of its integers, on all targets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from attention_models import agrees_at_open_lengths, attention_of_bytes
from camshaft.backends.base import KernelSpec, Operand
from camshaft.backends.cpu.attention.plan import Shared
from camshaft.backends.cpu.attention.tactic import Attention
from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.target import AVX2, AVX512_VNNI, CpuTarget
from camshaft.builder.tuning.reference import references
from camshaft.ir import expr as E
from camshaft.ir.extents.extent import extent_of
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.types import DType, bf16, f16, f32
from camshaft.ops import ATTENTION
from camshaft.ops.attention import row_levels
from kernel_harness import candidate_with, operand_of, params_of, prepare
from machine_code import inner_loop, spills
from targets import each_target
from thinning import every_second

pytestmark = pytest.mark.sampled

TACTIC = Attention()
Shape = tuple[int, ...]
SCALE = 0.3
X, Y = E.inp(0), E.inp(1)
SCALED = E.mul(X, E.const(SCALE))
BYTES = {"products": "i8"}

each_tiling = pytest.mark.parametrize("keys", [None, 64], ids=["one tile", "several"])


def values(shape: Shape, seed: int, dtype: DType = f32) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype.numpy)


def spec_of(
    arrays: list[np.ndarray], lies: dict[int, Operand] | None = None, **attrs: Any
) -> KernelSpec:
    full = ATTENTION.complete({**BYTES, **attrs})
    (want,) = ATTENTION.reference(arrays, full)
    inputs = [(lies or {}).get(n) or operand_of(a) for n, a in enumerate(arrays)]
    return KernelSpec("attention", tuple(inputs), (operand_of(want),), tuple(full.items()))


def run(
    target: CpuTarget, arrays: list[np.ndarray], changed: dict[str, Any], threads: int = 1,
    lies: dict[int, Operand] | None = None, **attrs: Any,
) -> np.ndarray:  # fmt: skip
    """The first candidate's result, which must be as the build wants it."""
    spec = spec_of(arrays, lies, **attrs)
    params = {**params_of(TACTIC, spec, target, threads)[0], **changed}
    prepared = prepare(TACTIC, spec, params, target, arrays, [], threads)
    prepared.run()
    prepared.check_guards()
    (got,) = prepared.outputs()
    (wanted,) = references(spec, arrays)
    assert wanted.check(got) == "", params
    return got


def of_bytes(arrays: list[np.ndarray], score: Any, keys: int | None) -> np.ndarray:
    """The model's result for [..., S, H], ..."""
    q, k, v = (a.astype(np.float32) for a in arrays[:3])
    out = np.empty((*q.shape[:-1], v.shape[-1]), np.float32)
    for at in np.ndindex(*q.shape[:-2]):
        out[at] = attention_of_bytes(q[at], k[at], v[at], score, keys or k.shape[-2])
    return out


def agree(got: np.ndarray, want: np.ndarray) -> None:
    """Powers may fall to the other side of a tie: of few rows, and by one 4095th."""
    off = np.abs(got - want)
    assert not np.isnan(off).any()
    assert np.mean(off > 2e-5) < 0.05 and off.max() < 0.002


SIZES = [(9, 1, 1, 1), (1, 40, 8, 8), (37, 23, 16, 17), (64, 64, 64, 64), (11, 301, 33, 40)]


@each_target
@every_second(("size", SIZES), ("packed", [False, True]))
@each_tiling
def test_sizes(target: CpuTarget, size: Shape, keys: int | None, packed: bool) -> None:
    s, t, h, g = size
    arrays = [
        values(shape, n) for n, shape in enumerate([(2, 2, s, h), (2, 2, t, h), (2, 2, t, g)])
    ]
    changed = {"packed": packed, "tiles": 2, **({} if keys is None else {"keys": keys})}
    got = run(target, arrays, changed, threads=2, score=SCALED)
    agree(got, of_bytes(arrays, lambda x, _: x * np.float32(SCALE), keys))


@each_target
def test_integers_are_those_of_the_model(target: CpuTarget) -> None:
    """To the bit: keys, their scales and sums, values and their scales, as the first phase packs them."""
    q, k, v = values((2, 12, 21), 1), values((2, 53, 21), 2), values((2, 53, 19), 3)
    k[0, 3], k[1, 5], v[:, :, 2] = 0, 1e-38, 0
    spec = spec_of([q, k, v], score=SCALED)
    params = {**params_of(TACTIC, spec, target, 1)[0], "packed": True}
    prepared = prepare(TACTIC, spec, params, target, [q, k, v], [])
    prepared.run()
    candidate = candidate_with(TACTIC, spec, params, target)
    p, cut = candidate.problem, candidate.cut
    shared, words = Shared.of(p, cut), prepared.others[-1]
    memory = np.array(words.bytes[words.start :][: words.nbytes]).view(np.int32)
    panels, size = -(-53 // cut.panel), -(-21 // cut.group)
    for head in range(2):
        mine = memory[head * shared.keys :][: shared.keys]
        whole = mine[: panels * size * cut.panel].reshape(panels, size, cut.panel)
        levels, scales = row_levels(k[head])
        got = whole.view(cut.factors.numpy).reshape(panels, size, cut.panel, cut.group)
        got = got.transpose(0, 2, 1, 3).reshape(panels * cut.panel, size * cut.group)[:53]
        np.testing.assert_array_equal(got[:, :21], levels)
        assert not got[:, 21:].any()
        by_key, sums = mine[panels * size * cut.panel :].reshape(2, -1)[:, :53]
        np.testing.assert_array_equal(by_key.view(np.float32), scales[:, 0])
        if target.has_vnni:
            np.testing.assert_array_equal(sums, -128 * levels.sum(axis=1))
        rest = memory[shared.heads * shared.keys + head * shared.values :][: shared.values]
        rows, columns = -(-53 // 2), cut.columns(p)
        levels, scales = row_levels(v[head].T, 1023)
        tile = rest[: rows * columns].view(np.int16)
        tile = tile.reshape(columns // cut.value_panel, rows, cut.value_panel, 2)
        got = tile.transpose(0, 2, 1, 3).reshape(columns, rows * 2)
        np.testing.assert_array_equal(got[:19, :53], levels)
        assert not got[19:].any() and not got[:, 53:].any()
        by_channel = rest[cut.value_words(cut.keys) * columns :].view(np.float32)
        np.testing.assert_array_equal(by_channel[:19], scales[:, 0])


@each_target
def test_one_key_gives_back_its_value(target: CpuTarget) -> None:
    """Its power is 4095 of 4095: the result is the value, quantized."""
    q, k, v = values((3, 10, 16), 1), values((3, 1, 16), 2), values((3, 1, 24), 3)
    got = run(target, [q, k, v], {}, score=SCALED)
    np.testing.assert_allclose(got, np.broadcast_to(v, got.shape), rtol=1e-6)


@each_target
@each_tiling
def test_masks(target: CpuTarget, keys: int | None) -> None:
    arrays = [values((2, 30, 24), 1), values((2, 150, 24), 2), values((2, 150, 9), 3)]
    mask = np.random.default_rng(4).standard_normal((30, 150)).astype(np.float32)
    mask[mask > 1] = -np.inf
    mask[:, 70:] = -np.inf
    changed = {} if keys is None else {"keys": keys}
    masked = {"score": E.add(SCALED, Y), "operands": 1}
    got = run(target, [*arrays, mask], changed, **masked)
    agree(got, of_bytes(arrays, lambda x, part: x * np.float32(SCALE) + mask[:, part], keys))
    mask[7] = -np.inf
    for hidden in ("nan", "zero"):
        got = run(target, [*arrays, mask], changed, hidden=hidden, **masked)
        assert (np.isnan(got[:, 7]) if hidden == "nan" else got[:, 7] == 0).all()
    capped = E.mul(E.const(2.0), E.unary("tanh", E.mul(X, E.const(0.2))))
    attrs = {"causal": True, "first": 120, "window": 20, "hidden": "zero"}
    run(target, arrays, {**changed, "packed": True}, score=capped, **attrs)


@each_target
@pytest.mark.parametrize("dtype", [f32, bf16, f16], ids=str)
def test_shared_heads_views_and_epilogues(target: CpuTarget, dtype: DType) -> None:
    shape = (2, 3, 12, 8)
    q, k, v = (values(s, n, dtype) for n, s in enumerate([shape, (2, 1, 12, 8), (2, 1, 12, 8)]))
    beside = Operand(dtype, shape, (12 * 24, 8, 24, 1))
    turned = Operand(dtype, (2, 1, 12, 8), (8 * 12, 8 * 12, 1, 12))
    for lies in ({0: beside}, {0: Operand(dtype, shape, (36 * 8, 12 * 8, 1, 12)), 1: turned, 2: turned}):  # fmt: skip
        changed = {"packed": 0 in lies and len(lies) > 1}
        epilogue = E.mul(X, E.const(1.5))
        run(target, [q, k, v], changed, 2, lies, score=SCALED, epilogue=epilogue)


@each_target
def test_nan_and_infinity_spread_over_their_row(target: CpuTarget) -> None:
    q, k, v = (values((1, 12, 8), n) for n in range(3))
    q[0, 3, 2], q[0, 5, 1] = np.nan, np.inf
    got = run(target, [q, k, v], {}, score=SCALED)
    np.testing.assert_array_equal(np.isnan(got[0]).all(axis=1), np.isin(np.arange(12), (3, 5)))
    assert not np.isnan(got[0, :3]).any()


T = extent_of(Symbol("keys", 1, 40, 90))
LONG = extent_of(Symbol("keys", 1, 700, 1500))
S = extent_of(Symbol("queries", 1, 20, 70))


@each_target
@pytest.mark.parametrize("keys", [T, LONG], ids=["short", "long"])
@pytest.mark.parametrize("queries", [S, 20], ids=["open", "some"])
def test_open_lengths(target: CpuTarget, keys: Any, queries: Any) -> None:
    agrees_at_open_lengths(target, (queries, keys), f32, {"score": SCALED, **BYTES})


@pytest.mark.parametrize("keys", [128, 2048])
def test_avx512_vnni_multiplies_without_spilling(keys: int) -> None:
    """A `vpdpbusd` for each accumulator and step of the scores, a `vpdpwssd` of the values, four steps in a loop."""
    arrays = [values((2, n, 64), n) for n in (128, keys, keys)]
    for candidate in TACTIC.plan(spec_of(arrays, score=SCALED), AVX512_VNNI, 1):
        assembly = CpuCompiler(AVX512_VNNI).assembly(candidate.emit())
        accumulators = int(candidate.params["rows"]) * int(candidate.params["cols"])
        for instruction in ("vpdpbusd", "vpdpwssd"):
            body = inner_loop(assembly, instruction)
            count = sum(instruction in line for line in body)
            assert count == 4 * accumulators and not spills(body), candidate.params


@pytest.mark.parametrize("keys", [128, 2048])
def test_avx2_multiplies_pairs_of_widened_bytes(keys: int) -> None:
    """A `vpmaddwd` for each accumulator and step of either product, nothing that splits bytes."""
    arrays = [values((2, n, 64), n) for n in (128, keys, keys)]
    candidate = TACTIC.plan(spec_of(arrays, score=SCALED), AVX2, 1)[0]
    body = inner_loop(CpuCompiler(AVX2).assembly(candidate.emit()), "vpmaddwd")
    accumulators = int(candidate.params["rows"]) * int(candidate.params["cols"])
    assert sum("vpmaddwd" in line for line in body) == 4 * accumulators
    assert not any("vpsrlw" in line or "vpsraw" in line for line in body)
