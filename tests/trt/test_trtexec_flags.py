"""trtexec's command line: which flags there are, and how they are read."""

from __future__ import annotations

from pathlib import Path

import pytest

import camshaft.tensorrt as trt
from camshaft.tensorrt.trtexec.flags import ALL_FLAGS, Effect, help_text
from camshaft.tensorrt.trtexec.parsing import Options, UsageError, parsed
from camshaft.tensorrt.trtexec.shapes import found
from trtexec_runs import Trtexec

MODEL = "--onnx=model.onnx"
SPECIFIED = [
    "onnx",
    "deploy",
    "model",
    "output",
    "uff",
    "uffInput",
    "uffNHWC",
    "saveEngine",
    "loadEngine",
    "skipInference",
    "buildOnly",
    "shapes",
    "minShapes",
    "optShapes",
    "maxShapes",
    "profile",
    "useProfile",
    "minShapesCalib",
    "optShapesCalib",
    "maxShapesCalib",
    "calibProfile",
    "explicitBatch",
    "explicitPrecision",
    "batch",
    "maxBatch",
    "fp16",
    "int8",
    "best",
    "bf16",
    "fp8",
    "int4",
    "calib",
    "precisionConstraints",
    "layerPrecisions",
    "layerOutputTypes",
    "stronglyTyped",
    "layerDeviceTypes",
    "useDLACore",
    "allowGPUFallback",
    "buildDLAStandalone",
    "reportCapabilityDLA",
    "adjustForDLA",
    "uint8AsymmetricQuantizationDLA",
    "decomposableAttentions",
    "noTF32",
    "sparsity",
    "directIO",
    "inputIOFormats",
    "outputIOFormats",
    "workspace",
    "memPoolSize",
    "builderOptimizationLevel",
    "avgTiming",
    "minTiming",
    "maxTactics",
    "heuristic",
    "tacticSources",
    "tilingOptimizationLevel",
    "l2LimitForTiling",
    "maxAuxStreams",
    "preview",
    "hardwareCompatibilityLevel",
    "runtimePlatform",
    "distributiveIndependence",
    "noBuilderCache",
    "timingCacheFile",
    "errorOnTimingCacheMiss",
    "noCompilationCache",
    "refit",
    "dumpRefit",
    "stripWeights",
    "stripAllWeights",
    "refitFromOnnx",
    "weightless",
    "timeRefit",
    "versionCompatible",
    "vc",
    "excludeLeanRuntime",
    "useRuntime",
    "leanDLLPath",
    "getPlanVersionOnly",
    "plugins",
    "staticPlugins",
    "dynamicPlugins",
    "setPluginsToSerialize",
    "ignoreParsedPluginLibs",
    "safetyPlugins",
    "enablePluginOverride",
    "pluginInstanceNorm",
    "pi",
    "safe",
    "consistency",
    "restricted",
    "std",
    "serialized",
    "dumpKernelText",
    "remoteAutoTuningConfig",
    "cpuOnly",
    "allowWeightStreaming",
    "weightStreamingBudget",
    "allocationStrategy",
    "monitorMemory",
    "persistentCacheRatio",
    "markDebug",
    "saveDebugTensors",
    "markUnfusedTensorsAsDebugTensors",
    "saveAllDebugTensors",
    "tempdir",
    "tempfileControls",
    "asyncFileReader",
    "device",
    "loadInputs",
    "iterations",
    "warmUp",
    "duration",
    "avgRuns",
    "percentile",
    "sleepTime",
    "idleTime",
    "exposeDMA",
    "noDataTransfers",
    "includeDataTransfers",
    "useManagedMemory",
    "streams",
    "infStreams",
    "threads",
    "useSpinWait",
    "noSpinWait",
    "useCudaGraph",
    "noCudaGraph",
    "timeDeserialize",
    "separateProfileRun",
    "verbose",
    "help",
    "dumpOutput",
    "exportOutput",
    "dumpRawBindingsToFile",
    "dumpProfile",
    "exportProfile",
    "exportTimes",
    "dumpLayerInfo",
    "exportLayerInfo",
    "profilingVerbosity",
    "dumpOptimizationProfile",
    "nvtxMode",
    "loadRefOutputs",
    "accuracyAlgorithm",
    "atol",
    "rtol",
    "accuracyThreshold",
    "refPair",
    "tuneBuildRoutes",
    "tuneBuildRouteFile",
    "tuningSearch",
    "tuningCacheFile",
    "tuningResultFile",
    "tuningTimeOut",
    "saveAllEngines",
    "dryRun",
    "continue",
    "setBuildRoute",
    "helpBuildRoute",
]


def read(*flags: str) -> Options:
    return parsed([MODEL, *flags])


def fault(*flags: str) -> str:
    with pytest.raises(UsageError) as caught:
        parsed(list(flags))
    return str(caught.value)


