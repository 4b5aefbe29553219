"""Random models whose layers move, join, halve, double and slide along axes of open extents."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from onnx import ModelProto, TensorProto, helper

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


class ValuedModel(OpenModel):
    """Also reshapes to shapes that integer inputs give: a tensor's extents in another order, or with
    two axes merged.

    targets: name of such an input -> the extents that it gives.
    """

    def __init__(self, seed: int, steps: int) -> None:
        self.targets: dict[str, Shape] = {}
        super().__init__(seed, steps)

    def make_reshape_to_input(self, x: str) -> None:
        shape = self.shapes[x]
        if len(shape) < 2:
            return
        made = tuple(shape[i] for i in self.rng.permutation(len(shape)))
        if self.chance(0.5):
            made = (self._times(*made[:2]), *made[2:])
        target = f"to{len(self.targets)}"
        if self.node("Reshape", [x, target], made) is not None:
            self.targets[target] = made

    make_reshape_to_input_2 = make_reshape_to_input_3 = make_reshape_to_input
    make_reshape_to_input_4 = make_reshape_to_input_5 = make_reshape_to_input
    make_reshape_to_input_6 = make_reshape_to_input_7 = make_reshape_to_input

    def proto(self, open_names: Collection[str] = ()) -> ModelProto:
        model = super().proto(open_names)
        model.graph.input.extend(
            helper.make_tensor_value_info(name, TensorProto.INT64, [len(extents)])
            for name, extents in self.targets.items()
        )
        return model

    def feeds(self, seed: int = 0) -> dict[str, np.ndarray]:
        given = {n: np.array(self.extents(e), np.int64) for n, e in self.targets.items()}
        return {**super().feeds(seed), **given}


class QuantizedOpenModel(OpenModel):
    """Puts Q/DQ pairs, u8 or s8, around random tensors and weights, as quantizers do."""

    def __init__(self, seed: int, steps: int, kinds: str = "") -> None:
        """kinds: "quantized" for nothing else."""
        self.kinds = kinds
        super().__init__(seed, steps)

    def pair(self, x: str) -> str:
        """`x` quantized and dequantized."""
        kind = self.choose([np.int8, np.uint8])
        zero = int(self.rng.integers(-20, 21)) + (128 if kind is np.uint8 else 0)
        scale = np.float32(self.rng.uniform(0.01, 0.06))
        p = [self.constant(np.asarray(scale)), self.constant(np.asarray(zero, kind))]
        q = self._plain("QuantizeLinear", [x, *p], f"{x}_q{len(self.nodes)}")
        y = self.node("DequantizeLinear", [q, *p], self.shapes[x])
        return x if y is None else y

    def weights(self, *shape: int, axis: int = 0) -> str:
        """Quantized weights, one scale for each index along `axis`, dequantized."""
        values = self.rng.integers(-64, 65, shape).astype(np.int8)
        scales = self.rng.uniform(0.002, 0.006, shape[axis]).astype(np.float32)
        p = [self.constant(scales), self.constant(np.zeros(shape[axis], np.int8))]
        name = f"w{len(self.nodes)}"
        return self._plain("DequantizeLinear", [self.constant(values), *p], name, axis=axis)

    def make_quantized(self, x: str) -> None:
        self.pair(x)

    def make_quantized_conv(self, x: str) -> None:
        shape = self._image(x)
        if shape is None:
            return
        channels, size = int(shape[1]), self.choose([1, 3])
        groups = self.choose([1, 1, channels])
        out = channels if groups > 1 else self.choose([3, 8, 16])
        stride = self.choose([1, 1, 2])
        spatial = shape[2:] if stride == 1 else tuple(self.half(e) for e in shape[2:])
        window = {"pads": [size // 2] * 4, "strides": [stride] * 2, "group": groups}
        inputs = [self.pair(x), self.weights(out, channels // groups, size, size)]
        if self.chance(0.7):
            inputs.append(self.floats([out]))
        y = self.node("Conv", inputs, (shape[0], out, *spatial), **window)
        if y is not None and self.chance(0.5):
            y = self.node("Relu", [y], self.shapes[y])
        if y is not None and self.chance(0.7):
            self.pair(y)

    make_quantized_conv_2 = make_quantized_conv_3 = make_quantized_conv_4 = make_quantized_conv

    def make_quantized_linear(self, x: str) -> None:
        if not self.shapes[x] or not isinstance(inner := self.shapes[x][-1], int):
            return
        w = self.weights(inner, self.choose([4, 16]), axis=1)
        y = self.node("MatMul", [self.pair(x), w], (*self.shapes[x][:-1], self._wide(w)))
        if y is not None and self.chance(0.7):
            self.pair(y)

    def _wide(self, w: str) -> int:
        made = next(n for n in self.nodes if n.output[0] == w)
        return int(self.constants[made.input[0]].shape[1])

    def make_quantized_pool(self, x: str) -> None:
        shape = self._image(x)
        if shape is None:
            return
        x = self.pair(x)
        window = {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [2, 2]}
        y = self.node(
            self.choose(["MaxPool", "AveragePool"]), [x],
            (*shape[:2], *(self.half(e) for e in shape[2:])), **window)  # fmt: skip
        if y is not None:
            self.pair(y)

    def make_quantized_sum(self, x: str) -> None:
        same = [y for y, s in self.shapes.items() if s == self.shapes[x]]
        y = self.node("Add", [self.pair(x), self.pair(self.choose(same))], self.shapes[x])
        if y is not None:
            self.pair(y)
