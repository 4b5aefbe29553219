"""The public function `build`; `load` is in `runtime.engine`."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from camshaft.calibrated import run_with_calibrator
from camshaft.config import BuildConfig
from camshaft.errors import CalibrationError
from camshaft.quant.calibration.calibrators import Calibrator
from camshaft.runtime.engine import Engine
from camshaft.session import BuildSession


def build(
    model: Any,
    config: BuildConfig | None = None,
    *,
    calibration: Iterable[Mapping[str, np.ndarray]] | Calibrator | None = None,
    **options: Any,
) -> Engine:
    """Build an engine from a model.

    model: path of an ONNX file, its bytes, an onnx.ModelProto, or a `Network`.
    config, options: a `BuildConfig`, keyword options that fill or override one, or both.
    calibration: batches of {input name: array} as the model takes them; needed for INT8 unless the
        model holds Q/DQ nodes, or ranges come from a calibration cache or `dynamic_ranges`.  Or a `Calibrator`,
        which has batches, an algorithm, and a place for ranges.

    Warns (UserWarning) of sizes that were asked for and that the model does not take, of sizes that
    a branch restricts which a value would leave out, of a calibration cache that is neither read nor written
    because no layer takes ranges, of what `precision_constraints="prefer"` asks of layers that cannot be, and of two names of what may be one size where that keeps a step from having
    a kernel.
    Raises ModelError (the model), ConfigError (an option), CalibrationError (the data or
    ranges), BuildError and TimingCacheError (the build).
    """
    config = BuildConfig.of(config, options)
    if isinstance(calibration, type) and issubclass(calibration, Calibrator):
        name = calibration.__name__
        raise CalibrationError(f"calibration is the class {name}; give an object: {name}()")
    if isinstance(calibration, Calibrator):
        session, engine = run_with_calibrator(model, config, calibration)
    else:
        session = BuildSession(model, config, calibration)
        engine = session.run()
    for remark in (*session.remarks, *session.hints):
        warnings.warn(remark, stacklevel=2)
    return engine
