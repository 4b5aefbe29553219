"""`Builder`: networks to engines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from camshaft.runtime.engine import Engine
from camshaft.tensorrt.building.builds import built
from camshaft.tensorrt.building.calibrators import IInt8Calibrator
from camshaft.tensorrt.building.config import IBuilderConfig
from camshaft.tensorrt.building.options import asked
from camshaft.tensorrt.building.pools import WORKSPACE as _WORKSPACE
from camshaft.tensorrt.building.profile import IOptimizationProfile
from camshaft.tensorrt.building.progress import Cancelled
from camshaft.tensorrt.enums.builder import BuilderFlag
from camshaft.tensorrt.eras import CURRENT
from camshaft.tensorrt.errors import Reporting, Reports, reported
from camshaft.tensorrt.host_memory import IHostMemory
from camshaft.tensorrt.kept import Kept, kept, one_of
from camshaft.tensorrt.logger import ILogger
from camshaft.tensorrt.network.definition import INetworkDefinition
from camshaft.tensorrt.network.params import flag, whole
from camshaft.tensorrt.objects import common_enter, common_exit
from camshaft.tensorrt.plan import plan_of
from camshaft.tensorrt.running.allocators import IGpuAllocator
from camshaft.tensorrt.running.engine import ICudaEngine
from camshaft.tensorrt.running.streams import IStreamWriter

R = TypeVar("R")
_FP16, _INT8, _STRICT = BuilderFlag.FP16, BuilderFlag.INT8, BuilderFlag.STRICT_TYPES
_REFIT, _DEBUG = BuilderFlag.REFIT, BuilderFlag.DEBUG


def _switch(member: BuilderFlag, doc: str) -> property:
    """A property of TensorRT 7 that is a flag of the builder's own configuration."""

    def read(builder: Builder) -> bool:
        return builder._config._has(member)

    def write(builder: Builder, value: bool) -> None:
        change = IBuilderConfig.set_flag if flag(value, "value") else IBuilderConfig.clear_flag
        change(builder._config, member)

    return property(read, write, doc=doc)


def _option(name: str, take: Callable[[Any, str], Any], default: Any, doc: str) -> property:
    """A property of TensorRT 7 that is one of the builder's own configuration.  name: as that has it."""

    def read(builder: Builder) -> Any:
        return builder._config._kept.get(name, default)

    def write(builder: Builder, value: Any) -> None:
        builder._config._kept[name] = take(value, name)

    return property(read, write, doc=doc)


