"""The execution context: one arena, one program, its worker threads; runs an engine.

Many contexts share one engine's code and weights and may run at the same time; each is used by
one thread at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from numbers import Integral
from typing import Any

import numpy as np

from camshaft.errors import BindingError, BuildError, ConfigError
from camshaft.ir.types import NARROW_FLOATS, StaticShape
from camshaft.program.program import HostCall
from camshaft.program.rows import Outcome
from camshaft.program.view import Buffer
from camshaft.runtime.arena import allocate_arena
from camshaft.runtime.bindings import Arrays, overlap_error
from camshaft.runtime.host import HostStep
from camshaft.runtime.linked import LinkedEngine
from camshaft.runtime.reports import Reports
from camshaft.runtime.shaping import Shaper
from camshaft.runtime.sizes import Shapes, output_shapes
from camshaft.runtime.states import StateArrays, StateMemory
from camshaft.runtime.streams.async_runs import AsyncRuns

_empty = np.empty
_LARGE = 16 << 20
"""Bytes of outputs from which on a call looks at its sizes before it allocates any."""


class ExecutionContext(AsyncRuns):
    """Made by `Engine.create_context`.  Closed by `close`, `with`, or when dropped."""

    def __init__(self, engine: LinkedEngine, threads: int, check_finite: bool) -> None:
        """threads: workers, the calling thread included.  ConfigError if the program has no room."""
        self.threads = threads = allowed_threads(threads, engine.program.max_threads)
        self.check_finite = check_finite
        self._engine = engine
        self._inputs, self._outputs = engine.inputs, engine.outputs
        self._arena = allocate_arena(engine.program.arena.nbytes)
        self._dims = engine.dims()
        reporting = [b for b in engine.program.buffers if b.space == "report"]
        self._reports = Reports(reporting) if reporting else None
        self._kept = StateMemory(engine.program.states) if engine.program.states else None
        others = dict(self._reports.addresses) if self._reports else {}
        if self._kept:
            others |= {s.buffer: self._kept.addresses[s.name] for s in engine.program.states}
        rows, self._row_owners = engine.rows(self._arena.ctypes.data, self._dims, others)
        self._program = engine.linked.program(
            rows,
            engine.typical_types,
            len(engine.inputs.types),
            threads,
            check_finite,
            self._inputs.saying if engine.program.symbols else (),
        )
        self._hosts = {
            row: HostStep(instruction, engine.constants, engine.numbers)
            for row, owner in enumerate(self._row_owners)
            if isinstance(instruction := engine.program.instructions[owner], HostCall)
        }
        self._fit: Shapes | None = None
        self._shaper: Shaper | None = None
        self._output_dtypes = [dtype for _, dtype in self._outputs.specs]
        self._specs: tuple[tuple[StaticShape, np.dtype], ...] = ()  # what to allocate at once
        if engine.program.symbols:
            self._shaper = Shaper(engine, self._dims, self._program)
            self._shaper.move(self._arena.ctypes.data)
            if self._kept:
                self._shaper.move_states(self._kept.addresses)
        else:
            self._place([t.static for t in self._outputs.types], engine.program.offsets, {})
        narrow = any(t.dtype in NARROW_FLOATS for t in self._inputs.types)
        self._checks_here = check_finite and narrow  # generated code checks wider floats only
        direct = None if self._hosts or self._checks_here else self._program.call
        self._call: Callable[..., int] = direct or _always_slow_path

    # -- running -----------------------------------------------------------------------------

    def run(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Run on arrays of the declared types; returns new arrays by output name.

        Arrays that are not C-contiguous (slices, transposed or broadcast views) or not aligned are copied first.
        Where a scalar tensor is declared, a number does as well.
        BindingError names an array that does not fit, or (with `check_finite`) that holds NaN or
        infinity, or a node that is given an index outside its axis.
        ConfigError if the context is closed or in use by another thread.
        BuildError if there is no memory for outputs, or for the arena, of these sizes.
        """
        arrays = self._inputs.arrange(inputs)
        try:
            outputs = [_empty(shape, dtype) for shape, dtype in self._specs]
        except MemoryError:
            outputs = []  # so that the call is refused
        code = self._call(*arrays, *outputs)
        if code:
            outputs = [*self._run_slowly(code, arrays, None)]
        elif self._reports is not None:
            self._check_reports()
        return dict(zip(self._outputs.names, outputs))  # noqa: B905 (`strict` costs 100 ns)

    def run_into(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        """Like `run`, but writes into the caller's arrays and allocates nothing, unless an input must be copied.

        Outputs must be writeable, C-contiguous, and share no memory with any other array of the
        call.  After an error their contents are unspecified.
        """
        given, written = self._inputs.arrange(inputs), self._outputs.arrange(outputs)
        code = self._call(*given, *written)
        if code:
            self._run_slowly(code, given, written)
        elif self._reports is not None:
            self._check_reports()

    @property
    def sizes(self) -> dict[str, int]:
        """The sizes of the last call, by the engine's symbols; empty where all shapes are fixed."""
        return self._shaper.sizes if self._shaper and self._fit else {}

    def output_shapes(self, inputs: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """Shapes of the outputs for these inputs (arrays, or shapes as tuples), without running.

        ShapeError for inputs whose sizes `run` would refuse.
        """
        lengths = None if self._kept is None else self._kept.lengths
        return output_shapes(self._engine.program, self._inputs, inputs, lengths)

    def _run_slowly(self, code: int, given: Arrays, outputs: Arrays | None) -> Arrays:
        """Make a call that generated code has refused, for what looks unusual or has other sizes, or
        raise the error; returns the outputs.  outputs: the caller's, None to allocate them."""
        arrays, made = given, outputs or ()
        if code in (Outcome.IS_BUSY, Outcome.UNEXPECTED):

            def call() -> int:
                nonlocal arrays, made
                arrays = self._fitted(given)
                made = self._allocated() if outputs is None else outputs
                if self._kept is None:
                    return self._call_in_turn((*arrays, *made))
                return self._call_with_states(self._kept, (*arrays, *made))

            code = self._program.in_turn(call)
        if code == Outcome.IS_BUSY:
            raise self._refused()
        if code == Outcome.OVERLAP:
            names = (*self._inputs.names, *self._outputs.names)
            raise overlap_error(names, (*arrays, *made), len(self._inputs.names))
        if code == Outcome.NOT_FINITE:  # unless the caller changed the array in the meantime
            self._inputs.check_finite(arrays)
        if self._reports is not None and self._kept is None:
            self._reports.check()
        return made

    def _call_in_turn(self, arrays: Arrays) -> int:
        """Run, where the tables fit the sizes; errors for arrays that are not right."""
        if not self._hosts and not self._checks_here and self._program.call_in_turn is not None:
            code = self._program.call_in_turn(*arrays)
            if code != Outcome.UNEXPECTED:
                return code
        count = len(self._inputs.names)
        sizes = self._shaper.sizes if self._shaper else None
        self._inputs.check(arrays[:count], sizes)
        self._outputs.check(arrays[count:], sizes)
        if self._checks_here:
            self._inputs.check_finite(arrays[:count])
        addresses = [a.ctypes.data for a in arrays]
        return self._program.enter(addresses, lambda row: self._hosts[row].run(arrays))

    def _fitted(self, arrays: Arrays) -> Arrays:
        """The inputs as kernels read them, numbers as arrays, after the context has taken on their sizes."""
        if self._inputs.has_scalars:
            arrays = self._inputs.with_scalars(arrays)
        arrays = self._inputs.laid_out(arrays)
        if self._shaper is None:
            return arrays
        self._inputs.check_kinds(arrays)
        shapes = tuple([a.shape for a in arrays])
        if self._inputs.saying:
            shapes += self._inputs.elements(arrays) + self._inputs.counts(arrays, shapes)
        if self._kept:
            shapes += tuple([(length,) for length in self._kept.lengths])
            self._program.set_fitted(shapes == self._fit)
        said = [arrays[i] for i in self._inputs.saying]
        if shapes != self._fit:
            self._set_shapes(self._shaper, shapes, said)
        elif said:
            self._program.hold(said)
        return arrays

    def _set_shapes(self, shaper: Shaper, shapes: Shapes, said: Sequence[np.ndarray]) -> None:
        """Fit the tables to other shapes; the arena grows where it is too small, and stays so.

        said: the arrays that say sizes by their values.
        """
        self._fit, self._specs = None, ()
        self._program.set_fitted(False)  # until all of it is done
        needed = shaper.compute(shapes)
        if needed > self._arena.nbytes:
            steps = self._kept is not None and bool(self._kept.lengths)  # more is needed soon
            self._arena = allocate_arena(needed + needed // 2 if steps else needed)
            shaper.move(self._arena.ctypes.data)
        if self._kept and self._kept.fit(shaper.sizes):
            shaper.move_states(self._kept.addresses)
        shaper.place()
        self._program.hold(said)
        offsets = shaper.offsets if self._hosts else {}
        self._place(shaper.output_shapes, offsets, shaper.sizes)
        self._fit = shapes

    def _place(
        self, shapes: Sequence[StaticShape], offsets: Mapping[Buffer, int], sizes: Mapping[str, int]
    ) -> None:
        """What follows from sizes besides the tables."""
        memory = self._kept.memory if self._kept else {}
        for host in self._hosts.values():
            host.place(self._arena, offsets, sizes, memory)
        self._shapes = shapes
        self._program.set_fitted(True)

    def _allocated(self) -> Arrays:
        """New outputs for the sizes that the tables fit.  BuildError if there is no memory for them."""
        made: list[np.ndarray] = []
        specs = tuple(zip(self._shapes, self._output_dtypes, strict=True))
        for name, (shape, dtype) in zip(self._outputs.names, specs, strict=True):
            try:
                made.append(_empty(shape, dtype))
            except (MemoryError, ValueError) as error:  # ValueError: more than addresses reach
                at = f" at {self._shaper.sizes}" if self._shaper else ""
                raise BuildError(
                    f"no memory for output {name!r}, of shape {shape} and "
                    f"{prod(shape) * dtype.itemsize} bytes{at}; give smaller inputs, or free memory"
                ) from error
        if self._shaper is None or sum(a.nbytes for a in made) < _LARGE:
            self._specs = specs
        return tuple(made)

    def _refused(self) -> ConfigError:
        return ConfigError(
            "the execution context is closed; create another"
            if self._program.closed
            else "the execution context is in use by another thread; create one context for each "
            "thread"
        )

    # -- states ------------------------------------------------------------------------------

    @property
    def states(self) -> StateArrays:
        """What the context keeps from call to call, by the names of the inputs that it stands for; nothing where
        the engine was built without `state=`."""
        return StateArrays(self._kept or StateMemory(()), self._change_states)

    def reset(self) -> None:
        """Begin another sequence: states that grow are empty, the others zeros.

        ConfigError if the context is closed or in use by another thread.
        """
        self._change_states((self._kept or StateMemory(())).reset)

    def _change_states(self, change: Callable[[], None]) -> None:
        def action() -> int:
            change()
            self._forget_sizes()
            return Outcome.DONE

        if self._program.in_turn(action) == Outcome.IS_BUSY:
            raise self._refused()

    def _forget_sizes(self) -> None:
        """Look at sizes, and at states, before the next call."""
        spoiled = self._kept is not None and self._kept.is_spoiled
        if self._shaper is not None:
            self._fit = None
        self._program.set_fitted(self._shaper is None and not spoiled)

    def _call_with_states(self, kept: StateMemory, arrays: Arrays) -> int:
        """As `_call_in_turn`; then states are what the call leaves, if it does not fail."""
        if kept.is_spoiled:
            raise BindingError(
                "an earlier call failed while it changed the states of this context; reset it first"
            )
        try:
            code = self._call_in_turn(arrays)
            if code == Outcome.DONE and self._reports is not None:
                self._reports.check()
        except BaseException:
            self._spoil(kept)
            raise
        if code == Outcome.DONE:
            kept.advance(self._shaper.sizes if self._shaper else {})
            if kept.lengths:
                self._specs = ()
                self._program.set_fitted(False)  # the next call finds others
        return code

    def _check_reports(self) -> None:
        """Behind a call that has not gone through `_call_with_states`."""
        assert self._reports is not None
        try:
            self._reports.check()
        except BindingError:
            if self._kept is not None:
                self._program.in_turn(lambda: self._spoil(self._kept))
            raise

    def _spoil(self, kept: StateMemory | None) -> int:
        """States are not known any more, where a failed call may have changed what it found."""
        if kept is not None and not kept.keeps_on_failure:
            kept.is_spoiled = True
        self._forget_sizes()
        return Outcome.DONE

    # -- timing ------------------------------------------------------------------------------

    def set_timing(self, on: bool) -> None:
        """Turn time stamps between steps on or off (about 20 ns a step when on)."""
        self._program.set_timing(on)

    def step_times_ns(self) -> np.ndarray:
        """Nanoseconds each instruction took in the last timed run: int64 [instructions]."""
        times = np.zeros(len(self._engine.program.instructions), np.int64)
        np.add.at(times, self._row_owners, np.diff(self._program.stamps_ns()))
        return times

    # -- end ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop the worker threads; running the context is an error from then on."""
        self._finish()
        self._program.close()


def allowed_threads(threads: object, limit: int) -> int:
    """`threads` as an int; ConfigError if it is not within 1 and `limit`."""
    if isinstance(threads, Integral) and not isinstance(threads, bool):
        count = int(threads)
        if 1 <= count <= limit:
            return count
    built = "1 thread" if limit == 1 else f"1 to {limit} threads"
    raise ConfigError(
        f"threads={threads!r}: this engine was built for {built} a context; choose that or "
        "rebuild with more `threads`"
    )


def _always_slow_path(*arrays: Any) -> int:
    """Stands in for generated argument checks where NumPy's memory layout is unknown, and where
    host steps or checks in Python make the way into the program a longer one."""
    return Outcome.UNEXPECTED
