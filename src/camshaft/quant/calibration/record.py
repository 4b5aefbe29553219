"""What a build learned from calibration data, so that another one quantizes alike without them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from camshaft.errors import CalibrationError
from camshaft.ir.types import dtype_named, dtype_of
from camshaft.quant.apart.choice import Apart
from camshaft.quant.calibration.cache import Range
from camshaft.quant.channels.equalize import Equalized
from camshaft.quant.scheme import QuantParams


@dataclass
class CalibrationRecord:
    """Of one graph.

    ranges: tensor -> amax, or (low, high).  means, shifts: tensor -> of its channels, float64 [C], as biases are corrected by.
    magnitudes: tensor -> its largest.  apart, equalized, fine: as of `ImplicitQuantization`.  noisy: source layer -> why it
    stays float.  by_rows: whether rows that are quantized as they run were taken; then row_apart is what they carry apart.
    """

    ranges: dict[str, Range] = field(default_factory=dict)
    means: dict[str, np.ndarray] = field(default_factory=dict)
    shifts: dict[str, np.ndarray] = field(default_factory=dict)
    magnitudes: dict[str, float] = field(default_factory=dict)
    apart: dict[str, Apart] = field(default_factory=dict)
    equalized: dict[str, Equalized] = field(default_factory=dict)
    fine: dict[str, QuantParams] = field(default_factory=dict)
    noisy: dict[str, str] = field(default_factory=dict)
    by_rows: bool = False
    row_apart: dict[str, Apart] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            "ranges": self.ranges,
            "means": {n: _array(a) for n, a in self.means.items()},
            "shifts": {n: _array(a) for n, a in self.shifts.items()},
            "magnitudes": self.magnitudes,
            "apart": {n: _apart(a) for n, a in self.apart.items()},
            "equalized": {
                n: {"factors": _array(e.factors), "params": _params(e.params)}
                for n, e in self.equalized.items()
            },
            "fine": {n: _params(p) for n, p in self.fine.items()},
            "noisy": self.noisy,
            "by_rows": self.by_rows,
            "row_apart": {n: _apart(a) for n, a in self.row_apart.items()},
        }

    @staticmethod
    def of_json(data: Mapping[str, Any]) -> CalibrationRecord:
        """Inverse of `to_json`.  CalibrationError where it is malformed."""
        try:
            ranges = {n: tuple(r) if isinstance(r, list) else r for n, r in data["ranges"].items()}
            return CalibrationRecord(
                ranges,
                {n: _array_of(a) for n, a in data["means"].items()},
                {n: _array_of(a) for n, a in data["shifts"].items()},
                dict(data["magnitudes"]),
                {n: _apart_of(a) for n, a in data["apart"].items()},
                {
                    n: Equalized(_array_of(e["factors"]), _params_of(e["params"]))
                    for n, e in data["equalized"].items()
                },
                {n: _params_of(p) for n, p in data["fine"].items()},
                dict(data["noisy"]),
                bool(data["by_rows"]),
                {n: _apart_of(a) for n, a in data["row_apart"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CalibrationError(f"a calibration record is malformed ({error!s:.80})") from error


def _array(a: np.ndarray) -> list[Any]:
    a = np.ascontiguousarray(a)
    return [dtype_of(a).name, list(a.shape), base64.b64encode(a.tobytes()).decode()]


def _array_of(data: list[Any]) -> np.ndarray:
    dtype, shape, content = data
    return np.frombuffer(base64.b64decode(content), dtype_named(dtype).numpy).reshape(shape)


def _apart(a: Apart) -> dict[str, Any]:
    arrays = {"channels": _array(a.channels), "kept": _array(a.kept)}
    return {**arrays, "low": a.low, "high": a.high, "before": a.before, "after": a.after}


def _apart_of(data: Mapping[str, Any]) -> Apart:
    numbers = [float(data[k]) for k in ("low", "high", "before", "after")]
    return Apart(_array_of(data["channels"]), _array_of(data["kept"]), *numbers)


def _params(p: QuantParams) -> dict[str, Any]:
    arrays = {"scale": _array(p.scale), "zero": _array(p.zero_point)}
    return {**arrays, "dtype": p.dtype.name, "axis": p.axis, "narrow": p.narrow}


def _params_of(data: Mapping[str, Any]) -> QuantParams:
    scale, zero = _array_of(data["scale"]), _array_of(data["zero"])
    return QuantParams(scale, zero, dtype_named(data["dtype"]), data["axis"], data["narrow"])
