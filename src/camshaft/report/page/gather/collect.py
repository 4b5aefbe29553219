"""The page of an engine, with what the session knows that built it, if it is at hand."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from camshaft.backends.cpu.processor import host_processor
from camshaft.program.program import Note, Program
from camshaft.report.page.data import Accuracy, Fact, Page, Step
from camshaft.report.page.figures import counted, time_text
from camshaft.report.page.gather.flow import flow, memory_of, steps_of
from camshaft.report.page.gather.sketch import joined_to
from camshaft.report.words import apart_text, arena_text, size, sizes_text
from camshaft.runtime.engine import Engine
from camshaft.runtime.profile import Profile
from camshaft.runtime.script.engine import ScriptEngine
from camshaft.session import BuildSession


def page_of(
    engine: Engine,
    session: BuildSession | None = None,
    accuracy: Accuracy | None = None,
    *,
    profile: Profile | None = None,
    title: str = "",
) -> Page:
    """What is known of an engine.

    session: the one that made it, after `run`.  profile: its measured times, which are shown in place of those of
    tuning.  title: how the page is called; by default like the model.
    """
    described = engine.inspect()
    scripted = isinstance(engine, ScriptEngine)
    steps: list[Step] = []
    after, memory = [], []
    for name, program, notes in _programs(engine):
        own = steps_of(program, notes, len(steps), None if scripted else profile)
        steps += own
        after.append(flow(program, own, name))
        memory.append(memory_of(program, own, f"{name}: " if name else ""))
    steps += _script_steps(described, len(steps), profile)
    before = () if session is None else session.sketches
    return Page(
        title=title or _model_name(session) or "engine",
        facts=tuple(_facts(engine, described, session, steps, profile)),
        before=tuple(joined_to(drawing, steps) for drawing in before),
        after=tuple(after),
        steps=tuple(steps),
        measured=_times_said(steps, profile, scripted),
        script=tuple(described.get("script", ())),
        memory=tuple(m for m in memory if m is not None),
        accuracy=accuracy,
    )


def _programs(engine: Engine) -> Iterator[tuple[str, Program, Sequence[Note]]]:
    if not isinstance(engine, ScriptEngine):
        yield "", engine.program, engine.notes
        return
    for number, part in enumerate(engine.parts):
        yield f"part {number}", part.program, part.notes


def _script_steps(
    described: Mapping[str, Any], first: int, profile: Profile | None
) -> Iterator[Step]:
    """Steps between the graphs of a script, with the times of those that were measured."""
    times = {} if profile is None else {s.name: s.median_us for s in profile.layers}
    calls = [s for s in described["steps"] if s["kind"] == "script"]
    for i, s in enumerate(calls):
        yield Step(
            first + i, "script", s["name"], s["op"], "between graphs, in Python", tuple(s["origin"]),
            reason=s["reason"], time_us=times.get(s["name"]),
        )  # fmt: skip


def _model_name(session: BuildSession | None) -> str:
    model = None if session is None else session.model
    return Path(model).name if isinstance(model, str | os.PathLike) else ""


def _times_said(steps: Sequence[Step], profile: Profile | None, scripted: bool) -> str:
    """What the times of the steps are."""
    if all(s.time_us is None for s in steps):
        return ""
    tuned = "times are those of tuning, each step by itself"
    if profile is None:
        return tuned
    over = f"measured over {counted(profile.runs, 'run')} with {counted(profile.threads, 'thread')}"
    at = ", ".join(f"{n} = {v}" for n, v in profile.sizes.items())
    if scripted:
        return f"steps between graphs were {over}; in graphs {tuned}"
    return f"times were {over}{f', at {at}' if at else ''}"


# -- the head ------------------------------------------------------------------------------------


def _facts(
    engine: Engine,
    described: Mapping[str, Any],
    session: BuildSession | None,
    steps: Sequence[Step],
    profile: Profile | None,
) -> Iterator[Fact]:
    ran = [s for s in steps if s.runs]
    yield from _time(ran, profile)
    expanded = described["expanded_bytes"]
    more = f"and {size(expanded)} made of them on loading" if expanded else ""
    yield Fact("weights", size(described["weight_bytes"]), more, large=True)
    arena, bound = described["arena"], described["lower_bound_bytes"]
    yield Fact("arena", size(arena["typical"] or 0), "memory of a context", large=True)
    threads = engine.threads if profile is None else profile.threads
    yield Fact("threads", str(threads), large=True)
    sketches = () if session is None else session.sketches
    layers = len({b.lines for drawing in sketches for b in drawing.boxes if b.kind == "layer"})
    of = f"of {counted(layers, 'layer')}" if sketches else ""
    yield Fact("steps", str(len(ran)), of, large=True)
    kinds = Counter(s.precision for s in ran if s.kind == "step" and s.precision)
    said = ", ".join(f"{n} {p}" for p, n in kinds.most_common())
    summary = "" if session is None else session.precision_summary
    yield Fact("precision", "; ".join(filter(None, [summary, f"steps: {said}" if said else ""])))
    apart = [s["apart"] for s in described["steps"] if s["typical"] and s.get("apart")]
    if apart:
        yield Fact("apart", apart_text(apart))
    if session is not None and session.goal_summary:
        yield Fact("streams", session.goal_summary)
    for kind in ("inputs", "outputs"):
        yield Fact(kind, ", ".join(f"{n} {t}" for n, t in described[kind].items()))
    if described["symbols"]:
        yield Fact("sizes", sizes_text(described["symbols"]), _of_sizes(profile))
    yield Fact("memory", arena_text(arena, bound))
    made = engine.fingerprint
    machine = f"{host_processor()}; " if session is not None or profile is not None else ""
    yield Fact("machine", f"{machine}target {made.target}")
    yield Fact("built", f"camshaft {made.camshaft}: {made.config}" if made.config else "")


def _of_sizes(profile: Profile | None) -> str:
    if profile is None:
        return "all figures are at typical sizes"
    return f"steps were measured at {', '.join(f'{n} = {v}' for n, v in profile.sizes.items())}"


def _time(ran: Sequence[Step], profile: Profile | None) -> Iterator[Fact]:
    if profile is not None:
        yield Fact("a call", time_text(profile.total_us), "measured", large=True)
        return
    total = sum(s.time_us or 0.0 for s in ran)
    if total:
        yield Fact("time", time_text(total), "sum of steps as timed in tuning", large=True)
