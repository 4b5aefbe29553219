"""The code that sets a shape computes what `ir.extents.sizes` does, and offsets that never overlap."""

from __future__ import annotations

import random

import numpy as np
import pytest

from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.link import Library, call, link, pointer_table
from camshaft.backends.cpu.processor import host_target
from camshaft.backends.cpu.set_shape import set_shape_source
from camshaft.ir.extents.extent import Extent, extent_of, largest, remainder, smallest
from camshaft.ir.extents.sizes import Constraint, evaluate
from camshaft.ir.extents.symbol import Symbol
from camshaft.program.shape import PLACE_WORDS, SET_SHAPE, Sizing

SYMBOLS = (Symbol("n", 1, 4, 16), Symbol("h", 1, 224), Symbol("w", 32, 320, 4096))
N, H, W = map(extent_of, SYMBOLS)


def sizing(**fields: object) -> Sizing:
    """Of inputs [n, 3, h], [n, w] and [2 * h] unless said otherwise."""
    default = {
        "symbols": SYMBOLS, "constraints": (), "given": (N, 3, H, N, W, 2 * H), "outputs": (),
        "dims": (), "extents": (), "slots": (),
    }  # fmt: skip
    return Sizing(**{**default, **fields})  # type: ignore[arg-type]


def linked(s: Sizing) -> Library:
    code = CpuCompiler(host_target()).compile(set_shape_source(host_target(), s)).code
    return link(code, [s.function(SET_SHAPE), s.function(PLACE_WORDS)])


def computed(library: Library, s: Sizing, given: list[int]) -> tuple[np.ndarray, ...]:
    """dims, outputs, results; -1 where nothing was written."""
    blocks = [np.full(len(x), -1, np.int64) for x in (s.dims, s.outputs, range(s.results))]
    arrays = [np.array(given, np.int64), *blocks]
    call(library[s.function(SET_SHAPE)], pointer_table([a.ctypes.data for a in arrays]), 0, 1)
    return tuple(blocks)


def random_extent(rng: random.Random, depth: int) -> Extent:
    if depth == 0:
        return rng.choice([N, H, W, rng.randrange(9)])
    a, b = random_extent(rng, depth - 1), random_extent(rng, depth - 1)
    c = rng.randrange(1, 9)
    kind = rng.randrange(7)
    if kind < 3:
        return [a + b, a - b, a * c][kind]
    if kind < 5:
        return a // c if kind == 3 else remainder(a, c)
    return smallest(a, b) if kind == 5 else largest(a, b)


@pytest.mark.parametrize("seed", range(12))
def test_values_and_offsets(seed: int) -> None:
    rng = random.Random(seed)
    extents, dims, outputs = (
        tuple(random_extent(rng, 1 + i % 4) for i in range(12)) for _ in range(3)
    )
    slots = []
    for i in range(8):
        size = 4 * largest(random_extent(rng, 2), 0)
        slots.append((size, sorted(rng.sample(range(i), min(i, rng.randrange(3))))))
    s = sizing(extents=extents, dims=dims, outputs=outputs, slots=slots)
    library = linked(s)
    for _ in range(20):
        sizes = {
            "n": rng.randint(1, 16), "h": rng.choice([1, 2, rng.randint(1, 2000)]),
            "w": rng.randint(32, 4096),
        }  # fmt: skip
        found = computed(library, s, [evaluate(e, sizes) for e in s.given])
        results = found[2].tolist()
        for got, wanted in zip((*found[:2], results), (dims, outputs, extents), strict=True):
            assert list(got[: len(wanted)]) == [evaluate(e, sizes) for e in wanted]
        assert results[s.fits] == 1 and results[s.zero] == 0
        offsets = results[len(extents) : s.arena_bytes]
        ends = [o + evaluate(b, sizes) for o, (b, _) in zip(offsets, slots, strict=True)]
        assert results[s.arena_bytes] == max(ends)
        for i, (_, above) in enumerate(slots):
            assert offsets[i] % 64 == 0 and all(offsets[i] >= ends[j] for j in above)
            assert offsets[i] == 0 or any(offsets[i] - ends[j] < 64 for j in above)


def test_sizes_that_do_not_fit_are_refused() -> None:
    rules = (Constraint(H % 4, "==", 0, "a test"), Constraint(W, ">=", 2 * H, "a test"))
    s = sizing(constraints=rules, dims=(W // H,))
    library = linked(s)

    def fits(n: int, three: int, h: int, again: int, w: int, twice: int) -> bool:
        return bool(computed(library, s, [n, three, h, again, w, twice])[2][s.fits])

    assert fits(1, 3, 8, 1, 32, 16) and fits(16, 3, 2048, 16, 4096, 4096)
    assert not fits(0, 3, 8, 0, 32, 16) and not fits(17, 3, 8, 17, 32, 16)  # the range of n
    assert not fits(1, 3, 0, 1, 32, 0)  # of h, by which is divided
    assert not fits(1, 3, 8, 1, 31, 16) and not fits(1, 3, 8, 1, 4097, 16)  # of w
    assert not fits(1, 4, 8, 1, 32, 16)  # a number
    assert not fits(1, 3, 8, 2, 32, 16)  # n twice
    assert not fits(1, 3, 8, 1, 32, 17)  # an expression
    assert not fits(1, 3, 9, 1, 32, 18) and not fits(1, 3, 32, 1, 48, 64)  # the rules


def test_what_nothing_proves_must_come_to_at_least_0() -> None:
    s = sizing(unproven=(8 - N, H - W))
    library = linked(s)

    def fits(n: int, h: int, w: int) -> bool:
        return bool(computed(library, s, [n, 3, h, n, w, 2 * h])[2][s.fits])

    assert fits(8, 32, 32) and not fits(9, 32, 32) and not fits(8, 31, 32)


def test_words_are_sums_of_results_and_go_where_they_belong() -> None:
    s = sizing()
    library = linked(s)
    results = np.array([5, 70, 900, 0], np.int64)
    base, first, second = ([10000, 2, -3], [0, 1, 3], [2, 3, 0])
    table = np.full(9, -1, np.int64)
    arrays = [results, *(np.array(a, np.int64) for a in (base, first, second, [7, 0, 4])), table]
    call(library[s.function(PLACE_WORDS)], pointer_table([a.ctypes.data for a in arrays]), 0, 3)
    assert table.tolist() == [72, -1, -1, -1, 2, -1, -1, 10905, -1]
