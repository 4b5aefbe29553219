"""Which weights may be exchanged in an engine: what flags and marks say."""

from __future__ import annotations

from camshaft.errors import ConfigError
from camshaft.tensorrt.building.config import IBuilderConfig
from camshaft.tensorrt.enums.builder import BuilderFlag
from camshaft.tensorrt.network.definition import INetworkDefinition
from camshaft.tensorrt.network.lowered import Lowered

STRIP = BuilderFlag.STRIP_PLAN
_ALL = (BuilderFlag.REFIT, BuilderFlag.REFIT_IDENTICAL)
_MARKED = BuilderFlag.REFIT_INDIVIDUAL
REFITS = (*_ALL, _MARKED, STRIP)
"""Flags with which an engine is refittable."""


def refittable_weights(
    network: INetworkDefinition, lowered: Lowered, config: IBuilderConfig
) -> frozenset[str]:
    """Names of initializers.  ConfigError for flags that contradict each other."""
    if config._has(_MARKED) and config._has(*_ALL):
        raise ConfigError(
            "BuilderFlag.REFIT_INDIVIDUAL permits marked weights, and REFIT or REFIT_IDENTICAL all; clear one of them"
        )
    if not config._has(*REFITS):
        return frozenset()
    marked = config._has(_MARKED)
    return frozenset(
        h.initializer for h in lowered.held if not marked or h.name in network._refittable
    )
