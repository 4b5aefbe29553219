"""Kernels for a range of sizes: at which sizes a layer is tuned, and which kernel runs at which.

The fastest kernel for a batch of 1 is seldom the fastest for 64.  A layer with open extents is tuned
at its typical sizes and at some others; where the winners differ, it keeps several, and a launch of
each has a range of sizes of its own (`program.When`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from math import inf, isqrt, log, prod

import numpy as np

from camshaft.backends.base import Candidate, Kernel, KernelSpec, Packing, Params, Source
from camshaft.ir.extents.constraints import broken
from camshaft.ir.extents.extent import Extent, extent_of, sole_symbol
from camshaft.ir.extents.sizes import Constraint, evaluate, substitute, typical_sizes
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.graph import Tensor
from camshaft.program.program import Phase, When

Sizes = Mapping[str, int]
SPACING = 4
"""About the ratio of amounts of work between neighbouring sizes at which a layer is tuned."""
MOST_STEPS = 4
"""Most steps from the least to the most sizes, however far apart they are."""
SWITCH = 0.03
"""What one more kernel of a layer has to gain, as a sum of logarithms of times over the sizes."""
COPY = 0.15
"""What one more form of its weights has to gain, which is a copy of them: 3 % of the time at each of five sizes."""

STEP_US = 1.0
"""What is added to times before they are compared, so that a tenth of a microsecond is no reason."""


def amount(spec: KernelSpec) -> Extent:
    """What tells small work from large: the only symbol, or the elements of all operands that vary."""
    if len(spec.symbols) == 1:
        return extent_of(spec.symbols[0])
    total: Extent = 0
    for operand in (*spec.inputs, *spec.outputs):
        elements = prod(operand.shape)
        if not isinstance(elements, int):
            total = total + elements
    return total


def tuning_points(
    spec: KernelSpec,
    wanted: Sequence[Sizes],
    affordable: Callable[[Sizes], bool] = lambda sizes: True,
) -> list[Sizes]:
    """Sizes of the spec's symbols to tune for, by their amount of work: the typical ones, those
    `wanted` (of other profiles, say), and some from the least to the most where both are known.

    affordable: whether sizes that nobody named are small enough; the largest that are take the place
    of the most.  Of two with about the same amount of work, the one named first here stays.
    """
    symbols, measure = spec.symbols, amount(spec)
    found: list[tuple[int, Sizes]] = []

    def add(sizes: Sizes, apart: float) -> None:
        if all(s.low <= (n := sizes[s.name]) and (s.high is None or n <= s.high) for s in symbols):
            work = evaluate(measure, sizes)
            if work > 0 and all(max(work, w) >= apart * min(work, w) for w, _ in found):
                found.append((work, sizes))

    typical = typical_sizes(symbols)
    add(typical, 1.01)
    for sizes in wanted:
        add({**typical, **{s.name: sizes[s.name] for s in symbols if s.name in sizes}}, 1.01)
    for sizes in _between(symbols, measure, affordable):
        add(sizes, SPACING / 2)
    return [sizes for _, sizes in sorted(found, key=lambda f: f[0])]


def _between(
    symbols: Sequence[Symbol], measure: Extent, affordable: Callable[[Sizes], bool]
) -> list[Sizes]:
    """Sizes from the least to the most in equal ratios; an unbounded symbol keeps its typical size."""
    least = {s.name: s.typical if s.high is None else s.low for s in symbols}
    most = {s.name: s.typical if s.high is None else s.high for s in symbols}

    def part(share: float) -> dict[str, int]:
        """The sizes that lie this far from the least to the most."""
        return {n: round(max(1, a) * (most[n] / max(1, a)) ** share) for n, a in least.items()}

    end = next((i for i in range(_PARTS, 0, -1) if affordable(part(i / _PARTS))), 0) / _PARTS
    low, high = max(1, evaluate(measure, least)), max(1, evaluate(measure, part(end)))
    steps = min(MOST_STEPS, round(log(high / low, SPACING)))
    inner = [part(end * i / steps) for i in range(1, steps)]
    return [part(end), least, *inner] if steps else []


_PARTS = 16
"""Of the way from the least to the most sizes, among which the largest affordable are looked for."""


def uneven_points(
    own: Sequence[Symbol], symbols: Sequence[Symbol], constraints: Sequence[Constraint]
) -> list[Sizes]:
    """Sizes near the typical ones that tiles don't divide, as far as ranges and constraints allow: where kernels go
    wrong that leave out a remainder.  All of a layer's symbols uneven, then each of a few alone, so that sums of two are.

    own: the layer's symbols.  symbols: these, and all that the constraints are about.
    """
    typical = typical_sizes(symbols)
    each = [[s] for s in own] if 1 < len(own) <= _FEW else []
    found = [_uneven(typical, some, constraints) for some in ([*own], *each)]
    told = {tuple(sizes[s.name] for s in own): sizes for sizes in reversed(found)}
    told.pop(tuple(typical[s.name] for s in own), None)
    return list(reversed(told.values()))


def _uneven(typical: Sizes, some: Sequence[Symbol], constraints: Sequence[Constraint]) -> Sizes:
    """The typical sizes with those of some symbols uneven, one after the other."""
    sizes = dict(typical)
    for s in some:
        high = s.typical + _NEAR if s.high is None else min(s.typical + _NEAR, s.high)
        least = max(s.low, 2 if s.typical == 1 else 1, s.typical - _NEAR)
        for n in sorted(range(least, high + 1), key=partial(_evenness, s.typical)):
            if broken(constraints, {**sizes, s.name: n}) is None:
                sizes[s.name] = n
                break
    return sizes


def _evenness(typical: int, n: int) -> tuple[bool, bool, bool, int, int]:
    """Odd sizes first, of these no multiples of 3 but 3 itself, of these the nearest; among the odd 1 is last, for there
    results may be nothing but rounding."""
    return n % 2 == 0, n == 1, n % 3 == 0 and n > 3, abs(n - typical), n


_FEW = 3
"""Symbols that are tried alone."""
_NEAR = 12
"""How far from typical sizes uneven ones are looked for."""


def profile_points(
    inputs: Sequence[Tensor], profiles: Sequence[Mapping[str, Sequence[Sequence[int]]]]
) -> list[Sizes]:
    """The typical sizes of each profile (input name -> least, typical and most shape)."""
    found: list[Sizes] = []
    for profile in profiles:
        sizes: dict[str, int] = {}
        for t in inputs:
            if t.name in profile:
                for extent, size in zip(t.shape, profile[t.name][1], strict=True):
                    symbol = sole_symbol(extent)
                    if symbol is not None:
                        sizes.setdefault(symbol.name, size)
        found.append(sizes)
    return found


def retuned(spec: KernelSpec, sizes: Sizes) -> KernelSpec:
    """The spec with these sizes for typical."""
    return spec.mapped(_renamed(spec.symbols, sizes))


def _renamed(symbols: Sequence[Symbol], sizes: Sizes) -> Callable[[Extent], Extent]:
    """From extents over `symbols` to those over symbols that are typically of these sizes."""
    new = {s: extent_of(replace(s, typical=sizes[s.name])) for s in symbols}
    return lambda e: substitute(e, new)


@dataclass(frozen=True)
class Retuned:
    """A candidate of `retuned(spec, ...)` as one of `spec`.

    back: from extents over the symbols that it was planned for to those of `spec`.
    """

    planned: Candidate
    back: Callable[[Extent], Extent]

    @staticmethod
    def of(candidate: Candidate, spec: KernelSpec, sizes: Sizes) -> Retuned:
        """candidate: one that was planned for `retuned(spec, sizes)`."""
        typical = typical_sizes(spec.symbols)
        return Retuned(candidate, _renamed(retuned(spec, sizes).symbols, typical))

    @property
    def spec(self) -> KernelSpec:
        """As planned."""
        return self.planned.spec

    @property
    def params(self) -> Params:
        """As planned."""
        return self.planned.params

    @property
    def reports(self) -> bool:
        """As planned."""
        return self.planned.reports

    @property
    def approximate(self) -> bool:
        """As planned."""
        return self.planned.approximate

    def features(self, threads: int) -> Mapping[str, float]:
        """As planned."""
        return self.planned.features(threads)

    @property
    def packing(self) -> Packing:
        """As planned."""
        return self.planned.packing

    def prepack(self, constants: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """As planned."""
        return self.planned.prepack(constants)

    def workspace(self, threads: int) -> Extent:
        """Bytes, over the symbols of `spec`."""
        return self.back(self.planned.workspace(threads))

    def emit(self) -> Source:
        """The kernel's program, its items and dims over the symbols of `spec`."""
        source = self.planned.emit()
        return replace(source, phases=self._phases(source.phases), dims=self._dims(source.dims))

    def kernel(self, planned: Kernel) -> Kernel:
        """What the candidate was compiled to, its items and dims over the symbols of `spec`."""
        return replace(planned, phases=self._phases(planned.phases), dims=self._dims(planned.dims))

    def _phases(self, phases: Sequence[Phase]) -> tuple[Phase, ...]:
        return tuple(Phase(p.symbol, self.back(p.items)) for p in phases)

    def _dims(self, dims: Sequence[Extent]) -> tuple[Extent, ...]:
        return tuple(map(self.back, dims))


