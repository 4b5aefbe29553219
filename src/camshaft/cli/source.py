"""What a command works on: an engine file that is loaded, or an ONNX model that is built first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from camshaft.cli.arrays import Arrays, Given, Types, calibration_batches
from camshaft.cli.numbers import numbers_for
from camshaft.cli.options import BuildOptions
from camshaft.cli.output import Output
from camshaft.cli.progress import Bars
from camshaft.cli.shapes import Elements, fixed_shapes, said_values, sizes_for
from camshaft.errors import ConfigError
from camshaft.feeds import decisions, random_feeds
from camshaft.ir.extents.said import shape_text
from camshaft.ir.script import Opaque
from camshaft.ir.types import TensorType, type_of
from camshaft.report.assumptions import advice
from camshaft.runtime.engine import Engine
from camshaft.runtime.loading import loaded
from camshaft.runtime.script.engine import ScriptEngine
from camshaft.session import BuildSession


@dataclass(frozen=True)
class Opened:
    """An engine; and where it was built here, the session that built it.

    types: of random inputs.  elements: of those that say sizes by them.  numbers: of those that are said, or
    decide how a script runs.  given: the inputs given, None if there are none.
    """

    engine: Engine
    session: BuildSession | None
    threads: int
    types: Types
    elements: Elements
    numbers: Mapping[str, Any]
    given: Arrays | None = None

    def feeds(self, seed: int, shown: Output) -> Arrays:
        """The inputs given, or random ones with a note that says so; fixed inputs, which other
        runtimes need, included."""
        fixed = self.engine.fixed_inputs
        if self.given is not None:
            return {**fixed, **self.given}
        self._require_types()
        feeds = random_feeds(self.types, seed, self.elements, self.numbers)
        sizes = ", ".join(f"{n} {shape_text(a.shape)}" for n, a in feeds.items())
        of = f" of {sizes}" if self.engine.symbols else ""
        held = "".join(f", {n} = {np.asarray(v).tolist()}" for n, v in self.numbers.items())
        shown.note(f"no inputs given: random ones{of}{held}, seed {seed}")
        return {**fixed, **feeds}

    def _require_types(self) -> None:
        """ConfigError names an input of which there is nothing to draw at random."""
        others = {n: t for n, t in self.engine.inputs.items() if n not in self.types}
        for name, type_ in others.items():
            array = isinstance(type_, Opaque) and type_.kind in ("strings", "tensor")
            raise ConfigError(
                f"input {name!r} ({type_!r}) has no random values; "
                + (
                    f"give it with --input {name}=FILE.npy"
                    if array
                    else "call the engine from Python"
                )
            )


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
        return False  # reading it as a model raises the error
    return (
        path.suffix != ".onnx" and len(start) == 9 and start[8:] == b"{" and start[5:8] == bytes(3)
    )


def open_source(
    path: Path, options: BuildOptions, shown: Output, given: Given | None = None
) -> Opened:
    """Load the engine, or build the model with a progress bar.

    given: the inputs that it will run on; a model with open extents is tuned for their sizes.
    ConfigError if build options are given for an engine that is already built.
    """
    given = given or Given()
    if not is_engine_file(path):
        session, engine, arrays = build_session(path, options, shown, given)
        types, elements = sizes_for(engine, {}, {})
        numbers = _decisions(engine, types)
        return Opened(engine, session, session.config.threads, types, elements, numbers, arrays)
    if options.given():
        raise ConfigError(
            f"{', '.join(options.given())}: {str(path)!r} is an engine and cannot be changed; "
            "give these options when building it"
        )
    engine, remark = loaded(path)
    if remark:
        shown.note(remark)
    fixed = {name: type_of(array) for name, array in engine.fixed_inputs.items()}
    tensors = {n: t for n, t in engine.inputs.items() if isinstance(t, TensorType)}
    tensors |= {name: state.type for name, state in engine.states.items()}
    arrays = given.arrays({**tensors, **fixed})
    values = said_values(options.values)
    numbers = numbers_for(engine, values)
    sizes = {n: v for n, v in values.items() if n not in numbers}
    if (options.shapes or sizes) and arrays is not None:
        option = "--shapes" if options.shapes else "--values"
        raise ConfigError(
            f"{option} of an engine are the sizes of random inputs, and those given have their own; "
            "leave one of the two out"
        )
    if arrays is not None:
        if twice := sorted(set(numbers) & set(arrays)):
            raise ConfigError(f"{', '.join(map(repr, twice))} is given by --values and as an input")
        arrays |= numbers
    shapes = fixed_shapes("--shapes", options.shapes)
    for name, array in numbers.items():
        shapes.setdefault(name, array.shape)
    types, elements = sizes_for(engine, shapes, sizes)
    threads = engine.threads if options.threads is None else options.threads
    numbers = {**_decisions(engine, types), **numbers}
    return Opened(engine, None, threads, types, elements, numbers, arrays)


def _decisions(engine: Engine, types: Mapping[str, TensorType]) -> dict[str, Any]:
    """Of the inputs that decide how a script runs; of masks of rows and lengths, which keep all.

    types: of the inputs.
    """
    if not isinstance(engine, ScriptEngine):
        shapes = {name: t.static for name, t in types.items()}
        return {b.name: kept.full(shapes) for b, kept in engine.program.masks}
    saying = {b.name for b in engine.program.valued}
    found = decisions(engine.script, engine.scripted.inputs)
    return {name: value for name, value in found.items() if name not in saying}


def build_session(
    path: Path,
    options: BuildOptions,
    shown: Output,
    given: Given,
    prepare: Callable[[BuildSession], None] | None = None,
) -> tuple[BuildSession, Engine, Arrays | None]:
    """Build `path`, showing progress and what is assumed of open extents.

    prepare: is shown the session once the model is imported.
    Returns the session for its graphs and reasons, the engine, and the arrays given.
    """
    bars = Bars()
    session = BuildSession(path, options.config(bars))
    with bars:
        imported = session.import_model()
        types = {t.name: t.type for t in imported.inputs}
        arrays = given.arrays({**types, **{t.name: t.type for t in imported.fixed}})
        if arrays is not None:
            session.tune_for(arrays)
        if options.calibration is not None:
            fixed = {t.name: t.array for t in imported.fixed}
            session.calibration = calibration_batches(options.calibration, types, fixed)
        if prepare is not None:
            prepare(session)
    if remark := advice(session.import_model(), session.assumed):
        shown.note(remark, "dim")
    before = session.remarks
    for remark in before:
        shown.note(f"warning: {remark}")
    with bars:
        engine = session.run()
    for remark in session.remarks:
        if remark not in before:
            shown.note(f"warning: {remark}")
    return session, engine, arrays
