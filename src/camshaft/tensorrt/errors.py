"""How calls fail: with a line in the log, a word to the error recorder, and None or False for an answer.

No error of camshaft leaves a method of the API.  A class whose methods can fail is `Reporting`:

    class ITimingCache(Reporting):
        def __init__(self, parent: Reports) -> None:
            self._reports = Reports(parent.logger, parent)

        @reported(False)
        def combine(self, input_cache: ITimingCache, ignore_mismatch: bool) -> bool: ...

Exceptions are for arguments that pybind11 would refuse: TypeError, ValueError, IndexError.  What a script's own object raises where it is
called back makes the call fail (`called_back`), or is an error in the log beside a call that has done its work (`told`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from camshaft.errors import BuildError, CamshaftError, ConfigError
from camshaft.tensorrt.enums.reports import ErrorCodeTRT, Severity
from camshaft.tensorrt.logger import ILogger
from camshaft.tensorrt.objects import Closed
from camshaft.tensorrt.spelling import as_in_tensorrt

FAILURES = (CamshaftError, OSError, MemoryError)
"""What `reported` turns into an answer; all other exceptions are faults of ours or of a script's callbacks."""

_CODES: tuple[tuple[type[Exception], ErrorCodeTRT], ...] = (
    (ConfigError, ErrorCodeTRT.INVALID_CONFIG),
    (BuildError, ErrorCodeTRT.UNSPECIFIED_ERROR),
    (CamshaftError, ErrorCodeTRT.INVALID_ARGUMENT),
    (OSError, ErrorCodeTRT.INVALID_ARGUMENT),
    (MemoryError, ErrorCodeTRT.FAILED_ALLOCATION),
)
"""The first that an exception is."""


class CallbackError(CamshaftError):
    """A script's object raised something where it was called back."""


def called_back(owner: object, method: str, *args: Any) -> Any:
    """What a method of a script's object answers.  CallbackError, which names both, for what it raises."""
    try:
        return getattr(owner, method)(*args)
    except Exception as error:  # whatever a script does
        said = f"{type(owner).__name__}.{method} raised {type(error).__name__}: {error}"
        raise CallbackError(said) from error


class IErrorRecorder:
    """Base of error recorders: a subclass overrides all methods.  NotImplementedError, a RuntimeError, of those it does not."""

    MAX_DESC_LENGTH: Final = 127
    """Characters of a description that are kept."""

    def num_errors(self) -> int:
        """How many errors are held."""
        raise self._missing("num_errors")

    def get_error_code(self, arg0: int) -> ErrorCodeTRT:
        """Code of the error of this index."""
        raise self._missing("get_error_code")

    def get_error_desc(self, arg0: int) -> str:
        """Description of the error of this index."""
        raise self._missing("get_error_desc")

    def has_overflowed(self) -> bool:
        """Whether errors were dropped for want of room."""
        raise self._missing("has_overflowed")

    def clear(self) -> None:
        """Forget all errors."""
        raise self._missing("clear")

    def report_error(self, arg0: ErrorCodeTRT, arg1: str) -> bool:
        """Take an error's code and description; whether it is one that nothing can follow."""
        raise self._missing("report_error")

    def _missing(self, method: str) -> NotImplementedError:
        return NotImplementedError(f"{type(self).__name__} must override {method}")


class Reports:
    """Where an object's messages go: a logger, and for errors the recorder, its own or else the parent's."""

    def __init__(self, logger: ILogger, parent: Reports | None = None) -> None:
        """parent: of the object that made this one.  TypeError if `logger` is no ILogger."""
        if not isinstance(logger, ILogger):
            raise TypeError(f"logger={logger!r} is no ILogger; pass tensorrt.Logger()")
        self.logger = logger
        self.own_recorder: IErrorRecorder | None = None
        self._parent = parent
        self._said: set[str] = set() if parent is None else parent._said

    @property
    def recorder(self) -> IErrorRecorder | None:
        """The recorder that errors go to."""
        if self.own_recorder is None and self._parent is not None:
            return self._parent.recorder
        return self.own_recorder

    def error(self, message: str, code: ErrorCodeTRT = ErrorCodeTRT.UNSPECIFIED_ERROR) -> None:
        """Log at ERROR, and report to the recorder."""
        message = as_in_tensorrt(message)
        self._log(Severity.ERROR, message)
        if self.recorder is None:
            return
        try:
            called_back(
                self.recorder, "report_error", code, message[: IErrorRecorder.MAX_DESC_LENGTH]
            )
        except CallbackError as error:
            self._log(Severity.ERROR, str(error))

    def _log(self, severity: Severity, message: str) -> None:
        """To the logger; to standard error, with what it raised, if it cannot take the message."""
        try:
            called_back(self.logger, "log", severity, message)
        except CallbackError as error:
            print(f"[ERROR] {error}, at the message: {message}", file=sys.stderr, flush=True)

    def told(self, owner: object, method: str, *args: Any) -> None:
        """Call a method of a script's object that answers nothing; what it raises is an error in the log."""
        try:
            called_back(owner, method, *args)
        except CallbackError as error:
            self.failure(error)

    def failure(self, error: BaseException) -> None:
        """`error` of an exception: its message, and the code of its kind."""
        code = next((c for kind, c in _CODES if isinstance(error, kind)), None)
        self.error(str(error) or type(error).__name__, code or ErrorCodeTRT.UNSPECIFIED_ERROR)

    def refusal(
        self, message: str, code: ErrorCodeTRT = ErrorCodeTRT.INVALID_ARGUMENT
    ) -> TypeError:
        """`error`, and what a constructor that fails raises."""
        self.error(message, code)
        return TypeError(message)

    def warning(self, message: str, once: bool = False) -> None:
        """Log at WARNING.  once: not if this object, its ancestors or their other descendants said the same, once."""
        message = as_in_tensorrt(message)
        if once and message in self._said:
            return
        self._said.add(message)
        self._log(Severity.WARNING, message)

    def info(self, message: str) -> None:
        """Log at INFO."""
        self._log(Severity.INFO, message)

    def verbose(self, message: str) -> None:
        """Log at VERBOSE."""
        self._log(Severity.VERBOSE, message)


class Reporting(Closed):
    """An object whose methods report what fails."""

    _reports: Reports

    @property
    def error_recorder(self) -> IErrorRecorder | None:
        """Takes errors beside the logger; None until one is set, or the object's maker has one."""
        return self._reports.recorder

    @error_recorder.setter
    def error_recorder(self, recorder: IErrorRecorder | None) -> None:
        if recorder is not None and not isinstance(recorder, IErrorRecorder):
            raise TypeError(f"error_recorder={recorder!r} is no IErrorRecorder")
        self._reports.own_recorder = recorder


S = TypeVar("S", bound=Reporting)
P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F")


def reported(
    answer: F,
) -> Callable[[Callable[Concatenate[S, P], R]], Callable[Concatenate[S, P], R | F]]:
    """A method whose errors are reported; `answer`, None or False, is what it returns then."""

    def decorate(
        method: Callable[Concatenate[S, P], R],
    ) -> Callable[Concatenate[S, P], R | F]:
        @wraps(method)
        def guarded(self: S, /, *args: P.args, **named: P.kwargs) -> R | F:
            try:
                return method(self, *args, **named)
            except FAILURES as error:
                self._reports.failure(error)
                return answer

        return guarded

    return decorate
