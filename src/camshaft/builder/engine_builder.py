"""From an optimized graph to an engine: place, tune, assemble.

`Builder.tune` costs a graph by its kernels' times; `precision` compares such costs; `Builder.finish`
turns the winner into an engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from time import perf_counter

from camshaft.backends.base import Backend
from camshaft.builder.assemble import Assembler, Choice
from camshaft.builder.bufferize import Bufferized, bufferize
from camshaft.builder.refit.plan import plan_to_bytes
from camshaft.builder.tasks import Task, tasks_of
from camshaft.builder.tuning.contest import Contest
from camshaft.builder.tuning.ranges import Sizes, uneven_points
from camshaft.builder.tuning.selection import KernelSelector
from camshaft.builder.tuning.timing_cache import Record, TimingCache
from camshaft.builder.tuning.tuner import Tuner
from camshaft.cpus import available_cpus
from camshaft.ir.extents.sizes import Constraint
from camshaft.ir.graph import Graph, Tensor
from camshaft.ir.recipe import Source
from camshaft.ops import PLUGIN
from camshaft.program.state import StateSpec
from camshaft.runtime.engine import Engine
from camshaft.runtime.file.manifest import Fingerprint

Progress = Callable[[str, int, int], None]
_OURS = "camshaft."
"""What domains of our own plugins begin with."""
HOST_STEP_US = 200.0
"""What an unmeasured host step counts when graphs are compared (Python call and NumPy work)."""


@dataclass(frozen=True)
class Tuned:
    """A graph with a kernel for every task.  viewed: constants that tasks read through views, by
    name of their buffers.  states: what becomes of the builder's."""

    graph: Graph
    tasks: tuple[Task, ...]
    choices: tuple[Choice | None, ...]
    viewed: Mapping[str, Tensor] = field(default_factory=dict)
    states: tuple[StateSpec, ...] = ()

    @property
    def time_us(self) -> float:
        """Sum of the kernels' times: the whole graph's cost, conversions included."""
        return sum(HOST_STEP_US if c is None else c.time_us for c in self.choices)

    def time_by_origin(self) -> dict[tuple[str, ...], float]:
        """Microseconds by the source layers of each task."""
        times: dict[tuple[str, ...], float] = {}
        for task, choice in zip(self.tasks, self.choices, strict=True):
            spent = HOST_STEP_US if choice is None else choice.time_us
            times[task.origin] = times.get(task.origin, 0.0) + spent
        return times

    def with_kernels_of(self, other: Tuned) -> Tuned:
        """The same graph, where tasks that `other` has as well have its kernels."""
        pairs = zip(other.tasks, other.choices, strict=True)
        known = {task.spec.key(): choice for task, choice in pairs if task.spec is not None}
        choices = (
            own if task.spec is None else known.get(task.spec.key(), own)
            for task, own in zip(self.tasks, self.choices, strict=True)
        )
        return replace(self, choices=tuple(choices))

    @property
    def host_steps(self) -> list[str]:
        """Names of the tasks without a kernel."""
        return [t.name for t, c in zip(self.tasks, self.choices, strict=True) if c is None]


