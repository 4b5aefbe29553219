"""How layers compute: their modes."""

from __future__ import annotations

from camshaft.tensorrt.enums.base import Enumeration, Member


class PaddingMode(Enumeration):
    """How the padding of convolutions and pools follows from sizes."""

    EXPLICIT_ROUND_DOWN = Member(0)
    EXPLICIT_ROUND_UP = Member(1)
    SAME_UPPER = Member(2)
    SAME_LOWER = Member(3)
    CAFFE_ROUND_DOWN = Member(4)
    CAFFE_ROUND_UP = Member(5)


class ScaleMode(Enumeration):
    """What shares a scale layer's coefficients."""

    UNIFORM = Member(0)
    CHANNEL = Member(1)
    ELEMENTWISE = Member(2)


class GatherMode(Enumeration):
    """Which of ONNX's three gathers is meant: Gather, GatherElements, GatherND."""

    DEFAULT = Member(0)
    ELEMENT = Member(1)
    ND = Member(2)


class ScatterMode(Enumeration):
    """ScatterElements or ScatterND."""

    ELEMENT = Member(0)
    ND = Member(1)


class SampleMode(Enumeration):
    """What is read outside of a tensor, by slices and by sampled grids."""

    STRICT_BOUNDS = Member(0)
    WRAP = Member(1)
    CLAMP = Member(2)
    FILL = Member(3)
    REFLECT = Member(4)
    DEFAULT = Member(0)


class InterpolationMode(Enumeration):
    """How a resized element follows from its neighbours."""

    NEAREST = Member(0)
    LINEAR = Member(1)
    CUBIC = Member(2)


class ResizeCoordinateTransformation(Enumeration):
    """Where an output's position lies in the input."""

    ALIGN_CORNERS = Member(0)
    ASYMMETRIC = Member(1)
    HALF_PIXEL = Member(2)


class ResizeSelector(Enumeration):
    """Where an output of a single pixel is taken."""

    FORMULA = Member(0)
    UPPER = Member(1)


class ResizeRoundMode(Enumeration):
    """How positions are rounded for NEAREST."""

    HALF_UP = Member(0)
    HALF_DOWN = Member(1)
    FLOOR = Member(2)
    CEIL = Member(3)


class LoopOutput(Enumeration):
    """What is kept of a loop's iterations."""

    LAST_VALUE = Member(0)
    CONCATENATE = Member(1)
    REVERSE = Member(2)


class TripLimit(Enumeration):
    """What ends a loop."""

    COUNT = Member(0)
    WHILE = Member(1)


class BoundingBoxFormat(Enumeration):
    """What the four numbers of a box are."""

    CORNER_PAIRS = Member(0)
    CENTER_SIZES = Member(1)


class KVCacheMode(Enumeration):
    """How a cache of keys and values is laid out."""

    LINEAR = Member(0)


class CausalMaskKind(Enumeration):
    """Corner from which a causal mask starts."""

    NONE = Member(0)
    UPPER_LEFT = Member(1)
    LOWER_RIGHT = Member(2)


class AttentionIOForm(Enumeration):
    """Layout of queries, keys and values."""

    PADDED_BHND = Member(0)
    PACKED_NHD = Member(1)
