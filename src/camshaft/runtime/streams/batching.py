"""Requests joined into one call, along the leading axis of their arrays."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from camshaft.ir.extents.extent import sole_symbol, symbols_of
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.types import TensorType
from camshaft.runtime.streams.stream import Future

_LOOKED_AT = 4
"""How many waiting requests are looked at, for each that may be joined."""


def batch_symbol(inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Symbol | None:
    """The open size that all inputs and outputs (name -> type) begin with, and that stands nowhere else; None: there is none.

    That their rows are independent is more than types can say.
    """
    types = [*inputs.values(), *outputs.values()]
    if not inputs or not all(isinstance(t, TensorType) and t.shape for t in types):
        return None
    symbol = sole_symbol(types[0].shape[0])
    if symbol is None or any(t.shape[0] != types[0].shape[0] for t in types):
        return None
    inner = {s for t in types for extent in t.shape[1:] for s in symbols_of(extent)}
    return None if symbol in inner else symbol


Form = tuple[tuple[str, str, tuple[int, ...]], ...]


@dataclass(eq=False)
class Request:
    """A call that waits.  form: name, type and row shape of each input: those of equal forms can be joined; None: it is made
    alone, where it fails with a message of its own.  rows: how many it has."""

    inputs: Mapping[str, Any]
    form: Form | None = None
    rows: int = 1
    future: Future[dict[str, np.ndarray]] = field(default_factory=Future)

    @staticmethod
    def of(inputs: Mapping[str, Any]) -> Request:
        """A request whose arrays may be joined with those of others."""
        if not isinstance(inputs, Mapping) or not all(
            isinstance(a, np.ndarray) and a.ndim for a in inputs.values()
        ):
            return Request(inputs)
        rows = {a.shape[0] for a in inputs.values()}
        if len(rows) != 1:
            return Request(inputs)
        form = tuple(sorted((str(n), a.dtype.str, a.shape[1:]) for n, a in inputs.items()))
        return Request(inputs, form, rows.pop())


class Waiting:
    """Requests in the order in which they came.  Not for several threads at once."""

    def __init__(self, most: int) -> None:
        """most: rows of one call."""
        self._most = most
        self._requests: deque[Request] = deque()

    def add(self, request: Request) -> None:
        """One that comes last."""
        self._requests.append(request)

    def take(self) -> list[Request]:
        """The first request, and those behind it that can be joined with it; [] if none waits."""
        taken, left, rows = list[Request](), list[Request](), 0
        for _ in range(_LOOKED_AT * self._most if self._most > 1 else 1):
            if not self._requests or (rows and rows >= self._most):
                break
            request = self._requests.popleft()
            if not taken or (
                request.form is not None
                and request.form == taken[0].form
                and rows + request.rows <= self._most
            ):
                taken.append(request)
                rows += request.rows
            else:
                left.append(request)
        self._requests.extendleft(reversed(left))
        return taken


def joined(requests: Sequence[Request]) -> dict[str, np.ndarray]:
    """The inputs of one call that answers them all."""
    return {n: np.concatenate([r.inputs[n] for r in requests]) for n in requests[0].inputs}


def parted(
    outputs: Mapping[str, np.ndarray], requests: Sequence[Request]
) -> list[dict[str, np.ndarray]]:
    """The answer to each of the requests that were joined."""
    ends = np.cumsum([r.rows for r in requests])[:-1]
    parts = {n: np.split(a, ends) for n, a in outputs.items()}
    return [{n: own[i] for n, own in parts.items()} for i in range(len(requests))]
