"""The code that sets a shape computes what `ir.extents.sizes` does, and offsets that never overlap."""

from __future__ import annotations

import random

import numpy as np
import pytest

from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.link import call, link, pointer_table
from camshaft.backends.cpu.processor import host_target
from camshaft.backends.cpu.set_shape import SYMBOL, set_shape_source
from camshaft.ir.extents.extent import Extent, extent_of, largest, remainder, smallest
from camshaft.ir.extents.sizes import evaluate
from camshaft.ir.extents.symbol import Symbol

SYMBOLS = (Symbol("n", 1, 4, 16), Symbol("h", 1, 224), Symbol("w", 32, 320, 4096))


def random_extent(rng: random.Random, depth: int) -> Extent:
    if depth == 0:
        return rng.choice([*(extent_of(s) for s in SYMBOLS), rng.randrange(9)])
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
    extents = [random_extent(rng, 1 + i % 4) for i in range(20)]
    slots = []
    for i in range(8):
        size = 4 * largest(random_extent(rng, 2), 0)
        slots.append((size, sorted(rng.sample(range(i), min(i, rng.randrange(3))))))
    source = set_shape_source(host_target(), SYMBOLS, extents, slots, 64)
    library = link(CpuCompiler(host_target()).compile(source).code, [SYMBOL])
    results = np.full(len(extents) + len(slots) + 1, -1, np.int64)
    for _ in range(20):
        sizes = {
            "n": rng.randint(1, 16), "h": rng.choice([1, 2, rng.randint(1, 2000)]),
            "w": rng.randint(32, 4096),
        }  # fmt: skip
        given = np.array([sizes[s.name] for s in SYMBOLS], np.int64)
        call(library[SYMBOL], pointer_table([given.ctypes.data, results.ctypes.data]), 0, 1)
        assert results[: len(extents)].tolist() == [evaluate(e, sizes) for e in extents]
        offsets = results[len(extents) : -1].tolist()
        ends = [o + evaluate(b, sizes) for o, (b, _) in zip(offsets, slots, strict=True)]
        assert results[-1] == max(ends)
        for i, (_, above) in enumerate(slots):
            assert offsets[i] % 64 == 0 and all(offsets[i] >= ends[j] for j in above)
            assert offsets[i] == 0 or any(offsets[i] - ends[j] < 64 for j in above)