@dataclass
class Builder:
    """One build: a backend, a timing cache and the options that steer them.

    points: sizes (symbol name -> size) to tune for besides the typical ones.
    memory: bytes that tuning may take.  states: which inputs and outputs of all graphs contexts keep.
    weights: those of the model that may be exchanged in the engine.
    select: as `BuildConfig.select_kernels`.
    """

    backend: Backend[Fingerprint]
    cache: TimingCache
    level: int
    threads: int
    workspace_limit: int
    frozen: bool = False
    time_budget: float | None = None
    progress: Progress | None = None
    points: Sequence[Sizes] = ()
    memory: int | None = None
    states: Sequence[StateSpec] = ()
    weights: Sequence[Source] = ()
    select: KernelSelector | None = None
    _tuner: Tuner = field(init=False)

    def __post_init__(self) -> None:
        deadline = None if self.time_budget is None else perf_counter() + self.time_budget
        self._tuner = Tuner(
            self.backend,
            self.cache,
            level=self.level,
            threads=self.threads,
            workspace_limit=self.workspace_limit,
            frozen=self.frozen,
            deadline=deadline,
            workers=available_cpus(),
            points=self.points,
            memory=self.memory,
            select=self.select,
        )

    @property
    def times(self) -> bool:
        """Whether this optimization level times kernels (or takes the first that fits)."""
        return self._tuner.effort.rounds > 0

    @property
    def timed_out(self) -> bool:
        """Whether the time budget cut tuning short."""
        return self._tuner.timed_out

    def tune(self, graph: Graph, stage: str = "tuning") -> Tuned:
        """Choose a kernel for every task of a channels-last, lowered graph.

        `progress` hears how many of the graph's specs are timed, of those that must be.
        """
        bufferized, tasks = self._tasks(graph)
        progress = self.progress
        report = None if progress is None else partial(progress, stage)
        choices = self._tuner.choose_all(tasks, report)
        return Tuned(graph, tuple(tasks), tuple(choices), bufferized.constants, bufferized.states)

    def announce(self, graph: Graph, stage: str, after: Sequence[Graph] = ()) -> None:
        """Tell `progress` how many specs of a graph that is tuned later are left to time then.

        after: graphs that are tuned before it; what they have in common with it is theirs."""
        if self.progress is not None:
            before = {key for g in after for key in self._tuner.untimed(self._tasks(g)[1])}
            left = self._tuner.untimed(self._tasks(graph)[1])
            self.progress(stage, 0, len(left - before))

    def _tasks(self, graph: Graph) -> tuple[Bufferized, list[Task]]:
        """A graph's tasks, with the tuner set for its weights."""
        bufferized = bufferize(graph, self.backend.preferences, self.states)
        tasks = tasks_of(bufferized)
        weights = {id(t.stored): t.content.nbytes for task in tasks for t in task.constants}
        self._tuner.expect_weights(sum(weights.values()))
        return bufferized, tasks

    def timings(self, tuned: Tuned) -> Iterator[tuple[Contest, list[Record]]]:
        """As `Tuner.timings`."""
        return self._tuner.timings(tuned.tasks)

    def exact_choice(self, task: Task) -> Choice:
        """As `Tuner.exact`."""
        return self._tuner.exact(task)

    def finish(
        self,
        tuned: Tuned,
        fingerprint: Fingerprint,
        reasons: Mapping[str, str] | None = None,
        apart: Mapping[str, int] | None = None,
        part: int = 0,
    ) -> Engine:
        """The engine.  part: which graph of the model it is.  reasons: source layer -> why it runs in its precision.  apart: source layer -> input
        channels that its INT8 product leaves to floats."""
        self._tuner.compile_all(c for c in tuned.choices if c is not None)
        tuned = self._held(tuned)
        assembler = Assembler(
            tuned.graph,
            tuned.tasks,
            tuned.choices,
            self.threads,
            fingerprint,
            self.backend,
            tuned.viewed,
            tuned.states,
            self.weights,
            part,
        )
        parts = assembler.run(reasons or {}, apart or {})
        engine = Engine(parts.manifest, parts.constants, parts.code)
        if parts.plan is not None:
            engine.attached.update(plan_to_bytes(parts.plan, with_weights=True))
        return engine

    def _held(self, tuned: Tuned) -> Tuned:
        """With a word on what nothing is known of.  BuildError if a user's kernel is wrong at uneven sizes; at typical ones it was
        held against its reference."""
        constraints = tuple(tuned.graph.constraints)
        known: dict[int, Choice] = {}
        choices: list[Choice | None] = []
        for task, choice in zip(tuned.tasks, tuned.choices, strict=True):
            if choice is not None and _is_users(task):
                if id(choice) not in known:
                    known[id(choice)] = self._held_at(task, choice, constraints)
                choice = known[id(choice)]
            choices.append(choice)
        return replace(tuned, choices=tuple(choices))

    def _held_at(self, task: Task, choice: Choice, constraints: Sequence[Constraint]) -> Choice:
        assert task.spec is not None
        there = [s for c in constraints for s in c.symbols]
        symbols = tuple(dict.fromkeys((*task.spec.symbols, *there)))
        for sizes in uneven_points(task.spec.symbols, symbols, constraints):
            if why := self._tuner.unknown_at(task, choice, sizes):
                label = ", ".join(f"{s.name}={sizes[s.name]}" for s in task.spec.symbols)
                reason = f"{choice.reason}; not tried at {label}: {why:.200}"
                choice = replace(choice, reason=reason)
        return choice


def _is_users(task: Task) -> bool:
    """Whether it is a user's plugin; kernels of ours are held against their references by tests, at all sizes."""
    if task.spec is None or task.spec.op != PLUGIN.name:
        return False
    return not str(task.spec.attr("plugin")).startswith(_OURS)
