"""Enums of the builder, its configuration and the parser."""

from __future__ import annotations

from camshaft.tensorrt.enums.base import Enumeration, Member, Ordered


class BuilderFlag(Ordered):
    """Options of a build; `1 << int(flag)` in `flags`."""

    FP16 = Member(0)
    BF16 = Member(17)
    INT8 = Member(1)
    DEBUG = Member(2)
    GPU_FALLBACK = Member(3)
    REFIT = Member(4)
    DISABLE_TIMING_CACHE = Member(5)
    EDITABLE_TIMING_CACHE = Member(27)
    TF32 = Member(6)
    SPARSE_WEIGHTS = Member(7)
    SAFETY_SCOPE = Member(8)
    OBEY_PRECISION_CONSTRAINTS = Member(9)
    PREFER_PRECISION_CONSTRAINTS = Member(10)
    DIRECT_IO = Member(11)
    REJECT_EMPTY_ALGORITHMS = Member(12)
    VERSION_COMPATIBLE = Member(13)
    EXCLUDE_LEAN_RUNTIME = Member(14)
    FP8 = Member(15)
    ERROR_ON_TIMING_CACHE_MISS = Member(16)
    DISABLE_COMPILATION_CACHE = Member(18)
    WEIGHTLESS = Member(19)
    STRIP_PLAN = Member(19)
    REFIT_IDENTICAL = Member(20)
    WEIGHT_STREAMING = Member(21)
    INT4 = Member(22)
    REFIT_INDIVIDUAL = Member(23)
    STRICT_NANS = Member(24)
    MONITOR_MEMORY = Member(25)
    FP4 = Member(26)
    DISTRIBUTIVE_INDEPENDENCE = Member(28)
    STRICT_TYPES = Member(40)
    ENABLE_TACTIC_HEURISTIC = Member(41)


class NetworkDefinitionCreationFlag(Ordered):
    """Options of a network; `1 << int(flag)` in the argument of `create_network`."""

    EXPLICIT_BATCH = Member(0)
    STRONGLY_TYPED = Member(1)
    PREFER_AOT_PYTHON_PLUGINS = Member(3)
    PREFER_JIT_PYTHON_PLUGINS = Member(2)
    EXPLICIT_PRECISION = Member(40)


class TacticSource(Ordered):
    """Libraries that tactics may come from; `1 << int(source)` in the mask."""

    CUBLAS = Member(0)
    CUBLAS_LT = Member(1)
    CUDNN = Member(2)
    EDGE_MASK_CONVOLUTIONS = Member(3)
    JIT_CONVOLUTIONS = Member(4)


class PreviewFeature(Enumeration):
    """Features that can be switched before they become the default."""

    PROFILE_SHARING_0806 = Member(0)
    ALIASED_PLUGIN_IO_10_03 = Member(1)
    RUNTIME_ACTIVATION_RESIZE_10_10 = Member(2)
    MULTIDEVICE_RUNTIME_10_16 = Member(3)
    FASTER_DYNAMIC_SHAPES_0805 = Member(40)
    DISABLE_EXTERNAL_TACTIC_SOURCES_FOR_CORE_0805 = Member(41)


class ProfilingVerbosity(Enumeration):
    """How much an engine can tell of its layers."""

    LAYER_NAMES_ONLY = Member(0)
    DETAILED = Member(2)
    NONE = Member(1)
    DEFAULT = Member(0)
    VERBOSE = Member(2)


class EngineCapability(Ordered):
    """What an engine restricts itself to."""

    STANDARD = Member(0)
    SAFETY = Member(1)
    DLA_STANDALONE = Member(2)
    DEFAULT = Member(0)
    SAFE_GPU = Member(1)
    SAFE_DLA = Member(2)


class MemoryPoolType(Enumeration):
    """Memory whose use has a limit."""

    WORKSPACE = Member(0)
    DLA_MANAGED_SRAM = Member(1)
    DLA_LOCAL_DRAM = Member(2)
    DLA_GLOBAL_DRAM = Member(3)
    TACTIC_DRAM = Member(4)
    TACTIC_SHARED_MEMORY = Member(5)


class QuantizationFlag(Ordered):
    """Options of calibration."""

    CALIBRATE_BEFORE_FUSION = Member(0)


class CalibrationAlgoType(Enumeration):
    """How calibration chooses ranges."""

    LEGACY_CALIBRATION = Member(0)
    ENTROPY_CALIBRATION = Member(1)
    ENTROPY_CALIBRATION_2 = Member(2)
    MINMAX_CALIBRATION = Member(3)


class OnnxParserFlag(Enumeration):
    """Options of the parser."""

    NATIVE_INSTANCENORM = Member(0)
    ENABLE_UINT8_AND_ASYMMETRIC_QUANTIZATION_DLA = Member(1)
    REPORT_CAPABILITY_DLA = Member(2)
    ENABLE_PLUGIN_OVERRIDE = Member(3)
    ADJUST_FOR_DLA = Member(4)


class HardwareCompatibilityLevel(Enumeration):
    """Which devices an engine runs on."""

    NONE = Member(0)
    AMPERE_PLUS = Member(1)
    SAME_COMPUTE_CAPABILITY = Member(2)


class RuntimePlatform(Enumeration):
    """Which platform an engine runs on."""

    SAME_AS_BUILD = Member(0)
    WINDOWS_AMD64 = Member(1)


class TilingOptimizationLevel(Enumeration):
    """How long tilings are searched for."""

    NONE = Member(0)
    FAST = Member(1)
    MODERATE = Member(2)
    FULL = Member(3)
