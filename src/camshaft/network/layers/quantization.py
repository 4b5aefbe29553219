"""Layers that quantize: with them a network says itself what is INT8."""

from __future__ import annotations

from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.network.core import element_type
from camshaft.network.layers.elementwise import Elementwise
from camshaft.network.tensor import Like, Tensor


class Quantization(Elementwise):
    """Q/DQ layers."""

    def quantize(
        self,
        x: Tensor,
        scale: Like,
        zero_point: Like = None,
        *,
        dtype: Any = "int8",
        axis: int | None = None,
        name: str | None = None,
    ) -> Tensor:
        """round(x / scale) + zero_point, clipped to the type: halves to even.

        scale: one, or one for each index of `axis`.  zero_point: of the result's type; None for 0.
        """
        layer = self._layer_name(name, "QuantizeLinear")
        by = self._scale(layer, scale, x)
        at = self._zero_point(layer, zero_point, by, dtype)
        return self._one("QuantizeLinear", x, by, at, name=layer, axis=axis)

    def dequantize(
        self,
        x: Tensor,
        scale: Like,
        zero_point: Like = None,
        *,
        axis: int | None = None,
        name: str | None = None,
    ) -> Tensor:
        """(x - zero_point) * scale.  scale: one, or one for each index of `axis`."""
        layer = self._layer_name(name, "DequantizeLinear")
        by = self._scale(layer, scale, None)
        at = None
        if zero_point is not None:
            at = self._zero_point(layer, zero_point, by, x.dtype)
        return self._one("DequantizeLinear", x, by, at, name=layer, axis=axis)

    def fake_quantize(
        self,
        x: Tensor,
        scale: Like,
        zero_point: Like = None,
        *,
        dtype: Any = "int8",
        axis: int | None = None,
        name: str | None = None,
    ) -> Tensor:
        """`quantize` and `dequantize`: x, as a layer in INT8 shall read it."""
        layer = self._layer_name(name, "DequantizeLinear")
        by = self._scale(layer, scale, x)
        at = self._zero_point(layer, zero_point, by, dtype)
        levels = self._one("QuantizeLinear", x, by, at, name=f"{layer}.levels", axis=axis)
        return self._one("DequantizeLinear", levels, by, at, name=layer, axis=axis)

    def _scale(self, layer: str, given: Like, like: Tensor | None) -> Tensor:
        made = self.tensor(given, like, f"{layer}.scale")
        known = self.constant_value(made)
        if known is not None:
            numbers = known.astype(np.float32)
            if not (np.isfinite(numbers) & (numbers > 0)).all():
                raise ModelError(f"layer {layer!r}: scale {given} must be above 0 and finite")
        return made

    def _zero_point(self, layer: str, given: Like, scale: Tensor, dtype: Any) -> Tensor:
        if isinstance(given, Tensor):
            return given
        extents = [d for d in scale.shape if isinstance(d, int)]
        zeros = np.broadcast_to(0 if given is None else np.asarray(given), extents)
        return self.constant(zeros, element_type(dtype), f"{layer}.zero_point")
