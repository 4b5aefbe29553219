"""Other layers of images: resizing, padding, sampling, normalization across channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from camshaft.errors import ModelError
from camshaft.network.tensor import Tensor
from camshaft.tensorrt.dims import DimsHW, extents
from camshaft.tensorrt.enums.layer_types import LayerType
from camshaft.tensorrt.enums.modes import (
    InterpolationMode,
    ResizeCoordinateTransformation,
    ResizeRoundMode,
    ResizeSelector,
    SampleMode,
)
from camshaft.tensorrt.eras import CURRENT
from camshaft.tensorrt.errors import reported
from camshaft.tensorrt.network.call import Call
from camshaft.tensorrt.network.graph import Graph
from camshaft.tensorrt.network.layer import ILayer
from camshaft.tensorrt.network.params import (
    Param,
    dims,
    flag,
    member,
    number,
    numbers,
    plane,
    whole,
)
from camshaft.tensorrt.network.tensor import ITensor

_MODES = {
    InterpolationMode.NEAREST: "nearest",
    InterpolationMode.LINEAR: "linear",
    InterpolationMode.CUBIC: "cubic",
}
_COORDINATES = {
    ResizeCoordinateTransformation.ALIGN_CORNERS: "align_corners",
    ResizeCoordinateTransformation.ASYMMETRIC: "asymmetric",
    ResizeCoordinateTransformation.HALF_PIXEL: "half_pixel",
}
_ROUNDINGS = {
    ResizeRoundMode.HALF_UP: "round_prefer_ceil",
    ResizeRoundMode.HALF_DOWN: "round_prefer_floor",
    ResizeRoundMode.FLOOR: "floor",
    ResizeRoundMode.CEIL: "ceil",
}
_SAMPLES = {
    SampleMode.FILL: "zeros",
    SampleMode.CLAMP: "border",
    SampleMode.REFLECT: "reflection",
}
_ALIGNED = ResizeCoordinateTransformation.ALIGN_CORNERS
_ASYMMETRIC = ResizeCoordinateTransformation.ASYMMETRIC
_HALF_PIXEL, _UPPER = ResizeCoordinateTransformation.HALF_PIXEL, ResizeSelector.UPPER
_RESIZED: dict[str, Any] = {
    "shape": (),
    "scales": (),
    "resize_mode": InterpolationMode.NEAREST,
    "coordinate_transformation": ResizeCoordinateTransformation.ASYMMETRIC,
    "selector_for_single_pixel": ResizeSelector.FORMULA,
    "nearest_rounding": ResizeRoundMode.FLOOR,
    "exclude_outside": False,
    "cubic_coeff": -0.75,
}
_SAMPLED: dict[str, Any] = {
    "interpolation_mode": InterpolationMode.LINEAR,
    "align_corners": False,
    "sample_mode": SampleMode.FILL,
}


class IResizeLayer(ILayer):
    """Resizing."""

    _kind = LayerType.RESIZE
    _most = 2
    _shapes = (1,)
    shape = dims("Extents of the output; empty: `scales` or input 1 say them.")
    scales = Param(numbers, "Factors of all extents; empty: not set.")
    resize_mode = Param(member(InterpolationMode), "How values between pixels are made.")
    coordinate_transformation = Param(
        member(ResizeCoordinateTransformation), "Where pixels of the output lie in the input."
    )
    selector_for_single_pixel = Param(
        member(ResizeSelector), "Where the only pixel of an axis lies."
    )
    nearest_rounding = Param(member(ResizeRoundMode), "Which pixel is nearest.")
    exclude_outside = Param(flag, "Whether weights of pixels outside are 0.")
    cubic_coeff = Param(number, "Coefficient of CUBIC.")

    if CURRENT.column is None:  # until TensorRT 8.0, of which there is no profile

        @property
        def align_corners(self) -> bool:
            """Whether corner pixels lie on corner pixels: `coordinate_transformation` ALIGN_CORNERS, else ASYMMETRIC."""
            return bool(self.coordinate_transformation == _ALIGNED)

        @align_corners.setter
        def align_corners(self, value: bool) -> None:
            self.coordinate_transformation = (
                _ALIGNED if flag(value, "align_corners") else _ASYMMETRIC
            )

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        at = call["coordinate_transformation"]
        coordinates = _COORDINATES[at]
        if at == _HALF_PIXEL and call["selector_for_single_pixel"] == _UPPER:
            coordinates = "pytorch_half_pixel"
        sizes = call.given(1)
        given = {"scales": call["scales"]}
        if sizes is not None:
            given = {"sizes": call.net.cast(sizes, "int64")}
        elif call["shape"]:
            given = {"sizes": call["shape"]}
        elif not call["scales"]:
            raise ModelError("set shape or scales, or call set_input(1, shape)")
        mode = _MODES[call["resize_mode"]]
        made = call.net.resize(
            call.input(0),
            mode=mode,
            coordinates=coordinates,
            name=call.name,
            nearest_mode=_ROUNDINGS[call["nearest_rounding"]] if mode == "nearest" else None,
            exclude_outside=int(call["exclude_outside"]),
            cubic_coeff_a=call["cubic_coeff"] if mode == "cubic" else None,
            **given,
        )
        return [made]


@reported(None)
def add_resize(self: Graph, input: ITensor) -> IResizeLayer:
    """Resize: set `shape` or `scales` of the layer."""
    return self._add(IResizeLayer, [input], **_RESIZED)


class IPaddingLayer(ILayer):
    """Zeros around the two innermost axes; negative numbers cut."""

    _kind = LayerType.PADDING
    pre_padding_nd = dims("Before each of the two axes.")
    post_padding_nd = dims("After each of the two axes.")
    pre_padding = plane("pre_padding_nd")
    post_padding = plane("post_padding_nd")

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        x = call.input(0)
        if x.rank < 2:
            raise ModelError(f"input has {x.rank} axes; padding takes two or more")
        around = zip(call["pre_padding_nd"], call["post_padding_nd"], strict=True)
        pairs = [*[(0, 0)] * (x.rank - 2), *around]
        return [call.net.pad(x, pairs, name=call.name)]


@reported(None)
def add_padding_nd(
    self: Graph, input: ITensor, pre_padding: Sequence[int], post_padding: Sequence[int]
) -> IPaddingLayer | None:
    """Zeros before and after the two innermost axes."""
    before = extents(pre_padding, "pre_padding")
    after = extents(post_padding, "post_padding")
    if len(before) != 2 or len(after) != 2:
        raise ModelError(f"pre_padding={before}, post_padding={after}: two axes can be padded")
    return self._add(IPaddingLayer, [input], pre_padding_nd=before, post_padding_nd=after)


@reported(None)
def add_padding(
    self: Graph, input: ITensor, pre_padding: Sequence[int], post_padding: Sequence[int]
) -> IPaddingLayer:
    """Zeros around images."""
    before, after = tuple(DimsHW(pre_padding)), tuple(DimsHW(post_padding))
    return self._add(IPaddingLayer, [input], pre_padding_nd=before, post_padding_nd=after)


class IGridSampleLayer(ILayer):
    """Pixels at places that a grid says."""

    _kind = LayerType.GRID_SAMPLE
    _most = 2
    interpolation_mode = Param(member(InterpolationMode), "How values between pixels are made.")
    align_corners = Param(flag, "Whether -1 and 1 are the middles of corner pixels.")
    sample_mode = Param(member(SampleMode), "What lies outside.")

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        outside = _SAMPLES.get(call["sample_mode"])
        if outside is None:
            raise ModelError(f"sample_mode={call['sample_mode']}: use FILL, CLAMP or REFLECT")
        made = call.net.op(
            "GridSample",
            call.input(0),
            call.input(1),
            name=call.name,
            mode=_MODES[call["interpolation_mode"]],
            align_corners=int(call["align_corners"]),
            padding_mode=outside,
        )
        return [made]


@reported(None)
def add_grid_sample(self: Graph, input: ITensor, grid: ITensor) -> IGridSampleLayer:
    """Pixels of [N, C, H, W] at places of [N, h, w, 2], (x, y) from -1 to 1."""
    return self._add(IGridSampleLayer, [input, grid], **_SAMPLED)


class ILRNLayer(ILayer):
    """x / (k + alpha / window * sum of squares across channels) ** beta."""

    _kind = LayerType.LRN
    window_size = Param(whole, "Channels of a window; odd.")
    alpha = Param(number, "Factor of the mean of squares.")
    beta = Param(number, "Power.")
    k = Param(number, "Offset.")

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        window, x = call["window_size"], call.input(0)
        n = {"alpha": call["alpha"], "beta": call["beta"], "bias": call["k"]}
        return [call.net.lrn(x, window, name=call.name, **n)]


@reported(None)
def add_lrn(
    self: Graph, input: ITensor, window: int, alpha: float, beta: float, k: float
) -> ILRNLayer:
    """Local response normalization.  window: odd, at most 15."""
    if whole(window, "window") % 2 == 0 or not 0 < window < 16:
        raise ModelError(f"window={window} must be odd, from 1 to 15")
    return self._add(
        ILRNLayer,
        [input],
        window_size=window,
        alpha=number(alpha, "alpha"),
        beta=number(beta, "beta"),
        k=number(k, "k"),
    )
