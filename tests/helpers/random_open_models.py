"""Random models whose layers move, join, halve, double and slide along axes of open extents."""

from __future__ import annotations

import numpy as np
from onnx import helper

from random_models import Extent, RandomModel, Shape


class OpenModel(RandomModel):
    """Adds what extents that have names can go through; every one of them is left open.

    All layers take any sizes from 1 on.
    """

    def half(self, e: Extent) -> Extent:
        return f"(({e})+1)//2" if isinstance(e, str) else (e + 1) // 2

    def _with(self, shape: Shape, axis: int, extent: Extent) -> Shape:
        return (*shape[:axis], extent, *shape[axis + 1 :])

    def _image(self, x: str) -> Shape | None:
        shape = self.shapes[x]
        fits = len(shape) == 4 and isinstance(shape[1], int)
        return shape if fits else None

    def input(self) -> None:
        """Images more often than not."""
        if self.chance(0.4):
            super().input()
            return
        name = f"x{len(self.inputs)}"
        self.inputs.append(name)
        batch, rows, columns = (self.choose([1, 4, *self.sizes]) for _ in range(3))
        self.shapes[name] = (batch, self.choose([1, 3, 8]), rows, columns)

    # -- windows -------------------------------------------------------------------------------

    def make_window_conv(self, x: str) -> None:
        """A 3x3 convolution, dense, grouped or depthwise, of stride 1 or 2."""
        shape = self._image(x)
        if shape is None:
            return
        channels = int(shape[1])
        groups = self.choose([1, 1, channels])
        out = channels * self.choose([1, 2]) if groups > 1 else self.choose([3, 8])
        stride = self.choose([1, 1, 2])
        spatial = shape[2:] if stride == 1 else tuple(self.half(e) for e in shape[2:])
        w = self.floats([out, channels // groups, 3, 3])
        window = {"pads": [1] * 4, "strides": [stride] * 2, "group": groups}
        self.node("Conv", [x, w, self.floats([out])], (shape[0], out, *spatial), **window)

    make_another_conv = make_window_conv

    def make_pool(self, x: str) -> None:
        shape = self._image(x)
        if shape is None:
            return
        kind = self.choose(["MaxPool", "AveragePool"])
        stride = self.choose([1, 2])
        spatial = shape[2:] if stride == 1 else tuple(self.half(e) for e in shape[2:])
        window = {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [stride] * 2}
        self.node(kind, [x], (*shape[:2], *spatial), **window)

    def make_global_pool(self, x: str) -> None:
        shape = self._image(x)
        if shape is not None:
            kind = self.choose(["GlobalAveragePool", "GlobalMaxPool"])
            self.node(kind, [x], (*shape[:2], 1, 1))

    def make_upsample(self, x: str) -> None:
        shape = self._image(x)
        if shape is None:
            return
        scales = self.constant_f32([1, 1, 2, 2])
        twice = tuple(self._times(2, e) for e in shape[2:])
        mode = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric"}
        nearest = {**mode, "nearest_mode": "floor"}
        self.node("Resize", [x, "", scales], (*shape[:2], *twice), **nearest)

    def constant_f32(self, values: list[float]) -> str:
        return self.constant(np.array(values, np.float32))

    # -- along open axes -----------------------------------------------------------------------

    def make_twice(self, x: str) -> None:
        """Joined with itself along any axis."""
        a, shape = self.axis(x), self.shapes[x]
        if a is not None:
            self.node("Concat", [x, x], self._with(shape, a, self._times(2, shape[a])), axis=a)

    def make_end(self, x: str) -> None:
        """The first or last element along an axis."""
        a = self.axis(x)
        if a is None:
            return
        start, stop = self.choose([(0, 1), (-1, 2**31 - 1)])
        bounds = [self.ints(v) for v in (start, stop, a, 1)]
        self.node("Slice", [x, *bounds], self._with(self.shapes[x], a, 1))

    def make_every_other(self, x: str) -> None:
        a = self.axis(x)
        if a is None:
            return
        bounds = [self.ints(v) for v in (0, 2**31 - 1, a, 2)]
        half = self.half(self.shapes[x][a])
        self.node("Slice", [x, *bounds], self._with(self.shapes[x], a, half))

    def make_pick(self, x: str) -> None:
        a = self.axis(x)
        if a is not None:
            index = self.ints(*self.choose([(0,), (-1,), (0, -1, 0)]))
            shape = self._with(self.shapes[x], a, self.constants[index].size)
            self.node("Gather", [x, index], shape, axis=a)

    def make_reshape_by_arithmetic(self, x: str) -> None:
        """Two axes merged and split as exporters write it: Shape, Gather, Mul, Concat, Reshape."""
        shape = self.shapes[x]
        if len(shape) < 2:
            return
        a = self.below(len(shape) - 1)
        parts = [f"{x}_extent{len(self.nodes)}_{i}" for i in range(len(shape))]
        whole = self._plain("Shape", [x])
        for i, part in enumerate(parts):
            self._plain("Gather", [whole, self.ints(i)], part, axis=0)
        merged = self._plain("Mul", [parts[a], parts[a + 1]])
        wanted = self._plain("Concat", [*parts[:a], merged, *parts[a + 2 :]], axis=0)
        made = (*shape[:a], self._times(*shape[a : a + 2]), *shape[a + 2 :])
        y = self.node("Reshape", [x, wanted], made)
        if y is not None and self.chance(0.5):
            back = self._plain("Concat", parts, axis=0)
            self.node("Reshape", [y, back], shape)

    def _plain(self, op: str, inputs: list[str], output: str = "", **attrs: int) -> str:
        """A node on integers, which no other layer sees."""
        output = output or f"i{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], name=output, **attrs))
        return output
