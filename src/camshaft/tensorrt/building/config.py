"""`IBuilderConfig`: what a build is asked for."""

from __future__ import annotations

from typing import Any

from camshaft.errors import ConfigError
from camshaft.tensorrt.building.algorithms import IAlgorithmSelector
from camshaft.tensorrt.building.calibrators import IInt8Calibrator
from camshaft.tensorrt.building.pools import (
    FEATURES,
    FLAGS,
    POOLS,
    SOURCES,
    WORKSPACE,
    checked_limit,
)
from camshaft.tensorrt.building.profile import IOptimizationProfile
from camshaft.tensorrt.building.progress import IProgressMonitor
from camshaft.tensorrt.building.timing_cache import ITimingCache
from camshaft.tensorrt.enums.builder import (
    BuilderFlag,
    EngineCapability,
    HardwareCompatibilityLevel,
    MemoryPoolType,
    PreviewFeature,
    ProfilingVerbosity,
    QuantizationFlag,
    RuntimePlatform,
    TilingOptimizationLevel,
)
from camshaft.tensorrt.enums.data import DeviceType
from camshaft.tensorrt.errors import Reporting, Reports, reported
from camshaft.tensorrt.kept import Kept, kept, one_of, within
from camshaft.tensorrt.network.layer import ILayer
from camshaft.tensorrt.network.params import flag as truth
from camshaft.tensorrt.network.params import member, text, whole
from camshaft.tensorrt.objects import Result, common_enter, common_exit

GPU = DeviceType.GPU
STANDARD = EngineCapability.STANDARD
NAMES_ONLY = ProfilingVerbosity.LAYER_NAMES_ONLY
NO_COMPATIBILITY = HardwareCompatibilityLevel.NONE
SAME_PLATFORM = RuntimePlatform.SAME_AS_BUILD
LEVEL = 3
_NO_TILING = TilingOptimizationLevel.NONE
_flag, _pool = member(BuilderFlag), member(MemoryPoolType)
_quantization, _feature, _device = (
    member(QuantizationFlag),
    member(PreviewFeature),
    member(DeviceType),
)
_MOST_LEVEL = 5


def _texts(value: Any, name: str) -> list[str]:
    return [text(v, name) for v in value]


