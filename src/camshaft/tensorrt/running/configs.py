"""What contexts and serializations may be told."""

from __future__ import annotations

from typing import Any

from camshaft.tensorrt.enums.runtime import ExecutionContextAllocationStrategy, SerializationFlag
from camshaft.tensorrt.kept import Kept, kept
from camshaft.tensorrt.network.params import member, whole
from camshaft.tensorrt.objects import Closed, Result

EXCLUDE_WEIGHTS = SerializationFlag.EXCLUDE_WEIGHTS
STATIC = ExecutionContextAllocationStrategy.STATIC
strategy_of = member(ExecutionContextAllocationStrategy)
_flag = member(SerializationFlag)


class IRuntimeConfig(Closed, Result):
    """Options of a context."""

    _strategy: ExecutionContextAllocationStrategy

    @classmethod
    def _made(cls, strategy: ExecutionContextAllocationStrategy = STATIC) -> IRuntimeConfig:
        made = cls.__new__(cls)
        made._strategy = strategy
        return made

    def set_execution_context_allocation_strategy(
        self, strategy: ExecutionContextAllocationStrategy = STATIC
    ) -> None:
        """Keep when memory is allocated; contexts allocate it themselves whatever this is."""
        self._strategy = strategy_of(strategy, "strategy")

    def get_execution_context_allocation_strategy(self) -> ExecutionContextAllocationStrategy:
        """When memory is allocated."""
        return self._strategy


class ISerializationConfig(Closed, Result):
    """Options of `ICudaEngine.serialize_with_config`."""

    _kept: dict[str, Any]

    flags = Kept(whole, 0, "A bit for each SerializationFlag.")

    @classmethod
    def _made(cls) -> ISerializationConfig:
        made = cls.__new__(cls)
        made._kept = {}
        return made

    def set_flag(self, flag: SerializationFlag) -> bool:
        """Set a flag; True."""
        self._kept["flags"] = kept(self, "flags", 0) | 1 << int(_flag(flag, "flag"))
        return True

    def clear_flag(self, flag: SerializationFlag) -> bool:
        """Clear a flag; True."""
        self._kept["flags"] = kept(self, "flags", 0) & ~(1 << int(_flag(flag, "flag")))
        return True

    def get_flag(self, flag: SerializationFlag) -> bool:
        """Whether a flag is set."""
        return self._has(_flag(flag, "flag"))

    def _has(self, flag: Any) -> bool:
        return bool(kept(self, "flags", 0) >> int(flag) & 1)
