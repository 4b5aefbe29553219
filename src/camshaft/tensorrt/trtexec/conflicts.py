"""What flags that are right each say wrong together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from camshaft.tensorrt.trtexec.flags.values import TYPES

_Values = Mapping[str, Any]
_TYPES = ("--fp16", "--bf16", "--int8", "--fp8", "--int4")
_OF_RUNS = (
    *("--exportTimes", "--exportOutput", "--exportProfile"),
    *("--saveDebugTensors", "--saveAllDebugTensors"),
    *("--dumpOutput", "--dumpProfile", "--dumpRawBindingsToFile"),
)
"""Flags that write or print what only an inference gives."""
_BY_TYPE = {
    TYPES["fp16"]: ("--fp16", "--best"),
    TYPES["bf16"]: ("--bf16", "--best"),
    TYPES["int8"]: ("--int8", "--best"),
}
"""Types that layers compute in only where a switch permits them -> these switches."""
REFITTABLE = ("--refit", "--stripWeights", "--stripAllWeights")
"""Switches of builds whose weights can be replaced."""


def conflicts(values: _Values) -> list[str]:
    """A line for each.  values: name of a flag -> its value, of those given."""
    if "--help" in values:
        return []
    parts = (_models, _types, _builds, _refits, _runs, _files)
    return [line for part in parts for line in part(values)]


def without_effect(values: _Values) -> dict[str, str]:
    """Flags that others leave without an effect -> why."""
    found: dict[str, str] = {}
    if "--stronglyTyped" in values:
        why = "--stronglyTyped takes types from the model"
        found |= {flag: why for flag in _TYPES if flag in values}
    stop = next((f for f in ("--skipInference", "--timeDeserialize") if f in values), None)
    if stop is not None:
        found |= {flag: f"{stop} stops before the inference" for flag in _OF_RUNS if flag in values}
    return found


def _models(values: _Values) -> Iterator[str]:
    if "--onnx" not in values and "--loadEngine" not in values:
        yield "no model: give --onnx=<file> or --loadEngine=<file>"
    if "--onnx" in values and "--loadEngine" in values:
        yield "--onnx and --loadEngine are both given; leave one out"
    if "--loadEngine" in values and "--saveEngine" in values:
        yield "--saveEngine saves what is built; leave it out beside --loadEngine"
    if "--getPlanVersionOnly" in values and "--loadEngine" not in values:
        yield "--getPlanVersionOnly needs --loadEngine=<file>"
    runtime = values.get("--useRuntime", "full")
    if runtime != "full" and "--loadEngine" not in values:
        yield f"--useRuntime={runtime} builds no engines; give --loadEngine"
    if runtime != "full" and "--timeRefit" in values:
        yield "--timeRefit needs --useRuntime=full"


def _types(values: _Values) -> Iterator[str]:
    if "--stronglyTyped" in values and "--best" in values:
        yield "--stronglyTyped takes types from the model; leave --best out"
    if "--fp8" in values and "--int8" in values:
        yield "--fp8 and --int8 are both given; leave one out"
    if "--calib" in values and not ("--int8" in values or "--best" in values):
        yield "--calib needs --int8 or --best"
    if values.get("--precisionConstraints") != "obey" or "--stronglyTyped" in values:
        return
    precisions = [(kind, "--layerPrecisions") for kind in _told(values, "--layerPrecisions")]
    outputs = _told(values, "--layerOutputTypes")
    asked = dict([*precisions, *((kind, "--layerOutputTypes") for of in outputs for kind in of)])
    for kind, flag in asked.items():
        permitting = _BY_TYPE.get(kind, ())
        if permitting and not any(f in values for f in permitting):
            name = permitting[0].removeprefix("--")
            yield f"{flag} asks for {name}, and --precisionConstraints=obey needs it permitted; add --{name}"


def _told(values: _Values, flag: str) -> list[Any]:
    return [*values.get(flag, {}).values()]


def _builds(values: _Values) -> Iterator[str]:
    if values.get("--useDLACore", -1) >= 0 and "--allowGPUFallback" not in values:
        yield f"--useDLACore={values['--useDLACore']}: there is no DLA; add --allowGPUFallback, or leave it out"
    if "--errorOnTimingCacheMiss" in values:
        if "--timingCacheFile" not in values:
            yield "--errorOnTimingCacheMiss needs --timingCacheFile=<file>"
        if "--noBuilderCache" in values:
            yield "--errorOnTimingCacheMiss and --noBuilderCache are both given; leave one out"
    if "--weightStreamingBudget" in values and "--allowWeightStreaming" not in values:
        yield "--weightStreamingBudget needs --allowWeightStreaming"


def _refits(values: _Values) -> Iterator[str]:
    is_refittable = any(flag in values for flag in REFITTABLE)
    if "--refitFromOnnx" in values and "--onnx" in values and not is_refittable:
        yield f"--refitFromOnnx needs an engine whose weights can be replaced; add one of {', '.join(REFITTABLE)}"


def _runs(values: _Values) -> Iterator[str]:
    if "--noDataTransfers" in values and "--includeDataTransfers" in values:
        yield "--noDataTransfers and --includeDataTransfers are both given"
    tolerances = [name for name in ("--atol", "--rtol") if name in values]
    if tolerances and values.get("--accuracyAlgorithm", "l0") != "l0":
        yield f"{' and '.join(tolerances)} belong to --accuracyAlgorithm=l0"


def _files(values: _Values) -> Iterator[str]:
    if "--loadRefOutputs" in values:
        if "--loadInputs" not in values:
            yield "--loadRefOutputs needs --loadInputs"
        if "--skipInference" in values:
            yield "--loadRefOutputs compares outputs of the inference; leave --skipInference out"
    if "--onnx" not in values:
        return
    marked = values.get("--markDebug", ())
    shows_any = marked or "--markUnfusedTensorsAsDebugTensors" in values
    if "--saveAllDebugTensors" in values and not shows_any:
        yield "--saveAllDebugTensors needs --markDebug or --markUnfusedTensorsAsDebugTensors"
    lost = [name for name in values.get("--saveDebugTensors", {}) if name not in marked]
    if lost:
        yield f"--saveDebugTensors: {', '.join(lost)} is not among the tensors of --markDebug; add it there"
