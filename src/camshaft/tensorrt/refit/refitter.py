"""`Refitter`: other weights for an engine that is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import nan
from typing import Any

import numpy as np

from camshaft.errors import ConfigError, RefitError
from camshaft.tensorrt.enums.data import TensorLocation, WeightsRole
from camshaft.tensorrt.errors import Reporting, Reports, reported
from camshaft.tensorrt.kept import Kept, kept
from camshaft.tensorrt.logger import ILogger
from camshaft.tensorrt.network.params import flag, member, text, whole
from camshaft.tensorrt.objects import common_enter, common_exit
from camshaft.tensorrt.refit.holdings import Holdings
from camshaft.tensorrt.running.engine import ICudaEngine
from camshaft.tensorrt.weights import Weights, weights_of

_role, _location = member(WeightsRole), member(TensorLocation)
_HOST = TensorLocation.HOST


def _threads(value: Any, name: str) -> int:
    if whole(value, name) < 1:
        raise ValueError(f"{name}={value} must be at least 1")
    return whole(value, name)


class Refitter(Reporting):
    """Exchanges weights of an engine; its contexts use them from their next call on.

    Weights stay set until `unset_named_weights`: every refit reads them anew, where they lie.
    """

    __enter__ = common_enter
    __exit__ = common_exit

    def __init__(self, engine: ICudaEngine, logger: ILogger) -> None:
        """TypeError, after a line in the log, for an engine that was built without a flag for refits."""
        self._reports = Reports(logger)
        if not isinstance(engine, ICudaEngine):
            raise TypeError(f"engine={engine!r} is no ICudaEngine")
        if not engine.refittable:
            raise self._reports.refusal(
                "the engine is not refittable; build it with BuilderFlag.REFIT or STRIP_PLAN"
            )
        self._engine = engine._engine
        self._holdings = Holdings(self._engine, engine._plan)
        self._given: dict[str, tuple[Weights, TensorLocation]] = {}
        self._kept: dict[str, Any] = {}

    error_recorder = Reporting.error_recorder
    max_threads = Kept(_threads, 1, "Kept: the arithmetic of a refit has threads of its own.")
    weights_validation = Kept(
        flag, True, "Whether refits warn of weights that are, or become, infinite or no numbers."
    )

    @property
    def logger(self) -> ILogger:
        """The logger."""
        return self._reports.logger

    # -- what there is -----------------------------------------------------------------------------

    def get_all(self) -> tuple[list[str], list[WeightsRole]]:
        """Layers and roles of all weights that can be exchanged."""
        return _apart(self._holdings.places(self._holdings.names))

    def get_all_weights(self) -> list[str]:
        """Names of all weights that can be exchanged."""
        return self._holdings.names

    def get_missing(self) -> tuple[list[str], list[WeightsRole]]:
        """Layers and roles of weights that a refit needs besides those that are set."""
        return _apart(self._holdings.places(self._holdings.missing(self._given)))

    def get_missing_weights(self) -> list[str]:
        """Names of weights that a refit needs besides those that are set: partners in one constant, or all of a stripped engine."""
        return self._holdings.missing(self._given)

    @reported(None)
    def get_weights_prototype(self, weights_name: str) -> Weights:
        """Type and count of weights, without elements.  None, and an error, for a name that is none."""
        return self._holdings.prototype(text(weights_name, "weights_name"))

    # -- what is set -------------------------------------------------------------------------------

    @reported(False)
    def set_weights(self, layer_name: str, role: WeightsRole, weights: Any) -> bool:
        """Set a layer's weights; False, and an error, if it has none of the role, or of another type or count."""
        name = self._holdings.name_at(text(layer_name, "layer_name"), _role(role, "role"))
        return self._set(name, weights, _HOST)

    @reported(False)
    def set_named_weights(self, name: str, weights: Any, location: TensorLocation = _HOST) -> bool:
        """Set weights by their name; False, and an error, if there are none, or of another type or count."""
        return self._set(text(name, "name"), weights, _location(location, "location"))

    def _set(self, name: str, weights: Any, location: TensorLocation) -> bool:
        held = weights_of(weights, "weights")
        self._holdings.check(name, held)
        self._given[name] = held, location
        return True

    @reported(None)
    def get_named_weights(self, weights_name: str) -> Weights:
        """The weights that were set.  None, and an error, if there are none."""
        return self._is_set(weights_name)[0]

    @reported(_HOST)
    def get_weights_location(self, weights_name: str) -> TensorLocation:
        """Where the weights that were set are said to lie.  HOST, and an error, if there are none."""
        return self._is_set(weights_name)[1]

    @reported(False)
    def unset_named_weights(self, weights_name: str) -> bool:
        """Forget weights that were set; False, and an error, if there are none."""
        self._is_set(weights_name)
        del self._given[weights_name]
        return True

    def _is_set(self, name: str) -> tuple[Weights, TensorLocation]:
        if text(name, "weights_name") not in self._given:
            raise RefitError(f"no weights are set for {name!r}; call set_named_weights")
        return self._given[name]

    # -- refits ------------------------------------------------------------------------------------

    @reported(False)
    def refit_cuda_engine(self) -> bool:
        """Let the engine have the weights that are set; False, and an error, if others are missing."""
        return self._refit()

    @reported(False)
    def refit_cuda_engine_async(self, stream_handle: Any) -> bool:
        """As `refit_cuda_engine`: it is done when the call returns."""
        return self._refit()

    def _refit(self) -> bool:
        missing = self._holdings.missing(self._given)
        if missing:
            raise RefitError(
                f"weights are missing, {', '.join(map(repr, missing[:5]))}: set them too; get_missing_weights tells which"
            )
        arrays: dict[str, np.ndarray[Any, Any]] = {}
        for name, (weights, _) in self._given.items():
            found = self._holdings.arrays(name, weights)
            if kept(self, "weights_validation", True):
                self._validate(name, found)
            arrays |= found
        if arrays:
            self._engine.refit(arrays)
        return True

    def _validate(self, name: str, arrays: Mapping[str, np.ndarray[Any, Any]]) -> None:
        if not all(np.isfinite(a).all() for a in arrays.values() if a.dtype.kind == "f"):
            self._reports.warning(
                f"weights {name!r} have elements that are, or overflow to, infinity or NaN"
            )

    # -- dynamic ranges ----------------------------------------------------------------------------

    def get_tensors_with_dynamic_range(self) -> list[str]:
        """None: the ranges of INT8 tensors are part of an engine's code."""
        return []

    @reported((nan, nan))
    def get_dynamic_range(self, tensor_name: str) -> tuple[float, float]:
        """(NaN, NaN), and an error: no tensor has a range that can be exchanged."""
        raise _no_range(tensor_name)

    @reported(False)
    def set_dynamic_range(self, tensor_name: str, range: Sequence[float]) -> bool:
        """False, and an error: no tensor has a range that can be exchanged."""
        raise _no_range(tensor_name)


def _no_range(tensor: str) -> ConfigError:
    return ConfigError(
        f"the dynamic range of tensor {tensor!r} cannot be exchanged: build the engine again"
    )


def _apart(
    places: list[tuple[str, WeightsRole]],
) -> tuple[list[str], list[WeightsRole]]:
    return [layer for layer, _ in places], [role for _, role in places]
