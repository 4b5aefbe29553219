"""Engines that come later: built beside calls, or behind the first of them, which tell what to calibrate with.

Until then PyTorch computes.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from camshaft.runtime.engine import Engine

Feeds = Mapping[str, np.ndarray]
Make = Callable[[Sequence[Feeds] | None], Engine]
"""Builds an engine, calibrated with these inputs where there are any."""

_turn = threading.Lock()
"""Held by the thread that builds: builds that time kernels are not to disturb each other."""
_under_way: set[Pending] = set()


class Pending:
    """engine: None until it is there; it stays so where the build failed.

    Attributes may be read, and methods called, from any number of threads.
    """

    def __init__(self, make: Make, *, calls: int = 0, background: bool = False) -> None:
        """calls: whose inputs are awaited, for calibration.  background: build in a thread of its own, beside calls; else in the call
        that is the last of these, or at once."""
        self.engine: Engine | None = None
        self.failure: Exception | None = None
        self._make, self._left, self._background = make, calls, background
        self._recorded: list[Feeds] = []
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._told = False
        if not calls:
            self._start(None)

    @property
    def records(self) -> bool:
        """Whether inputs of calls are awaited."""
        return self._left > 0

    def record(self, feeds: Feeds) -> None:
        """Take a copy of a call's inputs; the last that are awaited start the build."""
        copied = {name: np.array(array) for name, array in feeds.items()}
        with self._lock:
            if not self.records:
                return
            self._recorded.append(copied)
            self._left -= 1
            if self.records:
                return
            recorded, self._recorded = self._recorded, []
        self._start(recorded)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the build has ended, or for `timeout` seconds; whether the engine is there."""
        self._ended.wait(timeout)
        return self.engine is not None

    def tell(self) -> None:
        """Warn of a build that failed, once."""
        with self._lock:
            if self.failure is None or self._told:
                return
            self._told = True
        warnings.warn(
            f"no engine could be built, so that PyTorch goes on computing: {self.failure}",
            stacklevel=4,
        )

    def _start(self, recorded: Sequence[Feeds] | None) -> None:
        if self._background:
            _under_way.add(self)
            threading.Thread(target=self._beside, args=(recorded,), name="camshaft build").start()
            return
        self._run(recorded)
        if self.failure is not None:
            self._told = True
            raise self.failure

    def _beside(self, recorded: Sequence[Feeds] | None) -> None:
        with _turn:
            if threading.main_thread().is_alive():  # else the process waits for this thread to end
                self._run(recorded)
        self._end()

    def _run(self, recorded: Sequence[Feeds] | None) -> None:
        try:
            self.engine = self._make(recorded)
        except Exception as error:  # noqa: BLE001 (raised, or told by the calls that go on)
            self.failure = error
        self._end()

    def _end(self) -> None:
        _under_way.discard(self)
        self._ended.set()


def wait(timeout: float | None = None) -> bool:
    """Wait until all builds in the background have ended, those that calls of other threads start meanwhile included, or for
    `timeout` seconds; whether they have."""
    until = None if timeout is None else time.monotonic() + timeout
    while waiting := list(_under_way):
        left = None if until is None else until - time.monotonic()
        if left is not None and left <= 0:
            return False
        waiting[0].wait(left)
    return True
