"""One build: the network as camshaft's engine, with the plan attached."""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from pathlib import Path

from camshaft.calibrated import run_with_calibrator
from camshaft.config import BuildConfig
from camshaft.errors import CalibrationError, ModelError
from camshaft.ir.script import Opaque
from camshaft.runtime.engine import Engine
from camshaft.session import BuildSession
from camshaft.tensorrt.building.algorithms import Selecting
from camshaft.tensorrt.building.calibrators import Adapter, IInt8Calibrator
from camshaft.tensorrt.building.config import IBuilderConfig
from camshaft.tensorrt.building.fused import graphs_of, tensors_left
from camshaft.tensorrt.building.options import Asked, asked
from camshaft.tensorrt.building.progress import Phases
from camshaft.tensorrt.building.ranges import in_floats
from camshaft.tensorrt.enums.builder import BuilderFlag
from camshaft.tensorrt.errors import Reports
from camshaft.tensorrt.kept import kept
from camshaft.tensorrt.network.definition import INetworkDefinition

_NEEDLESS = (re.compile("dynamic_ranges of .* is not used: "),)
"""Remarks that say nothing here: scripts set ranges of all tensors, needed or not."""
_FIXED = re.compile("refittable names ")
"""That a weight cannot be exchanged, which says something where it was marked for that."""
_MARKED = BuilderFlag.REFIT_INDIVIDUAL
_REJECT_EMPTY = BuilderFlag.REJECT_EMPTY_ALGORITHMS


def built(network: INetworkDefinition, config: IBuilderConfig, reports: Reports) -> Engine:
    """The engine.  CamshaftError for all that fails, Cancelled if the monitor says so."""
    lowered = network._lowered()
    wanted = asked(network, lowered, config, reports)
    monitor = kept(config, "progress_monitor", None)
    selector = kept(config, "algorithm_selector", None)
    selecting = None if selector is None else Selecting(selector, config._has(_REJECT_EMPTY))
    cache = config._cache if wanted.uses_cache else None
    with tempfile.TemporaryDirectory() as folder, Phases(monitor, reports) as phases:
        path = Path(folder) / "timing.json"
        if cache is not None:
            cache._write(path)
        has_file = cache is not None or wanted.frozen
        options = BuildConfig(
            **wanted.options,
            progress=phases,
            timing_cache=path if has_file else None,
            frozen_cache=wanted.frozen,
            select_kernels=selecting,
        )
        engine = _run(wanted, options, config, reports)
        if cache is not None and not wanted.frozen:
            cache._read(path)
    opaque = [name for name, type_ in engine.outputs.items() if isinstance(type_, Opaque)]
    if opaque:
        raise ModelError(f"output {opaque[0]!r} is no tensor, which TensorRT's API cannot give")
    if selecting is not None:
        selecting.report(engine.inspect()["steps"])
    wanted.plan.attach(engine)
    if wanted.plan.refittable and wanted.plan.held and not engine.refittable:
        reports.warning(
            "no weights of the engine can be exchanged: quantized ones cannot, nor those that decide what is computed"
        )
    elif wanted.plan.stripped and engine.refittable:
        return Engine.load(engine.to_bytes(strip_weights=True))
    return engine


def _run(wanted: Asked, options: BuildConfig, config: IBuilderConfig, reports: Reports) -> Engine:
    if not wanted.calibrates:
        session = BuildSession(wanted.model, options)
        engine = session.run()
    else:
        session, engine = _calibrated(wanted, options, config, reports)
    needless = _NEEDLESS if config._has(_MARKED) else (*_NEEDLESS, _FIXED)
    for remark in (*session.remarks, *session.hints):
        tell = reports.verbose if any(n.match(remark) for n in needless) else reports.warning
        tell(remark)
    reports.info(f"precision: {session.precision_summary}")
    for step in session.host_steps:
        reports.info(f"layer {step!r} runs in Python")
    return engine


def _calibrated(
    wanted: Asked, options: BuildConfig, config: IBuilderConfig, reports: Reports
) -> tuple[BuildSession, Engine]:
    """A cache that cannot be used is as none: then there are batches.  If there are none either, layers are INT8 as far as the cache goes."""
    theirs: IInt8Calibrator = config._kept["int8_calibrator"]
    calibrator = Adapter.of(
        theirs,
        wanted.batches,
        lambda: tensors_left(graphs_of(wanted.model, wanted.options)),
        reports,
    )
    try:
        return run_with_calibrator(wanted.model, options, calibrator)
    except CalibrationError as error:
        if not calibrator.has_cache:
            raise
        reports.warning(f"the calibration cache is not used: {error}")
    calibrator.without_cache = True
    try:
        return run_with_calibrator(wanted.model, options, calibrator)
    except CalibrationError as error:
        known = calibrator.cached_tensors()
        if calibrator.has_batches or not known:
            raise
        reports.warning(f"the calibration cache is used as far as it goes: {error}")
    calibrator.without_cache = False
    known |= wanted.options.get("dynamic_ranges", {}).keys()
    floats = in_floats(wanted.model, known, wanted.options, reports)
    return run_with_calibrator(wanted.model, replace(options, **floats), calibrator)