def test_every_flag_of_8_6_to_11_is_known() -> None:
    names = {name for flag in ALL_FLAGS.values() for name in (flag.name, *flag.others)}
    assert {f"--{name}" for name in SPECIFIED} == {n for n in names if n.startswith("--")}


def test_a_flag_is_done_or_says_why_it_is_not() -> None:
    for flag in ALL_FLAGS.values():
        assert flag.help, flag.name
        assert set(flag.releases.split()) <= {"8.6", "10", "11"}, flag.name
        if flag.effect is Effect.REFUSED:
            assert fault(MODEL, f"{flag.name}=x") == f"{flag.name} is refused: {flag.help}"


def test_defaults_are_trtexec_s() -> None:
    options = read()
    assert (options["iterations"], options["duration"], options["warmUp"]) == (10, 3.0, 200.0)
    assert (options["avgRuns"], options["percentile"]) == (10, (90.0, 95.0, 99.0))
    assert (options["fp16"], options["saveEngine"], options["infStreams"]) == (False, None, 1)
    assert options["profilingVerbosity"] == "layer_names_only"


def test_values() -> None:
    options = read(
        "--fp16", "--streams=3", "--percentile=50,99.9", "--buildOnly", "--workspace=0.5", "--duration=-1",
        "--memPoolSize=workspace:1G,tacticSharedMem:64,dlaSRAM:0.25",
    )  # fmt: skip
    assert options["fp16"] is options["skipInference"] is True
    assert (options["infStreams"], options["percentile"]) == (3, (50.0, 99.9))
    assert (options["workspace"], options["duration"]) == (1 << 19, -1.0)
    assert options["memPoolSize"] == {
        "workspace": 1 << 30,
        "tacticSharedMem": 64 << 10,
        "dlaSRAM": 1 << 18,
    }


def test_types_and_formats() -> None:
    options = read(
        "--inputIOFormats=fp16:chw+hwc8,int32:chw", "--layerOutputTypes=a:fp16+fp32,'b:c':int8"
    )
    linear, hwc8 = (1 << int(f) for f in (trt.TensorFormat.LINEAR, trt.TensorFormat.HWC8))
    assert options["inputIOFormats"] == ((trt.float16, linear | hwc8), (trt.int32, linear))
    assert options["layerOutputTypes"] == {"a": (trt.float16, trt.float32), "b:c": (trt.int8,)}


def test_shapes_of_names_with_colons_and_commas() -> None:
    shapes = read("--shapes='a,b:0':1x3,c:1:2,d:scalar,e:")["shapes"]
    assert shapes == {"a,b:0": (1, 3), "c:1": (2,), "d": (), "e": ()}
    files = read("--loadInputs='x:0':C:/data/x.bin,y:y.bin")["loadInputs"]
    assert files == {"x:0": "C:/data/x.bin", "y": "y.bin"}


def test_a_star_stands_for_any_letters() -> None:
    told = {"in*": 1, "input": 2, "w[0]*": 3}
    assert [found(told, n) for n in ("input", "in:0", "w[0]x", "w0x", "out")] == [
        2,
        1,
        3,
        None,
        None,
    ]


def test_profiles_are_what_follows_their_index() -> None:
    options = read(
        "--profile=1", "--optShapes=x:8", "--profile=0", "--minShapes=x:1", "--optShapes=x:2", "--maxShapes=x:4"
    )  # fmt: skip
    assert options.profiles == ({"x": ((1,), (2,), (4,))}, {"x": ((8,), (8,), (8,))})


