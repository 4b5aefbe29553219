"""Contests between candidates: all are compiled and checked side by side, then timed one at a time.

Nothing else runs while a kernel is timed: compilation and checks of several contests come first, on
every core, then their timing.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import prod
from time import perf_counter

from camshaft.backends.base import Backend, Candidate, Kernel, KernelSpec
from camshaft.builder.tasks import Task
from camshaft.builder.tuning.bound_candidate import BoundCandidate
from camshaft.builder.tuning.ranges import Sizes
from camshaft.builder.tuning.room import Room
from camshaft.builder.tuning.spare import PackedForm, SpareWeights
from camshaft.builder.tuning.timing_cache import MARGIN, Record
from camshaft.builder.tuning.trial import BEYOND_L2, Trial, failed
from camshaft.errors import BuildError, ModelError
from camshaft.ir.extents.sizes import fixed, typical, typical_sizes
from camshaft.ir.extents.symbol import UndecidedExtent
from camshaft.ops import PLUGIN
from camshaft.runtime.file.manifest import Fingerprint

FLOPS_PER_US = 1e5
"""A fast core's float throughput, to guess how long a kernel will run."""
KEEP_WITHIN = 1.25
"""After the first round, candidates slower than the best by this factor are dropped."""
SIDE_BY_SIDE = 16
"""Candidates per core that are compiled before some are timed."""
LEAST_ROOM = 16 << 20
"""Bytes that any check may take: bounds of a block of elements, the candidate's engine."""


@dataclass(frozen=True)
class Effort:
    """How much a level spends: candidates a spec, timing rounds, seconds a candidate and round; whether
    candidates that the cost model thinks little of are left out."""

    candidates: int
    rounds: int
    seconds: float
    prunes: bool = False


EFFORTS = (
    Effort(1, 0, 0.0),
    Effort(1, 0, 0.0),
    Effort(4, 2, 0.002, prunes=True),
    Effort(12, 4, 0.003, prunes=True),
    Effort(24, 6, 0.006),
    Effort(1000, 10, 0.010),
)


@dataclass(frozen=True)
class Offer:
    """A candidate and the name of the tactic that offers it.

    kernel: tells candidates apart that have the same parameters (their code also depends on the
    sizes that they were planned for); "" where that cannot be.
    """

    tactic: str
    candidate: Candidate
    kernel: str = ""

    def record(self, time_us: float) -> Record:
        """Its entry in the timing cache."""
        params = {**self.candidate.params, **({"kernel": self.kernel} if self.kernel else {})}
        return Record(self.tactic, tuple(sorted(params.items())), time_us)

    @property
    def id(self) -> str:
        """As `Record.id`."""
        return self.record(0.0).id


@dataclass
class Contest:
    """Candidates for one spec, of which the fastest is wanted.

    key: of the timing cache.  offered: all candidates by id.  candidates: those that take part.
    sizes: of the spec's symbols (None: typical ones).  kernels: as far as they are compiled, by number of
    the candidate.  known_us: microseconds of each candidate where they need not be timed any more.
    """

    task: Task
    spec: KernelSpec
    key: str
    offered: Mapping[str, Offer]
    candidates: Sequence[Offer]
    sizes: Sizes | None = None
    kernels: dict[int, Kernel] = field(default_factory=dict)
    known_us: Sequence[float] = ()

    @property
    def nbytes(self) -> int:
        """Bytes of its operands that are not constant."""
        spec = self.spec.at(typical_sizes(self.spec.symbols) | dict(self.sizes or {}))
        varying = (o for o in (*spec.inputs, *spec.outputs) if not o.const)
        return sum(prod(fixed(o.shape, "an operand")) * o.dtype.bytes for o in varying)

    @property
    def need(self) -> int:
        """Bytes that checks of its candidates take at most, about: operands, the reference's result and its
        bounds in float64, accepted results; constants as candidates pack and expand them."""
        constants = sum(t.content.nbytes for t in self.task.constants)
        return 8 * self.nbytes + 5 * constants + LEAST_ROOM


@dataclass
class _Ready:
    """A contest whose candidates are compiled and right.  forms: of their constants, by number."""

    trial: Trial
    forms: dict[int, PackedForm]


