"""Calls that are not waited for, of execution contexts of any kind."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from camshaft.errors import ConfigError
from camshaft.runtime.closing import Closing

if TYPE_CHECKING:
    from camshaft.runtime.streams.stream import Future, Stream


_LOCK = threading.Lock()


class AsyncRuns(Closing):
    """A context that can be called through a stream."""

    stream: Stream | None = None
    """The stream that the context was created for."""
    _own: Stream | None = None

    def run(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """One call."""
        raise NotImplementedError

    def run_async(
        self, inputs: Mapping[str, Any], stream: Stream | None = None
    ) -> Future[dict[str, np.ndarray]]:
        """`run` in a stream: returns at once, with a future of the outputs by name, which `await` takes as well.

        stream: None for the one that the context was created for, or else one of its own.  The arrays must stay as
        they are until the future is done.  A context makes one call at a time: give its calls to one stream.  Errors of `run` come
        from the future; ConfigError if the stream is closed.
        """
        return (stream or self.stream or self._own_stream()).submit(self.run, inputs)

    def _own_stream(self) -> Stream:
        if self._own is None:
            streams = importlib.import_module(
                "camshaft.runtime.streams.stream"
            )  # most processes need none
            self._own = streams.Stream(name="context")
        return self._own

    def _finish(self) -> None:
        """Make the calls that the context's own stream still has."""
        if self._own is not None:
            self._own.close()


C = TypeVar("C", bound=AsyncRuns)


def for_stream(stream: Stream | None, threads: int, make: Callable[[], C]) -> C:
    """The context that `make` makes, with `threads` workers, for a stream: its workers keep to the stream's cores.

    ConfigError if the stream has fewer cores, is closed, or is none.
    """
    if stream is None:
        return make()
    if not hasattr(stream, "width"):
        raise ConfigError(f"stream={stream!r} is no camshaft.Stream; create one")
    if threads > stream.width:
        raise ConfigError(
            f"threads={threads}, and the stream {stream.name!r} has {stream.width} of the processors; give it more cores, or the "
            "context fewer threads"
        )
    context = stream.call(make)
    context.stream = stream
    return context
