"""Layers that reduce axes, or order along them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from camshaft.network.layers.elementwise import Elementwise
from camshaft.network.tensor import Like, Tensor

Axes = int | Sequence[int] | None
"""One axis, several, or None for all."""


class Reduction(Elementwise):
    """Sums and their kin, arguments of extremes, ordering."""

    def reduce(
        self, op: str, x: Tensor, axes: Axes = None, *, keep: bool = False, name: str | None = None
    ) -> Tensor:
        """ONNX's reduction without its "Reduce": "Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSum", "LogSumExp".
        keep: whether reduced axes stay, with extent 1."""
        layer = self._layer_name(name, f"Reduce{op}")
        given = None
        if axes is not None:
            over = [axes] if isinstance(axes, int) else [*axes]
            given = self.constant(over, "int64", f"{layer}.axes")
        return self._one(f"Reduce{op}", x, given, name=layer, keepdims=int(keep))

    def sum(
        self, x: Tensor, axes: Axes = None, *, keep: bool = False, name: str | None = None
    ) -> Tensor:
        """The sum over axes.  keep: whether they stay, with extent 1."""
        return self.reduce("Sum", x, axes, keep=keep, name=name)

    def mean(
        self, x: Tensor, axes: Axes = None, *, keep: bool = False, name: str | None = None
    ) -> Tensor:
        """The mean over axes.  keep: whether they stay, with extent 1."""
        return self.reduce("Mean", x, axes, keep=keep, name=name)

    def max(
        self, x: Tensor, axes: Axes = None, *, keep: bool = False, name: str | None = None
    ) -> Tensor:
        """The largest value over axes.  keep: whether they stay, with extent 1."""
        return self.reduce("Max", x, axes, keep=keep, name=name)

    def min(
        self, x: Tensor, axes: Axes = None, *, keep: bool = False, name: str | None = None
    ) -> Tensor:
        """The smallest value over axes.  keep: whether they stay, with extent 1."""
        return self.reduce("Min", x, axes, keep=keep, name=name)

    def argmax(
        self, x: Tensor, axis: int = -1, *, keep: bool = False, name: str | None = None
    ) -> Tensor:
        """Where the largest value is along an axis, the first of equal ones; int64."""
        return self._one("ArgMax", x, name=name, axis=axis, keepdims=int(keep))

    def argmin(
        self, x: Tensor, axis: int = -1, *, keep: bool = False, name: str | None = None
    ) -> Tensor:
        """Where the smallest value is along an axis, the first of equal ones; int64."""
        return self._one("ArgMin", x, name=name, axis=axis, keepdims=int(keep))

    def topk(
        self,
        x: Tensor,
        k: Like,
        *,
        axis: int = -1,
        largest: bool = True,
        name: str | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The k largest (or smallest) values along an axis, in order, and where they are; int64."""
        count = k if isinstance(k, Tensor) else self.constant([k], "int64")
        made: Any = self.op(
            "TopK", x, count, outputs=2, name=name, axis=axis, largest=int(largest), sorted=1
        )
        return made[0], made[1]

    def cumsum(
        self,
        x: Tensor,
        axis: int,
        *,
        exclusive: bool = False,
        reverse: bool = False,
        name: str | None = None,
    ) -> Tensor:
        """Running sums along an axis.  exclusive: without the element itself.  reverse: from the end."""
        along = self.constant(axis, "int64")
        return self._one(
            "CumSum", x, along, name=name, exclusive=int(exclusive), reverse=int(reverse)
        )
