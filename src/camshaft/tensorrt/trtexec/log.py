"""What trtexec prints: lines that other programs read."""

from __future__ import annotations

import sys
import time

from camshaft.tensorrt.enums.reports import Severity
from camshaft.tensorrt.eras import CURRENT
from camshaft.tensorrt.logger import ILogger
from camshaft.tensorrt.trtexec.flags.spelling import as_flags

_INFO, _WARNING, _ERROR, _VERBOSE = (
    Severity.INFO,
    Severity.WARNING,
    Severity.ERROR,
    Severity.VERBOSE,
)
NAME = "TensorRT.trtexec"


class Log(ILogger):
    """Prints `[month/day/year-h:m:s] [letter] text`, one line for each of the text's: warnings and errors to standard error, the others
    to standard output.  As a logger of TensorRT's objects it marks their lines `[TRT]`."""

    def __init__(self) -> None:
        self.verbose = False

    def log(self, severity: Severity, msg: str) -> None:
        """Print what an object of TensorRT's reports, with flags in place of what they set."""
        self._print(severity, as_flags(msg), "[TRT] ")

    def info(self, text: str = "") -> None:
        """Print at INFO; an empty text is an empty line, which ends a section."""
        self._print(_INFO, text)

    def detail(self, text: str) -> None:
        """Print where --verbose is given."""
        self._print(_VERBOSE, text)

    def warning(self, text: str) -> None:
        """Print at WARNING."""
        self._print(_WARNING, text)

    def error(self, text: str) -> None:
        """Print at ERROR."""
        self._print(_ERROR, text)

    def _print(self, severity: Severity, text: str, mark: str = "") -> None:
        if severity > _INFO and not self.verbose:
            return
        stream = sys.stderr if severity < _INFO else sys.stdout
        start = f"[{time.strftime('%m/%d/%Y-%H:%M:%S')}] [{'FEWIV'[int(severity)]}] {mark}"
        print(*(start + line for line in text.split("\n")), sep="\n", file=stream, flush=True)


def outcome(word: str, command: str) -> None:
    """Print `&&&& PASSED TensorRT.trtexec [TensorRT v101600] # command`.  word: RUNNING, PASSED or FAILED."""
    print(f"&&&& {word} {NAME} [TensorRT v{_version()}] # {command}", flush=True)


def _version() -> str:
    major, minor, patch = map(int, CURRENT.version.split("."))
    # 8.6.1 is v8601, and 10.16.0 is v101600.
    return f"{major * (1000 if major < 10 else 10000) + minor * 100 + patch}"
