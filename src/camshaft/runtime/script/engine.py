"""An engine with a script: several programs, and what decides at run time which of them run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from time import perf_counter_ns
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from camshaft.errors import BuildError
from camshaft.ir.extents.sizes import typical
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.script import Call, If, Loop, Run, Scan, Script, Step, ValueType, inner_scripts
from camshaft.ir.types import dtype_named
from camshaft.program.program import Note, Program
from camshaft.program.shape import SET_SHAPE
from camshaft.runtime.bindings import Bindings, fixed_arrays
from camshaft.runtime.context import allowed_threads
from camshaft.runtime.driver import RUNNER
from camshaft.runtime.engine import Engine
from camshaft.runtime.file.engine_file import EngineContents
from camshaft.runtime.file.manifest import Constant, Fingerprint, Manifest, ScriptManifest
from camshaft.runtime.linked import LinkedEngine
from camshaft.runtime.loading import with_plan
from camshaft.runtime.profile import LayerTime, Profile
from camshaft.runtime.script.check import check_script
from camshaft.runtime.script.context import ScriptContext, shapes_of
from camshaft.runtime.sizes import sizes_given
from camshaft.runtime.streams.async_runs import for_stream

if TYPE_CHECKING:
    from camshaft.runtime.streams.stream import Stream

ALONE_MACS, ALONE_BYTES = 1_000_000, 500_000
"""Work of a graph up to which it runs on one thread: some 50 us."""


class ScriptEngine(Engine):
    """Like `Engine`, of a model that decides while it runs.

    Calls take and give lists of arrays for sequences, dictionaries for maps, None for empty optionals, and
    arrays of objects for strings.
    """

    def __init__(
        self,
        manifest: ScriptManifest,
        constants: Mapping[str, np.ndarray],
        parts: Sequence[Engine],
        threads: int | None = None,
    ) -> None:
        """parts: an engine for each program.  Errors as in `Engine`."""
        check_script(manifest, [p.program for p in parts], constants.keys())
        limit = max([manifest.face.max_threads, *(p.program.max_threads for p in parts)])
        self.scripted = manifest
        self.parts = tuple(parts)
        self.threads = limit if threads is None else allowed_threads(threads, limit)
        self._limit = limit
        self._names = tuple(e.name for e in manifest.inputs)
        self._values = dict(constants)
        self._prepare()

    # -- what it is, takes and gives ---------------------------------------------------------

    @property
    def program(self) -> Program:
        """What is known of the inputs; the instructions are those of `parts`."""
        return self.scripted.face

    @property
    def notes(self) -> tuple[Note, ...]:
        """What each instruction of the parts is, and why."""
        return tuple(note for part in self.parts for note in part.notes)

    @property
    def fingerprint(self) -> Fingerprint:
        """What the engine was made from and for."""
        return self.scripted.fingerprint

    @property
    def script(self) -> Script:
        """What runs the parts."""
        return self.scripted.script

    @property
    def inputs(self) -> dict[str, ValueType]:  # type: ignore[override]
        """Name -> type of every input, in positional order."""
        return {e.name: e.type for e in self.scripted.inputs}

    @property
    def outputs(self) -> dict[str, ValueType]:  # type: ignore[override]
        """Name -> type of every output; extents that only a run finds are symbols as well."""
        return {e.name: e.type for e in self.scripted.outputs}

    @property
    def symbols(self) -> dict[str, Symbol]:
        """Name -> range of every size that inputs say."""
        return {s.name: s for s in self.program.symbols}

    @property
    def fixed_inputs(self) -> dict[str, np.ndarray]:
        """As of `Engine`."""
        found = fixed_arrays(self.program, self._values)
        return {name: array.copy() for name, array in found.items()}

    def output_shapes(self, inputs: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """Shapes of the outputs for these inputs (arrays, or shapes as tuples), without running.

        ShapeError names what is wrong with a shape, or an output whose shape only a run finds.
        """
        bindings = Bindings("input", self.program.inputs, self.fixed_inputs)
        if not isinstance(inputs, Mapping):
            bindings.arrange(inputs)  # which says what is wrong
        given = {n: x for n, x in inputs.items() if n in bindings.names or n in bindings.fixed}
        return shapes_of(self.scripted.outputs, sizes_given(self.program, bindings, given))

    # -- running -----------------------------------------------------------------------------

    def create_context(  # type: ignore[override]
        self, threads: int = 1, check_finite: bool = False, stream: Stream | None = None
    ) -> ScriptContext:
        """A context with `threads` workers, the caller included.  stream, errors: as in `Engine`."""
        self.require_weights()
        threads = allowed_threads(threads, self._limit)

        def maker(part: Engine) -> Any:
            most = min(threads, part.program.max_threads) if _pays(part) else 1
            return lambda: part.create_context(most)

        makers = [
            (maker(p), tuple(b.name for b in p.program.inputs), tuple(p.outputs))
            for p in self.parts
        ]
        m = self.scripted

        def made() -> ScriptContext:
            return ScriptContext(
                m.script,
                m.inputs,
                m.outputs,
                m.face,
                self.fixed_inputs,
                {c.value: _value(c, self._values) for c in m.constants},
                makers,
                threads,
                check_finite,
            )

        return for_stream(stream, threads, made)

    @property
    def whole(self) -> tuple[Engine, ...]:
        """As of `Engine`: its parts."""
        return self.parts

    def all_attached(
        self, instead: Mapping[int, Mapping[str, bytes]] = MappingProxyType({})
    ) -> dict[str, bytes]:
        """As of `Engine`; names of what is a part's end in its number."""
        found = dict(self.attached)
        for number, part in enumerate(self.parts):
            own = part.all_attached(instead)
            found.update((f"{name}.{number}", data) for name, data in own.items())
        return found

    def with_parts(self, parts: Sequence[Engine]) -> ScriptEngine:
        """Another engine with the same script, of other parts; for `refit`."""
        engine = ScriptEngine(self.scripted, self._values, parts, self.threads)
        engine.attached.update(self.attached)
        return engine

    def link(self) -> LinkedEngine:
        """Load the code of all parts into this process."""
        for part in self.parts:
            part.link()
        return self.parts[0].link() if self.parts else None  # type: ignore[return-value]

    def for_streams(self, streams: int, batch: int, config: str) -> Self:
        """As of `Engine`."""
        fingerprint = replace(self.fingerprint, streams=streams, batch=batch, config=config)
        self.scripted = replace(self.scripted, fingerprint=fingerprint)
        return self

    # -- looking inside ----------------------------------------------------------------------

    def inspect(self) -> dict[str, Any]:
        """As `Engine.inspect`; the steps are those of all parts, and "script" lists the script's."""
        described = [p.inspect() for p in self.parts]
        steps = []
        for number, part in enumerate(described):
            steps += [{**s, "part": number} for s in part["steps"]]
        calls = [s for s in self.script.walk() if not isinstance(s, Run)]
        steps += [_described(step) for step in calls]
        arenas = [d["arena"] for d in described]
        whole = {
            key: None if any(a[key] is None for a in arenas) else sum(a[key] for a in arenas)
            for key in ("least", "typical", "most")
        }
        summed = ("arena_bytes", "lower_bound_bytes", "expanded_bytes", "code_bytes")
        return {
            "fingerprint": asdict(self.fingerprint),
            "inputs": {n: repr(t) for n, t in self.inputs.items()},
            "outputs": {n: repr(t) for n, t in self.outputs.items()},
            "symbols": [
                {"name": s.name, "least": s.low, "typical": s.typical, "most": s.high}
                for s in self.program.symbols
            ],
            "arena": whole,
            **{key: sum(d[key] for d in described) for key in summed},
            "max_threads": self._limit,
            "steps": [{**s, "index": i} for i, s in enumerate(steps)],
            "script": script_lines(self.script),
            "fixed_inputs": {n: a.tolist() for n, a in self.fixed_inputs.items()},
            "weight_bytes": sum(a.nbytes for a in self._constants_of_all().values()),
        }

    def profile(
        self, inputs: Mapping[str, Any], runs: int = 50, threads: int | None = None
    ) -> Profile:
        """Median time of every step of the script over `runs` runs with `threads` workers."""
        with self.create_context(self.threads if threads is None else threads) as context:
            return _profile(context, self.script, inputs, runs)

    # -- files -------------------------------------------------------------------------------

    def _constants_of_all(self) -> dict[str, np.ndarray]:
        found = dict(self._values)
        for part in self.parts:
            found.update(part._constants)
        return found

    def _contents(
        self,
    ) -> tuple[ScriptManifest, dict[str, np.ndarray], dict[str, bytes | np.ndarray]]:
        """As of `Engine`."""
        code: dict[str, bytes | np.ndarray] = {}
        for number, part in enumerate(self.parts):
            for name, data in part._complete_code().items():
                code[f"{SET_SHAPE}.{number}" if name == SET_SHAPE else name] = data
        if RUNNER not in code:
            code[RUNNER] = Engine._runner_code(self.fingerprint)
        return self.scripted, self._constants_of_all(), code


