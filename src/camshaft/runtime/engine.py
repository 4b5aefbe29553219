"""The engine: a built network, ready to run, save and inspect."""

from __future__ import annotations

import importlib
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import numpy as np

from camshaft.errors import BindingError, ConfigError, RefitError
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.types import TensorType
from camshaft.program.check import check_program
from camshaft.program.program import Note, Program
from camshaft.program.state import StateSpec
from camshaft.runtime.bindings import Bindings, fixed_arrays
from camshaft.runtime.context import ExecutionContext, allowed_threads
from camshaft.runtime.driver import RUNNER, driver_named
from camshaft.runtime.file.engine_file import aligned, engine_parts, write_engine_file
from camshaft.runtime.file.manifest import Fingerprint, Manifest, ScriptManifest
from camshaft.runtime.file.source import Given
from camshaft.runtime.linked import LinkedEngine
from camshaft.runtime.profile import Profile, describe, profile_context
from camshaft.runtime.sizes import output_shapes
from camshaft.runtime.streams.async_runs import for_stream

if TYPE_CHECKING:
    from camshaft.runtime.streams.stream import Stream


class Engine:
    """A program with its weights and object code.

    Calling an engine is safe from any number of threads: it keeps as many contexts as calls
    were ever in progress at once.  For control over threads and memory, create contexts.

    An engine with states keeps one context for its calls, which belong to one sequence and come one at a time;
    create a context for each sequence where there are several.
    """

    def __init__(
        self,
        manifest: Manifest,
        constants: Mapping[str, np.ndarray],
        code: Mapping[str, bytes | np.ndarray],
        threads: int | None = None,
    ) -> None:
        """constants: name -> array.  code: name -> object file.

        threads: workers of the contexts that calls use (default: as many as the program allows).
        BuildError if the program is unsound, ConfigError if it has no room for `threads`.  Code is
        linked when it is first needed.
        """
        sizes = {n: a.nbytes for n, a in constants.items()}
        check_program(manifest.program, sizes, code, [note.name for note in manifest.notes])
        self.manifest = manifest
        limit = manifest.program.max_threads
        self.threads = limit if threads is None else allowed_threads(threads, limit)
        self._names = tuple(b.name for b in manifest.program.inputs)
        self._constants = {n: aligned(a) for n, a in constants.items()}
        self._code = dict(code)
        self._linked: LinkedEngine | None = None
        self._prepare()

    def _prepare(self) -> None:
        """What calls need."""
        self.attached: dict[str, bytes] = {}
        """Name -> bytes that files of the engine hold besides, for who made it; nothing here reads them."""
        self.awaits_weights = False
        """Whether its file held none of the weights that can be exchanged; of the parts of an engine, see `lacks_weights`."""
        self.notes_of_refit: tuple[Any, Any] | None = None
        self._lock = threading.Lock()
        self._idle: list[ExecutionContext] = []
        self._first, self._has_context = threading.Lock(), False

    # -- what it is, takes and gives ---------------------------------------------------------

    @property
    def program(self) -> Program:
        """What a call executes."""
        return self.manifest.program

    @property
    def notes(self) -> tuple[Note, ...]:
        """What each instruction of the program is, and why."""
        return self.manifest.notes

    @property
    def fingerprint(self) -> Fingerprint:
        """What the engine was made from and for."""
        return self.manifest.fingerprint

    @property
    def inputs(self) -> dict[str, TensorType]:
        """Name -> type of every input, in positional order; open extents have names, whose ranges
        are in `symbols`."""
        return {b.name: b.type for b in self.program.inputs}

    @property
    def fixed_inputs(self) -> dict[str, np.ndarray]:
        """Name -> values of the model's inputs that the build was given values of.  They are not
        among `inputs`: a call may leave them out, and must not give them other values."""
        found = fixed_arrays(self.program, self._constants)
        return {name: array.copy() for name, array in found.items()}

    @property
    def outputs(self) -> dict[str, TensorType]:
        """Name -> type of every output; open extents are expressions over `symbols`."""
        return {b.name: b.type for b in self.program.outputs}

    @property
    def symbols(self) -> dict[str, Symbol]:
        """Name -> `low`, `typical` and `high` (None: unbounded) of every size that may vary from
        call to call; empty where all shapes are fixed.  The engine is tuned for typical sizes."""
        return {s.name: s for s in self.program.symbols}

    @property
    def states(self) -> dict[str, StateSpec]:
        """Name -> what each context keeps from call to call in place of that input: its type, and `capacity`, how long
        it may become along its `axis`."""
        return {s.name: s for s in self.program.states}

    def output_shapes(self, inputs: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """Shapes of the outputs for these inputs (arrays, or shapes as tuples), without running; with states, of a
        first call.

        ShapeError names what is wrong with a shape, BindingError a wrong name.
        """
        bindings = Bindings("input", self.program.inputs, self.fixed_inputs)
        return output_shapes(self.program, bindings, inputs)

    # -- running -----------------------------------------------------------------------------

    def __call__(self, *arrays: Any) -> dict[str, np.ndarray]:
        """Run on one dictionary {input name: array}, or on positional arrays: those of `inputs`, or
        of all inputs that the model declares.

        Returns {output name: new array}.  Errors as in `ExecutionContext.run`.
        """
        single = len(arrays) == 1 and isinstance(arrays[0], dict)  # the quickest of all tests
        inputs = arrays[0] if single else self._named(arrays)
        try:
            context = self._idle.pop()
        except IndexError:
            context = self._another_context()
        try:
            return context.run(inputs)
        finally:
            self._idle.append(context)

    def _another_context(self) -> ExecutionContext:
        """A context for a call while all others are in use; ConfigError if their states are those of calls."""
        if not self.program.states:
            return self.create_context(self.threads)
        with self._first:
            if self._has_context:
                raise _in_use()
            context = self.create_context(self.threads)
            self._has_context = True
            return context

    def reset(self) -> None:
        """Begin another sequence in calls of the engine itself: see `ExecutionContext.reset`.

        ConfigError while a call is in progress.
        """
        if not self.program.states:
            return
        try:
            context = self._idle.pop()
        except IndexError:
            if self._has_context:
                raise _in_use() from None
            return
        try:
            context.reset()
        finally:
            self._idle.append(context)

    def _named(self, arrays: tuple[Any, ...]) -> Mapping[str, Any]:
        if len(arrays) == 1 and isinstance(arrays[0], Mapping):
            return arrays[0]
        for names in (self._names, self.program.declared):
            if len(arrays) == len(names):
                return dict(zip(names, arrays, strict=True))
        fixed = ", ".join(f.name for f in self.program.fixed)
        also = (
            f"; or with those that the build fixed ({fixed}), in the model's order" if fixed else ""
        )
        raise BindingError(
            f"{_count(len(arrays), 'array')} passed, and the engine takes "
            f"{_count(len(self._names), 'input')}: "
            f"{', '.join(f'{n}: {t!r}' for n, t in self.inputs.items())}{also}"
        )

    def create_context(
        self, threads: int = 1, check_finite: bool = False, stream: Stream | None = None
    ) -> ExecutionContext:
        """A context with `threads` workers, the caller included.

        check_finite: refuse float inputs that hold NaN or infinity, which are legal otherwise: a
            mask may hold minus infinity, an image NaN.
        stream: whose cores the workers keep to, and which makes the calls of `run_async`.
        ConfigError if `threads` is not within 1 and what the engine was built for, or is more than the stream has cores;
        RefitError for an engine whose file held no weights.
        """
        self.require_weights()
        linked, threads = self.link(), allowed_threads(threads, self.program.max_threads)
        return for_stream(stream, threads, lambda: ExecutionContext(linked, threads, check_finite))

    def require_weights(self) -> None:
        """RefitError for an engine whose file held no weights."""
        if self.lacks_weights:
            raise RefitError(
                "the engine was saved without weights: fill it first, engine.refit(model)"
            )

    def link(self) -> LinkedEngine:
        """Load the code into this process unless that has been done; for contexts."""
        with self._lock:
            if self._linked is None:
                code = {n: bytes(c) for n, c in self._complete_code().items()}
                self._linked = LinkedEngine(
                    self.program, self.fingerprint.driver, self._constants, code
                )
            return self._linked

    def _complete_code(self) -> dict[str, bytes | np.ndarray]:
        """The code, with the step loop; a freshly built engine has it compiled here."""
        if RUNNER not in self._code:
            self._code[RUNNER] = self._runner_code(self.fingerprint)
        return self._code

    @staticmethod
    def _runner_code(fingerprint: Fingerprint) -> bytes:
        return driver_named(fingerprint.driver).runner_code(fingerprint.target)

    def for_streams(self, streams: int, batch: int, config: str) -> Self:
        """The engine, which says that it was built for so many streams, and calls of so many rows.  config: how its build is told of."""
        fingerprint = replace(self.fingerprint, streams=streams, batch=batch, config=config)
        self.manifest = replace(self.manifest, fingerprint=fingerprint)
        return self

    # -- looking inside ----------------------------------------------------------------------

    def inspect(self) -> dict[str, Any]:
        """The engine and its steps as JSON types: layers, tactics, precisions, reasons, times,
        bytes and buffer offsets."""
        weights = sum(a.nbytes for a in self._constants.values())
        code = sum(len(c) for c in self._code.values())
        fixed = {name: array.tolist() for name, array in self.fixed_inputs.items()}
        return {
            **describe(self.manifest),
            "fixed_inputs": fixed,
            "weight_bytes": weights,
            "code_bytes": code,
        }

    def profile(
        self, inputs: Mapping[str, np.ndarray], runs: int = 50, threads: int | None = None
    ) -> Profile:
        """Median time of every layer over `runs` runs with `threads` workers."""
        with self.create_context(self.threads if threads is None else threads) as context:
            return profile_context(context, self.manifest, inputs, runs)

    # -- other weights -----------------------------------------------------------------------

    @property
    def lacks_weights(self) -> bool:
        """Whether its file held none of the weights that can be exchanged, so that `refit` must come first."""
        return any(part.awaits_weights for part in self.whole)

    @property
    def refittable(self) -> dict[str, TensorType]:
        """Name -> type of the model's weights that `refit` can exchange; none unless the engine was built with
        `refittable=True`."""
        found: dict[str, TensorType] = _refitting().exchangeable(self)
        return found

    def refit(self, weights: Any, *, copy: bool = False) -> Engine:
        """The engine with other weights, in milliseconds: code and memory stay as they are.

        weights: {name: array} of the model's weights (see `refittable`; as many as wanted, in the types and shapes they
            had), or the ONNX model itself with other values (path, bytes, ModelProto, `Network`).
        copy: leave this engine as it is, and return another that shares all else with it.  Otherwise contexts that exist
            use the new weights from their next call on; no call may be in progress.
        RefitError names a weight that is not the engine's, has another type or shape, decides what is computed, or is folded
        with others that must be given too.
        """
        engine: Engine = _refitting().refitted(self, weights, copy=copy)
        return engine

    def exchange(self, constants: Mapping[str, np.ndarray]) -> Engine:
        """Write these constants where they lie, and make again what is expanded from them; itself; for `refit`."""
        with self._lock:
            for name, array in constants.items():
                np.copyto(self._constants[name], array)
            if self._linked is not None:
                self._linked.expand_again(constants)
            self.awaits_weights = False
        return self

    def sharing(self, constants: Mapping[str, np.ndarray], owned: Iterable[str]) -> Engine:
        """Another engine with these constants, which shares the code and all but those of the names `owned`; for `refit`."""
        code, held = self._complete_code(), {**self._constants, **constants}
        own = {n: aligned(np.array(held[n], order="C")) for n in owned}
        engine = Engine(self.manifest, {**self._constants, **own}, code, self.threads)
        engine.attached.update(self.attached)
        return engine

    @property
    def whole(self) -> tuple[Engine, ...]:
        """The engines that it consists of; for `refit` and `share_weights`."""
        return (self,)

    def with_parts(self, parts: Sequence[Engine]) -> Engine:
        """Another engine of the same kind, of these parts; for `refit`."""
        return parts[0]

    @property
    def weights_of_its_own(self) -> frozenset[str]:
        """Names of constants that a refit may change, and of what is expanded from them; for `share_weights`."""
        if "refit" not in self.attached:
            return frozenset()
        stored: frozenset[str] = _refitting().exchanged(self)
        expanded = (e.name for e in self.program.expanded if e.stored in stored)
        return stored.union(expanded)

    def adopt(self, constants: Mapping[str, np.ndarray]) -> None:
        """Hold these arrays in place of equal ones of its own; for `share_weights`."""
        if not constants:
            return
        linked = self.link()
        with self._lock:
            stored = {n: a for n, a in self._constants.items() if n in constants}
            stored = {n: constants[n].view(a.dtype).reshape(a.shape) for n, a in stored.items()}
            self._constants.update(stored)
            self._linked = linked.holding({**constants, **stored})
            if not self.program.states:  # whose context is in the midst of a sequence
                self._idle.clear()

    # -- files -------------------------------------------------------------------------------

    def save(
        self, target: str | os.PathLike[str] | BinaryIO, *, strip_weights: bool = False
    ) -> int:
        """Write the engine file, whole or not at all, or to an open file; returns its bytes.

        strip_weights: leave out what `refit` can fill in again from the model; RefitError unless the engine was built with
        `refittable=True`.
        """
        return write_engine_file(target, *self._file(strip_weights))

    def to_bytes(self, *, strip_weights: bool = False) -> bytes:
        """What `save` writes."""
        return b"".join(engine_parts(*self._file(strip_weights)))

    def _file(self, strip: bool) -> tuple[Any, Any, Any, Mapping[str, bytes]]:
        manifest, constants, code = self._contents()
        if not (strip or self.lacks_weights):
            return manifest, constants, code, self.all_attached()
        attached, left = _refitting().stripped(self)
        return manifest, {n: a for n, a in constants.items() if n not in left}, code, attached

    def all_attached(
        self, instead: Mapping[int, Mapping[str, bytes]] = MappingProxyType({})
    ) -> dict[str, bytes]:
        """What is attached to it and its parts, as files hold it.  instead: id of a part -> what to take of this."""
        return {**self.attached, **instead.get(id(self), {})}

    def _contents(
        self,
    ) -> tuple[
        Manifest | ScriptManifest, Mapping[str, np.ndarray], Mapping[str, bytes | np.ndarray]
    ]:
        """Manifest, constants and code as files hold them."""
        with self._lock:
            code = self._complete_code()
        return self.manifest, self._constants, code

    @classmethod
    def load(cls, source: Given, threads: int | None = None) -> Engine:
        """As `camshaft.load`."""
        engine: Engine = importlib.import_module("camshaft.runtime.loading").load(source, threads)
        return engine


def _refitting() -> Any:
    """What exchanges weights, which most processes never do: it needs more than the runtime."""
    return importlib.import_module("camshaft.refitting.exchange")


def _in_use() -> ConfigError:
    return ConfigError(
        "the engine keeps states from call to call and is in use by another thread; create one context for each "
        "sequence (create_context)"
    )


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"
