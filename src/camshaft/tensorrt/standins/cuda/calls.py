"""From functions that raise to functions that return an error and results, as those of CUDA do."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from enum import IntEnum
from typing import Any

from camshaft.tensorrt.memory import Code, CudaFault

Answer = tuple[Any, ...]
Call = Callable[..., Answer]

_LOG = logging.getLogger("camshaft.tensorrt.cuda")


class LastError(threading.local):
    """The number of the last error in a thread, 0 for none."""

    number = 0


def answering(
    error: type[IntEnum], results: int, last: LastError | None = None
) -> Callable[[Callable[..., Any]], Call]:
    """Makes a function that raises CudaFault one that returns (error, *results).

    results: how many; a function of several returns them as a tuple. last: where errors are kept.
    """

    def decorate(function: Callable[..., Any]) -> Call:
        @functools.wraps(function)
        def call(*args: Any, **named: Any) -> Answer:
            try:
                value = function(*args, **named)
            except CudaFault as fault:
                if fault.code != Code.NOT_READY:
                    _LOG.warning("%s: %s", function.__name__, fault)
                    if last is not None:
                        last.number = fault.code
                return (error(fault.code), *[None] * results)
            if results == 0:
                return (error(0),)
            return (error(0), *(value if results > 1 else (value,)))

        return call

    return decorate
