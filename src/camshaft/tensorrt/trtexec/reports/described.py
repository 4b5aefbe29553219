"""What was asked for, and the device, as sections of `key: value` lines, which other programs read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from camshaft.cpus import available_cpus
from camshaft.tensorrt.standins.device import COMPUTE_CAPABILITY, memory_sizes, name
from camshaft.tensorrt.trtexec.flags.values import MIB, TYPES
from camshaft.tensorrt.trtexec.parsing import Options
from camshaft.tensorrt.trtexec.shapes import said

_PRECISIONS = ("fp16", "bf16", "int8", "fp8", "int4")
_TYPE_NAMES = {kind: word for word, kind in TYPES.items()}


def sections(options: Options) -> str:
    """All sections of options, an empty line behind each."""
    parts = [
        _section(
            "Model Options",
            [
                ("Format", "ONNX" if options["onnx"] else "*"),
                ("Model", options["onnx"]),
                ("Output", ""),
            ],
        ),
        *([_section("Build Options", _build(options))] if options["loadEngine"] is None else []),
        _section(
            "System Options",
            [("Device", 0), ("DLACore", options["useDLACore"]), ("Loaded static plugins", "")],
        ),
        _section("Inference Options", _inference(options)),
        _section("Reporting Options", _reporting(options)),
    ]
    return "\n\n".join(parts) + "\n"


def device() -> str:
    """The section of the device, which is the CPU."""
    own = f'"{name()}"'
    return _section(
        "Device Information",
        [
            ("Available Devices", ""),
            ("  Device 0", own),
            ("Selected Device", name()),
            ("Selected Device ID", 0),
            ("Compute Capability", ".".join(map(str, COMPUTE_CAPABILITY))),
            ("SMs", available_cpus()),
            ("Device Global Memory", f"{memory_sizes()[1] // MIB} MiB"),
        ],
    )


def _section(title: str, rows: Any) -> str:
    lines = (f"{key}: {'' if value is None else value}" for key, value in rows)
    return "\n".join([f"=== {title} ===", *lines])


def _enabled(value: Any) -> str:
    return "Enabled" if value else "Disabled"


def _build(options: Options) -> Iterator[tuple[str, Any]]:
    pools = dict(options["memPoolSize"] or {})
    if options["workspace"] is not None:
        pools["workspace"] = options["workspace"]
    sizes = [f"{pool}: {size / MIB:g} MiB" for pool, size in pools.items()]
    yield "Memory Pools", ", ".join(sizes) or "default"
    yield "Precision", _precision(options)
    yield "LayerPrecisions", _named(options["layerPrecisions"])
    yield (
        "Calibration",
        options["calib"] or ("Dynamic" if options["int8"] or options["best"] else ""),
    )
    yield "Refit", _enabled(options["refit"] or options["stripAllWeights"])
    yield "Strip weights", _enabled(options["stripWeights"] or options["stripAllWeights"])
    yield "Version Compatible", _enabled(options["versionCompatible"])
    yield "Sparsity", f"{options['sparsity'].capitalize()}d"
    yield "Safe mode", _enabled(False)
    yield "DirectIO mode", _enabled(options["directIO"])
    yield "Skip inference", _enabled(options["skipInference"])
    yield "Save engine", options["saveEngine"]
    yield "Load engine", ""
    yield "Profiling verbosity", options["nvtxMode"] or options["profilingVerbosity"]
    yield (
        "timingCacheMode",
        "disable"
        if options["noBuilderCache"]
        else "local"
        if options["timingCacheFile"] is None
        else "global",
    )
    yield "timingCacheFile", options["timingCacheFile"]
    yield "errorOnTimingCacheMiss", _enabled(options["errorOnTimingCacheMiss"])
    unfused = options["markUnfusedTensorsAsDebugTensors"]
    yield "Mark Unfused Tensors As Debug Tensors", _enabled(unfused)
    yield "BuilderOptimizationLevel", options["builderOptimizationLevel"]
    yield from _formats("Input", options["inputIOFormats"])
    yield from _formats("Output", options["outputIOFormats"])
    if not any(options.profiles):
        yield "Input build shapes", "model"
    for number, profile in enumerate(options.profiles):
        for tensor, triple in profile.items():
            yield f"Input build shape (profile {number})", f"{tensor}={'+'.join(map(said, triple))}"


def _precision(options: Options) -> str:
    if options["stronglyTyped"]:
        return "Strongly Typed"
    best = options["best"]
    permitted = [p for p in _PRECISIONS if options[p] or (best and p in ("fp16", "bf16", "int8"))]
    constraints = options["precisionConstraints"]
    words = "+".join(["FP32", *(p.upper() for p in permitted)])
    return words if constraints == "none" else f"{words} ({constraints} precision constraints)"


def _named(told: Any) -> str:
    return ",".join(f"{layer}={_TYPE_NAMES[kind]}" for layer, kind in (told or {}).items())


def _formats(side: str, formats: Any) -> Iterator[tuple[str, Any]]:
    if formats is None:
        yield f"{side}(s)s format", "as the model has them"
    for kind, _ in formats or ():
        yield f"{side}(s)", _TYPE_NAMES[kind]


def _inference(options: Options) -> Iterator[tuple[str, Any]]:
    yield "Batch", "Explicit"
    if not options["shapes"]:
        yield "Input inference shapes", "model"
    for tensor, shape in (options["shapes"] or {}).items():
        yield "Input inference shape", f"{tensor}={said(shape)}"
    yield "Iterations", options["iterations"]
    yield "Duration", f"{options['duration']:g}s (+ {options['warmUp']:g}ms warm up)"
    yield "Sleep time", f"{options['sleepTime']:g}ms"
    yield "Idle time", f"{options['idleTime']:g}ms"
    yield "Inference Streams", options["infStreams"]
    yield "ExposeDMA", _enabled(options["exposeDMA"])
    yield "Data transfers", _enabled(transfers(options))
    yield "Spin-wait", _enabled(options["useSpinWait"])
    yield "Multithreading", _enabled(options["threads"])
    yield "CUDA Graph", _enabled(options["useCudaGraph"])
    yield "Separate profiling", _enabled(options["separateProfileRun"])
    yield "Time Deserialize", _enabled(options["timeDeserialize"])
    yield "Time Refit", _enabled(options["timeRefit"])
    yield "Optimization Profile Index", options["useProfile"]
    files = [f"{tensor}<-{path}" for tensor, path in (options["loadInputs"] or {}).items()]
    yield "Inputs", ", ".join(files)
    formats = options["saveAllDebugTensors"] or ()
    yield "Dump All Debug Tensor in Formats", ",".join(formats)


def _reporting(options: Options) -> Iterator[tuple[str, Any]]:
    yield "Verbose", _enabled(options["verbose"])
    yield "Averages", f"{options['avgRuns']} inferences"
    yield "Percentiles", ",".join(f"{p:g}" for p in options["percentile"])
    yield "Dump refittable layers", _enabled(options["dumpRefit"])
    yield "Dump output", _enabled(options["dumpOutput"])
    yield "Profile", _enabled(options["dumpProfile"])
    yield "Export timing to JSON file", options["exportTimes"]
    yield "Export output to JSON file", options["exportOutput"]
    yield "Export profile to JSON file", options["exportProfile"]


def transfers(options: Options) -> bool:
    """Whether inputs and outputs are copied around each call, which 11 does only where it is asked."""
    return (
        bool(options["includeDataTransfers"]) if options.is_11 else not options["noDataTransfers"]
    )
