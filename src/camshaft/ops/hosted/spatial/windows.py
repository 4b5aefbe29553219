"""Sliding windows over any number of spatial axes: padding by rule, extents of results, views."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from camshaft.errors import ModelError
from camshaft.ops.hosted.call import Call

Ints = tuple[int, ...]


@dataclass(frozen=True)
class Window:
    """A window on spatial axes.

    before, after: padding on both sides of each axis.  out: how many windows fit along each axis.
    """

    kernel: Ints
    strides: Ints
    dilations: Ints
    before: Ints
    after: Ints
    out: Ints

    @property
    def reach(self) -> Ints:
        """Elements from the first of a window to its last, along each axis."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))


def per_axis(call: Call, name: str, count: int, default: int) -> Ints:
    """An attribute with one int for each of `count` axes."""
    given = call.attr_ints(name)
    if given is None:
        return (default,) * count
    if len(given) != count:
        raise ModelError(f"{name}={given} does not have {count} numbers")
    return tuple(given)


def window_of(call: Call, spatial: Ints, kernel: Ints) -> Window:
    """The window of a convolution or pool.  ModelError where it does not fit the image `spatial`.

    With ceil_mode a last window that the image does not fill counts too, if it begins in the image
    or in the padding before it.
    """
    rank = len(spatial)
    if len(kernel) != rank:
        raise ModelError(f"a kernel of {len(kernel)} axes does not fit an image of {rank}")
    strides, dilations = per_axis(call, "strides", rank, 1), per_axis(call, "dilations", rank, 1)
    auto = call.choice("auto_pad", "NOTSET", ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER", ""))
    pads = per_axis(call, "pads", 2 * rank, 0)
    before, after, out = [], [], []
    for i, (size, k, s, d) in enumerate(zip(spatial, kernel, strides, dilations, strict=True)):
        reach = (k - 1) * d + 1
        start, end = (pads[i], pads[rank + i]) if auto in ("NOTSET", "") else (0, 0)
        if auto.startswith("SAME"):
            count = -(-size // s)
            total = max(0, (count - 1) * s + reach - size)
            small, large = total // 2, total - total // 2
            start, end = (small, large) if auto == "SAME_UPPER" else (large, small)
        else:
            room = size + start + end - reach
            count = room // s + 1
            if call.attr_flag("ceil_mode"):
                count = -(-room // s) + 1
                count -= (count - 1) * s >= size + start
        if count < 0 or (count == 0 and size):
            raise ModelError(f"a window of {reach} does not fit {size} elements and their padding")
        before.append(start)
        after.append(end)
        out.append(count)
    return Window(kernel, strides, dilations, tuple(before), tuple(after), tuple(out))


def windows(x: np.ndarray, window: Window, fill: float) -> np.ndarray:
    """x [N,C,...] as a view [N,C,out...,kernel...] of its padded copy; what is not image is `fill`."""
    spatial = x.shape[2:]
    needed = [
        (n - 1) * s + r for n, s, r in zip(window.out, window.strides, window.reach, strict=True)
    ]
    behind = [
        max(0, n - b - size) for n, b, size in zip(needed, window.before, spatial, strict=True)
    ]
    widths = [(0, 0), (0, 0), *zip(window.before, behind, strict=True)]
    padded = np.pad(x, widths, constant_values=fill)
    step = padded.strides
    strides = [st * s for st, s in zip(step[2:], window.strides, strict=True)]
    strides += [st * d for st, d in zip(step[2:], window.dilations, strict=True)]
    shape = (*x.shape[:2], *window.out, *window.kernel)
    return np.lib.stride_tricks.as_strided(padded, shape, (*step[:2], *strides), writeable=False)
