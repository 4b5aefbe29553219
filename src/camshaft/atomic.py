"""Writing files whole or not at all, and never over an input: engines, caches, results.

The data goes to a draft in the file's own directory, and one rename puts it in place.  Whoever
reads the path sees the old content or the new, never a mixture; whoever has the old file mapped
keeps it.  This module imports nothing of ours, so any layer may use it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat

_NAME = 40
"""Characters of the file's name that its draft's name holds: file systems limit a name's length."""


def write_atomically(
    path: str | os.PathLike[str], *parts: bytes | memoryview, durable: bool = False
) -> None:
    """Make the file `path` hold `parts`, one after the other, in one step.

    durable: return only when data and name would survive a loss of power.
    A symbolic link stays one, and the file it names is replaced.  A new file gets the permissions
    the user's umask gives.  What is no regular file (a pipe, /dev/stdout) is written to as it is.
    OSError if that fails; the old file, if any, is then whole and no draft is left behind.
    """
    if _is_special(path):
        with open(path, "wb") as stream:
            stream.writelines(parts)
        return
    target = os.path.realpath(path)
    directory, name = os.path.split(target)
    draft = os.path.join(directory, f".{name[:_NAME]}.{secrets.token_hex(6)}.tmp")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with os.fdopen(fd, "wb") as file:
            file.writelines(parts)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(draft, target)
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to report
            os.unlink(draft)
        raise
    if durable and hasattr(os, "O_DIRECTORY"):
        _make_name_durable(directory)


def check_writable(path: str | os.PathLike[str]) -> None:
    """OSError if `path` certainly cannot be written; asked before long work."""
    if _is_special(path) and not os.path.isdir(path):
        return
    target = os.path.realpath(path)
    directory = os.path.dirname(target)
    fault = None
    if os.path.isdir(target):
        fault = errno.EISDIR
    elif not os.path.isdir(directory):
        fault = errno.ENOTDIR if os.path.exists(directory) else errno.ENOENT
    elif not os.access(directory, os.W_OK | os.X_OK):
        fault = errno.EACCES
    if fault is not None:
        raise OSError(fault, os.strerror(fault), os.fspath(path))


def same_file(a: str | os.PathLike[str], b: str | os.PathLike[str]) -> bool:
    """Whether writing the one would change the other: both name, by whatever links, one regular file,
    or one that is not there yet."""
    try:
        return os.path.samefile(a, b) and not _is_special(a)
    except OSError:
        return os.path.realpath(a) == os.path.realpath(b)


def _is_special(path: str | os.PathLike[str]) -> bool:
    """Whether `path`, or what it links to, exists and is not a regular file.  The system follows
    the link: what one below /dev/fd leads to may have no name."""
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except OSError:  # absent or not accessible: opening the draft reports which
        return False


def _make_name_durable(directory: str) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
