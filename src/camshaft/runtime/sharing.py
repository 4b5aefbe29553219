"""Engines that hold equal weights once."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from camshaft.errors import ConfigError
from camshaft.runtime.engine import Engine


def share_weights(engines: Iterable[Engine]) -> int:
    """Let engines hold once what they hold alike, such as those of one model for several sizes; the bytes that this frees.

    Packed weights are equal where layers have equal kernels, or kernels that read the same layout.  Weights that `refit` may
    exchange stay each engine's own.  Contexts that exist keep what they have until they are gone; calls of the engines
    themselves use the shared weights from the next one on.
    ConfigError for what is no engine.
    """
    if isinstance(engines, Engine) or not isinstance(engines, Iterable):
        raise ConfigError(
            f"share_weights takes a list of engines, not one thing of type {type(engines).__name__}"
        )
    held: dict[str, np.ndarray] = {}
    freed = 0
    for engine in engines:
        if not isinstance(engine, Engine):
            raise ConfigError(
                f"share_weights takes engines, and one is of type {type(engine).__name__}"
            )
        for part in engine.whole:
            own = part.weights_of_its_own
            constants = {n: a for n, a in part.link().constants.items() if n not in own}
            known = {
                n: held[n]
                for n, a in constants.items()
                if n in held and held[n].ctypes.data != a.ctypes.data
            }
            freed += sum(a.nbytes for a in known.values())
            part.adopt(known)
            held |= {n: a for n, a in constants.items() if n not in held}
    return freed
