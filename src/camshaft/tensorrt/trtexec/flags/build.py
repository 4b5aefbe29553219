"""Flags of models, of builds, and of the system."""

from __future__ import annotations

from camshaft.tensorrt.trtexec.flags.flag import Flag, kept, refused
from camshaft.tensorrt.trtexec.flags.values import (
    budget,
    choice,
    count,
    data_type,
    data_types,
    io_formats,
    mebibytes,
    named,
    names,
    pools,
    python_file,
    shape,
    text,
    this_platform,
)

ALL, UNTIL_10, SINCE_10 = "8.6 10 11", "8.6 10", "10 11"
_SHAPES = "name:1x3x224x224,..."
_TIMED = "kernels are timed until the times agree"
_ONE_ROUTE = "builds have one route, and their kernels are tuned anyway"
_SAFE = "there are no safety builds"
_PLUGINS = "Python file that registers plugins; may be given several times"
_MEMORY = "weights stay in memory"

MODEL = (
    Flag("--onnx", ALL, "ONNX model to build", text, "<file>"),
    *refused(
        "deploy model uff uffInput uffNHWC",
        "8.6",
        "Caffe and UFF files are not read; export the model to ONNX",
    ),
    *refused("output", "8.6", "outputs are those of the ONNX model"),
    *refused("batch maxBatch", "8.6", "batches are explicit: give --shapes"),
)

_SIZES = (
    Flag(
        "--shapes",
        ALL,
        "shapes of inputs in the inference; without a profile, those that the engine is built for",
        named(shape),
        _SHAPES,
    ),
    Flag(
        "--minShapes",
        ALL,
        "least shapes that the engine is built for",
        named(shape),
        _SHAPES,
        repeats=True,
    ),
    Flag(
        "--optShapes",
        ALL,
        "shapes that the engine is tuned for",
        named(shape),
        _SHAPES,
        repeats=True,
    ),
    Flag(
        "--maxShapes",
        ALL,
        "most shapes that the engine is built for",
        named(shape),
        _SHAPES,
        repeats=True,
    ),
    Flag(
        "--profile",
        SINCE_10,
        "begins the optimization profile of this index: the next --minShapes, --optShapes and --maxShapes are its",
        count(0),
        "<index>",
        repeats=True,
    ),
    Flag(
        "--minShapesCalib",
        UNTIL_10,
        "least shapes of batches that calibrate",
        named(shape),
        _SHAPES,
    ),
    Flag("--optShapesCalib", UNTIL_10, "shapes of batches that calibrate", named(shape), _SHAPES),
    Flag(
        "--maxShapesCalib", UNTIL_10, "most shapes of batches that calibrate", named(shape), _SHAPES
    ),
    Flag(
        "--calibProfile",
        "10",
        "profile whose --optShapes are those of batches that calibrate",
        count(0),
        "<index>",
    ),
    kept("--explicitBatch", "8.6", "batches are always explicit"),
    kept("--explicitPrecision", "8.6", "Q/DQ layers are always read"),
)

