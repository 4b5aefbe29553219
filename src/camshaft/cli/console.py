"""Standard output and standard error, whose readers may leave early, as `| head` does.

What nobody reads is dropped: files are still written, and the exit code is the command's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console

from camshaft.errors import ConfigError


class PipeConsole(Console):
    """A console that goes silent when the reader of its pipe has closed it."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        _discard(sys.stderr if self.stderr else sys.stdout)


def error_console() -> PipeConsole:
    """Standard error."""
    return PipeConsole(stderr=True)


@contextmanager
def standard_output() -> Iterator[None]:
    """Errors while writing to standard output: ConfigError, or silence if nobody reads it."""
    try:
        yield
    except BrokenPipeError:
        _discard(sys.stdout)
    except OSError as error:
        _discard(sys.stdout)  # or Python would try again at its end
        raise ConfigError(f"cannot write standard output: {error.strerror or error}") from error


def _discard(stream: TextIO) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