def test_shapes_alone_are_a_profile_and_complete_one() -> None:
    assert read("--shapes=x:2").profiles == ({"x": ((2,),) * 3},)
    both = read("--optShapes=x:2", "--maxShapes=x:4", "--shapes=y:5,x:3").profiles
    assert both == ({"y": ((5,),) * 3, "x": ((2,), (2,), (4,))},)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--fp16=1",), "--fp16=1: takes no value"),
        (("--iterations=many",), "must be a whole number, 0 or more"),
        (("--percentile=101",), "must be numbers from 0 to 100"),
        (("--device=1",), "--device=1: must be from 0 to 0"),
        (("--precisionConstraints=strict",), "must be one of none, prefer, obey"),
        (("--layerPrecisions=conv:fp64",), "'fp64' is none of the types fp32, fp16"),
        (("--inputIOFormats=fp32",), "must be a type and a format"),
        (("--inputIOFormats=fp32:nchw",), "'nchw' is none of the formats"),
        (("--memPoolSize=scratch:1",), "'scratch' is none of the pools"),
        (("--shapes=x",), "'x' must be a name, a colon and a value"),
        (("--shapes=x:1xn",), "must be a whole number"),
        (("--shapes='x:1",), "a single quote that is not closed"),
        (("--shapes=x:1,x:2",), "'x' stands twice"),
        (("--fp16", "--fp16"), "--fp16 is given twice"),
        (("--minShapes=x:1", "--minShapes=x:2"), "--minShapes is given twice; begin another profile"),
        (("--profile=1", "--optShapes=x:1"), "profile 0 has no shapes"),
        (("--minShapes=x:1", "--maxShapes=y:1"), "must name the same inputs"),
        (("--stronglyTyped", "--best"), "leave --best out"),
        (("--fp8", "--int8"), "--fp8 and --int8 are both given"),
        (("--calib=c.cache", "--fp16"), "--calib needs --int8 or --best"),
        (("--precisionConstraints=obey", "--layerPrecisions=conv:bf16", "--fp16"), "add --bf16"),
        (("--precisionConstraints=obey", "--layerOutputTypes=a:fp32+int8"), "--layerOutputTypes asks for int8"),
        (("--useDLACore=0",), "there is no DLA; add --allowGPUFallback"),
        (("--runtimePlatform=WindowsAMD64",), "the only platform is SameAsBuild"),
        (("--errorOnTimingCacheMiss",), "--errorOnTimingCacheMiss needs --timingCacheFile"),
        (("--errorOnTimingCacheMiss", "--timingCacheFile=t", "--noBuilderCache"), "and --noBuilderCache are both given"),
        (("--weightStreamingBudget=1G",), "--weightStreamingBudget needs --allowWeightStreaming"),
        (("--allowWeightStreaming", "--weightStreamingBudget=101%"), "must be from 0% to 100%"),
        (("--refitFromOnnx=m.onnx",), "add one of --refit, --stripWeights, --stripAllWeights"),
        (("--timeRefit", "--refit", "--useRuntime=lean"), "--timeRefit needs --useRuntime=full"),
        (("--useProfile=1", "--optShapes=x:1"), "--useProfile=1: the engine has 1 profiles"),
        (("--calibProfile=2",), "--calibProfile=2: the engine has 1 profiles"),
        (("--saveDebugTensors=a:a.bin,b:b.bin", "--markDebug=b"), "--saveDebugTensors: a is not among the tensors of --markDebug"),
        (("--skipInference", "--loadRefOutputs=y:y.bin", "--loadInputs=x:x.bin"), "leave --skipInference out"),
        (("--loadEngine=a.plan",), "--onnx and --loadEngine are both given"),
        (("--useRuntime=lean",), "--useRuntime=lean builds no engines"),
        (("--getPlanVersionOnly",), "needs --loadEngine"),
        (("--loadRefOutputs=y:y.bin",), "--loadRefOutputs needs --loadInputs"),
        (("--atol=1", "--accuracyAlgorithm=l2"), "--atol belong to --accuracyAlgorithm=l0"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_what_cannot_be_is_named(flags: tuple[str, ...], message: str) -> None:
    assert message in fault(MODEL, *flags)


def test_flags_that_others_leave_idle_are_told_and_not_obeyed() -> None:
    options = read(
        "--stronglyTyped", "--fp16", "--int8", "--skipInference", "--exportTimes=t.json", "--dumpOutput"
    )  # fmt: skip
    assert [*options.idle] == ["--fp16", "--int8", "--exportTimes", "--dumpOutput"]
    assert options["fp16"] is options["int8"] is options["dumpOutput"] is False
    assert options["exportTimes"] is None
    assert not read("--fp16", "--exportTimes=t.json").idle


def test_platforms_and_budgets_are_read_as_trtexec_has_them() -> None:
    flags = ("--runtimePlatform=SameAsBuild", "--allowWeightStreaming")
    for budget in ("-2", "-1", "0", "50.5%", "1.5G"):
        assert read(*flags, f"--weightStreamingBudget={budget}")["weightStreamingBudget"] == budget


def test_all_faults_are_listed() -> None:
    said = fault("--onnx=m.onnx", "--frobnicate=3", "-x", "--useDLACore=one", "--safe")
    assert said.splitlines() == [
        "Unknown option: --frobnicate 3",
        "Unknown option: -x",
        "--useDLACore=one: must be a whole number, -1 or more",
        "--safe is refused: there are no safety builds",
    ]
    assert "give --onnx=<file> or --loadEngine=<file>" in fault("--fp16")


def test_a_wrong_command_line_fails_with_the_help(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trtexec = Trtexec(tmp_path, capsys)
    assert trtexec(MODEL, "--frobnicate") == 1
    assert "[E] Unknown option: --frobnicate" in trtexec.err
    first, *_, last = trtexec.out.splitlines()
    assert (
        first == f"&&&& RUNNING TensorRT.trtexec [TensorRT v101600] # trtexec {MODEL} --frobnicate"
    )
    assert last == first.replace("RUNNING", "FAILED")
    assert help_text() in trtexec.out


@pytest.mark.parametrize("flags", [(), ("--help",), ("-h",), (MODEL, "--help")], ids=" ".join)
def test_help_passes(
    flags: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trtexec = Trtexec(tmp_path, capsys)
    assert trtexec(*flags) == 0
    assert "&&&& PASSED TensorRT.trtexec" in trtexec.out
    for flag in ALL_FLAGS.values():
        assert f"  {flag.name}" in trtexec.out