_TYPES = (
    Flag("--fp16", UNTIL_10, "permit fp16"),
    Flag("--bf16", "10", "permit bf16"),
    Flag(
        "--int8",
        UNTIL_10,
        "permit int8; without --calib and Q/DQ layers ranges are made up, to see how fast it is",
    ),
    Flag("--fp8", UNTIL_10, "permit fp8, which no kernel has"),
    Flag("--int4", "10", "permit int4, which no kernel has"),
    Flag("--best", UNTIL_10, "permit all types"),
    Flag("--calib", UNTIL_10, "calibration cache to read", text, "<file>"),
    Flag("--stronglyTyped", SINCE_10, "compute in the types that the model has"),
    Flag(
        "--precisionConstraints",
        UNTIL_10,
        "what types of layers are",
        choice("none", "prefer", "obey"),
        "none|prefer|obey",
        default="none",
    ),
    Flag(
        "--layerPrecisions",
        UNTIL_10,
        "types that layers compute in; * in a name stands for any letters",
        named(data_type),
        "name:type,...",
    ),
    Flag(
        "--layerOutputTypes",
        UNTIL_10,
        "types of what layers give, with + between those of several outputs",
        named(data_types),
        "name:type+type,...",
    ),
    Flag(
        "--inputIOFormats",
        ALL,
        "types and formats of inputs, in their order or one for all",
        io_formats,
        "fp32:chw,...",
    ),
    Flag(
        "--outputIOFormats",
        ALL,
        "types and formats of outputs, in their order or one for all",
        io_formats,
        "fp32:chw,...",
    ),
    Flag("--directIO", ALL, "no tensors are reformatted where the engine begins and ends"),
    kept("--noTF32", ALL, "no kernel computes in TF32"),
    Flag(
        "--sparsity",
        ALL,
        "whether kernels for sparse weights are permitted, which there are none of",
        choice("disable", "enable"),
        "disable|enable",
        default="disable",
    ),
    kept(
        "--decomposableAttentions",
        SINCE_10,
        "attention is fused where it is found",
        names,
        "name,...",
    ),
)

_BUILDER = (
    Flag(
        "--builderOptimizationLevel",
        ALL,
        "0 to 5: how much the build tries",
        count(0, 5),
        "<level>",
        default=3,
    ),
    Flag("--workspace", "8.6", "scratch memory in MiB", mebibytes, "<MiB>"),
    Flag("--memPoolSize", ALL, "limits of memory pools", pools, "pool:size[BKMG],..."),
    Flag("--timingCacheFile", ALL, "times of kernels, read and added to", text, "<file>"),
    Flag("--noBuilderCache", ALL, "no times of kernels are kept"),
    Flag("--errorOnTimingCacheMiss", SINCE_10, "kernels that the timing cache lacks are an error"),
    kept("--noCompilationCache", SINCE_10, "kernels are compiled once for each build"),
    kept("--avgTiming", ALL, _TIMED, count(1), "<count>"),
    kept("--minTiming", "8.6", _TIMED, count(1), "<count>"),
    kept(
        "--maxTactics", SINCE_10, "the level says how many kernels are timed", count(-1), "<count>"
    ),
    Flag("--heuristic", "8.6", "time fewer kernels"),
    kept("--tacticSources", ALL, "kernels have one source", text, "[+-]source,..."),
    kept(
        "--tilingOptimizationLevel", SINCE_10, "tiles are tuned with the kernels", text, "<level>"
    ),
    kept("--l2LimitForTiling", SINCE_10, "tiles are tuned with the kernels", text, "<bytes>"),
    kept("--maxAuxStreams", ALL, "nothing runs in other streams", count(0), "<count>"),
    kept("--preview", ALL, "no feature is only a preview", text, "[+-]feature,..."),
    kept("--distributiveIndependence", SINCE_10, "sums have one order whatever the shapes"),
    Flag(
        "--hardwareCompatibilityLevel",
        ALL,
        "which devices the engine is to run on; it runs on this CPU's kind",
        choice("none", "ampere+", "sameComputeCapability"),
        "none|ampere+|sameComputeCapability",
        default="none",
    ),
    kept(
        "--runtimePlatform",
        SINCE_10,
        "engines run where they are built",
        this_platform,
        "SameAsBuild",
    ),
    Flag(
        "--profilingVerbosity",
        ALL,
        "what the engine can tell of its layers",
        choice("layer_names_only", "detailed", "none", "default", "verbose"),
        "layer_names_only|detailed|none",
        default="layer_names_only",
    ),
    Flag(
        "--nvtxMode",
        "8.6",
        "older name of --profilingVerbosity",
        choice("default", "verbose", "none"),
        "default|verbose|none",
    ),
    *refused(
        "tuneBuildRoutes tuneBuildRouteFile tuningSearch tuningCacheFile tuningResultFile tuningTimeOut saveAllEngines dryRun continue setBuildRoute helpBuildRoute",
        "11",
        _ONE_ROUTE,
    ),
    *refused(
        "safe restricted std serialized dumpKernelText remoteAutoTuningConfig cpuOnly",
        ALL,
        _SAFE,
    ),
    kept("--consistency", ALL, _SAFE),
    kept("--monitorMemory", SINCE_10, "memory is the process's own"),
)

