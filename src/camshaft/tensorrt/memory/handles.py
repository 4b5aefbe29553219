"""Integer handles: what scripts hold of streams, events, graphs, pools and contexts."""

from __future__ import annotations

import itertools
import threading
from typing import Generic, TypeVar

from camshaft.tensorrt.memory.faults import Code, CudaFault

T = TypeVar("T")

_FIRST = 0x1000  # Small numbers name default streams.
_NUMBERS = itertools.count(_FIRST)


class Handles(Generic[T]):
    """Objects by handle. No two tables give the same handle. what: the field's word for one, for messages."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._lock = threading.Lock()
        self._objects: dict[int, T] = {}

    def add(self, known: T) -> int:
        """A new handle."""
        with self._lock:
            handle = next(_NUMBERS)
            self._objects[handle] = known
        return handle

    def get(self, handle: int) -> T:
        """CudaFault (INVALID_RESOURCE_HANDLE) for a handle that is none, or no more."""
        try:
            return self._objects[handle]
        except KeyError:
            raise self._unknown(handle) from None

    def all(self) -> list[T]:
        """All objects."""
        with self._lock:
            return list(self._objects.values())

    def remove(self, handle: int) -> T:
        """Takes it out; CudaFault as for `get`."""
        with self._lock:
            known = self._objects.pop(handle, None)
        if known is None:
            raise self._unknown(handle)
        return known

    def _unknown(self, handle: int) -> CudaFault:
        return CudaFault(
            Code.INVALID_RESOURCE_HANDLE,
            f"{handle:#x} is no {self._what}, or was destroyed: create one",
        )