class Contests:
    """Compiles, checks and times candidates of one build."""

    def __init__(
        self,
        backend: Backend[Fingerprint],
        effort: Effort,
        threads: int,
        workers: int,
        deadline: float | None,
        room: Room,
    ) -> None:
        """workers: candidates that are compiled at the same time.  deadline: as for `Tuner`."""
        self.backend, self.effort = backend, effort
        self.threads, self.workers, self.deadline = threads, workers, deadline
        self.room = room
        self.spread = BEYOND_L2
        self.timed_out = False
        self._spare = SpareWeights()
        self._compiled: dict[bytes, Kernel] = {}

    def late(self) -> bool:
        """Whether the deadline has passed."""
        late = self.deadline is not None and perf_counter() > self.deadline
        self.timed_out |= late
        return late

    def compile(self, candidate: Candidate) -> Kernel:
        """Its kernel; equal code is compiled once a build."""
        source = candidate.emit()
        text = hashlib.sha256(source.text.encode()).digest()
        kernel = self._compiled.get(text)
        if kernel is None:
            kernel = self._compiled[text] = self.backend.compile(source)
        return replace(
            kernel,
            phases=source.phases,
            expansions=source.expansions,
            dims=source.dims,
            imports=source.imports,
        )

    def batches(self, contests: Sequence[Contest]) -> Iterator[list[Contest]]:
        """The contests in groups that keep every core busy and fit in memory together."""
        batch: list[Contest] = []
        for contest in contests:
            together = [*batch, contest]
            most = sum(len(c.candidates) for c in together)
            if batch and (
                most > SIDE_BY_SIDE * self.workers
                or sum(c.nbytes for c in together) > self.room.share
            ):
                yield batch
                batch = []
            batch.append(contest)
        if batch:
            yield batch

    def expect_weights(self, nbytes: int) -> None:
        """As `Tuner.expect_weights`."""
        cache = self.backend.last_level_cache
        spread = 2 * cache if nbytes > cache // 2 else BEYOND_L2
        self.spread = min(spread, self.room.weights)

    def release(self) -> None:
        """Give back the memory that only timing needs."""
        self._spare = SpareWeights()

    def run(self, contests: Sequence[Contest]) -> Iterator[tuple[Contest, dict[int, float]]]:
        """Each contest with microseconds by number of the candidate: of those that there was time for,
        none perhaps.  BuildError if a kernel computes a wrong result, or the memory budget is too small."""
        for contest in contests:
            if not self.room.holds(contest.need):
                raise too_little(contest, self.room)
        with ThreadPoolExecutor(self.workers) as pool:
            jobs = [(c, i, pool.submit(self._compile, c, i)) for c in contests for i in _todo(c)]
            for contest, i, job in jobs:
                with naming(contest.task):
                    kernel = job.result()
                if kernel is not None:
                    contest.kernels[i] = kernel
            ready = deque(pool.map(self._checked, contests))
        for contest in contests:
            with naming(contest.task):
                yield contest, self._timed(contest, ready.popleft())

    def require_right(self, task: Task, offer: Offer, kernel: Kernel) -> None:
        """Check a candidate that is not timed, however late it is.  BuildError if it computes a wrong result.

        kernel: the candidate's."""
        for _ in self.run([_alone(task, offer, kernel)]):
            pass

    def unknown_at(self, task: Task, offer: Offer, kernel: Kernel, sizes: Sizes) -> str:
        """Check a candidate at other sizes than typical ones; "", or why nothing is known there: its reference does not
        take such sizes, or there is too little memory.  BuildError if it computes a wrong result."""
        contest = _alone(task, offer, kernel, sizes)
        if not self.room.holds(contest.need):
            return "memory_budget leaves too little"
        with self.room.take(contest.need):
            try:
                with naming(task):
                    trial = self._trial(contest)
                    trial.expected  # noqa: B018 (asks the reference)
            except (ModelError, BuildError) as error:
                return str(error)
            with naming(task):
                _require_right(trial, offer, kernel)
        return ""

    def _compile(self, contest: Contest, i: int) -> Kernel | None:
        return None if self.late() else self.compile(contest.candidates[i].candidate)

    def _checked(self, contest: Contest) -> _Ready:
        with naming(contest.task), self.room.take(contest.need):
            trial = self._trial(contest)
            forms: dict[int, PackedForm] = {}
            for i, kernel in sorted(contest.kernels.items()):
                if forms and self.late():
                    break
                forms[i] = _require_right(trial, contest.candidates[i], kernel)
            trial.forget_expected()
            return _Ready(trial, forms)

    def _trial(self, contest: Contest) -> Trial:
        task = contest.task
        expected_us = 2 * typical(task.macs) / FLOPS_PER_US / self.threads
        constants = [t.content for t in task.constants]
        where = (self.backend.fingerprint, self.spread, expected_us, contest.sizes)
        return Trial(contest.spec, constants, self.threads, *where)

    def _timed(self, contest: Contest, ready: _Ready) -> dict[int, float]:
        if contest.known_us:
            return {i: contest.known_us[i] for i in ready.forms}
        runners: dict[int, BoundCandidate] = {}
        best: dict[int, float] = {}
        try:
            for i, form in ready.forms.items():
                if best and self.late():
                    break
                candidate, kernel = contest.candidates[i].candidate, contest.kernels[i]
                runners[i] = ready.trial.timed(candidate, kernel, form, self._spare)
                best[i] = runners[i].time_us(self.effort.seconds)
            self._rounds(runners, best)
        finally:
            for runner in runners.values():
                runner.close()
        return best

    def _rounds(self, runners: dict[int, BoundCandidate], best: dict[int, float]) -> None:
        """Time the promising candidates in turn; the machine's noise hits all alike."""
        limit = min(best.values(), default=0.0) * KEEP_WITHIN
        alive = [i for i in best if best[i] <= limit]
        for _ in range(self.effort.rounds - 1):
            for i in alive:
                if self.late():
                    return
                best[i] = min(best[i], runners[i].time_us(self.effort.seconds))
            limit = min((best[i] for i in alive), default=0.0) * (1 + 2 * MARGIN)
            alive = [i for i in alive if best[i] <= limit]
            if len(alive) <= 1:
                return


