"""Contexts: every thread has a stack of them. Nothing needs one, so that they only keep the books."""

from __future__ import annotations

import threading

from camshaft.tensorrt.memory import Code, CudaFault, Handles

_CONTEXTS: Handles[int] = Handles("context")
"""Ordinals of devices."""

PRIMARY = _CONTEXTS.add(0)
"""The handle of the device's own context."""


class _Stack(threading.local):
    def __init__(self) -> None:
        self.handles: list[int] = []


_STACK = _Stack()


def create() -> int:
    """A new context, pushed in this thread: its handle."""
    handle = _CONTEXTS.add(0)
    _STACK.handles.append(handle)
    return handle


def destroy(handle: int) -> None:
    """Destroys a context, and takes it off this thread's stack."""
    _CONTEXTS.remove(handle)
    _STACK.handles[:] = [known for known in _STACK.handles if known != handle]


def push(handle: int) -> None:
    """Makes a context this thread's current one. CudaFault (INVALID_RESOURCE_HANDLE) for an unknown one."""
    _CONTEXTS.get(handle)
    _STACK.handles.append(handle)


def pop() -> int:
    """Takes the current context off. CudaFault (INVALID_CONTEXT) where there is none."""
    if not _STACK.handles:
        raise CudaFault(Code.INVALID_CONTEXT, "this thread has no current context: push one")
    return _STACK.handles.pop()


def make_current(handle: int) -> None:
    """Puts a context in the place of the current one; 0 takes that off."""
    if _STACK.handles:
        _STACK.handles.pop()
    if handle:
        push(handle)


def current() -> int:
    """This thread's current context, 0 for none."""
    return _STACK.handles[-1] if _STACK.handles else 0
