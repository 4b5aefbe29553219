"""How much memory tuning may take, and how it is shared out."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

USUAL = 192 << 20
"""Bytes that tuning keeps to where no `memory_budget` says otherwise, if a layer's arrays allow it."""


@dataclass
class Room:
    """budget: bytes, None for the usual, which a layer that needs more may exceed.

    A quarter is for the weights that kernels are timed on, a quarter for operands of layers that wait to be
    timed, and half for checks, of which as many run side by side as fit.
    """

    budget: int | None = None
    _taken: int = field(default=0, init=False)
    _changed: threading.Condition = field(default_factory=threading.Condition, init=False)

    @property
    def nbytes(self) -> int:
        """Bytes in all."""
        return USUAL if self.budget is None else self.budget

    @property
    def share(self) -> int:
        """Bytes for weights, and as many for waiting operands."""
        return self.nbytes // 4

    @property
    def weights(self) -> int:
        """Bytes of copies of weights at most: several times what caches hold."""
        return USUAL // 2 if self.budget is None else self.share

    def holds(self, need: int) -> bool:
        """Whether a layer may take so many bytes when it is alone."""
        return self.budget is None or need <= self.budget - self.share

    @contextmanager
    def take(self, need: int) -> Iterator[None]:
        """Wait until so many bytes are free, or all are, and hold them."""
        with self._changed:
            self._changed.wait_for(
                lambda: not self._taken or self._taken + need <= self.nbytes // 2
            )
            self._taken += need
        try:
            yield
        finally:
            with self._changed:
                self._taken -= need
                self._changed.notify_all()
