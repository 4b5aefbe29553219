"""What the code of a direct convolution knows of the weight panel that it reads."""

from __future__ import annotations

from dataclasses import dataclass

from camshaft.backends.cpu.expr.epilogue import Epilogue
from camshaft.backends.cpu.lang import Index, Pointer, Value

LINE = 64
"""Bytes of a cache line."""


@dataclass(frozen=True)
class WeightStream:
    """Weights of the step to come, and the line to prefetch meanwhile (None: nothing)."""

    weights: Pointer
    ahead: Pointer | None
    kb: int

    def at(self, steps: Index) -> WeightStream:
        """Further on by `steps` steps of `kb` weights, each prefetching one line."""
        ahead = self.ahead
        if ahead:
            ahead = ahead.at(steps * (LINE // ahead.dtype.bytes))
        return WeightStream(self.weights.at(steps * self.kb).aligned(64), ahead, self.kb)


@dataclass(frozen=True)
class Panel:
    """One weight panel while its code is written.

    count: output channels it really has.  number: of the panel.  x, weights: first element of its
    group's channels and of its weights.  epilogue: seen from its first channel.
    """

    count: int
    number: Value
    x: Pointer
    weights: Pointer
    epilogue: Epilogue
