"""`IAlgorithmSelector`: a hook into the choice of kernels, which builds here do not ask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class IAlgorithmSelector:
    """Base of selectors.  A build that has one warns: kernels are chosen by the time of the whole graph."""

    def select_algorithms(self, context: Any, choices: Sequence[Any]) -> list[int]:
        """Indices of the choices that a layer may have."""
        raise NotImplementedError(f"{type(self).__name__} must override select_algorithms")

    def report_algorithms(self, contexts: Sequence[Any], choices: Sequence[Any]) -> None:
        """What was chosen for each layer."""
        raise NotImplementedError(f"{type(self).__name__} must override report_algorithms")