def _alone(task: Task, offer: Offer, kernel: Kernel, sizes: Sizes | None = None) -> Contest:
    """A contest of one candidate, compiled, that need not be timed."""
    assert task.spec is not None
    return Contest(task, task.spec, "", {}, [offer], sizes, {0: kernel}, [0.0])


def _require_right(trial: Trial, offer: Offer, kernel: Kernel) -> PackedForm:
    """The form of the candidate's constants.  BuildError if it computes a wrong result."""
    runner, form = trial.prepare(offer.candidate, kernel)
    try:
        problem = trial.check(runner)
    finally:
        runner.close()
    if problem:
        raise failed(trial.spec, offer.tactic, offer.candidate.params, problem)
    return form


def _todo(contest: Contest) -> list[int]:
    return [i for i in range(len(contest.candidates)) if i not in contest.kernels]


def too_little(contest: Contest, room: Room) -> BuildError:
    """The error for a layer that cannot be tried within the memory budget."""
    task = contest.task
    return BuildError(
        f"layer {task.name!r} ({task.op}): to try kernels takes about {contest.need >> 20} MiB, and "
        f"memory_budget leaves {(room.nbytes - room.share) >> 20} MiB for it; give "
        f"{(4 * contest.need // 3 >> 20) + 1} MiB{_or_try_none(task)}"
    )


def _or_try_none(task: Task) -> str:
    """The other way out; users' kernels are tried at every level."""
    plugin = task.spec is not None and task.spec.op == PLUGIN.name
    return "" if plugin else ", or optimization_level=1, which tries none"


@contextmanager
def naming(task: Task) -> Iterator[None]:
    """BuildError that names the layer where its extents are too open or it takes too much memory."""
    try:
        yield
    except UndecidedExtent as error:
        raise BuildError(f"layer {task.name!r} ({task.op}): {error}") from error
    except MemoryError as error:
        assert task.spec is not None
        spec = task.spec.at(typical_sizes(task.spec.symbols))
        shapes = " and ".join(str(list(o.shape)) for o in (*spec.inputs, *spec.outputs))
        raise BuildError(
            f"layer {task.name!r} ({task.op}): no memory to try kernels on arrays of "
            f"{shapes}; give smaller typical sizes{_or_try_none(task)}"
        ) from error
