"""The user's selection among the kernels of a layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from camshaft.backends.base import Operand
from camshaft.builder.tasks import Task
from camshaft.builder.tuning.contest import Offer
from camshaft.builder.tuning.timing_cache import Record
from camshaft.errors import BuildError
from camshaft.ir.extents.sizes import evaluate, typical
from camshaft.ir.extents.symbol import Symbol


@dataclass(frozen=True)
class KernelOperand:
    """An array that a kernel reads or writes.

    dtype: "f32", "i8", ...  shapes: at the least, typical and largest sizes of open extents, the typical ones where there is no largest.
    strides: in elements, at typical sizes.
    """

    dtype: str
    shapes: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class KernelCandidate:
    """A kernel that there is.  tactic, params: what tells it apart.  workspace: bytes of scratch memory at typical sizes.  time_us: as far
    as the timing cache knows."""

    tactic: str
    params: Mapping[str, object]
    workspace: int
    time_us: float | None


@dataclass(frozen=True)
class KernelChoice:
    """A layer of a graph that a build tries, and its kernels.

    name: of the layer, and those fused with it.  precision: that of the arithmetic, as `camshaft inspect` shows it.
    """

    name: str
    precision: str
    inputs: tuple[KernelOperand, ...]
    outputs: tuple[KernelOperand, ...]
    candidates: tuple[KernelCandidate, ...]


KernelSelector = Callable[[KernelChoice], Iterable[int]]
"""Indices of the candidates that a layer may have; all of them leaves the choice as it is."""


class Selection:
    """Asks the user once for each layer and what it computes."""

    def __init__(self, select: KernelSelector, threads: int) -> None:
        self._select, self._threads = select, threads
        self._known: dict[tuple[str, str], tuple[str, ...]] = {}

    def known(self, task: Task) -> tuple[str, ...] | None:
        """What `among` answered of a task; None: it was not asked."""
        return self._known.get(_key(task))

    def among(
        self, task: Task, offers: Sequence[Offer], timed: Sequence[Record]
    ) -> tuple[str, ...]:
        """Ids of the candidates that the user leaves; () for all of them.  BuildError for what are no indices of them, or none."""
        assert task.spec is not None
        times = {record.id: record.time_us for record in timed}
        symbols = task.spec.symbols
        inputs, outputs = (
            tuple(_operand(o, symbols) for o in operands if not o.const)
            for operands in (task.spec.inputs, task.spec.outputs)
        )
        candidates = tuple(
            KernelCandidate(
                o.tactic,
                dict(o.candidate.params),
                typical(o.candidate.workspace(self._threads)),
                times.get(o.id),
            )
            for o in offers
        )
        indices = [
            *self._select(KernelChoice(task.name, task.precision, inputs, outputs, candidates))
        ]
        wrong = [i for i in indices if not isinstance(i, int) or not 0 <= i < len(offers)]
        if wrong or not indices:
            raise BuildError(
                f"layer {task.name!r}: select_kernels gave {indices}; give numbers from 0 to {len(offers) - 1}, one at least"
            )
        left = sorted(set(indices))
        ids = () if len(left) == len(offers) else tuple(offers[i].id for i in left)
        self._known[_key(task)] = ids
        return ids


def _key(task: Task) -> tuple[str, str]:
    assert task.spec is not None
    return task.name, task.spec.key()


def _operand(operand: Operand, symbols: Sequence[Symbol]) -> KernelOperand:
    usual = {s.name: s.typical for s in symbols}
    low = {s.name: s.low for s in symbols}
    high = {s.name: s.typical if s.high is None else s.high for s in symbols}
    shapes = [tuple(evaluate(e, sizes) for e in operand.shape) for sizes in (low, usual, high)]
    strides = tuple(evaluate(e, usual) for e in operand.strides)
    return KernelOperand(str(operand.dtype), (shapes[0], shapes[1], shapes[2]), strides)
