"""Calibrators as classes: where batches come from, how ranges follow from them, and where ranges are kept.

The interface is that of TensorRT's IInt8Calibrator, with arrays for device pointers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from camshaft.errors import CalibrationError


class Calibrator:
    """Base of a user's own calibration data, for `camshaft.build(..., calibration=Mine())`.

    Derive from the class of the algorithm that is wanted (this one: "auto") and override `get_batch`; to calibrate
    once for several builds, also `read_calibration_cache` and `write_calibration_cache`.  What a method raises, the
    build raises.
    """

    algorithm = "auto"
    """As `BuildConfig.calibrator`."""

    def get_algorithm(self) -> str:
        """How a range follows from the values seen, one of the names that `BuildConfig.calibrator` may have."""
        return self.algorithm

    def get_percentile(self) -> float | None:
        """Of |x|, from 0 to 100, for algorithms that have one; None: that of `BuildConfig.percentile`."""
        return None

    def get_batch_size(self) -> int:
        """How many examples a batch has.  Nothing hangs on it: arrays say it themselves."""
        return 1

    def get_batch(self, names: Sequence[str]) -> Mapping[str, Any] | Sequence[Any] | None:
        """The next batch: an array for each input, by name or in the order of `names`; None when there is no more.

        A batch is read before the next one is asked for, so that its arrays may be used again.
        """
        raise CalibrationError(
            f"{type(self).__name__} has no batches: override get_batch(self, names), which gives arrays, or None at "
            "the end"
        )

    def read_calibration_cache(self) -> bytes | None:
        """What `write_calibration_cache` was given before; None, or nothing: calibrate."""
        return None

    def write_calibration_cache(self, cache: bytes) -> None:
        """Keep the ranges that were found, a text in TensorRT's format; called once after calibration."""


class EntropyCalibrator2(Calibrator):
    """Ranges of least divergence, as TensorRT's default calibrator."""

    algorithm = "entropy2"


class EntropyCalibrator(Calibrator):
    """Ranges of least divergence, of every tensor that may be quantized."""

    algorithm = "entropy"


class MinMaxCalibrator(Calibrator):
    """Ranges of all values seen."""

    algorithm = "minmax"


class MSECalibrator(Calibrator):
    """Ranges of least squared error."""

    algorithm = "mse"


class PercentileCalibrator(Calibrator):
    """Ranges of all but the largest magnitudes."""

    algorithm = "percentile"


class LegacyCalibrator(PercentileCalibrator):
    """TensorRT's first calibrator: a quantile of the magnitudes.  Its regression cutoff is not used."""

    def get_quantile(self) -> float:
        """The share of magnitudes, from 0 to 1, that ranges hold."""
        return 0.9999

    def get_percentile(self) -> float | None:
        """The quantile in per cent."""
        quantile = self.get_quantile()
        if not isinstance(quantile, Real) or not 0 < quantile <= 1:
            raise CalibrationError(
                f"{type(self).__name__}.get_quantile gave {quantile!r}; give a number above 0, 1 at most"
            )
        return 100 * float(quantile)


def batches_of(calibrator: Calibrator, names: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
    """Its batches by input name.  names: of the model's inputs.  CalibrationError for batches that are none."""
    where = f"{type(calibrator).__name__}.get_batch"
    number = 0
    while (batch := calibrator.get_batch(list(names))) is not None:
        if not isinstance(batch, Mapping):
            if not isinstance(batch, Sequence) or isinstance(batch, str | bytes):
                raise CalibrationError(
                    f"{where} gave {type(batch).__name__}, batch {number}; give a dictionary or a list of arrays, or "
                    "None at the end"
                )
            if not batch:
                break  # TensorRT's other spelling of the end
            if len(batch) != len(names):
                raise CalibrationError(
                    f"{where} gave {len(batch)} arrays, batch {number}; the model has {len(names)} inputs: "
                    f"{', '.join(names)}"
                )
            batch = dict(zip(names, batch, strict=True))
        yield {
            name: _array(array, name, f"{where}, batch {number}") for name, array in batch.items()
        }
        number += 1
    if not number:
        raise CalibrationError(
            f"{where} gave no batch; give some, then None (or make a new object)"
        )


def _array(given: Any, name: str, where: str) -> np.ndarray:
    try:
        return np.asarray(given)
    except (
        ValueError,
        TypeError,
        RuntimeError,
    ) as error:  # what lists and other libraries' tensors raise
        raise CalibrationError(f"{where}: {name!r} is no array: {error}") from error
