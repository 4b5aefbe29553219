"""In which order the axes of PyTorch's tensors lie in memory: an engine that takes and gives them so need not copy them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Order = tuple[int, ...]


def order_of(meta: Any) -> Order | None:
    """The axes of a fake tensor from the outermost to the innermost, where its elements lie densely and not in the order of the axes;
    else None.  (0, 2, 3, 1) of an image in torch.channels_last."""
    sizes, strides = _known(meta.shape), _known(meta.stride())
    if sizes is None or strides is None or 0 in sizes:
        return None
    axes = range(len(sizes))
    order = tuple(
        sorted(axes, key=lambda a: -strides[a])
    )  # stable: of equal strides, in their order
    if _dense(axes, sizes, strides) or not _dense(order, sizes, strides):
        return None
    return order


def inverse(order: Order) -> Order:
    """The order that undoes one."""
    return tuple(sorted(range(len(order)), key=lambda a: order[a]))


def _known(values: Sequence[Any]) -> list[int] | None:
    """Sizes or strides as of now; None where one hangs on data."""
    found = []
    for value in values:
        if not isinstance(value, int):
            if not value.node.has_hint():
                return None
            value = value.node.hint
        found.append(int(value))
    return found


def _dense(order: Sequence[int], sizes: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether elements lie side by side, axes in this order; those of size 1 may have any stride."""
    step = 1
    for axis in reversed(order):
        if sizes[axis] != 1:
            if strides[axis] != step:
                return False
            step *= sizes[axis]
    return True