def partition(times: Sequence[Sequence[float]], packings: Sequence[Packing]) -> list[int]:
    """Which kernel each size gets.

    times: of every kernel, for each size, in order of the sizes.  packings: of every kernel.  The least sum of
    logarithms of how much slower than the fastest (STEP_US added to both) a size runs, of SWITCH for each
    change of kernel, and of COPY for each packing but one.
    """
    loss = [[_slower(t, min(row)) for t in row] for row in times]
    found = []
    for kept in _sets(packings):
        kernels = [k for k, packing in enumerate(packings) if packing in kept]
        total, path = _cheapest_path([[row[k] for k in kernels] for row in loss])
        found.append((total + COPY * (len(kept) - 1), [kernels[k] for k in path]))
    return min(found, key=lambda f: f[0])[1]


def _cheapest_path(loss: Sequence[Sequence[float]]) -> tuple[float, list[int]]:
    """The least loss, and the kernel at each size, by dynamic programming (Viterbi, 1967)."""
    kernels = range(len(loss[0]))
    total, before = list(loss[0]), list[list[int]]()
    for row in loss[1:]:
        best = [min(kernels, key=lambda j: total[j] + SWITCH * (j != k)) for k in kernels]
        total = [total[j] + SWITCH * (j != k) + row[k] for k, j in zip(kernels, best, strict=True)]
        before.append(best)
    path = [min(kernels, key=lambda k: total[k])]
    for best in reversed(before):
        path.append(best[path[-1]])
    return min(total), path[::-1]


