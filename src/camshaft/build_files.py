"""Files that a build reads and writes: the model's, and the caches."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from camshaft.atomic import check_writable, same_file
from camshaft.builder.tuning.timing_cache import TimingCache, unwritable
from camshaft.config import BuildConfig
from camshaft.errors import ConfigError
from camshaft.frontends.onnx import Imported, import_model
from camshaft.quant.calibration.cache import unwritable_cache


def check_files(model: Any, config: BuildConfig, *, calibrates: bool) -> None:
    """Refuse files that cannot be written now, not after the work whose results they are for."""
    timings, ranges = config.timing_cache, config.calibration_cache
    _keep_apart(model, timings, ranges)
    if timings is not None and not config.frozen_cache:
        try:
            check_writable(timings)
        except OSError as error:
            raise unwritable(timings, error) from error
    if ranges is not None and calibrates:
        try:
            check_writable(ranges)
        except OSError as error:
            raise unwritable_cache(ranges, error) from error


def _keep_apart(model: Any, timings: Path | None, ranges: Path | None) -> None:
    """ConfigError if a cache is the model's file, or both caches are one file."""
    named = {"timing_cache": timings, "calibration_cache": ranges}
    if isinstance(model, str | os.PathLike):
        named = {"the model": Path(model), **named}
    files = [(name, path) for name, path in named.items() if path is not None]
    for (first, one), (second, other) in combinations(files, 2):
        if same_file(one, other):
            raise ConfigError(
                f"{second} is {str(other)!r}, the file of {first}; choose another file"
            )


def timings_of(config: BuildConfig) -> TimingCache:
    """The timing cache that a build begins with.  Errors as in `TimingCache.load`."""
    path = config.timing_cache
    if path is None or not (path.exists() or config.frozen_cache):
        return TimingCache()
    return TimingCache.load(path)


def model_hash(model: Any) -> str:
    """SHA-256 of a model: of its file, its bytes or its proto."""
    if isinstance(model, Imported):
        return model.digest
    if isinstance(model, str | os.PathLike):
        with Path(model).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if isinstance(model, bytes | bytearray | memoryview):
        data = bytes(model)
    else:
        data = model.SerializeToString(deterministic=True)
    return hashlib.sha256(data).hexdigest()


def read_model(
    model: Any,
    config: BuildConfig,
    typical: Mapping[str, Sequence[int]],
    typical_elements: Mapping[str, Sequence[int]],
) -> Imported:
    """A model as graphs.  typical, typical_elements: as of `BuildSession`."""
    if isinstance(model, Imported):
        return as_imported(model, config)
    return import_model(
        model,
        shapes=config.shapes,
        profiles=config.profiles,
        typical=typical,
        typical_elements=typical_elements,
        values=config.values,
        state=config.state,
        typed=config.strongly_typed,
        refittable=config.refittable,
    )


def as_imported(model: Imported, config: BuildConfig) -> Imported:
    """A model that was read elsewhere.  ConfigError for options that say how an ONNX model is read."""
    for name in ("shapes", "profiles", "values", "state", "strongly_typed"):
        if getattr(config, name):
            raise ConfigError(
                f"{name}= is for ONNX models; what varies of a PyTorch model is said to torch.export (dynamic_shapes=)"
            )
    return model
