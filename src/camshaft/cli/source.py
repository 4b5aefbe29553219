"""What a command works on: an engine file that is loaded, or an ONNX model that is built first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from camshaft.cli.arrays import calibration_batches
from camshaft.cli.options import BuildOptions
from camshaft.cli.progress import Bars
from camshaft.errors import ConfigError
from camshaft.runtime.engine import Engine
from camshaft.session import BuildSession


@dataclass(frozen=True)
class Opened:
    """An engine; and where it was built here, the session that built it."""

    engine: Engine
    session: BuildSession | None
    threads: int


def is_engine_file(path: Path) -> bool:
    """Whether to read `path` as an engine file: by its first bytes, or else by its ending.

    An engine file is a safetensors file: the length of a JSON header, then the header.
    """
    if path.suffix in (".engine", ".safetensors"):
        return True
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError:
        return False  # whoever reads it as a model says why it cannot be read
    return (
        path.suffix != ".onnx" and len(start) == 9 and start[8:] == b"{" and start[5:8] == bytes(3)
    )


def open_source(path: Path, options: BuildOptions) -> Opened:
    """Load the engine, or build the model with a progress bar.

    ConfigError if build options are given for an engine that is already built.
    """
    if not is_engine_file(path):
        session, engine = build_session(path, options)
        return Opened(engine, session, session.config.threads)
    if options.given():
        raise ConfigError(
            f"{', '.join(options.given())}: {str(path)!r} is an engine and cannot be changed; "
            "give these options when building it"
        )
    engine = Engine.load(path)
    return Opened(engine, None, engine.threads if options.threads is None else options.threads)


def build_session(path: Path, options: BuildOptions) -> tuple[BuildSession, Engine]:
    """Build `path`, showing progress; the session for its graphs and reasons, and the engine."""
    with Bars() as bars:
        session = BuildSession(path, options.config(bars))
        graph = session.import_model()
        if options.calibration is not None:
            types = {t.name: t.type for t in graph.inputs}
            session.calibration = calibration_batches(options.calibration, types)
        return session, session.run()
