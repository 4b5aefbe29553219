"""The extremes of each channel over all calibration data."""

from __future__ import annotations

import numpy as np

from camshaft.errors import CalibrationError


class ChannelExtremes:
    """Least and most of every channel of one channels-last tensor.

    name: the tensor's name.
    """

    __slots__ = ("_least", "_most", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self._least: np.ndarray | None = None
        self._most: np.ndarray | None = None

    def add(self, least: np.ndarray, most: np.ndarray) -> None:
        """Take in extremes of some values, float32 [C] each."""
        if self._least is not None and self._most is not None:
            least, most = np.minimum(least, self._least), np.maximum(most, self._most)
        self._least, self._most = least, most

    @property
    def seen(self) -> tuple[np.ndarray, np.ndarray]:
        """Least and most, float32 [C] each; CalibrationError while nothing has been seen."""
        if self._least is None or self._most is None:
            raise CalibrationError(f"tensor {self.name!r}: calibration saw no value of it")
        return self._least, self._most
