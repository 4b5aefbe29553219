"""Flags of the inference, and of what is reported."""

from __future__ import annotations

from camshaft.tensorrt.trtexec.flags.build import ALL, SINCE_10
from camshaft.tensorrt.trtexec.flags.flag import Flag, kept, refused
from camshaft.tensorrt.trtexec.flags.values import (
    amount,
    choice,
    choices,
    count,
    duration,
    named,
    percentages,
    text,
)

_GRAPH = "calls run prepared machine code, as graphs do"
_WAIT = "calls are done when they return"

INFERENCE = (
    Flag(
        "--loadInputs",
        ALL,
        "elements of inputs, as raw bytes in files; others are random",
        named(text),
        "name:<file>,...",
    ),
    Flag("--iterations", ALL, "calls to time, at least", count(0), "<count>", default=10),
    Flag(
        "--duration",
        ALL,
        "seconds to time, at least; -1: until it is interrupted",
        duration,
        "<seconds>",
        default=3.0,
    ),
    Flag(
        "--warmUp",
        ALL,
        "milliseconds of calls before those that count",
        amount,
        "<ms>",
        default=200.0,
    ),
    Flag(
        "--sleepTime",
        ALL,
        "milliseconds to wait before the first call",
        amount,
        "<ms>",
        default=0.0,
    ),
    Flag("--idleTime", ALL, "milliseconds to wait between calls", amount, "<ms>", default=0.0),
    Flag(
        "--infStreams",
        ALL,
        "contexts that run, each with tensors of its own",
        count(1),
        "<count>",
        default=1,
        others=("--streams",),
    ),
    Flag("--threads", ALL, "a thread for each of --infStreams, so that they run at once"),
    Flag(
        "--useProfile", SINCE_10, "optimization profile to run with", count(0), "<index>", default=0
    ),
    Flag("--noDataTransfers", ALL, "inputs and outputs are not copied around each call"),
    Flag(
        "--includeDataTransfers",
        "11",
        "inputs and outputs are copied around each call, which 11 does not do else",
    ),
    kept("--exposeDMA", ALL, "copies and calls follow each other anyway"),
    kept("--useManagedMemory", ALL, "memory is the host's"),
    kept("--useCudaGraph", ALL, _GRAPH),
    kept("--noCudaGraph", "11", _GRAPH),
    kept("--useSpinWait", ALL, _WAIT),
    kept("--noSpinWait", "11", _WAIT),
    Flag("--separateProfileRun", ALL, "time layers in a second run, and calls in the first"),
    Flag("--timeDeserialize", ALL, "time how long reading the engine takes, and stop"),
    Flag(
        "--refitFromOnnx",
        SINCE_10,
        "give the engine the weights of this model before it runs",
        text,
        "<file>",
    ),
    Flag("--timeRefit", ALL, "time how long giving the engine the weights of --onnx takes"),
    Flag(
        "--allocationStrategy",
        SINCE_10,
        "how contexts get memory",
        choice("static", "profile", "runtime"),
        "static|profile|runtime",
    ),
    Flag(
        "--saveDebugTensors",
        SINCE_10,
        "write tensors of --markDebug as raw bytes",
        named(text),
        "name:<file>,...",
    ),
    Flag(
        "--saveAllDebugTensors",
        SINCE_10,
        "write all tensors of --markDebug and --markUnfusedTensorsAsDebugTensors to files of the current folder",
        choices("summary", "numpy", "string", "raw"),
        "summary|numpy|string|raw,...",
    ),
    Flag(
        "--loadRefOutputs",
        "11",
        "outputs to compare with, as raw bytes in files; needs --loadInputs",
        named(text),
        "name:<file>,...",
    ),
    Flag(
        "--accuracyAlgorithm",
        "11",
        "how far outputs are off: share of elements, mean of differences, of squares, largest, 1 - cosine",
        choice("l0", "l1", "l2", "lInf", "cos"),
        "l0|l1|l2|lInf|cos",
        default="l0",
    ),
    Flag("--atol", "11", "tolerance of l0", amount, "<number>", default=1e-5),
    Flag("--rtol", "11", "relative tolerance of l0", amount, "<number>", default=1e-5),
    Flag(
        "--accuracyThreshold",
        "11",
        "outputs that are as far off fail; 0: none",
        amount,
        "<number>",
        default=0.0,
    ),
    *refused("refPair", "11", "one pair of --loadInputs and --loadRefOutputs is compared"),
)

REPORTING = (
    Flag("--verbose", ALL, "more lines", others=("-v",)),
    Flag(
        "--avgRuns", ALL, "calls in each average that is printed", count(1), "<count>", default=10
    ),
    Flag(
        "--percentile",
        ALL,
        "percentages of calls whose time is printed",
        percentages,
        "90,95,...",
        default=(90.0, 95.0, 99.0),
    ),
    Flag("--dumpRefit", ALL, "print which weights of which layers can be replaced"),
    Flag("--dumpOutput", ALL, "print outputs of the last call"),
    Flag(
        "--dumpRawBindingsToFile",
        ALL,
        "write inputs and outputs of the last call as raw bytes, in files of the current folder",
    ),
    Flag("--dumpProfile", ALL, "print times of layers"),
    Flag("--dumpLayerInfo", ALL, "print what layers there are"),
    Flag("--dumpOptimizationProfile", SINCE_10, "print shapes of optimization profiles"),
    Flag("--exportTimes", ALL, "write times of all calls as JSON", text, "<file>"),
    Flag("--exportOutput", ALL, "write outputs of the last call as JSON", text, "<file>"),
    Flag("--exportProfile", ALL, "write times of layers as JSON", text, "<file>"),
    Flag("--exportLayerInfo", ALL, "write what layers there are as JSON", text, "<file>"),
    Flag("--help", ALL, "print this", others=("-h",)),
)
