"""Layers of windows over images: convolutions, pools, resizing.  Rank 3 (N, C, W), 4 (N, C, H, W) or 5 (N, C, D, H, W)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from camshaft.errors import ModelError
from camshaft.network.layers.elementwise import Elementwise
from camshaft.network.tensor import Like, Tensor

Sizes = int | Sequence[int]
"""One number for all axes of space, or one for each."""
Padding = int | str | Sequence[int | Sequence[int]]
"""One number, one for each axis, (before, after) for each axis, or "same": as many windows as inputs / strides, the odd one at the end."""


class Windows(Elementwise):
    """Convolutions, pools, resizing."""

    def conv(
        self,
        x: Tensor,
        weight: Like,
        bias: Like = None,
        *,
        strides: Sizes = 1,
        padding: Padding = 0,
        dilations: Sizes = 1,
        groups: int = 1,
        name: str | None = None,
    ) -> Tensor:
        """A convolution.  weight: [out, in / groups, *window].  bias: [out], or None."""
        layer = self._layer_name(name, "Conv")
        w = self.tensor(weight, x, f"{layer}.weight")
        b = None if bias is None else self.tensor(bias, x, f"{layer}.bias")
        axes = w.rank - 2
        windows = _windows(axes, layer, strides=strides, dilations=dilations)
        return self._one("Conv", x, w, b, name=layer, group=groups, **windows, **_pads(padding, axes, layer))  # fmt: skip

    def conv_transpose(
        self,
        x: Tensor,
        weight: Like,
        bias: Like = None,
        *,
        strides: Sizes = 1,
        padding: Padding = 0,
        output_padding: Sizes = 0,
        dilations: Sizes = 1,
        groups: int = 1,
        name: str | None = None,
    ) -> Tensor:
        """A transposed convolution.  weight: [in, out / groups, *window].  padding: taken off the output; output_padding: put to its end."""
        layer = self._layer_name(name, "ConvTranspose")
        w = self.tensor(weight, x, f"{layer}.weight")
        b = None if bias is None else self.tensor(bias, x, f"{layer}.bias")
        axes = w.rank - 2
        windows = _windows(axes, layer, strides=strides, dilations=dilations, output_padding=output_padding)  # fmt: skip
        return self._one("ConvTranspose", x, w, b, name=layer, group=groups, **windows, **_pads(padding, axes, layer))  # fmt: skip

    def max_pool(
        self,
        x: Tensor,
        window: Sizes,
        *,
        strides: Sizes = 1,
        padding: Padding = 0,
        dilations: Sizes = 1,
        ceil: bool = False,
        name: str | None = None,
    ) -> Tensor:
        """The largest value of each window.  ceil: whether a last window may begin inside and end outside."""
        layer, axes = self._layer_name(name, "MaxPool"), x.rank - 2
        windows = _windows(axes, layer, kernel_shape=window, strides=strides, dilations=dilations)
        return self._one("MaxPool", x, name=layer, ceil_mode=int(ceil), **windows, **_pads(padding, axes, layer))  # fmt: skip

    def average_pool(
        self,
        x: Tensor,
        window: Sizes,
        *,
        strides: Sizes = 1,
        padding: Padding = 0,
        ceil: bool = False,
        count_padding: bool = False,
        name: str | None = None,
    ) -> Tensor:
        """The mean of each window.  count_padding: whether padding counts as zeros, or not at all."""
        layer, axes = self._layer_name(name, "AveragePool"), x.rank - 2
        windows = _windows(axes, layer, kernel_shape=window, strides=strides)
        return self._one(
            "AveragePool", x, name=layer, ceil_mode=int(ceil), count_include_pad=int(count_padding), **windows, **_pads(padding, axes, layer)
        )  # fmt: skip

    def global_average_pool(self, x: Tensor, *, name: str | None = None) -> Tensor:
        """The mean of each channel, [N, C, 1, 1]."""
        return self._one("GlobalAveragePool", x, name=name)

    def resize(
        self,
        x: Tensor,
        *,
        sizes: Like = None,
        scales: Like = None,
        mode: str = "nearest",
        coordinates: str = "half_pixel",
        name: str | None = None,
        **attributes: Any,
    ) -> Tensor:
        """Resize, to sizes or by scales, of all axes or of those in `axes`.

        mode: "nearest", "linear" or "cubic".  coordinates: ONNX's coordinate_transformation_mode.  attributes: others of ONNX's Resize.
        Raises ModelError unless either sizes or scales are given.
        """
        if (sizes is None) == (scales is None):
            raise ModelError("resize takes either sizes or scales")
        by = None if scales is None else self.tensor(scales) if isinstance(scales, Tensor) else self.constant(scales, "float32")  # fmt: skip
        to = None if sizes is None else self.tensor(sizes) if isinstance(sizes, Tensor) else self.constant(sizes, "int64")  # fmt: skip
        attributes = {"coordinate_transformation_mode": coordinates, "mode": mode, **attributes}
        return self._one("Resize", x, None, by, to, name=name, **attributes)


def _windows(axes: int, layer: str, **sizes: Sizes) -> dict[str, list[int]]:
    """Each size for all axes of space."""
    made = {}
    for what, given in sizes.items():
        each = [given] * axes if isinstance(given, int) else [*given]
        if len(each) != axes:
            raise ModelError(
                f"layer {layer!r}: {what} is {given}, and there are {axes} axes of space"
            )
        made[what] = each
    return made


def _pads(padding: Padding, axes: int, layer: str) -> dict[str, Any]:
    """ONNX's attributes of a padding."""
    if isinstance(padding, str):
        if padding != "same":
            raise ModelError(f"layer {layer!r}: padding is {padding!r}; give numbers or 'same'")
        return {"auto_pad": "SAME_UPPER"}
    each = [padding] * axes if isinstance(padding, int) else [*padding]
    if len(each) != axes:
        raise ModelError(
            f"layer {layer!r}: padding is {padding}, and there are {axes} axes of space"
        )
    pairs = [(p, p) if isinstance(p, int) else tuple(p) for p in each]
    return {"pads": [p[0] for p in pairs] + [p[1] for p in pairs]}