def worth_keeping(times: Sequence[Mapping[Packing, float]]) -> frozenset[Packing]:
    """The packings of weights among which each size chooses.

    times: for each size, of the fastest kernel that reads weights packed so.  Another packing has to gain COPY over
    all sizes together, as `partition` reckons: a kernel that is hardly slower shares the weights of other sizes.
    """

    def total(kept: frozenset[Packing]) -> float:
        price = COPY * (len(kept) - 1)
        for row in times:
            there = [t for packing, t in row.items() if packing in kept]
            price += _slower(min(there), min(row.values())) if there else inf
        return price

    return min(_sets([packing for row in times for packing in row]), key=total)


def _slower(time: float, fastest: float) -> float:
    return log((time + STEP_US) / (fastest + STEP_US))


def _sets(packings: Sequence[Packing]) -> Iterator[frozenset[Packing]]:
    """All sets of the packings, those of few first."""
    distinct = list(dict.fromkeys(packings))
    for count in range(1, len(distinct) + 1):
        yield from map(frozenset, combinations(distinct, count))


def turns(
    measure: Extent, works: Sequence[int], path: Sequence[int]
) -> list[tuple[When, list[int]]]:
    """The ranges of `measure` over which one kernel runs, and the numbers of the sizes within.

    works: the measure at each size, ascending.  path: the kernel at each size.  Between two sizes
    whose kernels differ the range ends at their geometric mean.
    """
    groups: list[list[int]] = []
    for i, kernel in enumerate(path):
        if groups and path[groups[-1][-1]] == kernel:
            groups[-1].append(i)
        else:
            groups.append([i])
    ends = [max(works[g[-1]] + 1, isqrt(works[g[-1]] * works[g[-1] + 1])) for g in groups[:-1]]
    limits = zip([0, *ends], [*ends, None], strict=True)
    return [(When(measure, *limit), group) for limit, group in zip(limits, groups, strict=True)]
