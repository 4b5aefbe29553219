"""Every error camshaft raises on purpose.

They share one root, so that a caller can catch them all without catching programming mistakes.  A
message names the culprit (node, tensor, file, argument) and the fix. This module imports nothing,
so any layer may use it.
"""

from __future__ import annotations


class CamshaftError(Exception):
    """Root of all deliberate errors."""


class ModelError(CamshaftError):
    """The model is broken, unsupported or inconsistent.  Names the node or tensor."""


class PeerError(ModelError):
    """Another runtime cannot load or run the model.  peer: its name."""

    def __init__(self, message: str, peer: str = "") -> None:
        super().__init__(message)
        self.peer = peer


class ConfigError(CamshaftError, ValueError):
    """A build or run option is wrong or contradicts another.  Names the option."""


class RefitError(ConfigError):
    """A weight cannot be exchanged in an engine.  Names the weight."""


class CalibrationError(CamshaftError):
    """Calibration data, ranges or a calibration cache do not fit the model."""


class BuildError(CamshaftError):
    """A step could not be built (no tactic, a wrong kernel, workspace over the limit, ...)."""


class TimingCacheError(BuildError):
    """A timing cache file is unreadable, or a frozen cache lacks an entry."""


class EngineFileError(CamshaftError):
    """An engine file is empty, truncated, tampered with, or made for something else."""


class BindingError(CamshaftError, ValueError):
    """An array given to an engine has the wrong name, dtype, shape, layout or content."""


class ShapeError(BindingError):
    """An array's shape is not what the engine takes, or its sizes lie outside the declared range."""
