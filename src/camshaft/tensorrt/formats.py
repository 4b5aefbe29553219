"""How elements of inputs and outputs lie in memory."""

from __future__ import annotations

from camshaft.tensorrt.enums.data import TensorFormat

CHANNELS_LAST = {TensorFormat.HWC: 3, TensorFormat.DHWC: 4}
"""Format -> how many of the last axes are in another order: the first of them lies last."""

_WORDS = {
    TensorFormat.LINEAR: "Row major linear format (kLINEAR)",
    TensorFormat.HWC: "Row major channels last format (kHWC)",
    TensorFormat.DHWC: "Row major channels last format (kDHWC)",
}


def axes_moved(format: int) -> int:
    """How many of the last axes lie in another order, the first of them last; 0: none."""
    return CHANNELS_LAST.get(TensorFormat(format), 0)


def words(format: TensorFormat) -> str:
    """A format for people."""
    return _WORDS[format]
