"""Builds whose calibration data and cache of ranges are a user's `Calibrator`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import Any

from camshaft.accuracy.demand import Demand
from camshaft.atomic import write_atomically
from camshaft.builder.tuning.tuner import Select
from camshaft.config import CALIBRATORS, BuildConfig
from camshaft.errors import CalibrationError, ConfigError
from camshaft.quant.calibration.calibrators import Calibrator, batches_of
from camshaft.runtime.engine import Engine
from camshaft.session import BuildSession


def run_with_calibrator(
    model: Any,
    config: BuildConfig,
    calibrator: Calibrator,
    demand: Demand | None = None,
    select: Select | None = None,
) -> tuple[BuildSession, Engine]:
    """The build, done, and its engine.  Ranges that the calibrator kept are used in place of its batches; those that
    its batches give are handed to it.  A model with a script, which has no one cache, asks for batches alone."""
    config = _configured(config, calibrator)
    name = type(calibrator).__name__
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ranges.cache"
        session = BuildSession(model, config)
        session.demand, session.select = demand, select
        names = [t.name for t in session.import_model().inputs]
        one_graph = session.whole is not None and session.whole.script is None
        keeps = one_graph and "int8" in config.precision
        kept = _kept(calibrator) if keeps else b""
        if kept:
            write_atomically(path, kept)
        else:
            session.calibration = batches_of(calibrator, names)
        if keeps:
            session.config = replace(config, calibration_cache=path)
        try:
            engine = session.run()
        except (CalibrationError, ConfigError) as error:
            raise type(error)(_without_cache(str(error), str(path), name)) from error
        finally:
            session.config = config
        if not kept and path.exists():
            calibrator.write_calibration_cache(path.read_bytes())
    return session, engine


def _without_cache(text: str, path: str, name: str) -> str:
    """An error's text without an option that the user did not give."""
    for said in ("calibration and calibration_cache given", "calibration_cache given"):
        text = text.replace(said, f"calibration={name} given")
    return text.replace(path, f"from {name}")


def _configured(config: BuildConfig, calibrator: Calibrator) -> BuildConfig:
    """The options with the calibrator's algorithm."""
    name, algorithm = type(calibrator).__name__, calibrator.get_algorithm()
    if algorithm not in CALIBRATORS:
        raise ConfigError(
            f"{name}.get_algorithm gave {algorithm!r}; there is {', '.join(CALIBRATORS)}"
        )
    if config.calibration_cache is not None:
        raise ConfigError(
            f"calibration_cache beside {name}, which keeps its ranges itself; leave it out, or override "
            "read_calibration_cache and write_calibration_cache"
        )
    if config.calibrator not in ("auto", algorithm):
        raise ConfigError(
            f"calibrator={config.calibrator!r} beside {name}, whose algorithm is {algorithm!r}; leave one out"
        )
    chosen: Mapping[str, Any] = {"calibrator": algorithm}
    percentile = calibrator.get_percentile()
    if percentile is not None:
        if not isinstance(percentile, Real) or not 0 < percentile <= 100:
            raise CalibrationError(
                f"{name}.get_percentile gave {percentile!r}; give a number above 0, 100 at most, or None"
            )
        if config.percentile not in (BuildConfig.percentile, percentile):
            raise ConfigError(
                f"percentile={config.percentile} beside {name}, whose percentile is {percentile}; leave one out"
            )
        chosen = {**chosen, "percentile": percentile}
    return BuildConfig.of(config, dict(chosen))


def _kept(calibrator: Calibrator) -> bytes:
    """The ranges of an earlier build; b"": none."""
    cache = calibrator.read_calibration_cache()
    if cache is None:
        return b""
    if not isinstance(cache, bytes | bytearray | memoryview):
        raise CalibrationError(
            f"{type(calibrator).__name__}.read_calibration_cache gave {type(cache).__name__}; give the bytes that "
            "write_calibration_cache was given, or None"
        )
    return bytes(cache)
