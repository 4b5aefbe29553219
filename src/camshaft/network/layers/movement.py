"""Layers that move elements: shapes, joins and cuts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.network.layers.elementwise import Elementwise
from camshaft.network.tensor import Like, Tensor


class Movement(Elementwise):
    """Shapes, joins and cuts."""

    def whole(self, value: Like, name: str | None = None) -> Tensor:
        """Whole numbers as a tensor: one as it is, else an int64 constant of rank 1."""
        if isinstance(value, Tensor):
            return value
        if not isinstance(value, np.ndarray | int | np.integer):
            parts = [*value]
            if any(isinstance(p, Tensor) for p in parts):
                one = self.constant([0], "int64")
                return self.concat([self._one("Unsqueeze", p, one) if isinstance(p, Tensor) else self.whole(p) for p in parts])  # fmt: skip
            value = parts
        return self.constant(np.atleast_1d(np.asarray(value)), "int64", name)

    def shape(self, x: Tensor, *, name: str | None = None) -> Tensor:
        """The extents of a tensor, int64 of rank 1, as they are at run time."""
        return self._one("Shape", x, name=name)

    def reshape(self, x: Tensor, shape: Like, *, name: str | None = None) -> Tensor:
        """The same elements in another shape.  shape: a tensor, or numbers (and scalars of the network), 0 for the extent that stands there, -1
        for what is left."""
        return self._one("Reshape", x, self.whole(shape), name=name)

    def flatten(self, x: Tensor, axis: int = 1, *, name: str | None = None) -> Tensor:
        """Two axes: those before `axis`, and the others."""
        return self._one("Flatten", x, name=name, axis=axis)

    def transpose(
        self, x: Tensor, axes: Sequence[int] | None = None, *, name: str | None = None
    ) -> Tensor:
        """The axes in another order; None reverses them."""
        return self._one("Transpose", x, name=name, perm=None if axes is None else [*axes])

    def squeeze(
        self, x: Tensor, axes: int | Sequence[int] | None = None, *, name: str | None = None
    ) -> Tensor:
        """Without axes of extent 1; None takes all of them."""
        return self._one("Squeeze", x, None if axes is None else self.whole(axes), name=name)

    def unsqueeze(self, x: Tensor, axes: int | Sequence[int], *, name: str | None = None) -> Tensor:
        """With new axes of extent 1 at these places of the result."""
        return self._one("Unsqueeze", x, self.whole(axes), name=name)

    def expand(self, x: Tensor, shape: Like, *, name: str | None = None) -> Tensor:
        """Broadcast to a shape."""
        return self._one("Expand", x, self.whole(shape), name=name)

    def tile(self, x: Tensor, repeats: Like, *, name: str | None = None) -> Tensor:
        """Repeated along each axis."""
        return self._one("Tile", x, self.whole(repeats), name=name)

    def concat(self, inputs: Sequence[Like], axis: int = 0, *, name: str | None = None) -> Tensor:
        """Joined along an axis."""
        like = next((x for x in inputs if isinstance(x, Tensor)), None)
        given = [self.tensor(x, like) for x in inputs]
        return self._one("Concat", *given, name=name, axis=axis)

    def stack(self, inputs: Sequence[Tensor], axis: int = 0, *, name: str | None = None) -> Tensor:
        """Joined along a new axis."""
        return self.concat([self.unsqueeze(x, axis) for x in inputs], axis, name=name)

    def split(
        self, x: Tensor, parts: int | Sequence[int], axis: int = 0, *, name: str | None = None
    ) -> tuple[Tensor, ...]:
        """Cut along an axis: into so many parts, or into parts of these extents."""
        if isinstance(parts, int):
            made = self.op("Split", x, outputs=parts, name=name, axis=axis, num_outputs=parts)
        else:
            made = self.op("Split", x, self.whole(parts), outputs=len(parts), name=name, axis=axis)
        return made if isinstance(made, tuple) else (made,)

    def slice(
        self,
        x: Tensor,
        starts: Like,
        ends: Like,
        axes: Like = None,
        steps: Like = None,
        *,
        name: str | None = None,
    ) -> Tensor:
        """From starts to before ends, in steps, along axes (None: the first ones)."""
        given = [None if v is None else self.whole(v) for v in (axes, steps)]
        return self._one("Slice", x, self.whole(starts), self.whole(ends), *given, name=name)

    def pad(
        self,
        x: Tensor,
        padding: Sequence[Sequence[int]],
        value: Like = None,
        *,
        mode: str = "constant",
        name: str | None = None,
    ) -> Tensor:
        """Padded.  padding: (before, after) for each axis; negative ones cut.  mode: "constant" (`value`, None for 0), "reflect", "edge" or "wrap"."""
        if np.ndim(padding) != 2 or np.shape(padding)[1] != 2:
            raise ModelError(f"padding is {padding}; give (before, after) for each axis")
        pairs = [tuple(p) for p in padding]
        pads = self.constant([p[0] for p in pairs] + [p[1] for p in pairs], "int64")
        filled = None if value is None else self.tensor(value, x)
        return self._one("Pad", x, pads, filled, name=name, mode=mode)

    def depth_to_space(
        self, x: Tensor, block: int, *, mode: str = "DCR", name: str | None = None
    ) -> Tensor:
        """Channels into blocks of pixels.  mode: "DCR", or "CRD" as PyTorch's pixel_shuffle."""
        return self._one("DepthToSpace", x, name=name, blocksize=block, mode=mode)

    def space_to_depth(self, x: Tensor, block: int, *, name: str | None = None) -> Tensor:
        """Blocks of pixels into channels."""
        return self._one("SpaceToDepth", x, name=name, blocksize=block)

    def index(self, x: Tensor, index: tuple[Any, ...]) -> Tensor:
        """x[index], as NumPy: whole numbers, slices, `...`, None, and one tensor or array of whole numbers along an axis."""
        if sum(i is Ellipsis for i in index) > 1:
            raise ModelError(f"index {index} has several '...'")
        taken = sum(i is not None and i is not Ellipsis for i in index)
        if taken > x.rank:
            raise ModelError(f"index {index} is of {taken} axes, tensor {x.name!r} has {x.rank}")
        at = next((n for n, i in enumerate(index) if i is Ellipsis), len(index))
        full = (*index[:at], *[slice(None)] * (x.rank - taken), *index[at + 1 :])
        sliced = self._sliced(x, [i for i in full if i is not None])
        made, axis = sliced, 0
        for i in full:
            if i is None:
                made = self.unsqueeze(made, axis)
            elif not isinstance(i, slice):
                which = i if isinstance(i, Tensor) else self.constant(i, "int64")
                made = self._one("Gather", made, which, axis=axis)
                axis += which.rank - 1
            axis += 1
        return made if made is not x else self._one("Identity", x)

    def _sliced(self, x: Tensor, index: Sequence[Any]) -> Tensor:
        """The slices of an index with an entry for each axis."""
        cut = [(a, i) for a, i in enumerate(index) if isinstance(i, slice) and i != slice(None)]
        if not cut:
            return x
        far = np.iinfo(np.int64).max
        steps = [1 if i.step is None else i.step for _, i in cut]
        starts = [(0 if s > 0 else far) if i.start is None else i.start for (_, i), s in zip(cut, steps, strict=True)]  # fmt: skip
        ends = [(far if s > 0 else -far) if i.stop is None else i.stop for (_, i), s in zip(cut, steps, strict=True)]  # fmt: skip
        return self.slice(x, starts, ends, [a for a, _ in cut], steps)