def loaded_script_engine(contents: EngineContents, threads: int | None) -> ScriptEngine:
    """The engine that a file holds.  Errors as in `Engine`."""
    manifest, constants, code = contents.manifest, contents.constants, contents.code
    assert isinstance(manifest, ScriptManifest)
    parts = []
    for number, part in enumerate(manifest.parts):
        used = {k.code for k in part.program.kernels} | {e.code for e in part.program.expanded}
        own = {n: c for n, c in code.items() if n in used or n == RUNNER}
        shaping = f"{SET_SHAPE}.{number}"
        if shaping in code:
            own[SET_SHAPE] = code[shaping]
        made = Manifest(manifest.fingerprint, part.program, part.notes)
        attached = _taken(contents.attached, number)
        try:
            engine = with_plan(attached, constants, partial(Engine, made, code=own))
        except BuildError as error:
            raise BuildError(f"part {number}: {error}") from error
        engine.attached = attached
        parts.append(engine)
    stored = {c.stored for c in manifest.constants} | {f.constant for f in manifest.face.fixed}
    held = {n: a for n, a in constants.items() if n in stored}
    return ScriptEngine(manifest, held, parts, threads)


def _taken(attached: dict[str, bytes], number: int) -> dict[str, bytes]:
    """What is attached to a part, no longer among what is attached to the whole."""
    ours = [name for name in attached if name.endswith(f".{number}")]
    return {name.removesuffix(f".{number}"): attached.pop(name) for name in ours}


