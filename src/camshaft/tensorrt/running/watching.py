"""Profilers and debug listeners of a context, and assertions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from camshaft.errors import BindingError
from camshaft.runtime.script.engine import ScriptEngine
from camshaft.tensorrt.dims import Dims
from camshaft.tensorrt.enums.data import TensorLocation
from camshaft.tensorrt.running.allocators import IDebugListener, IProfiler
from camshaft.tensorrt.running.device import Array

if TYPE_CHECKING:
    from camshaft.tensorrt.running.engine import ICudaEngine

_DEVICE = TensorLocation.DEVICE
_NS_IN_MS = 1e6


class Watch:
    """What is told of a context's runs.  shown: the debug tensors that the listener sees; shows_unfused: whether it
    sees those between fused layers.  emits: whether the profiler is told behind
    each run."""

    def __init__(self, engine: ICudaEngine) -> None:
        """An engine that lacks weights gets a context when they are there."""
        self._engine = engine
        self._runner = None if engine._engine.lacks_weights else engine._context()
        self.profiler: IProfiler | None = None
        self.listener: IDebugListener | None = None
        self.shown: set[str] = set()
        self.shows_unfused = False
        self.emits = True
        self._times: list[tuple[str, float]] = []

    def set_profiler(self, profiler: IProfiler | None) -> None:
        """Time steps from now on, or None: no more."""
        self.profiler = profiler
        if self._runner is not None:
            self._runner.set_timing(profiler is not None)

    @property
    def runner(self) -> Any:
        """Camshaft's context.  RefitError for an engine that lacks weights."""
        if self._runner is None:
            self._runner = self._engine._context()
            self._runner.set_timing(self.profiler is not None)
        return self._runner

    def show(self, names: Iterable[str], on: bool) -> None:
        """Whether the listener sees these tensors."""
        self.shown = self.shown | {*names} if on else self.shown - {*names}

    def actions(
        self, arrays: Mapping[str, Array], stream: Callable[[], int]
    ) -> list[Callable[[], None]]:
        """What to do behind a run on these arrays, by name.  stream: the handle that the run was enqueued in."""
        held = [(arrays[name], text) for name, text in self._engine._plan.assertions]
        found: list[Callable[[], None]] = [lambda: _check(held)] if held else []
        if self.profiler is not None:
            found.append(self._profiled)
        if self.listener is not None:
            plan = self._engine._plan
            names = [n for n in plan.debug if n in self.shown]
            seen = {n: arrays[n] for n in (*names, *(plan.unfused if self.shows_unfused else ()))}
            found.append(lambda: self._listened(seen, stream()))
        return found

    def _profiled(self) -> None:
        engine = self._engine._engine
        if isinstance(engine, ScriptEngine):
            names = [
                getattr(step, "name", f"part {i}") for i, step in enumerate(engine.script.steps)
            ]
        else:
            names = [note.name for note in engine.notes]
        times = self.runner.step_times_ns() / _NS_IN_MS
        self._times = list(zip(names, times.tolist(), strict=True))
        if self.emits:
            self.report()

    def report(self) -> bool:
        """Tell the profiler of the last run; whether there is one of which it was not told."""
        if self.profiler is None or not self._times:
            return False
        times, self._times = self._times, []
        for name, milliseconds in times:
            self._engine._reports.told(self.profiler, "report_layer_time", name, milliseconds)
        return True

    def _listened(self, seen: Mapping[str, Array], stream: int) -> None:
        assert self.listener is not None
        for name, given in seen.items():
            array = np.ascontiguousarray(given).reshape(given.shape)
            kind = self._engine._all[name].kind
            where = array.ctypes.data
            shape = Dims(array.shape)
            said = (where, _DEVICE, kind, shape, name, stream)
            self._engine._reports.told(self.listener, "process_debug_tensor", *said)


def _check(held: Iterable[tuple[Array, str]]) -> None:
    """BindingError that says what does not hold."""
    for condition, text in held:
        if not condition.all():
            raise BindingError(text)