class Builder(Reporting):
    """Makes networks, configurations and profiles, and builds engines."""

    __enter__ = common_enter
    __exit__ = common_exit

    def __init__(self, logger: ILogger) -> None:
        """logger: gets what the builder and all that it makes report.  TypeError if it is no ILogger."""
        self._reports = Reports(logger)
        self._begin()

    def _begin(self) -> None:
        self._kept: dict[str, Any] = {}
        self._config = IBuilderConfig._made(self._reports)

    def reset(self) -> None:
        """Back to defaults."""
        self._begin()

    @property
    def logger(self) -> ILogger:
        """The logger."""
        return self._reports.logger

    def get_plugin_registry(self) -> Any:
        """None, and a warning: there are no plugins."""
        self._reports.warning("there is no plugin registry", True)
        return None

    # -- what the machine has ----------------------------------------------------------------------

    @property
    def max_batch_size(self) -> int:
        """Kept; of implicit batches, which networks do not have."""
        return kept(self, "max_batch_size", 1)

    @max_batch_size.setter
    def max_batch_size(self, size: int) -> None:
        self._kept["max_batch_size"] = whole(size, "max_batch_size")
        if size > 1:
            self._reports.warning(
                f"max_batch_size={size} has no effect: batches are explicit, give inputs their axis of batches",
                True,
            )

    max_threads = Kept(whole, 1, "Kept: builds use all CPUs that the process may use.")
    gpu_allocator = Kept(one_of(IGpuAllocator), None, "Kept: memory is the process's own.")

    @property
    def platform_has_tf32(self) -> bool:
        """False."""
        return False

    @property
    def platform_has_fast_fp16(self) -> bool:
        """True: half floats take half the memory."""
        return True

    @property
    def platform_has_fast_int8(self) -> bool:
        """True."""
        return True

    @property
    def num_DLA_cores(self) -> int:
        """0: there is no DLA."""
        return 0

    @property
    def max_DLA_batch_size(self) -> int:
        """1."""
        return 1

    # -- what builds take --------------------------------------------------------------------------

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        """An empty network.  flags: a bit for each NetworkDefinitionCreationFlag; batches are explicit whatever they say."""
        return INetworkDefinition._made(self._reports, whole(flags, "flags"), self)

    def create_builder_config(self) -> IBuilderConfig:
        """Options, all at their defaults."""
        return IBuilderConfig._made(self._reports)

    def create_optimization_profile(self) -> IOptimizationProfile:
        """A profile that says nothing yet."""
        return IOptimizationProfile._made()

    # -- builds ------------------------------------------------------------------------------------

    def build_serialized_network(
        self, network: INetworkDefinition, config: IBuilderConfig, kernel_text: Any = None
    ) -> IHostMemory | None:
        """The engine's bytes; None, and an error in the log, if it cannot be built.  kernel_text: must be None."""
        if kernel_text is not None:
            self._reports.error(
                "kernel_text cannot be given: kernels are machine code; leave it out"
            )
            return None
        return self._build(network, config, lambda engine: IHostMemory._made(engine.to_bytes()))

    def build_serialized_network_to_stream(
        self, network: INetworkDefinition, config: IBuilderConfig, writer: IStreamWriter
    ) -> bool:
        """Write the engine's bytes; False, and an error in the log, if it cannot be built or written."""
        one_of(IStreamWriter, optional=False)(writer, "writer")
        return self._build(network, config, lambda e: writer._take(e.to_bytes())) is not None

    def build_engine_with_config(
        self, network: INetworkDefinition, config: IBuilderConfig
    ) -> ICudaEngine | None:
        """The engine; None, and an error in the log, if it cannot be built."""
        return self._build(
            network, config, lambda e: ICudaEngine._made(self._reports, e, plan_of(e))
        )

    def build_engine(
        self, network: INetworkDefinition, config: IBuilderConfig
    ) -> ICudaEngine | None:
        """As `build_engine_with_config`."""
        return self._build(
            network, config, lambda e: ICudaEngine._made(self._reports, e, plan_of(e))
        )

    @reported(False)
    def is_network_supported(self, network: INetworkDefinition, config: IBuilderConfig) -> bool:
        """Whether the network can be imported and the configuration be built for, by a look."""
        taken, options = _taken(network, config)
        asked(taken, taken._lowered(), options, self._reports)
        return True

    @reported(None)
    def _build(
        self, network: INetworkDefinition, config: IBuilderConfig, deliver: Callable[[Engine], R]
    ) -> R | None:
        taken, options = _taken(network, config)
        try:
            return deliver(built(taken, options, self._reports))
        except Cancelled as error:
            self._reports.error(str(error))
            return None

    if CURRENT.column is None:  # TensorRT 7, of which there is no profile

        @property
        def max_workspace_size(self) -> int:
            """Bytes of scratch memory."""
            return self._config.get_memory_pool_limit(_WORKSPACE)

        @max_workspace_size.setter
        def max_workspace_size(self, size: int) -> None:
            self._config.set_memory_pool_limit(_WORKSPACE, size)

        fp16_mode = _switch(_FP16, "Whether half floats are permitted.")
        int8_mode = _switch(_INT8, "Whether INT8 is permitted.")
        strict_type_constraints = _switch(_STRICT, "Whether precisions of layers are orders.")
        refittable = _switch(_REFIT, "Whether weights of engines can be exchanged.")
        debug_sync = _switch(_DEBUG, "Kept.")
        int8_calibrator = _option(
            "int8_calibrator", one_of(IInt8Calibrator), None, "Where INT8 ranges come from."
        )
        average_find_iterations = _option("avg_timing_iterations", whole, 1, "Kept.")
        min_find_iterations = _option("min_timing_iterations", whole, 1, "Kept.")

        def build_cuda_engine(self, network: INetworkDefinition) -> ICudaEngine | None:
            """The engine, by the builder's own options."""
            return self.build_engine_with_config(network, self._config)


def _taken(network: Any, config: Any) -> tuple[INetworkDefinition, IBuilderConfig]:
    """TypeError for arguments of other classes."""
    one_of(INetworkDefinition, optional=False)(network, "network")
    one_of(IBuilderConfig, optional=False)(config, "config")
    return network, config
