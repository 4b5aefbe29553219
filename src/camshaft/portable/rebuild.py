"""Building a portable engine anew, where it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from time import perf_counter

from camshaft.backends.cpu.processor import missing_features
from camshaft.backends.cpu.target import TARGETS
from camshaft.config import BuildConfig
from camshaft.machine.backend import machine_named
from camshaft.portable.parts import Parts, machine_in, parts_of
from camshaft.runtime.context import allowed_threads
from camshaft.runtime.engine import Engine
from camshaft.session import BuildSession


def difference(attached: Mapping[str, bytes], title: str) -> str:
    """Why the code of a portable engine is not for this machine; "" if it is."""
    machine, processor = machine_in(attached, title)
    here = [machine_named(name) for name in ("host", *_runnable())]
    return "" if machine in here else f"it was built on another machine ({processor})"


def rebuilt(
    attached: Mapping[str, bytes], title: str, why: str, threads: int | None
) -> tuple[Engine, str]:
    """The engine, for this machine, and a sentence that says that it was built.  Errors as of `camshaft.build`, and EngineFileError."""
    parts = parts_of(attached, title)
    start = perf_counter()
    session = BuildSession(parts.model, _config(parts))
    session.known, session.timings = parts.record, parts.timings
    engine = session.run()
    engine.attached = {**attached, **engine.attached}
    if threads is not None:
        engine.threads = allowed_threads(threads, engine.program.max_threads)
    seconds = perf_counter() - start
    said = f"{title} was built anew in {seconds:.1f} s, since {why}; engine.save keeps it, with its timings"
    return engine, said


def _config(parts: Parts) -> BuildConfig:
    config = parts.config
    return config if config.target in _runnable() else replace(config, target="host")


def _runnable() -> list[str]:
    return [t.name for t in TARGETS if not missing_features(t)]