class IBuilderConfig(Reporting, Result):
    """Options of builds."""

    _reports: Reports
    _kept: dict[str, Any]
    _profiles: list[IOptimizationProfile]
    _calibration_profile: IOptimizationProfile | None
    _pools: dict[MemoryPoolType, int]
    _features: dict[PreviewFeature, bool]
    _devices: dict[ILayer, DeviceType]
    _sources: int
    _cache: ITimingCache | None

    __enter__ = common_enter
    __exit__ = common_exit

    @classmethod
    def _made(cls, parent: Reports) -> IBuilderConfig:
        made = cls.__new__(cls)
        made._reports = Reports(parent.logger, parent)
        made._begin()
        return made

    def _begin(self) -> None:
        self._kept = {}
        self._profiles = []
        self._calibration_profile = None
        self._pools = dict(POOLS)
        self._features = dict.fromkeys(FEATURES, True)
        self._devices = {}
        self._sources = SOURCES
        self._cache = None

    def reset(self) -> None:
        """Back to defaults."""
        self._begin()

    # -- flags -------------------------------------------------------------------------------------

    flags = Kept(whole, FLAGS, "A bit for each BuilderFlag.")

    def set_flag(self, flag: BuilderFlag) -> None:
        """Set a flag."""
        self._kept["flags"] = self._flags | 1 << int(_flag(flag, "flag"))

    def clear_flag(self, flag: BuilderFlag) -> None:
        """Clear a flag."""
        self._kept["flags"] = self._flags & ~(1 << int(_flag(flag, "flag")))

    def get_flag(self, flag: BuilderFlag) -> bool:
        """Whether a flag is set."""
        return self._has(_flag(flag, "flag"))

    @property
    def _flags(self) -> int:
        return kept(self, "flags", FLAGS)

    def _has(self, *flags: BuilderFlag) -> bool:
        """Whether one of the flags is set."""
        return any(self._flags >> int(f) & 1 for f in flags)

    quantization_flags = Kept(whole, 0, "A bit for each QuantizationFlag.")

    def set_quantization_flag(self, flag: QuantizationFlag) -> None:
        """Set a flag; kept: calibration is always that of the network before layers are fused."""
        bit = 1 << int(_quantization(flag, "flag"))
        self._kept["quantization_flags"] = kept(self, "quantization_flags", 0) | bit

    def clear_quantization_flag(self, flag: QuantizationFlag) -> None:
        """Clear a flag."""
        bit = 1 << int(_quantization(flag, "flag"))
        self._kept["quantization_flags"] = kept(self, "quantization_flags", 0) & ~bit

    def get_quantization_flag(self, flag: QuantizationFlag) -> bool:
        """Whether a flag is set."""
        word = kept(self, "quantization_flags", 0)
        return bool(word >> int(_quantization(flag, "flag")) & 1)

    # -- memory ------------------------------------------------------------------------------------

    @property
    def max_workspace_size(self) -> int:
        """Bytes of scratch memory: the limit of the pool WORKSPACE."""
        return self._pools[WORKSPACE]

    @max_workspace_size.setter
    def max_workspace_size(self, size: int) -> None:
        self._limit(WORKSPACE, whole(size, "max_workspace_size"))

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        """Limit a pool, in bytes.  Sizes that it cannot have are errors in the log, and change nothing."""
        self._limit(_pool(pool, "pool"), whole(pool_size, "pool_size"))

    def get_memory_pool_limit(self, pool: MemoryPoolType) -> int:
        """The limit of a pool, in bytes."""
        return self._pools[_pool(pool, "pool")]

    def _limit(self, pool: MemoryPoolType, size: int) -> None:
        try:
            self._pools[pool] = checked_limit(pool, size)
        except ConfigError as error:
            self._reports.failure(error)

    # -- tuning ------------------------------------------------------------------------------------

    @property
    def builder_optimization_level(self) -> int:
        """0 to 5: how much a build tries.  Others are errors in the log, and change nothing."""
        return kept(self, "builder_optimization_level", LEVEL)

    @builder_optimization_level.setter
    def builder_optimization_level(self, level: int) -> None:
        try:
            take = within(whole, 0, _MOST_LEVEL)
            self._kept["builder_optimization_level"] = take(level, "builder_optimization_level")
        except ConfigError as error:
            self._reports.failure(error)

    min_timing_iterations = Kept(whole, 1, "Kept: camshaft repeats timings until they agree.")
    avg_timing_iterations = Kept(whole, 1, "Kept: camshaft repeats timings until they agree.")
    max_num_tactics = Kept(whole, -1, "Kept; -1: the builder chooses.")
    max_aux_streams = Kept(whole, 0, "Kept: nothing runs in other streams.")
    tiling_optimization_level = Kept(member(TilingOptimizationLevel), _NO_TILING, "Kept.")
    l2_limit_for_tiling = Kept(whole, 0, "Kept.")
    remote_auto_tuning_config = Kept(text, "", "Kept.")
    build_route = Kept(text, "", "Kept: there is one route.")
    profile_stream = Kept(lambda value, name: int(value), 0, "Kept: the handle of a stream.")
    algorithm_selector = Kept(
        one_of(IAlgorithmSelector),
        None,
        "Restricts the kernels that layers may have, and is told the choice.",
    )

    @property
    def all_build_routes(self) -> list[str]:
        """Routes to choose from: none."""
        return []

    def set_tactic_sources(self, tactic_sources: int) -> bool:
        """Keep a bit for each TacticSource; True."""
        self._sources = whole(tactic_sources, "tactic_sources")
        return True

    def get_tactic_sources(self) -> int:
        """A bit for each TacticSource."""
        return self._sources

    def set_preview_feature(self, feature: PreviewFeature, enable: bool) -> None:
        """Keep whether a feature is on."""
        self._features[_feature(feature, "feature")] = truth(enable, "enable")

    def get_preview_feature(self, feature: PreviewFeature) -> bool:
        """Whether a feature is on."""
        return self._features.get(_feature(feature, "feature"), False)

    @reported(None)
    def create_timing_cache(self, serialized_timing_cache: Any) -> ITimingCache:
        """A cache from bytes; b"" for an empty one.  None, and an error, of bytes that are none."""
        return ITimingCache._made(self._reports, bytes(serialized_timing_cache))

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        """Let builds read the cache and add to it; True: entries name their processor, so none can be wrong."""
        self._cache = one_of(ITimingCache, optional=False)(cache, "cache")
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        """The cache that was set."""
        return self._cache

    # -- INT8 --------------------------------------------------------------------------------------

    int8_calibrator = Kept(
        one_of(IInt8Calibrator), None, "Where INT8 ranges come from; None: set by hand, or Q/DQ."
    )

    def set_calibration_profile(self, profile: IOptimizationProfile) -> bool:
        """Say shapes of batches: the profile's opt; True."""
        taken = one_of(IOptimizationProfile, optional=False)(profile, "profile")
        self._calibration_profile = taken
        return True

    def get_calibration_profile(self) -> IOptimizationProfile | None:
        """The profile that was set."""
        return self._calibration_profile

    # -- profiles ----------------------------------------------------------------------------------

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        """Add a profile; its index."""
        self._profiles.append(one_of(IOptimizationProfile, optional=False)(profile, "profile"))
        return len(self._profiles) - 1

    @property
    def num_optimization_profiles(self) -> int:
        """How many profiles were added."""
        return len(self._profiles)

    # -- where engines run -------------------------------------------------------------------------

    engine_capability = Kept(
        member(EngineCapability), STANDARD, "What the engine is restricted to."
    )
    default_device_type = Kept(
        member(DeviceType), GPU, "Where layers run of which nothing is said."
    )
    DLA_core = Kept(whole, -1, "Kept: there is no DLA.")
    profiling_verbosity = Kept(
        member(ProfilingVerbosity), NAMES_ONLY, "How much the engine can tell of its layers."
    )
    hardware_compatibility_level = Kept(
        member(HardwareCompatibilityLevel), NO_COMPATIBILITY, "Which devices the engine runs on."
    )
    runtime_platform = Kept(
        member(RuntimePlatform), SAME_PLATFORM, "Which platform the engine runs on."
    )
    plugins_to_serialize = Kept(_texts, [], "Kept: paths of plugin libraries.")
    progress_monitor = Kept(one_of(IProgressMonitor), None, "Is told how far builds are.")

    def set_device_type(self, layer: ILayer, device_type: DeviceType) -> None:
        """Keep where a layer runs."""
        self._devices[_layer(layer)] = _device(device_type, "device_type")

    def get_device_type(self, layer: ILayer) -> DeviceType:
        """Where a layer runs."""
        default = kept(self, "default_device_type", GPU)
        return self._devices.get(_layer(layer), default)

    def is_device_type_set(self, layer: ILayer) -> bool:
        """Whether it was said where a layer runs."""
        return _layer(layer) in self._devices

    def reset_device_type(self, layer: ILayer) -> None:
        """Forget where a layer runs."""
        self._devices.pop(_layer(layer), None)

    def can_run_on_DLA(self, layer: ILayer) -> bool:
        """False: there is no DLA."""
        _layer(layer)
        return False


def _layer(value: Any) -> ILayer:
    layer: ILayer = one_of(ILayer, optional=False)(value, "layer")
    return layer
