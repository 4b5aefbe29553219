"""The summary of a finished build, for people and as JSON.

Made from a `BuildSession` after `run`; the command line prints it, scripts take `to_json`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from camshaft.runtime.engine import Engine
from camshaft.session import BuildSession


@dataclass(frozen=True)
class BuildReport:
    """The summary of a build.

    steps: how many run at typical sizes, host steps included.  host_steps: names of those that run in Python because
    their operator has no kernel.  script_steps: those that run between graphs, where the model decides while it
    runs (`ir.script`), with their operators.  arithmetic: element type -> number of steps that compute in it.
    symbols: open sizes, each with name, least, typical and most (None: unbounded).  assumed: names of
    those of which nothing was said.  remarks: on sizes and files, as the command line prints them.  hints: how steps
    would get a kernel that have none.
    channels_apart: step -> input channels that its INT8 product leaves to floats, where there are any.
    precision_summary: the precision decision in words.  goal_summary: how streams share the threads, where the goal is
    throughput.  arena_bytes, lower_bound_bytes: memory of one
    context, and the most bytes live at once, which no plan can go below, at typical sizes; arena:
    the former at "least", "typical" and "most" sizes (None: unbounded).  state_bytes: what a context keeps from call
    to call, at full capacity.  seconds: stage -> wall-clock time.
    timed_out: whether the time budget cut tuning short.
    """

    steps: int
    host_steps: tuple[str, ...]
    script_steps: tuple[str, ...]
    arithmetic: Mapping[str, int]
    channels_apart: Mapping[str, int]
    precision_summary: str
    goal_summary: str
    symbols: Sequence[Mapping[str, Any]]
    assumed: tuple[str, ...]
    remarks: tuple[str, ...]
    hints: tuple[str, ...]
    arena: Mapping[str, int | None]
    arena_bytes: int
    lower_bound_bytes: int
    state_bytes: int
    weight_bytes: int
    code_bytes: int
    seconds: Mapping[str, float]
    timed_out: bool

    @staticmethod
    def of(session: BuildSession, engine: Engine) -> BuildReport:
        """The report of a session that has run and the engine it made."""
        described = engine.inspect()
        steps = [step for step in described["steps"] if step["typical"]]
        return BuildReport(
            steps=len(steps),
            host_steps=tuple(s["name"] for s in steps if s["kind"] == "host"),
            script_steps=tuple(f"{s['name']} ({s['op']})" for s in steps if s["kind"] == "script"),
            arithmetic=dict(Counter(s["precision"] for s in steps if s["kind"] == "kernel")),
            channels_apart={s["name"]: s["apart"] for s in steps if s.get("apart")},
            precision_summary=session.precision_summary,
            goal_summary=session.goal_summary,
            symbols=described["symbols"],
            assumed=tuple(s.name for s in session.assumed),
            remarks=session.remarks,
            hints=session.hints,
            arena=described["arena"],
            arena_bytes=described["arena_bytes"],
            lower_bound_bytes=described["lower_bound_bytes"],
            state_bytes=sum(s["bytes"] for s in described.get("states", {}).values()),
            weight_bytes=described["weight_bytes"],
            code_bytes=described["code_bytes"],
            seconds=dict(session.seconds),
            timed_out=session.timed_out,
        )

    def to_json(self) -> dict[str, Any]:
        """The report as JSON types."""
        return asdict(self)
