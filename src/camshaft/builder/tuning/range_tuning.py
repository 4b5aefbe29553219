"""Tuning a layer with open extents over the range of its sizes: see `builder.tuning.ranges`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod

from camshaft.backends.base import KernelSpec
from camshaft.builder.assemble import Choice
from camshaft.builder.tasks import Task
from camshaft.builder.tuning.ranges import (
    Retuned,
    Sizes,
    amount,
    partition,
    retuned,
    tuning_points,
    turns,
    worth_keeping,
)
from camshaft.ir.extents.extent import symbols_of
from camshaft.ir.extents.sizes import evaluate, typical_sizes

MOST_MACS, MOST_BYTES = 200_000_000, 32 << 20
"""Sizes that nobody named are no larger than a layer of so many multiply-accumulates and bytes of
operands: to check a kernel there against the reference would take seconds."""


@dataclass(frozen=True)
class Point:
    """One size of a layer that is tuned over a range.

    work: its amount.  task: the layer with these sizes for typical.
    """

    sizes: Sizes
    work: int
    task: Task

    @property
    def label(self) -> str:
        return ", ".join(f"{name}={size}" for name, size in self.sizes.items())


def over_range(
    task: Task,
    spec: KernelSpec,
    choice: Choice,
    wanted: Sequence[Sizes],
    rivals: Callable[[Task], Sequence[Choice]],
    compare: Callable[[Task, Sizes, Sequence[Choice]], Sequence[float]],
) -> Choice:
    """The choice with others for sizes at which they are faster, where there are any.

    spec: that of the task, with symbols.  choice: the fastest at typical sizes.  wanted: sizes of
    symbols to tune for besides.  rivals: the fastest kernel for a task at its typical sizes, then the fastest of
    each other packing of weights; none where there is no time left to find it.  compare: microseconds of kernels
    for `spec` at some sizes, for which the given task is retuned.
    """
    points = range_points(task, spec, wanted)
    offered = [rivals(point.task) for point in points]
    if len(points) < 2 or not all(offered):
        return choice
    kept = worth_keeping([{c.candidate.packing: c.time_us for c in there} for there in offered])
    best = [
        _as_one_of(spec, next(c for c in there if c.candidate.packing in kept), point)
        for point, there in zip(points, offered, strict=True)
    ]
    found = {(c.kernel.code, c.kernel.phases, c.kernel.dims): c for c in reversed(best)}
    winners = list(reversed(found.values()))
    if len(winners) == 1:
        typical = typical_sizes(spec.symbols)
        return next((c for c, p in zip(best, points, strict=True) if p.sizes == typical), choice)
    times = [compare(p.task, p.sizes, winners) for p in points]
    return _joined(spec, points, winners, times)


def range_points(task: Task, spec: KernelSpec, wanted: Sequence[Sizes]) -> list[Point]:
    """The sizes at which a task with open extents is tuned; spec, wanted: as for `over_range`."""

    def affordable(sizes: Sizes) -> bool:
        return _macs(task, sizes) <= MOST_MACS and _nbytes(spec, sizes) <= MOST_BYTES

    measure = amount(spec)
    return [
        Point(
            sizes,
            evaluate(measure, sizes),
            replace(task, spec=retuned(spec, sizes), macs=_macs(task, sizes)),
        )
        for sizes in tuning_points(spec, wanted, affordable)
    ]


def _macs(task: Task, sizes: Sizes) -> int:
    """Multiply-accumulates of the task at these sizes."""
    return evaluate(task.macs, typical_sizes(symbols_of(task.macs)) | dict(sizes))


def _nbytes(spec: KernelSpec, sizes: Sizes) -> int:
    """Bytes of all operands at these sizes, each element counted once."""
    return sum(
        prod(evaluate(e, sizes) for e in o.shape) * o.dtype.bytes
        for o in (*spec.inputs, *spec.outputs)
    )


def _as_one_of(spec: KernelSpec, best: Choice, point: Point) -> Choice:
    """A kernel that was chosen at a point, in terms of `spec`."""
    if point.sizes == typical_sizes(spec.symbols):
        return best
    candidate = Retuned.of(best.candidate, spec, point.sizes)
    kernel = candidate.kernel(best.kernel)
    return replace(best, candidate=candidate, compiled=lambda: kernel)


def _joined(
    spec: KernelSpec,
    points: Sequence[Point],
    winners: Sequence[Choice],
    times: Sequence[Sequence[float]],
) -> Choice:
    """The winners as one choice, each for the sizes where it is worth it.  times: at each point."""
    path = partition(times, [w.candidate.packing for w in winners])
    typical = typical_sizes(spec.symbols)
    parts: list[Choice] = []
    first = 0
    for when, group in turns(amount(spec), [p.work for p in points], path):
        winner = winners[path[group[0]]]
        at = next((i for i in group if points[i].sizes == typical), group[-1])
        time = times[at][path[at]]
        if len(set(path)) == 1:
            return replace(winner, time_us=time, reason=f"{time:.1f} us, best over all sizes")
        sizes = points[at].sizes
        reason = (
            f"{time:.1f} us at {points[at].label}; for sizes{_such(points, group)} where {when}"
        )
        if sizes == typical:
            first = len(parts)
        there = () if sizes == typical else tuple(sizes.items())
        parts.append(replace(winner, time_us=time, reason=reason, when=when, at=there))
    return replace(parts[first], others=tuple(p for i, p in enumerate(parts) if i != first))


def _such(points: Sequence[Point], group: Sequence[int]) -> str:
    """The least and the most of the points that a kernel is for, as examples; "" of a single one."""
    first, last = points[group[0]], points[group[-1]]
    return "" if first is last else f" such as {first.label} to {last.label},"
