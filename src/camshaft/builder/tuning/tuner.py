"""Choosing a kernel for each task: candidates from the tactics, checked, timed, remembered.

Results depend only on the timing cache: with every entry present a build repeats itself exactly
and compiles nothing but the winners of the graph that is built.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from time import perf_counter
from typing import Any

from camshaft.backends.base import Backend, Candidate, Kernel, KernelSpec, Tactic
from camshaft.builder.assemble import Choice, kernel_id
from camshaft.builder.tasks import Task
from camshaft.builder.tuning.range_tuning import over_range
from camshaft.builder.tuning.ranges import Sizes
from camshaft.builder.tuning.timing_cache import MARGIN, Record, TimingCache
from camshaft.builder.tuning.trial import BEYOND_L2, BoundCandidate, Trial, failed
from camshaft.errors import BuildError, TimingCacheError
from camshaft.ir.extents.sizes import typical, typical_sizes
from camshaft.ir.extents.symbol import UndecidedExtent
from camshaft.runtime.file.manifest import Fingerprint


@dataclass(frozen=True)
class Effort:
    """How much a level spends: candidates a spec, timing rounds, seconds a candidate and round."""

    candidates: int
    rounds: int
    seconds: float


EFFORTS = (
    Effort(1, 0, 0.0),
    Effort(1, 0, 0.0),
    Effort(4, 2, 0.002),
    Effort(12, 4, 0.003),
    Effort(24, 6, 0.006),
    Effort(1000, 10, 0.010),
)
FLOPS_PER_US = 1e5
"""A fast core's float throughput, to guess how long a kernel will run."""
KEEP_WITHIN = 1.25
"""After the first round, candidates slower than the best by this factor are dropped."""


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


