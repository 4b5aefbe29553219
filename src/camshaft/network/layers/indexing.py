"""Layers that look elements up, or put them at places."""

from __future__ import annotations

from camshaft.network.layers.elementwise import Elementwise
from camshaft.network.tensor import Like, Tensor


class Indexing(Elementwise):
    """Gathers, scatters, what hangs on data."""

    def gather(self, x: Like, indices: Like, axis: int = 0, *, name: str | None = None) -> Tensor:
        """Slices of x along an axis, at indices of any shape."""
        return self._one("Gather", x, indices, name=name, axis=axis)

    def embedding(self, indices: Tensor, weight: Like, *, name: str | None = None) -> Tensor:
        """Rows of a table.  weight: [rows, size]."""
        layer = self._layer_name(name, "Gather")
        return self._one("Gather", self.tensor(weight, name=f"{layer}.weight"), indices, name=layer)

    def gather_elements(
        self, x: Like, indices: Like, axis: int = 0, *, name: str | None = None
    ) -> Tensor:
        """Elements of x along an axis, at indices of x's rank."""
        return self._one("GatherElements", x, indices, name=name, axis=axis)

    def gather_nd(
        self, x: Like, indices: Like, *, batch_dims: int = 0, name: str | None = None
    ) -> Tensor:
        """Parts of x at places that the last axis of indices says."""
        return self._one("GatherND", x, indices, name=name, batch_dims=batch_dims)

    def scatter_elements(
        self,
        x: Like,
        indices: Like,
        updates: Like,
        axis: int = 0,
        *,
        reduction: str = "none",
        name: str | None = None,
    ) -> Tensor:
        """x with updates at indices along an axis.  reduction: "none" (instead), "add", "mul", "max" or "min"."""
        return self._one(
            "ScatterElements", x, indices, updates, name=name, axis=axis, reduction=reduction
        )

    def scatter_nd(
        self,
        x: Like,
        indices: Like,
        updates: Like,
        *,
        reduction: str = "none",
        name: str | None = None,
    ) -> Tensor:
        """x with updates at places that the last axis of indices says.  reduction: as in `scatter_elements`."""
        return self._one("ScatterND", x, indices, updates, name=name, reduction=reduction)

    def one_hot(
        self,
        indices: Tensor,
        depth: int,
        *,
        on: float = 1.0,
        off: float = 0.0,
        axis: int = -1,
        name: str | None = None,
    ) -> Tensor:
        """`on` at the index along a new axis of extent depth, `off` elsewhere; float32."""
        values = self.constant([off, on], "float32")
        count = self.constant(depth, "int64")
        return self._one("OneHot", indices, count, values, name=name, axis=axis)

    def nonzero(self, x: Tensor, *, name: str | None = None) -> Tensor:
        """Places of elements that are not 0, [rank, count], int64."""
        return self._one("NonZero", x, name=name)

    def nms(
        self,
        boxes: Tensor,
        scores: Tensor,
        *,
        most: int,
        overlap: float = 0.5,
        score: float | None = None,
        name: str | None = None,
    ) -> Tensor:
        """Boxes that no better one of their class overlaps: [count, 3], (batch, class, box), int64.

        boxes: [batch, n, 4], two corners.  scores: [batch, classes, n].  most: of each class.  overlap: of areas, the least that removes a box.
        score: the least.
        """
        given = [
            self.constant(most, "int64"),
            self.constant(overlap, "float32"),
            None if score is None else self.constant(score, "float32"),
        ]
        return self._one("NonMaxSuppression", boxes, scores, *given, name=name)
