"""TensorRT's Python API on CPUs: `import camshaft.tensorrt as trt` in a script written for TensorRT 7 to 10.

The package has the names of all releases, with the values and the meaning of 10.16; `camshaft.tensorrt.eras` says how to see those
of one release.
"""

from camshaft.tensorrt import enums, eras, network
from camshaft.tensorrt.building.algorithms import (
    IAlgorithm,
    IAlgorithmContext,
    IAlgorithmIOInfo,
    IAlgorithmSelector,
    IAlgorithmVariant,
)
from camshaft.tensorrt.building.builder import Builder
from camshaft.tensorrt.building.calibrators import (
    IInt8Calibrator,
    IInt8EntropyCalibrator,
    IInt8EntropyCalibrator2,
    IInt8LegacyCalibrator,
    IInt8MinMaxCalibrator,
)
from camshaft.tensorrt.building.config import IBuilderConfig
from camshaft.tensorrt.building.profile import IOptimizationProfile
from camshaft.tensorrt.building.progress import IProgressMonitor
from camshaft.tensorrt.building.timing_cache import ITimingCache, TimingCacheKey, TimingCacheValue
from camshaft.tensorrt.dims import Dims, Dims2, Dims3, Dims4, DimsHW, Permutation, volume
from camshaft.tensorrt.enums import *  # noqa: F403
from camshaft.tensorrt.enums.data import DataType, nptype
from camshaft.tensorrt.errors import IErrorRecorder
from camshaft.tensorrt.host_memory import IHostMemory
from camshaft.tensorrt.logger import ILogger, Logger
from camshaft.tensorrt.network import *  # noqa: F403
from camshaft.tensorrt.objects import common_enter, common_exit
from camshaft.tensorrt.parser import OnnxParser
from camshaft.tensorrt.parser_error import ParserError
from camshaft.tensorrt.plugins.descriptions import DynamicPluginTensorDesc, PluginTensorDesc
from camshaft.tensorrt.plugins.expressions import DimsExprs, IDimensionExpr, IExprBuilder
from camshaft.tensorrt.plugins.fields import PluginField, PluginFieldCollection
from camshaft.tensorrt.plugins.interfaces import (
    IPluginCapability,
    IPluginCreator,
    IPluginCreatorInterface,
    IPluginCreatorV3One,
    IPluginCreatorV3Quick,
    IPluginResource,
    IPluginResourceContext,
)
from camshaft.tensorrt.plugins.layers import IPluginV2Layer, IPluginV3Layer
from camshaft.tensorrt.plugins.native.creators import init_libnvinfer_plugins
from camshaft.tensorrt.plugins.registry import (
    IPluginRegistry,
    get_builder_plugin_registry,
    get_plugin_registry,
)
from camshaft.tensorrt.plugins.v2 import (
    IPluginV2,
    IPluginV2DynamicExt,
    IPluginV2DynamicExtBase,
    IPluginV2Ext,
)
from camshaft.tensorrt.plugins.v3 import (
    IPluginV3,
    IPluginV3OneBuild,
    IPluginV3OneBuildV2,
    IPluginV3OneCore,
    IPluginV3OneRuntime,
    IPluginV3QuickAOTBuild,
    IPluginV3QuickBuild,
    IPluginV3QuickCore,
    IPluginV3QuickRuntime,
)
from camshaft.tensorrt.refit.onnx_refitter import OnnxParserRefitter
from camshaft.tensorrt.refit.refitter import Refitter
from camshaft.tensorrt.running.allocators import (
    IDebugListener,
    IGpuAllocator,
    IGpuAsyncAllocator,
    InterfaceInfo,
    IOutputAllocator,
    IProfiler,
    IVersionedInterface,
    Profiler,
)
from camshaft.tensorrt.running.configs import IRuntimeConfig, ISerializationConfig
from camshaft.tensorrt.running.context import IExecutionContext
from camshaft.tensorrt.running.engine import ICudaEngine
from camshaft.tensorrt.running.inspector import EngineInspector
from camshaft.tensorrt.running.runtime import Runtime
from camshaft.tensorrt.running.streams import IStreamReader, IStreamReaderV2, IStreamWriter
from camshaft.tensorrt.weights import Weights
from camshaft.version import VERSION

