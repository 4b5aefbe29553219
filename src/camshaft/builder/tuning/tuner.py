"""Choosing a kernel for each task: candidates from the tactics, checked, timed, remembered.

Results depend only on the timing cache: with every entry present a build repeats itself exactly
and compiles nothing but the winners of the graph that is built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, partial
from typing import Any

from camshaft.backends.base import Backend, KernelSpec, Tactic
from camshaft.builder.assemble import Choice, kernel_id
from camshaft.builder.tasks import Task
from camshaft.builder.tuning.base_cache import base_cache
from camshaft.builder.tuning.contest import EFFORTS, Contest, Contests, Offer, naming
from camshaft.builder.tuning.cost_model import cost_model
from camshaft.builder.tuning.range_tuning import over_range, range_points
from camshaft.builder.tuning.ranges import Sizes
from camshaft.builder.tuning.room import Room
from camshaft.builder.tuning.selection import KernelSelector, Selection
from camshaft.builder.tuning.timing_cache import Record, TimingCache, explained
from camshaft.errors import BuildError, TimingCacheError
from camshaft.ir.extents.sizes import typical
from camshaft.ops import PLUGIN
from camshaft.runtime.file.manifest import Fingerprint

Report = Callable[[int, int], None]
"""(layers decided, layers to decide), of those that are timed."""


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
        memory: int | None = None,
        select: KernelSelector | None = None,
    ) -> None:
        """deadline: perf_counter() value after which nothing more is timed (None: no limit).

        points: sizes (symbol name -> size) to tune for besides the typical ones.
        memory: bytes that tuning may take (None: a usual amount, or what a layer needs).
        select: as `BuildConfig.select_kernels`; then layers are not tuned apart for other sizes.
        """
        self.backend, self.cache = backend, cache
        self.effort = EFFORTS[level]
        self.threads, self.workspace_limit = threads, workspace_limit
        self.frozen, self.points, self.workers = frozen, points, workers
        self._contests = Contests(backend, self.effort, threads, workers, deadline, Room(memory))
        self._selection = None if select is None else Selection(select, threads)
        self._chosen: dict[str, Choice] = {}
        self._begun: dict[str, Contest | Choice | None] = {}

    @property
    def timed_out(self) -> bool:
        """Whether the deadline cut tuning short."""
        return self._contests.timed_out

    def expect_weights(self, nbytes: int) -> None:
        """Tell how many bytes of weights the net reads in a run: kernels are timed with weights
        that come from where they will come from, the last-level cache or memory."""
        self._contests.expect_weights(nbytes)

    def choose_all(
        self, tasks: Sequence[Task], report: Report | None = None
    ) -> list[Choice | None]:
        """The kernels for these tasks, None where no tactic supports one (it becomes a host step).

        Raises BuildError when a candidate is wrong, none fits the workspace limit, or there is no
        memory to try one, and TimingCacheError when the cache is frozen and lacks the spec.
        """
        tell = report or (lambda done, total: None)
        contests = self._open_contests(tasks)
        done = 0
        tell(done, len(contests))
        for batch in self._contests.batches(contests):
            for contest, times in self._contests.run(batch):
                self._begun[self._name(contest.task, contest.spec)] = self._decided(contest, times)
                done += 1
                tell(done, len(contests))
        choices = [self._choose_for(task) for task in tasks]
        self._contests.release()
        return choices

    def untimed(self, tasks: Sequence[Task]) -> set[str]:
        """Keys of the specs of these tasks that `choose_all` would time."""
        return {contest.key for contest in self._open_contests(tasks)}

    def _open_contests(self, tasks: Sequence[Task]) -> list[Contest]:
        """What has to be timed to choose kernels for these tasks."""
        found: dict[str, Contest] = {}
        for task in tasks:
            if task.spec is None:
                continue
            for there in (task, *self._points(task, task.spec)):
                assert there.spec is not None
                with naming(task):
                    begun = self._begin(there, there.spec)
                if isinstance(begun, Contest):
                    found[begun.key] = begun
        return list(found.values())

    def _points(self, task: Task, spec: KernelSpec) -> list[Task]:
        """The task at sizes for which it is tuned besides the typical ones."""
        if not self._has_points(spec):
            return []
        with naming(task):
            return [p.task for p in range_points(task, spec, self.points)]

    def _has_points(self, spec: KernelSpec) -> bool:
        return bool(spec.symbols and self.effort.rounds and self._selection is None)

    def _name(self, task: Task, spec: KernelSpec) -> str:
        """Equal for specs that are tuned alike."""
        return f"{spec.key()} {self._contests.spread} {','.join(self._selected(task))}"

    def _selected(self, task: Task) -> tuple[str, ...]:
        """Ids of the candidates that the user's selection leaves of a task; () for all."""
        if self._selection is None or task.spec is None:
            return ()
        known = self._selection.known(task)
        if known is None and (plans := self._plans(task.spec)):
            offered, fitting = self._fitting(task, [offers for _, offers in plans])
            key = self._key(task.spec, [t for t, _ in plans], len(fitting) < len(offered))
            known = self._selection.among(task, fitting, self.cache.records(key))
        return known or ()

    def _choose_for(self, task: Task) -> Choice | None:
        if task.spec is None:
            return None
        key = self._name(task, task.spec)
        if key not in self._chosen:
            with naming(task):
                choice = self._choose(task, task.spec)
                if choice is not None and self._has_points(task.spec):
                    choice = self._over_range(task, task.spec, choice)
            if choice is None:
                return None
            self._chosen[key] = choice
        return self._chosen[key]

    def _over_range(self, task: Task, spec: KernelSpec, choice: Choice) -> Choice:
        """As `range_tuning.over_range`."""

        def rivals(there: Task) -> Sequence[Choice]:
            late = self._contests.late()
            found = [] if late or there.spec is None else self._rivals(there, there.spec)
            return [] if self.timed_out else found

        def compare(there: Task, sizes: Sizes, choices: Sequence[Choice]) -> Sequence[float]:
            return self._compared(there, spec, sizes, choices)

        return over_range(task, spec, choice, self.points, rivals, compare)

    def _rivals(self, task: Task, spec: KernelSpec) -> list[Choice]:
        """The fastest kernel for a spec, then the fastest known one of each other packing of weights."""
        best, contest = self._choose(task, spec), self._contest(task, spec)
        if best is None or contest is None:
            return []
        found = {best.candidate.packing: best}
        for record in self.cache.records(contest.key):
            offer = contest.offered.get(record.id)
            if offer is not None and offer.candidate.packing not in found:
                found[offer.candidate.packing] = self._choice(
                    offer, record.time_us, f"{record.time_us:.1f} us"
                )
        return list(found.values())

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
        """The fastest kernel for a spec at its typical sizes."""
        begun = self._begin(task, spec)
        if isinstance(begun, Contest):
            ((contest, times),) = self._contests.run([begun])
            begun = self._begun[self._name(task, spec)] = self._decided(contest, times)
        return begun

    def _begin(self, task: Task, spec: KernelSpec) -> Contest | Choice | None:
        """A choice where nothing has to be timed, else the candidates to time."""
        name = self._name(task, spec)
        if name not in self._begun:
            self._begun[name] = self._begun_of(task, spec)
        return self._begun[name]

    def _begun_of(self, task: Task, spec: KernelSpec) -> Contest | Choice | None:
        contest = self._contest(task, spec)
        if contest is None:
            return None
        known = self.cache.lookup(contest.key, self._wanted(contest.candidates))
        if known:
            return self._held(contest, self._recall(spec, contest.offered, known))
        if self.frozen and self.effort.rounds:  # A level that times nothing cannot lack a time.
            raise self._unknown(task)
        if self.effort.rounds == 0 or self._contests.late():
            return self._held(contest, self._first(contest.candidates))
        return self._shipped(contest) or contest

    def _shipped(self, contest: Contest) -> Contest | None:
        """The contest with the candidates that the package's timings name, if they know it."""
        records = base_cache().records(contest.key) if self.effort.prunes else []
        if not records or any(r.id not in contest.offered for r in records):
            return None
        offers = [contest.offered[r.id] for r in records]
        return replace(contest, candidates=offers, known_us=[r.time_us for r in records])

    def _contest(self, task: Task, spec: KernelSpec) -> Contest | None:
        """The candidates of a spec that this level looks at; None where no tactic supports it."""
        plans = self._plans(spec)
        if not plans:
            return None
        offered, fitting = self._fitting(task, [offers for _, offers in plans])
        chosen = self._selected(task)
        key = self._key(spec, [t for t, _ in plans], len(fitting) < len(offered), chosen)
        if chosen:
            return Contest(task, spec, key, offered, [o for o in fitting if o.id in chosen])
        if self.effort.prunes:
            model = cost_model(self.backend.kind)
            fitting = model.worth_timing(fitting, self.threads, packings=bool(spec.symbols))
        return Contest(task, spec, key, offered, fitting[: self.effort.candidates])

    def timings(self, tasks: Sequence[Task]) -> Iterator[tuple[Contest, list[Record]]]:
        """Every spec of these tasks with what the timing cache knows of it."""
        for task in tasks:
            contest = None if task.spec is None else self._contest(task, task.spec)
            if contest is not None and (records := self.cache.records(contest.key)):
                yield contest, records

    def _first(self, candidates: Sequence[Offer]) -> Choice:
        """The first guess, where nothing is timed."""
        reason = "time budget spent, not timed" if self.effort.rounds else "not timed"
        return self._choice(candidates[0], 0.0, reason)

    def _held(self, contest: Contest, choice: Choice) -> Choice:
        """The choice, which is not timed; BuildError if it is a user's kernel that computes a wrong result."""
        if contest.spec.op == PLUGIN.name:
            offer = Offer(choice.tactic, choice.candidate)
            self._contests.require_right(contest.task, offer, choice.kernel)
        return choice

    def unknown_at(self, task: Task, choice: Choice, sizes: Sizes) -> str:
        """As `Contests.unknown_at`, of a task's choice and those beside it."""
        found = (
            self._contests.unknown_at(task, Offer(c.tactic, c.candidate), c.kernel, sizes)
            for c in choice.variants
        )
        return next(filter(None, found), "")

    def _decided(self, contest: Contest, best: Mapping[int, float]) -> Choice:
        """The fastest of a contest's candidates, or one that an earlier build has timed.

        best: microseconds by number of the candidate."""
        candidates, key = contest.candidates, contest.key
        if not best:
            return self._held(contest, self._first(candidates))
        winner = self.cache.store(key, [candidates[i].record(best[i]) for i in best])
        chosen = next((i for i in best if candidates[i].id == winner.id), None)
        if chosen is None:
            return self._recall(contest.spec, contest.offered, self.cache.records(key))
        offer, kernel = candidates[chosen], contest.kernels[chosen]
        reason = explained(winner, self.cache.records(key))
        if contest.known_us:
            reason += ", as shipped with camshaft"
        return Choice(offer.tactic, offer.candidate, lambda: kernel, winner.time_us, reason)

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
        setting = (
            f"{self.backend.identity};{self.threads} threads;weights over {self._contests.spread}"
        )
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
        if self.frozen or self.effort.rounds == 0 or self._contests.late():
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
        return self._choice(offer, winner.time_us, explained(winner, known))

    def _choice(self, offer: Offer, time_us: float, reason: str) -> Choice:
        """A choice whose kernel is compiled when it is needed."""
        compiled = cache(partial(self._contests.compile, offer.candidate))
        return Choice(offer.tactic, offer.candidate, compiled, time_us, reason)

    def compile_all(self, choices: Iterable[Choice]) -> None:
        """Compile what is not compiled yet of these choices and their variants, side by side."""
        wanted = {id(c.compiled): c.compiled for choice in choices for c in choice.variants}
        with ThreadPoolExecutor(self.workers) as pool:
            for kernel in [pool.submit(compiled) for compiled in wanted.values()]:
                kernel.result()

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
            kernels = dict(enumerate(c.kernel for c in choices))
            contest = Contest(task, spec, key, {}, offers, sizes, kernels)
            ((_, best),) = self._contests.run([contest])
            self.cache.store(key, [offers[i].record(best[i]) for i in best])
            known = {offers[i].id: best[i] for i in best}
        worst = max(known.values(), default=0.0)
        return [known.get(o.id, worst) for o in offers]