def _pays(part: Engine) -> bool:
    """Whether a graph has work for more than one thread: a barrier takes about a microsecond, and idle workers
    of one graph spin while the next one runs."""
    macs = sum(typical(note.macs) for note in part.notes)
    nbytes = sum(typical(note.bytes) for note in part.notes)
    return macs > ALONE_MACS or nbytes > ALONE_BYTES


def _value(constant: Constant, stored: Mapping[str, np.ndarray]) -> Any:
    """A constant of the script as a value."""
    array = stored[constant.stored]
    if constant.dtype == "string":
        texts = json.loads(array.tobytes())
        made = np.empty(len(texts), object)
        made[:] = texts
        return made.reshape(constant.shape)
    return array.reshape(-1).view(dtype_named(constant.dtype).numpy).reshape(constant.shape)


def _described(step: Step) -> dict[str, Any]:
    """A step of the script that is no run of a part, as `inspect` shows steps."""
    op = type(step).__name__ if not hasattr(step, "op") else step.op
    return {
        "name": step.name,  # type: ignore[union-attr]
        "op": op,
        "kind": "script",
        "origin": [step.name],  # type: ignore[union-attr]
        "tactic": "",
        "params": {},
        "precision": "",
        "reason": getattr(step, "reason", ""),
        "where": "",
        "time_us": 0.0,
        "macs": 0,
        "bytes": 0,
        "at": {},
        "waits": True,
        "items": [],
        "operands": [],
        "typical": True,
    }


def script_lines(script: Script, indent: str = "") -> list[str]:
    """The script as text, a line for each step."""
    lines = []
    for step in script.steps:
        outputs = ", ".join(o or "_" for o in step.outputs)
        if isinstance(step, Run):
            given = [*step.inputs, *(s.symbol for s in step.sizes)]
            lines.append(f"{indent}{outputs} = part {step.graph}({', '.join(given)})")
            continue
        what = getattr(step, "op", type(step).__name__)
        lines.append(f"{indent}{outputs} = {what}({', '.join(_read(step))})  # {step.name}")
        for inner in inner_scripts(step):
            lines += script_lines(inner, indent + "  ")
    return lines


def _read(step: Step) -> list[str]:
    """What a step that is no run of a part reads, "-" where an optional operand is left out."""
    if isinstance(step, If):
        return [step.condition]
    if isinstance(step, Scan):
        return [*step.carried, *step.sequences, *filter(None, [step.lengths])]
    assert isinstance(step, Call | Loop)
    first = step.inputs if isinstance(step, Call) else (step.count, step.condition, *step.carried)
    return [name or "-" for name in first]


def _profile(
    context: ScriptContext, script: Script, inputs: Mapping[str, Any], runs: int
) -> Profile:
    context.run(inputs)
    times = np.zeros((runs, len(script.steps)), np.int64)
    totals = np.zeros(runs, np.int64)
    for i in range(runs):
        context.set_timing(True)
        try:
            context.run(inputs)
            times[i] = context.step_times_ns()
        finally:
            context.set_timing(False)
        start = perf_counter_ns()
        context.run(inputs)
        totals[i] = perf_counter_ns() - start
    medians, least = np.median(times, axis=0) / 1e3, times.min(axis=0) / 1e3
    whole = float(medians.sum()) or 1.0
    layers = tuple(
        LayerTime(
            index=i,
            name=f"part {step.graph}" if isinstance(step, Run) else step.name,
            op=getattr(step, "op", type(step).__name__.lower()),
            tactic="script",
            precision="",
            median_us=float(medians[i]),
            min_us=float(least[i]),
            share=float(medians[i]) / whole,
            macs=0,
            bytes=0,
            gmacs=0.0,
            gbytes=0.0,
        )
        for i, step in enumerate(script.steps)
    )
    return Profile(layers, float(np.median(totals)) / 1e3, context.threads, runs, context.sizes)
