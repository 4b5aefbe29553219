"""Reducing a run of elements: several partial results side by side, joined as a tree.

One chain of additions waits for itself; several hide its latency.  Their number depends on the
problem alone, so results do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from camshaft.backends.cpu.lang import FunctionBuilder, Pointer, Value
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.sizes import typical

Join = Callable[[Value, Value], Value]

_ACCUMULATORS = 8


def reduced_run(
    k: FunctionBuilder,
    x: Pointer,
    steps: Extent,
    distance: Extent,
    identity: Sequence[Value],
    read: Callable[[Pointer], Iterable[Value]],
    join: Join,
) -> list[Value]:
    """What `read` gives at `steps` places, `distance` elements apart, joined value by value.

    identity: for every value that `read` gives, what changes no result.
    """
    side = max(1, min(_ACCUMULATORS // len(identity), typical(steps)))
    sums = [list(identity) for _ in range(side)]

    def add(at: Pointer, place: list[Value]) -> None:
        for n, value in enumerate(read(at)):
            place[n] = join(place[n], value)

    whole = steps // side * side
    with k.loop(0, whole, side, carry=sums) as first:
        start = x.at(first * distance)
        for j in range(side):
            add(start.at(j * distance), sums[j])
    left = steps - whole
    if isinstance(left, int):
        for j in range(left):
            add(x.at((whole + j) * distance), sums[j])
    else:
        with k.loop(whole, steps, carry=sums[0]) as last:
            add(x.at(last * distance), sums[0])
    while len(sums) > 1:
        half = len(sums) // 2
        pairs = zip(sums[:half], sums[half : 2 * half], strict=True)
        joined = [[join(a, b) for a, b in zip(left, right, strict=True)] for left, right in pairs]
        sums = joined + sums[2 * half :]
    return sums[0]
