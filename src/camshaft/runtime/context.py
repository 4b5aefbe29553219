"""The execution context: one arena, one program, its worker threads; runs an engine.

Many contexts share one engine's code and weights and may run at the same time; each is used by
one thread at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from types import TracebackType
from typing import Any, Self

import numpy as np

from camshaft.errors import ConfigError
from camshaft.ir.types import StaticShape
from camshaft.program.program import HostCall
from camshaft.program.rows import Outcome
from camshaft.runtime.arena import allocate_arena
from camshaft.runtime.bindings import overlap_error
from camshaft.runtime.host import HostStep
from camshaft.runtime.linked import LinkedEngine
from camshaft.runtime.reports import Reports
from camshaft.runtime.shaping import Shaper
from camshaft.runtime.sizes import Shapes, output_shapes

_empty = np.empty


class ExecutionContext:
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
        reports = self._reports.addresses if self._reports else {}
        rows, self._row_owners = engine.rows(self._arena.ctypes.data, self._dims, reports)
        self._program = engine.linked.program(
            rows,
            engine.typical_types,
            len(engine.inputs.types),
            threads,
            check_finite,
        )
        self._hosts = {
            row: HostStep(instruction, engine.constants, engine.numbers)
            for row, owner in enumerate(self._row_owners)
            if isinstance(instruction := engine.program.instructions[owner], HostCall)
        }
        self._fit: Shapes | None = None
        self._shaper: Shaper | None = None
        self._output_dtypes = [dtype for _, dtype in self._outputs.specs]
        self._specs: tuple[tuple[StaticShape, np.dtype], ...] = ()  # of the last sizes
        if engine.program.symbols:
            self._shaper = Shaper(engine, self._dims, self._program)
            self._shaper.move(self._arena.ctypes.data)
        else:
            shapes = [t.static for t in self._outputs.types]
            self._specs = tuple(zip(shapes, self._output_dtypes, strict=True))
            for host in self._hosts.values():
                host.place(self._arena, engine.program.offsets, {})
        direct = None if self._hosts else self._program.call
        self._call: Callable[..., int] = direct or _always_slow_path
        self._elements: list[tuple[int, bytes]] = []
        if direct is not None and self._inputs.saying:
            self._call = _comparing(direct, self._elements)

    # -- running -----------------------------------------------------------------------------

    def run(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Run on C-contiguous arrays of the declared types; returns new arrays by output name.

        Where a scalar tensor is declared, a number does as well.
        BindingError names an array that does not fit, or (with `check_finite`) that holds NaN or
        infinity, or a node that is given an index outside its axis.
        ConfigError if the context is closed or in use by another thread.
        """
        arrays = self._inputs.arrange(inputs)
        if self._shaper is not None and self._fit is None:
            arrays = self._fitted(arrays)
        outputs = [_empty(shape, dtype) for shape, dtype in self._specs]
        code = self._call(*arrays, *outputs)
        if code:
            if self._shaper is not None and code == Outcome.UNEXPECTED:
                arrays = self._fitted(arrays)
                outputs = [_empty(shape, dtype) for shape, dtype in self._specs]
                code = self._call(*arrays, *outputs)
            self._handle_outcome(code, (*arrays, *outputs))
        if self._reports is not None:
            self._reports.check()
        return dict(zip(self._outputs.names, outputs))  # noqa: B905 (`strict` costs 100 ns)

    def run_into(self, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        """Like `run`, but writes into the caller's arrays and allocates nothing.

        Outputs must be writeable, C-contiguous, and share no memory with any other array of the
        call.  After an error their contents are unspecified.
        """
        given = self._inputs.arrange(inputs)
        if self._shaper is not None and self._fit is None:
            given = self._fitted(given)
        arrays = (*given, *self._outputs.arrange(outputs))
        code = self._call(*arrays)
        if code:
            if self._shaper is not None and code == Outcome.UNEXPECTED:
                arrays = (*self._fitted(given), *arrays[len(given) :])
                code = self._call(*arrays)
            self._handle_outcome(code, arrays)
        if self._reports is not None:
            self._reports.check()

    @property
    def sizes(self) -> dict[str, int]:
        """The sizes of the last call, by the engine's symbols; empty where all shapes are fixed."""
        return self._shaper.sizes if self._shaper and self._fit else {}

    def output_shapes(self, inputs: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        """Shapes of the outputs for these inputs (arrays, or shapes as tuples), without running.

        ShapeError for inputs whose sizes `run` would refuse.
        """
        return output_shapes(self._engine.program, self._inputs, inputs)

    def _fitted(self, arrays: tuple[Any, ...]) -> tuple[Any, ...]:
        """The inputs with numbers as arrays, after the context has taken on their sizes."""
        assert self._shaper is not None
        if self._inputs.has_scalars:
            arrays = self._inputs.with_scalars(arrays)
        self._inputs.check_kinds(arrays)
        shapes = tuple([a.shape for a in arrays])
        if self._inputs.saying:
            shapes += self._inputs.elements(arrays)
            self._elements[:] = [(i, arrays[i].tobytes()) for i in self._inputs.saying]
        if shapes != self._fit:
            self._set_shapes(self._shaper, shapes)
        return arrays

    def _set_shapes(self, shaper: Shaper, shapes: Shapes) -> None:
        """Fit the tables to other shapes; the arena grows where it is too small, and stays so."""
        self._fit = None  # until all of it is done

        def fit() -> None:
            needed = shaper.compute(shapes)
            if needed > self._arena.nbytes:
                self._arena = allocate_arena(needed)
                shaper.move(self._arena.ctypes.data)
            shaper.place()

        if not self._program.between_calls(fit):
            raise self._refused()
        self._specs = tuple(zip(shaper.output_shapes, self._output_dtypes, strict=True))
        for host in self._hosts.values():
            host.place(self._arena, shaper.offsets, shaper.sizes)
        self._fit = shapes

    def _refused(self) -> ConfigError:
        return ConfigError(
            "the execution context is closed; create another"
            if self._program.closed
            else "the execution context is in use by another thread; create one context for each "
            "thread"
        )

    def _handle_outcome(self, code: int, arrays: tuple[Any, ...]) -> None:
        """Deal with every outcome but DONE, until the call is done or an error is raised."""
        program = self._program
        while code:
            if code == Outcome.IS_BUSY:
                if not program.start():
                    raise self._refused()
                code = self._call(*arrays)
            elif code == Outcome.UNEXPECTED:
                arrays = self._inputs.with_scalars(arrays)
                code = self._enter_checked(arrays)
            elif code == Outcome.NOT_FINITE:
                self._inputs.check_finite(arrays[: len(self._inputs.names)])
                return  # the caller changed the array in the meantime: there is no fault to report
            elif code == Outcome.OVERLAP:
                names = (*self._inputs.names, *self._outputs.names)
                raise overlap_error(names, arrays, len(self._inputs.names))

    def _enter_checked(self, arrays: Sequence[Any]) -> int:
        """Enter with arrays that no generated check has accepted, if they are right after all."""
        count = len(self._inputs.names)
        sizes = self._shaper.sizes if self._shaper else None
        self._inputs.check(arrays[:count], sizes)
        self._outputs.check(arrays[count:], sizes)
        addresses = [a.ctypes.data for a in arrays]
        if not self._hosts:
            return self._program.enter(addresses)
        return self._program.enter_with_hosts(addresses, lambda row: self._hosts[row].run(arrays))

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
        self._program.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


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


def _comparing(
    call: Callable[..., int], elements: Sequence[tuple[int, bytes]]
) -> Callable[..., int]:
    """`call` if arrays of it that say sizes hold what they held when sizes were set; else UNEXPECTED.

    elements: position of each and what it held, changed in place by who sets sizes.
    """
    kind, unexpected = np.ndarray, Outcome.UNEXPECTED

    def compared(*arrays: Any) -> int:
        for at, held in elements:
            array = arrays[at]
            if type(array) is not kind or array.tobytes() != held:
                return unexpected
        return call(*arrays)

    return compared


def _always_slow_path(*arrays: Any) -> int:
    """Stands in for generated argument checks where NumPy's memory layout is unknown, and where
    host steps make the way into the program a longer one."""
    return Outcome.UNEXPECTED
