"""Calls of a context: arrays at addresses, made once and run any number of times."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from camshaft.tensorrt.errors import FAILURES, Reports
from camshaft.tensorrt.running.device import Array

Run = Callable[[Mapping[str, Array], Mapping[str, Array]], None]


class Call:
    """One run on fixed arrays.  Calling it runs, and reports what fails; `failed` says whether something did.

    A stream that captures a graph keeps it, and runs it again.
    """

    __slots__ = ("_after", "_inputs", "_outputs", "_reports", "_run", "failed")

    def __init__(
        self,
        run: Run,
        inputs: Mapping[str, Array],
        outputs: Mapping[str, Array],
        after: Sequence[Callable[[], None]],
        reports: Reports,
    ) -> None:
        """after: what is done behind each run, in order."""
        self._run, self._inputs, self._outputs = run, inputs, outputs
        self._after, self._reports = tuple(after), reports
        self.failed = False

    def __call__(self) -> None:
        self.failed = False
        try:
            self._run(self._inputs, self._outputs)
            if self._after:
                self._follow()
        except FAILURES as error:
            self.failed = True
            self._reports.failure(error)

    def _follow(self) -> None:
        for action in self._after:
            action()


def private(
    outputs: dict[str, Array], inputs: Mapping[str, Array]
) -> tuple[dict[str, Array], list[Callable[[], None]]]:
    """Outputs as the engine can write them: arrays of their own in place of those that are not aligned or C-contiguous, or share
    memory with others, and what copies these."""
    found: dict[str, Array] = {}
    copies: list[Callable[[], None]] = []
    for name, array in outputs.items():
        others = [*inputs.values(), *found.values()]
        flags = array.flags
        is_plain = flags.aligned and flags.c_contiguous
        if is_plain and not any(np.may_share_memory(array, o) for o in others):
            found[name] = array
            continue
        found[name] = np.empty(array.shape, array.dtype)
        copies.append(_copier(array, found[name]))
    return found, copies


def _copier(target: Array, source: Array) -> Callable[[], None]:
    def copy() -> None:
        target[...] = source

    return copy


def checked_values(name: str, given: Any, fixed: Array) -> str:
    """What is wrong with the elements of an input that the build fixed; "": nothing."""
    if np.array_equal(given, fixed):
        return ""
    return f"input {name!r} holds {np.asarray(given).tolist()}, and the profile allows {fixed.tolist()} alone"
