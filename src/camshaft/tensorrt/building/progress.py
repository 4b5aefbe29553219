"""`IProgressMonitor`: what a build reports, and by which it is cancelled."""

from __future__ import annotations

from typing import Any

from camshaft.tensorrt.errors import CallbackError, Reports, called_back

BUILD = "Building Engine"
"""The outermost phase."""
_STAGES = 8
"""Steps of the outermost phase: stages of a build, of which a small one has fewer."""


class Cancelled(Exception):
    """A monitor has answered False, or has raised something.

    No CamshaftError: nothing on the way up may take it for a kernel that fails.
    """


class IProgressMonitor:
    """Base of monitors: a subclass overrides all methods.  NotImplementedError, a RuntimeError, of those it does not."""

    def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
        """A phase begins.  parent_phase: the phase that it is a part of; None of the outermost one."""
        raise NotImplementedError(f"{type(self).__name__} must override phase_start")

    def step_complete(self, phase_name: str, step: int) -> bool:
        """A step, counted from 0, is done; False cancels the build."""
        raise NotImplementedError(f"{type(self).__name__} must override step_complete")

    def phase_finish(self, phase_name: str) -> None:
        """A phase ends, its steps done or not."""
        raise NotImplementedError(f"{type(self).__name__} must override phase_finish")


class Phases:
    """Turns a build's progress into phases.  A context manager; call it as `BuildConfig.progress`.

    The outermost phase has a step for each stage; stages that come again are one phase more, and those without steps
    are none: monitors divide by the number of steps.
    """

    def __init__(self, monitor: IProgressMonitor | None, reports: Reports) -> None:
        self._monitor, self._reports = monitor, reports
        self._stage: str | None = None
        self._done = self._stages = 0
        self._shown = False

    def __enter__(self) -> Phases:
        """Cancelled if the monitor raises something."""
        if self._monitor is not None:
            self._ask("phase_start", BUILD, None, _STAGES)
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if self._monitor is None:
            return
        if kind is None:
            self._end_stage()
            for step in range(self._stages, _STAGES):
                self._ask("step_complete", BUILD, step)
            self._ask("phase_finish", BUILD)
            return
        for phase in (self._stage if self._shown else None, BUILD):
            if phase is not None:
                self._reports.told(self._monitor, "phase_finish", phase)

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Cancelled if the monitor says so."""
        if stage != self._stage:
            self._reports.verbose(f"build: {stage}")
        if self._monitor is None:
            self._stage = stage
            return
        if stage != self._stage or done < self._done:
            self._begin_stage(stage, total)
        while self._done < done:
            self._done += 1
            self._tell(stage, self._done - 1)

    def _begin_stage(self, stage: str, total: int) -> None:
        self._end_stage()
        self._stage, self._done, self._shown = stage, 0, total > 0
        if self._shown:
            self._ask("phase_start", stage, BUILD, total)

    def _end_stage(self) -> None:
        if self._stage is None:
            return
        stage, self._stage = self._stage, None
        if self._shown:
            self._ask("phase_finish", stage)
        if self._stages < _STAGES:
            self._stages += 1
            self._tell(BUILD, self._stages - 1)

    def _tell(self, phase: str, step: int) -> None:
        if not self._ask("step_complete", phase, step):
            raise Cancelled(f"the progress monitor cancelled the build in phase {phase!r}")

    def _ask(self, method: str, *args: object) -> Any:
        try:
            return called_back(self._monitor, method, *args)
        except CallbackError as error:
            raise Cancelled(str(error)) from error
