"""camshaft: an inference optimizer and runtime.

    import camshaft

    engine = camshaft.build("model.onnx", precision={"int8"}, calibration=batches)
    outputs = engine({"x": image})
    engine.save("model.engine")
    engine = camshaft.load("model.engine")

Names are imported when they are first used, so that `import camshaft` and running a finished
engine stay cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from camshaft.errors import (
    BindingError,
    BuildError,
    CalibrationError,
    CamshaftError,
    ConfigError,
    EngineFileError,
    ModelError,
    PeerError,
    RefitError,
    ShapeError,
    TimingCacheError,
)
from camshaft.version import VERSION as __version__

if TYPE_CHECKING:
    from camshaft.accuracy.quantize import Quantized, quantize
    from camshaft.api import build
    from camshaft.config import BuildConfig
    from camshaft.ir.plugins.plugin import Plugin, plugin
    from camshaft.machine.hardware import Hardware, hardware
    from camshaft.network.network import Network
    from camshaft.quant.calibration.calibrators import (
        Calibrator,
        EntropyCalibrator,
        EntropyCalibrator2,
        LegacyCalibrator,
        MinMaxCalibrator,
        MSECalibrator,
        PercentileCalibrator,
    )
    from camshaft.runtime.context import ExecutionContext
    from camshaft.runtime.engine import Engine
    from camshaft.runtime.loading import load
    from camshaft.runtime.sharing import share_weights
    from camshaft.runtime.streams.pool import StreamPool
    from camshaft.runtime.streams.stream import Stream

_CALIBRATORS = (
    "Calibrator",
    "EntropyCalibrator",
    "EntropyCalibrator2",
    "LegacyCalibrator",
    "MSECalibrator",
    "MinMaxCalibrator",
    "PercentileCalibrator",
)

_LATE = {
    **dict.fromkeys(_CALIBRATORS, "camshaft.quant.calibration.calibrators"),
    "build": "camshaft.api",
    "load": "camshaft.runtime.loading",
    "share_weights": "camshaft.runtime.sharing",
    "BuildConfig": "camshaft.config",
    "Engine": "camshaft.runtime.engine",
    "ExecutionContext": "camshaft.runtime.context",
    "Hardware": "camshaft.machine.hardware",
    "Stream": "camshaft.runtime.streams.stream",
    "StreamPool": "camshaft.runtime.streams.pool",
    "Network": "camshaft.network.network",
    "hardware": "camshaft.machine.hardware",
    "Plugin": "camshaft.ir.plugins.plugin",
    "plugin": "camshaft.ir.plugins.plugin",
    "Quantized": "camshaft.accuracy.quantize",
    "quantize": "camshaft.accuracy.quantize",
}

__all__ = [
    "BindingError",
    "BuildConfig",
    "BuildError",
    "CalibrationError",
    "Calibrator",
    "CamshaftError",
    "ConfigError",
    "Engine",
    "EngineFileError",
    "EntropyCalibrator",
    "EntropyCalibrator2",
    "ExecutionContext",
    "Hardware",
    "LegacyCalibrator",
    "MSECalibrator",
    "MinMaxCalibrator",
    "ModelError",
    "Network",
    "PeerError",
    "PercentileCalibrator",
    "Plugin",
    "Quantized",
    "RefitError",
    "ShapeError",
    "Stream",
    "StreamPool",
    "TimingCacheError",
    "__version__",
    "build",
    "hardware",
    "load",
    "plugin",
    "quantize",
    "share_weights",
]


def __getattr__(name: str) -> Any:
    module = _LATE.get(name)
    if module is None:
        raise AttributeError(f"module 'camshaft' has no attribute {name!r}")
    return getattr(importlib.import_module(module), name)


def __dir__() -> list[str]:
    return __all__