class Tuner:
    """Chooses kernels; remembers by spec, so equal layers are tuned once."""

    def __init__(
        self,
        backend: Backend[Fingerprint],
        cache: TimingCache,
        *,
        level: int,
        threads: int,
        workspace_limit: int,
        frozen: bool,
        deadline: float | None,
        workers: int,
        points: Sequence[Sizes] = (),
    ) -> None:
        """deadline: perf_counter() value after which nothing more is timed (None: no limit).

        points: sizes (symbol name -> size) to tune for besides the typical ones.
        """
        self.backend, self.cache = backend, cache
        self.effort = EFFORTS[level]
        self.threads, self.workspace_limit = threads, workspace_limit
        self.frozen, self.deadline = frozen, deadline
        self.workers, self.points = workers, points
        self.timed_out = False
        self.spread = BEYOND_L2
        self._chosen: dict[str, Choice] = {}
        self._compiled: dict[str, Kernel] = {}

    def expect_weights(self, nbytes: int) -> None:
        """Tell how many bytes of weights the net reads in a run: kernels are timed with weights
        that come from where they will come from, the last-level cache or memory."""
        cache = self.backend.last_level_cache
        self.spread = 2 * cache if nbytes > cache // 2 else BEYOND_L2

    def choose(self, task: Task) -> Choice | None:
        """The kernel for a task, or None when no tactic supports it (it becomes a host step).

        Raises BuildError when a candidate is wrong, none fits the workspace limit, or there is no
        memory to try one, and TimingCacheError when the cache is frozen and lacks the spec.
        """
        if task.spec is None:
            return None
        key = f"{task.spec.key()} {self.spread}"
        if key not in self._chosen:
            try:
                choice = self._choose(task, task.spec)
                if choice is not None and task.spec.symbols and self.effort.rounds:
                    choice = self._over_range(task, task.spec, choice)
            except UndecidedExtent as error:
                raise BuildError(f"layer {task.name!r} ({task.op}): {error}") from error
            except MemoryError as error:
                spec = task.spec.at(typical_sizes(task.spec.symbols))
                shapes = " and ".join(str(list(o.shape)) for o in (*spec.inputs, *spec.outputs))
                raise BuildError(
                    f"layer {task.name!r} ({task.op}): no memory to try kernels on arrays of "
                    f"{shapes}; give smaller typical sizes, or optimization_level=1, which tries none"
                ) from error
            if choice is None:
                return None
            self._chosen[key] = choice
        return self._chosen[key]

    def _over_range(self, task: Task, spec: KernelSpec, choice: Choice) -> Choice:
        """As `range_tuning.over_range`."""

        def choose(there: Task) -> Choice | None:
            best = None if self._late() or there.spec is None else self._choose(there, there.spec)
            return None if self.timed_out else best

        def compare(there: Task, sizes: Sizes, choices: Sequence[Choice]) -> Sequence[float]:
            return self._compared(there, spec, sizes, choices)

        return over_range(task, spec, choice, self.points, choose, compare)

    def exact(self, task: Task) -> Choice:
        """The fastest kernel for a task whose candidate is not approximate, among those that were
        timed; the first guess where none was.  BuildError if there is none."""
        assert task.spec is not None
        plans = self._plans(task.spec)
        offered, fitting = self._fitting(task, [offers for _, offers in plans])
        exact = [o for o in fitting if not o.candidate.approximate]
        if not exact:
            raise BuildError(
                f"layer {task.name!r}: no candidate within the error budget fits workspace_limit "
                f"({self.workspace_limit} bytes); raise it"
            )
        key = self._key(task.spec, [t for t, _ in plans], restricted=len(fitting) < len(offered))
        names = {o.id for o in exact}
        known = [r for r in self.cache.records(key) if r.id in names]
        if known:
            best = min(known, key=lambda r: r.time_us)
            return self._recall(task.spec, offered, [best])
        return self._choice(exact[0], 0.0, "not timed")

    def _plans(self, spec: KernelSpec) -> list[tuple[Tactic[Any], list[Offer]]]:
        return [
            (tactic, offers)
            for tactic in self.backend.tactics
            if (offers := self._offers(tactic, spec))
        ]

    def _choose(self, task: Task, spec: KernelSpec) -> Choice | None:
        plans = self._plans(spec)
        if not plans:
            return None
        offered, fitting = self._fitting(task, [offers for _, offers in plans])
        candidates = fitting[: self.effort.candidates]
        key = self._key(spec, [t for t, _ in plans], restricted=len(fitting) < len(offered))
        known = self.cache.lookup(key, self._wanted(candidates))
        if known:
            return self._recall(spec, offered, known)
        if self.frozen:
            raise self._unknown(task)
        if self.effort.rounds == 0 or self._late():
            first = candidates[0]
            reason = "time budget spent, not timed" if self.effort.rounds else "not timed"
            return self._choice(first, 0.0, reason)
        return self._time(task, spec, offered, candidates, key)

    def _unknown(self, task: Task) -> TimingCacheError:
        spec = "" if task.spec is None else task.spec.key()
        return TimingCacheError(
            f"the frozen timing cache has no entry for layer {task.name!r} ({spec}) on "
            f"{self.backend.machine}: build once without frozen_cache"
        )

    def _offers(self, tactic: Tactic[Any], spec: KernelSpec) -> list[Offer]:
        plan = tactic.plan(spec, self.backend.target, self.threads)
        return [Offer(tactic.name, candidate) for candidate in plan]

    def _key(
        self,
        spec: KernelSpec,
        supporting: Sequence[Tactic[Any]],
        restricted: bool,
        among: Sequence[str] = (),
    ) -> str:
        """The timing cache's key.  restricted: whether the workspace limit excludes candidates.
        among: ids of the only candidates, where they were chosen beforehand."""
        versions = ",".join(f"{t.name}@{t.version}" for t in supporting)
        setting = f"{self.backend.identity};{self.threads} threads;weights over {self.spread}"
        if restricted:
            setting += f";workspace within {self.workspace_limit}"
        if among:
            setting += f";among {','.join(among)}"
        return TimingCache.key(spec.key(), setting, versions)

    def _fitting(
        self, task: Task, lists: Sequence[Sequence[Offer]]
    ) -> tuple[dict[str, Offer], list[Offer]]:
        """Candidates of all tactics by id, and those within the workspace limit: interleaved, so
        that a cut keeps the best of each tactic."""
        turns = max(len(c) for c in lists)
        mixed = {c[i].id: c[i] for i in range(turns) for c in lists if i < len(c)}
        fitting = [
            c
            for c in mixed.values()
            if typical(c.candidate.workspace(self.threads)) <= self.workspace_limit
        ]
        if not fitting:
            raise BuildError(
                f"layer {task.name!r}: every candidate needs more than workspace_limit "
                f"({self.workspace_limit} bytes); raise it"
            )
        return mixed, fitting

    def _wanted(self, candidates: Sequence[Offer]) -> list[str]:
        """Ids that must have been timed for a cache entry to answer this build: a higher
        optimization level, or more time than an earlier build had, asks for more."""
        if self.frozen or self.effort.rounds == 0 or self._late():
            return []
        return [c.id for c in candidates]

    def _recall(
        self, spec: KernelSpec, offered: Mapping[str, Offer], known: Sequence[Record]
    ) -> Choice:
        winner = known[0]
        offer = offered.get(winner.id)
        if offer is None:
            raise TimingCacheError(
                f"the timing cache names {winner.id!r:.80} for {spec.key():.80}, which camshaft does "
                "not have: the file was edited or damaged; delete it and build again"
            )
        return self._choice(offer, winner.time_us, _explain(winner, known))

    def _choice(self, offer: Offer, time_us: float, reason: str) -> Choice:
        """A choice whose kernel is compiled when it is needed."""
        compiled = cache(partial(self._compile, offer))
        return Choice(offer.tactic, offer.candidate, compiled, time_us, reason)

    def _late(self) -> bool:
        late = self.deadline is not None and perf_counter() > self.deadline
        self.timed_out |= late
        return late

    # -- compiling and timing ------------------------------------------------------------------

    def compile_all(self, choices: Iterable[Choice]) -> None:
        """Compile what is not compiled yet of these choices and their variants, side by side."""
        wanted = {id(c.compiled): c.compiled for choice in choices for c in choice.variants}
        with ThreadPoolExecutor(self.workers) as pool:
            for kernel in [pool.submit(compiled) for compiled in wanted.values()]:
                kernel.result()

    def _compile(self, offer: Offer) -> Kernel:
        source = offer.candidate.emit()
        kernel = self._compiled.get(source.text)
        if kernel is None:
            kernel = self._compiled[source.text] = self.backend.compile(source)
        return replace(kernel, phases=source.phases, expansions=source.expansions, dims=source.dims)

    def _trial(self, task: Task, spec: KernelSpec, sizes: Sizes | None = None) -> Trial:
        constants = [t.array for t in task.constants]
        expected_us = 2 * typical(task.macs) / FLOPS_PER_US / self.threads
        where = (self.backend.fingerprint, self.spread, expected_us, sizes)
        return Trial(spec, constants, self.threads, *where)

    def _time(
        self,
        task: Task,
        spec: KernelSpec,
        offered: Mapping[str, Offer],
        candidates: Sequence[Offer],
        key: str,
    ) -> Choice:
        """The fastest of `candidates`, or one of `offered` that an earlier build has timed."""
        trial = self._trial(task, spec)
        with ThreadPoolExecutor(self.workers) as pool:
            kernels = list(pool.map(self._compile, candidates))
        best = self._timed(trial, candidates, kernels)
        winner = self.cache.store(key, [candidates[i].record(best[i]) for i in best])
        chosen = next((i for i in best if candidates[i].id == winner.id), None)
        if chosen is None:
            return self._recall(spec, offered, self.cache.records(key))
        offer = candidates[chosen]
        reason = _explain(winner, self.cache.records(key))
        kernel = kernels[chosen]
        return Choice(offer.tactic, offer.candidate, lambda: kernel, winner.time_us, reason)

    def _timed(
        self, trial: Trial, offers: Sequence[Offer], kernels: Sequence[Kernel]
    ) -> dict[int, float]:
        """Microseconds by number of the offer; of those that there was time for, at least one.
        BuildError if one computes a wrong result."""
        runners: dict[int, BoundCandidate] = {}
        best: dict[int, float] = {}
        try:
            for i, (offer, kernel) in enumerate(zip(offers, kernels, strict=True)):
                if best and self._late():
                    break
                runner = trial.prepare(offer.candidate, kernel)
                runners[i] = runner
                problem = trial.check(runner)
                if problem:
                    raise failed(trial.spec, offer.tactic, offer.candidate.params, problem)
                best[i] = runner.time_us(self.effort.seconds)
            self._rounds(runners, best)
        finally:
            for runner in runners.values():
                runner.close()
        return best

    def _compared(
        self, task: Task, spec: KernelSpec, sizes: Sizes, choices: Sequence[Choice]
    ) -> Sequence[float]:
        """Microseconds of these kernels for `spec` at sizes for which `task` is retuned."""
        assert task.spec is not None
        offers = [Offer(c.tactic, c.candidate, kernel_id(c.kernel)) for c in choices]
        supporting = [t for t in self.backend.tactics if t.name in {o.tactic for o in offers}]
        key = self._key(task.spec, supporting, restricted=False, among=[o.id for o in offers])
        known = {r.id: r.time_us for r in self.cache.lookup(key, [o.id for o in offers])}
        if not known and self.frozen:
            raise self._unknown(task)
        if not known:
            trial = self._trial(task, spec, sizes)
            best = self._timed(trial, offers, [c.kernel for c in choices])
            self.cache.store(key, [offers[i].record(best[i]) for i in best])
            known = {offers[i].id: best[i] for i in best}
        worst = max(known.values())
        return [known.get(o.id, worst) for o in offers]

    def _rounds(self, runners: dict[int, BoundCandidate], best: dict[int, float]) -> None:
        """Time the promising candidates in turn; the machine's noise hits all alike."""
        limit = min(best.values()) * KEEP_WITHIN
        alive = [i for i in best if best[i] <= limit]
        for _ in range(self.effort.rounds - 1):
            for i in alive:
                if self._late():
                    return
                best[i] = min(best[i], runners[i].time_us(self.effort.seconds))
            limit = min(best[i] for i in alive) * (1 + 2 * MARGIN)
            alive = [i for i in alive if best[i] <= limit]
            if len(alive) == 1:
                return


def _explain(winner: Record, records: Sequence[Record]) -> str:
    others = [r for r in records if r.id != winner.id]
    if not others:
        return f"{winner.time_us:.1f} us, only candidate"
    second = min(others, key=lambda r: r.time_us)
    return (
        f"{winner.time_us:.1f} us, best of {len(records)}; "
        f"next {second.id} {second.time_us / winner.time_us - 1:+.0%}"
    )
