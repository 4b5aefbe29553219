"""Loggers: where messages go."""

from __future__ import annotations

import time

from camshaft.tensorrt.enums.reports import Severity
from camshaft.tensorrt.objects import Scoped

Level = Severity
"""The enum, where `Severity` is the attribute of loggers."""


class ILogger(Scoped):
    """Base of loggers: a subclass overrides `log`."""

    Severity = Severity
    INTERNAL_ERROR = Severity.INTERNAL_ERROR
    ERROR = Severity.ERROR
    WARNING = Severity.WARNING
    INFO = Severity.INFO
    VERBOSE = Severity.VERBOSE

    def log(self, severity: Level, msg: str) -> None:
        """Take a message.  NotImplementedError, a RuntimeError, if the subclass does not override it."""
        raise NotImplementedError(f"{type(self).__name__} must override log(severity, msg)")


class Logger(ILogger):
    """Prints messages of a severity, and worse ones, to standard output, a line each."""

    def __init__(self, min_severity: Level = Level.WARNING) -> None:
        """min_severity: the least that is printed.  TypeError if it is no Severity."""
        self.min_severity = min_severity

    @property
    def min_severity(self) -> Level:
        """The least that is printed."""
        return self._least

    @min_severity.setter
    def min_severity(self, severity: Level) -> None:
        if not isinstance(severity, Level):
            raise TypeError(f"min_severity={severity!r} is no ILogger.Severity")
        self._least = severity

    def log(self, severity: Level, msg: str) -> None:
        """Print `[month/day/year-h:m:s] [TRT] [letter] message`; the letter is one of F E W I V."""
        if severity <= self._least:
            when = time.strftime("%m/%d/%Y-%H:%M:%S")
            letter = "FEWIV"[int(severity)]
            print(f"[{when}] [TRT] [{letter}] {msg}", flush=True)
