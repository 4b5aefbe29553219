"""Streams of bytes that scripts implement: engines are read from them and written to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from camshaft.errors import EngineFileError
from camshaft.tensorrt.errors import called_back

_CHUNK = 1 << 24
"""Bytes asked for at once."""


class IStreamReader:
    """Base of readers: a subclass overrides `read(size)`, which gives at most so many bytes, none at the end."""

    def read(self, destination: Any, size: int) -> bytes:
        """NotImplementedError, a RuntimeError."""
        raise NotImplementedError(f"{type(self).__name__} must override read(size)")

    def _all(self) -> bytes:
        """What is left in it."""
        return _joined(lambda size: called_back(self, "read", size))


class IStreamReaderV2:
    """Base of readers: a subclass overrides `read(num_bytes, stream)` and `seek(offset, where)`."""

    def read(self, destination: Any, num_bytes: int, stream: int) -> bytes:
        """NotImplementedError, a RuntimeError."""
        raise NotImplementedError(f"{type(self).__name__} must override read(num_bytes, stream)")

    def seek(self, offset: int, where: Any) -> bool:
        """NotImplementedError, a RuntimeError."""
        raise NotImplementedError(f"{type(self).__name__} must override seek(offset, where)")

    def _all(self) -> bytes:
        """What is left in it."""
        return _joined(lambda size: called_back(self, "read", size, 0))


class IStreamWriter:
    """Base of writers: a subclass overrides `write(data)`, which gives how many bytes it took."""

    def write(self, data: bytes, size: int) -> int:
        """NotImplementedError, a RuntimeError."""
        raise NotImplementedError(f"{type(self).__name__} must override write(data)")

    def _take(self, data: bytes) -> bool:
        """True, when all is written.  EngineFileError if less is."""
        written = 0
        while written < len(data):
            count = called_back(self, "write", data[written : written + _CHUNK])
            if not count or count < 0:
                raise EngineFileError(
                    f"{type(self).__name__}.write took {written} of {len(data)} bytes"
                )
            written += int(count)
        return True


def _joined(read: Callable[[int], Any]) -> bytes:
    parts = []
    while part := read(_CHUNK):
        parts.append(bytes(part))
    return b"".join(parts)