__all__ = [
    "Builder",
    "Dims",
    "Dims2",
    "Dims3",
    "Dims4",
    "DimsExprs",
    "DimsHW",
    "DynamicPluginTensorDesc",
    "EngineInspector",
    "IAlgorithm",
    "IAlgorithmContext",
    "IAlgorithmIOInfo",
    "IAlgorithmSelector",
    "IAlgorithmVariant",
    "IBuilderConfig",
    "ICudaEngine",
    "IDebugListener",
    "IDimensionExpr",
    "IErrorRecorder",
    "IExecutionContext",
    "IExprBuilder",
    "IGpuAllocator",
    "IGpuAsyncAllocator",
    "IHostMemory",
    "IInt8Calibrator",
    "IInt8EntropyCalibrator",
    "IInt8EntropyCalibrator2",
    "IInt8LegacyCalibrator",
    "IInt8MinMaxCalibrator",
    "ILogger",
    "IOptimizationProfile",
    "IOutputAllocator",
    "IPluginCapability",
    "IPluginCreator",
    "IPluginCreatorInterface",
    "IPluginCreatorV3One",
    "IPluginCreatorV3Quick",
    "IPluginRegistry",
    "IPluginResource",
    "IPluginResourceContext",
    "IPluginV2",
    "IPluginV2DynamicExt",
    "IPluginV2DynamicExtBase",
    "IPluginV2Ext",
    "IPluginV2Layer",
    "IPluginV3",
    "IPluginV3Layer",
    "IPluginV3OneBuild",
    "IPluginV3OneBuildV2",
    "IPluginV3OneCore",
    "IPluginV3OneRuntime",
    "IPluginV3QuickAOTBuild",
    "IPluginV3QuickBuild",
    "IPluginV3QuickCore",
    "IPluginV3QuickRuntime",
    "IProfiler",
    "IProgressMonitor",
    "IRuntimeConfig",
    "ISerializationConfig",
    "IStreamReader",
    "IStreamReaderV2",
    "IStreamWriter",
    "ITimingCache",
    "IVersionedInterface",
    "InterfaceInfo",
    "Logger",
    "OnnxParser",
    "OnnxParserRefitter",
    "ParserError",
    "Permutation",
    "PluginField",
    "PluginFieldCollection",
    "PluginTensorDesc",
    "Profiler",
    "Refitter",
    "Runtime",
    "TimingCacheKey",
    "TimingCacheValue",
    "Weights",
    "bfloat16",
    "bool",
    "common_enter",
    "common_exit",
    "e8m0",
    "float16",
    "float32",
    "fp4",
    "fp8",
    "get_builder_plugin_registry",
    "get_nv_onnx_parser_version",
    "get_plugin_registry",
    "init_libnvinfer_plugins",
    "int4",
    "int8",
    "int32",
    "int64",
    "nptype",
    "uint8",
    "volume",
]
__all__ += enums.__all__
__all__ += network.__all__

__version__ = eras.CURRENT.version
__camshaft__ = VERSION

bfloat16 = DataType.BF16
bool = DataType.BOOL
e8m0 = DataType.E8M0
float16 = DataType.HALF
float32 = DataType.FLOAT
fp4 = DataType.FP4
fp8 = DataType.FP8
int32 = DataType.INT32
int4 = DataType.INT4
int64 = DataType.INT64
int8 = DataType.INT8
uint8 = DataType.UINT8


def get_nv_onnx_parser_version() -> int:
    """Version of the ONNX parser: 101600 for 10.16.0."""
    return eras.CURRENT.parser_version


eras.hide(globals())
