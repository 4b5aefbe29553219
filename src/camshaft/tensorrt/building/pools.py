"""Defaults of a configuration that depend on the machine and on the release."""

from __future__ import annotations

import os
from collections.abc import Iterable

from camshaft.errors import ConfigError
from camshaft.tensorrt.enums.base import Enumeration
from camshaft.tensorrt.enums.builder import (
    BuilderFlag,
    MemoryPoolType,
    PreviewFeature,
    TacticSource,
)
from camshaft.tensorrt.eras import CURRENT, PROFILES

WORKSPACE = MemoryPoolType.WORKSPACE
_DLA = (
    MemoryPoolType.DLA_MANAGED_SRAM,
    MemoryPoolType.DLA_LOCAL_DRAM,
    MemoryPoolType.DLA_GLOBAL_DRAM,
)
_SMALLEST_DLA = 4096
_MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
POOLS = {
    WORKSPACE: _MEMORY,
    MemoryPoolType.DLA_MANAGED_SRAM: 0,
    MemoryPoolType.DLA_LOCAL_DRAM: 1 << 30,
    MemoryPoolType.DLA_GLOBAL_DRAM: 1 << 29,
    MemoryPoolType.TACTIC_DRAM: _MEMORY * 3 // 4,
    MemoryPoolType.TACTIC_SHARED_MEMORY: 1 << 30,
}
"""Bytes."""


def bits(members: Iterable[Enumeration]) -> int:
    """A bit for each member."""
    return sum(1 << int(member) for member in members)


FLAGS = bits([BuilderFlag.TF32])
_NEW_SOURCES = (TacticSource.EDGE_MASK_CONVOLUTIONS, TacticSource.JIT_CONVOLUTIONS)
_ALL_SOURCES = (TacticSource.CUBLAS, TacticSource.CUBLAS_LT, TacticSource.CUDNN, *_NEW_SOURCES)
_IS_8 = PROFILES["8.6"] == CURRENT
SOURCES = bits(_ALL_SOURCES if _IS_8 else _NEW_SOURCES)
_FEATURES_OF_8 = (
    PreviewFeature.FASTER_DYNAMIC_SHAPES_0805,
    PreviewFeature.DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805,
)
FEATURES = _FEATURES_OF_8 if _IS_8 else (PreviewFeature.PROFILE_SHARING_0806,)
"""Preview features that are on."""


def checked_limit(pool: MemoryPoolType, size: int) -> int:
    """The bytes; ConfigError where a pool cannot have as many."""
    if size < 0 or (pool == WORKSPACE and size > _MEMORY):
        raise ConfigError(f"pool_size={size} of {pool} must be from 0 to {_MEMORY}; it stays")
    is_power = size & (size - 1) == 0
    smallest = 0 if pool == _DLA[0] else _SMALLEST_DLA
    if pool in _DLA and (size < smallest or not is_power or 0 < size < _SMALLEST_DLA):
        raise ConfigError(
            f"pool_size={size} of {pool} must be a power of 2 of at least {_SMALLEST_DLA}; it stays"
        )
    return size