_ENGINES = (
    Flag("--saveEngine", ALL, "write the engine", text, "<file>"),
    Flag("--loadEngine", ALL, "read an engine instead of building one", text, "<file>"),
    Flag("--skipInference", ALL, "stop behind the build", others=("--buildOnly",)),
    Flag("--getPlanVersionOnly", SINCE_10, "print what built the engine of --loadEngine, and stop"),
    Flag("--refit", ALL, "let the engine's weights be replaced"),
    Flag(
        "--stripWeights", SINCE_10, "save the engine without its weights", others=("--weightless",)
    ),
    Flag("--stripAllWeights", SINCE_10, "--refit and --stripWeights"),
    Flag("--versionCompatible", ALL, "let other versions run the engine", others=("--vc",)),
    kept("--excludeLeanRuntime", ALL, "engines hold no runtime"),
    kept(
        "--useRuntime",
        ALL,
        "there is one runtime",
        choice("full", "lean", "dispatch"),
        "full|lean|dispatch",
    ),
    kept("--leanDLLPath", ALL, "there is one runtime", text, "<file>"),
    Flag("--allowWeightStreaming", SINCE_10, "mark the engine as one that can stream weights"),
    Flag("--markDebug", SINCE_10, "tensors that --saveDebugTensors can write", names, "name,..."),
    Flag(
        "--markUnfusedTensorsAsDebugTensors",
        SINCE_10,
        "tensors between fused layers are such ones too, of --saveAllDebugTensors",
    ),
)

_SYSTEM = (
    Flag("--device", ALL, "device to use: 0, the CPU", count(0, 0), "0", default=0),
    Flag(
        "--useDLACore",
        ALL,
        "DLA to use: there is none, so the build needs --allowGPUFallback",
        count(-1),
        "<core>",
    ),
    Flag("--allowGPUFallback", ALL, "with --useDLACore: layers run on the CPU"),
    kept("--layerDeviceTypes", ALL, "there is one device", named(choice("GPU")), "name:GPU,..."),
    kept("--adjustForDLA", SINCE_10, "there is no DLA"),
    *refused(
        "buildDLAStandalone reportCapabilityDLA uint8AsymmetricQuantizationDLA",
        ALL,
        "there is no DLA",
    ),
    Flag("--plugins", ALL, _PLUGINS, python_file, "<file>.py", collects=True),
    Flag("--staticPlugins", ALL, _PLUGINS, python_file, "<file>.py", collects=True),
    Flag("--dynamicPlugins", ALL, _PLUGINS, python_file, "<file>.py", collects=True),
    *refused(
        "setPluginsToSerialize safetyPlugins",
        ALL,
        "engines hold no libraries, but kernels of plugins",
    ),
    kept("--ignoreParsedPluginLibs", ALL, "models name no plugin libraries"),
    kept("--enablePluginOverride", SINCE_10, "models name no plugin libraries"),
    kept("--pluginInstanceNorm", SINCE_10, "instance normalization is native", others=("--pi",)),
    kept("--tempdir", ALL, "engines need no files", text, "<folder>"),
    kept(
        "--tempfileControls",
        ALL,
        "engines need no files",
        named(choice("allow", "deny")),
        "control:allow|deny,...",
    ),
    kept("--asyncFileReader", SINCE_10, "engines are read at once"),
    kept("--weightStreamingBudget", SINCE_10, _MEMORY, budget, "<bytes>[BKMG]|<percent>%"),
    kept("--persistentCacheRatio", ALL, "caches are the processor's", text, "<ratio>"),
)

BUILD = (*_SIZES, *_TYPES, *_BUILDER, *_ENGINES)
SYSTEM = _SYSTEM
