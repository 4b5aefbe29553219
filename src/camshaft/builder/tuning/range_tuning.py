"""Tuning a layer with open extents over the range of its sizes: see `builder.tuning.ranges`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod

from camshaft.backends.base import KernelSpec
from camshaft.builder.assemble import Choice
from camshaft.builder.tasks import Task
from camshaft.builder.tuning.ranges import (
    COPY,
    SWITCH,
    Retuned,
    Sizes,
    amount,
    partition,
    retuned,
    tuning_points,
    turns,
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
    choose: Callable[[Task], Choice | None],
    compare: Callable[[Task, Sizes, Sequence[Choice]], Sequence[float]],
) -> Choice:
    """The choice with others for sizes at which they are faster, where there are any.

    spec: that of the task, with symbols.  choice: the fastest at typical sizes.  wanted: sizes of
    symbols to tune for besides.  choose: the fastest kernel for a task at its typical sizes, None
    where there is no time left to find it.  compare: microseconds of kernels for `spec` at some sizes,
    for which the given task is retuned.
    """
    points = range_points(task, spec, wanted)
    if len(points) < 2:
        return choice
    typical = typical_sizes(spec.symbols)
    found: dict[tuple[object, ...], Choice] = {}
    for point in points:
        best = choice if point.sizes == typical else _chosen(point, spec, choose)
        if best is None:
            return choice
        found.setdefault((best.kernel.code, best.kernel.phases, best.kernel.dims), best)
    winners = list(found.values())
    if len(winners) == 1:
        return choice
    times = [compare(p.task, p.sizes, winners) for p in points]
    return _joined(task, spec, points, winners, times)


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


def _chosen(
    point: Point, spec: KernelSpec, choose: Callable[[Task], Choice | None]
) -> Choice | None:
    """The fastest kernel at a point, in terms of `spec`."""
    best = choose(point.task)
    if best is None:
        return None
    candidate = Retuned.of(best.candidate, spec, point.sizes)
    kernel = candidate.kernel(best.kernel)
    return replace(best, candidate=candidate, compiled=lambda: kernel)


def _joined(
    task: Task,
    spec: KernelSpec,
    points: Sequence[Point],
    winners: Sequence[Choice],
    times: Sequence[Sequence[float]],
) -> Choice:
    """The winners as one choice, each for the sizes where it is worth it.  times: at each point."""
    path = partition(times, _prices(task, winners))
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


def _prices(task: Task, winners: Sequence[Choice]) -> Callable[[int, int], float]:
    """What it has to gain that one kernel follows on another: more where it packs weights anew."""
    arrays = [t.array for t in task.constants]
    forms = []
    for winner in winners:
        form = hashlib.sha256()
        for packed in winner.candidate.prepack(arrays):
            form.update(packed.tobytes())
        forms.append(form.digest())
    return lambda j, k: SWITCH if forms[j] == forms[k] else SWITCH + COPY
