"""What a portable engine carries: model, options, what calibration taught, and timings of each machine that built it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from camshaft.builder.tuning.timing_cache import TimingCache
from camshaft.config import BuildConfig
from camshaft.cpus import available_cpus
from camshaft.errors import CalibrationError, ConfigError, EngineFileError, TimingCacheError
from camshaft.machine.backend import machine_named, processor_words
from camshaft.portable.model import MODEL, whole_model
from camshaft.quant.calibration.record import CalibrationRecord
from camshaft.runtime.loading import PORTABLE_MACHINE

_OPTIONS, _RECORD = "portable options", "portable calibration"
_TIMINGS = "portable timings"
_NOT_KEPT = ("progress", "select_kernels", "calibration_cache", "timing_cache", "frozen_cache")
"""Options that are about one build."""


@dataclass(frozen=True)
class Parts:
    """model: bytes of an ONNX file.  record: None where calibration taught nothing.  machine: what the engine's code is for;
    processor: in words."""

    model: bytes
    config: BuildConfig
    record: CalibrationRecord | None
    timings: TimingCache
    machine: str
    processor: str


def refuse_for_portable(model: Any, config: BuildConfig, *, demanded: bool = False) -> None:
    """ConfigError for builds that cannot be repeated from a file.  demanded: whether accuracy is."""
    if not config.portable:
        return
    if demanded:
        raise ConfigError(
            "portable=True is for build: what quantize finds by judging answers cannot be found again without its data"
        )
    if config.select_kernels is not None:
        raise ConfigError(
            "portable=True beside select_kernels, a function, which a file cannot hold: leave one out"
        )
    if hasattr(model, "digest"):
        raise ConfigError(
            "portable=True is for ONNX models and Networks, and this is a PyTorch module: export it to ONNX, or leave it out"
        )


def carried(
    model: Any,
    config: BuildConfig,
    timings: TimingCache,
    record: CalibrationRecord | None,
    *,
    calibrated: bool,
) -> dict[str, bytes]:
    """What to attach to an engine of a model.  calibrated: whether the build had calibration data or ranges.

    ConfigError for a calibrated model of several graphs, or one that is too large.
    """
    if calibrated and record is None:
        raise ConfigError(
            "portable=True keeps the calibration of a model that is one graph, and this one is several (a branch, a loop, or "
            "a shape that hangs on data): leave portable out"
        )
    kept = record if calibrated else None
    machine = machine_named(config.target), processor_words()
    return to_bytes(Parts(whole_model(model), config, kept, timings, *machine))


def to_bytes(parts: Parts) -> dict[str, bytes]:
    """What is attached to the engine, by name."""
    made = {
        MODEL: parts.model,
        _OPTIONS: json.dumps(_options(parts.config)).encode(),
        _TIMINGS: parts.timings.text(indent=None).encode(),
        PORTABLE_MACHINE: json.dumps([parts.machine, parts.processor]).encode(),
    }
    if parts.record is not None:
        made[_RECORD] = json.dumps(parts.record.to_json()).encode()
    return made


def machine_in(attached: Mapping[str, bytes], title: str) -> tuple[str, str]:
    """The machine that the engine's code is for, and its processor in words.  EngineFileError where it is malformed."""
    try:
        machine, processor = json.loads(attached[PORTABLE_MACHINE])
    except (ValueError, TypeError) as error:
        raise _malformed(title, error) from error
    return str(machine), str(processor)


def parts_of(attached: Mapping[str, bytes], title: str) -> Parts:
    """Inverse of `to_bytes`.  EngineFileError where it is malformed."""
    try:
        record = None
        if _RECORD in attached:
            record = CalibrationRecord.of_json(json.loads(attached[_RECORD]))
        timings = TimingCache.parsed(attached[_TIMINGS].decode(), Path(title))
        config = BuildConfig.of(None, _given(json.loads(attached[_OPTIONS])))
        return Parts(attached[MODEL], config, record, timings, *machine_in(attached, title))
    except (
        ValueError,
        KeyError,
        TypeError,
        CalibrationError,
        ConfigError,
        TimingCacheError,
    ) as error:
        raise _malformed(title, error) from error


def _malformed(title: str, error: Exception) -> EngineFileError:
    return EngineFileError(
        f"{title}: what it was built from is malformed ({error!s:.200}); build it again"
    )


def _options(config: BuildConfig) -> dict[str, Any]:
    """Options other than defaults, as JSON types."""
    default = BuildConfig()
    said = {
        f.name: getattr(config, f.name)
        for f in fields(BuildConfig)
        if f.name not in _NOT_KEPT and getattr(config, f.name) != getattr(default, f.name)
    }
    if said.get("threads") == available_cpus():
        del said["threads"]  # as many as the machine has
    return {name: _plain(value) for name, value in said.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, Set):
        return sorted(value)
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value


def _given(data: Mapping[str, Any]) -> dict[str, Any]:
    """Options as a build takes them."""
    ranges = data.get("dynamic_ranges", {})
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in ranges.items()}
    return {**data, "dynamic_ranges": given}
