"""Random ONNX models in which ranks, broadcasts and constants vary, not the kinds of layers.

Extents are ints or expressions of names ("n", "n*m", "n-1"): constants and constant shapes hold
only ints, so that every name may be left open in the model (`RandomModel.proto(open_names)`) and
the same graph be tried at any sizes of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Extent = int | str
Shape = tuple[Extent, ...]

SIZES = {"n": 1, "m": 2, "k": 3, "l": 5}
"""Extents that have names, and their sizes where none are given."""
MOST_ELEMENTS = 3000
MOST_AXES = 5
UNARY = ("Relu", "Sigmoid", "Neg", "Abs", "Tanh", "HardSigmoid", "Identity")
BINARY = ("Add", "Mul", "Sub", "Max", "Min")
REDUCTIONS = ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceProd")


class RandomModel:
    """Grows a model by random operators on random earlier tensors; f32 throughout.

    kinds: a word in the names of the makers that are drawn from.
    """

    kinds = ""

    def __init__(self, seed: int, steps: int, sizes: Mapping[str, int] = SIZES) -> None:
        self.rng = np.random.default_rng(seed)
        self.sizes = dict(sizes)
        self.shapes: dict[str, Shape] = {}
        self.inputs: list[str] = []
        self.constants: dict[str, np.ndarray] = {}
        self.nodes: list[NodeProto] = []
        for _ in range(self.below(2) + 1):
            self.input()
        makers = [
            getattr(self, name)
            for name in sorted(dir(self))
            if name.startswith("make_") and self.kinds in name
        ]
        while len(self.nodes) < steps:
            self.choose(makers)(self.pick())
        self.outputs = self._outputs()

    # -- what is made --------------------------------------------------------------------------

    def proto(self, open_names: Collection[str] = ()) -> ModelProto:
        """The model; extents of the inputs with these names are left open."""

        def extents(shape: Shape) -> list[Extent]:
            return [e if e in open_names else self.size(e) for e in shape]

        values = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, extents(self.shapes[name]))
            for name in self.inputs
        ]
        outs = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * len(self.shapes[name]))
            for name in self.outputs
        ]
        weights = [numpy_helper.from_array(a, name) for name, a in self.constants.items()]
        graph = helper.make_graph(self.nodes, "random", values, outs, weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    def feeds(self, seed: int = 0) -> dict[str, np.ndarray]:
        """Random inputs of the sizes that the names have now."""
        rng = np.random.default_rng(seed)
        return {
            name: rng.standard_normal(self.extents(self.shapes[name])).astype(np.float32)
            for name in self.inputs
        }

    def size(self, extent: Extent) -> int:
        """The number that an extent is at the sizes of the names."""
        return extent if isinstance(extent, int) else int(eval(extent, {}, self.sizes))

    def extents(self, shape: Shape) -> tuple[int, ...]:
        return tuple(self.size(e) for e in shape)

    # -- drawing -------------------------------------------------------------------------------

    def below(self, n: int) -> int:
        return int(self.rng.integers(n))

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def choose(self, items: Sequence[Any]) -> Any:
        return items[self.below(len(items))]

    def pick(self) -> str:
        names = list(self.shapes)
        return self.choose(names[-4:] if self.chance(0.7) else names)

    def axis(self, x: str) -> int | None:
        rank = len(self.shapes[x])
        return self.below(rank) if rank else None

    def input(self) -> None:
        rank = self.choose([0, 1, 2, 2, 3, 3, 4, 4])
        drawn = [self.choose([1, 2, 3, 4, 5, *self.sizes]) for _ in range(rank)]
        name = f"x{len(self.inputs)}"
        self.inputs.append(name)
        self.shapes[name] = tuple(drawn)

    def node(self, op: str, inputs: Sequence[str], shape: Shape, **attrs: Any) -> str | None:
        """Add a node, unless its result is too large."""
        if len(shape) > MOST_AXES or prod(self.extents(shape)) > MOST_ELEMENTS:
            return None
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"{name}_{op}", **attrs))
        self.shapes[name] = shape
        return name

    def constant(self, array: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(array)
        return name

    def floats(self, shape: Sequence[int]) -> str:
        """Weights: random, all one or all zero (which rewrites may find to change nothing)."""
        kind = self.choose(["random", "random", "one", "zero"])
        if kind == "random":
            return self.constant(self.rng.standard_normal(shape).astype(np.float32))
        return self.constant(np.full(shape, float(kind == "one"), np.float32))

    def ints(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def against(self, shape: Shape) -> Sequence[int]:
        """Extents of a constant that broadcasts with `shape`: fewer, as many or more axes."""
        rank = self.below(len(shape) + 2)
        made = []
        for i in range(rank):
            e = shape[-1 - i] if i < len(shape) else 1
            widens = e == 1 and self.chance(0.2)
            fixed = 1 if isinstance(e, str) or self.chance(0.3) else e
            made.append(self.below(3) + 2 if widens else fixed)
        return made[::-1]

    def _outputs(self) -> list[str]:
        made = [name for name in self.shapes if name not in self.inputs]
        read = {i for n in self.nodes for i in n.input}
        return [name for name in made if name not in read or self.chance(0.1)]

    # -- broadcasting --------------------------------------------------------------------------

    def broadcast(self, *shapes: Shape) -> Shape | None:
        """The common shape, or None; a named extent meets only itself and 1."""
        made: list[Extent] = []
        for i in range(max(map(len, shapes))):
            extents = {s[-1 - i] for s in shapes if i < len(s)} - {1}
            if len(extents) > 1:
                return None
            made.append(extents.pop() if extents else 1)
        return tuple(made[::-1])

    def make_unary(self, x: str) -> None:
        self.node(self.choose(UNARY), [x], self.shapes[x])

    def make_with_constant(self, x: str) -> None:
        c = self.floats(self.against(self.shapes[x]))
        shape = self.broadcast(self.shapes[x], self.constants[c].shape)
        assert shape is not None
        pair = [x, c] if self.chance(0.5) else [c, x]
        self.node(self.choose(BINARY), pair, shape)

    make_with_constant_again = make_with_constant

    def make_scale_and_shift(self, x: str) -> None:
        y = self._constant_on("Mul", x)
        if y is not None:
            self._constant_on("Add", y)

    def _constant_on(self, op: str, x: str) -> str | None:
        c = self.floats(self.against(self.shapes[x]))
        shape = self.broadcast(self.shapes[x], self.constants[c].shape)
        assert shape is not None
        return self.node(op, [x, c], shape)

    def make_binary(self, x: str) -> None:
        for _ in range(3):
            y = self.choose(list(self.shapes))
            shape = self.broadcast(self.shapes[x], self.shapes[y])
            if shape is not None:
                self.node(self.choose(BINARY), [x, y], shape)
                return

    def make_many(self, x: str) -> None:
        fit = [y for y in self.shapes if self.broadcast(self.shapes[x], self.shapes[y]) is not None]
        chosen = [x, self.choose(fit), self.choose(fit)]
        shape = self.broadcast(*(self.shapes[y] for y in chosen))
        if shape is not None:
            self.node(self.choose(["Sum", "Max", "Min", "Mean"]), chosen, shape)

    def make_where(self, x: str) -> None:
        mask = self.constant(self.rng.random(self.against(self.shapes[x])) < 0.5)
        y = self.floats(self.against(self.shapes[x]))
        fixed = [self.constants[c].shape for c in (mask, y)]
        shape = self.broadcast(self.shapes[x], *fixed)
        if shape is not None:
            self.node("Where", [mask, x, y] if self.chance(0.5) else [mask, y, x], shape)

    def make_expand(self, x: str) -> None:
        wide = self.ints(*self.against(self.shapes[x]))
        shape = self.broadcast(self.shapes[x], tuple(self.constants[wide].tolist()))
        assert shape is not None
        self.node("Expand", [x, wide], shape)

    # -- shapes --------------------------------------------------------------------------------

    def make_unsqueeze(self, x: str) -> None:
        shape = list(self.shapes[x])
        axes = sorted({self.below(len(shape) + 1) for _ in range(self.below(2) + 1)})
        for a in axes:
            shape.insert(a, 1)
        self.node("Unsqueeze", [x, self.ints(*axes)], tuple(shape))

    def make_squeeze(self, x: str) -> None:
        ones = [a for a, e in enumerate(self.shapes[x]) if e == 1]
        if ones:
            gone = self.choose(ones)
            kept = tuple(e for a, e in enumerate(self.shapes[x]) if a != gone)
            self.node("Squeeze", [x, self.ints(gone)], kept)

    def make_transpose(self, x: str) -> None:
        perm = [int(a) for a in self.rng.permutation(len(self.shapes[x]))]
        if perm:
            self.node("Transpose", [x], tuple(self.shapes[x][a] for a in perm), perm=perm)

    def make_merge_axes(self, x: str) -> None:
        shape = self.shapes[x]
        if len(shape) < 2:
            return
        a = self.below(len(shape) - 1)
        rest = shape[a + 2 :]
        if all(isinstance(e, int) for e in rest):
            wanted = self.ints(*[0] * a, -1, *rest)
            self.node("Reshape", [x, wanted], (*shape[:a], self._times(*shape[a : a + 2]), *rest))

    def make_split_axis(self, x: str) -> None:
        shape = self.shapes[x]
        fit = [a for a, e in enumerate(shape) if isinstance(e, int) and e % 2 == 0]
        if not fit:
            return
        a = self.choose(fit)
        rest = shape[a + 1 :]
        if all(isinstance(e, int) for e in rest):
            half = int(shape[a]) // 2
            wanted = self.ints(*[0] * a, 2, half, *rest)
            self.node("Reshape", [x, wanted], (*shape[:a], 2, half, *rest))

    def make_flatten(self, x: str) -> None:
        a = self.below(len(self.shapes[x]) + 1)
        shape = self.shapes[x]
        self.node("Flatten", [x], (self._times(*shape[:a]), self._times(*shape[a:])), axis=a)

    @staticmethod
    def _times(*extents: Extent) -> Extent:
        fixed = prod(e for e in extents if isinstance(e, int))
        named = [e for e in extents if isinstance(e, str)]
        if not named:
            return fixed
        return "*".join([*(f"({e})" for e in sorted(named)), *([str(fixed)] if fixed != 1 else [])])

    def make_concat(self, x: str) -> None:
        a = self.axis(x)
        if a is None or not isinstance(self.shapes[x][a], int):
            return
        shape = self.shapes[x]
        fit = [
            (y, s[a])
            for y, s in self.shapes.items()
            if len(s) == len(shape)
            and isinstance(s[a], int)
            and (*s[:a], *s[a + 1 :]) == (*shape[:a], *shape[a + 1 :])
        ]
        parts = [(x, shape[a]), *(self.choose(fit) for _ in range(self.below(2) + 1))]
        wide = sum(int(e) for _, e in parts)
        self.node("Concat", [y for y, _ in parts], (*shape[:a], wide, *shape[a + 1 :]), axis=a)

    def make_concat_with_constant(self, x: str) -> None:
        a, shape = self.axis(x), self.shapes[x]
        if a is None or not all(isinstance(e, int) for e in shape):
            return
        wide = (*shape[:a], int(shape[a]) + 2, *shape[a + 1 :])
        c = self.floats([*map(int, shape[:a]), 2, *map(int, shape[a + 1 :])])
        self.node("Concat", [x, c] if self.chance(0.5) else [c, x], wide, axis=a)

    def make_slice(self, x: str) -> None:
        a = self.axis(x)
        if a is None or not isinstance(extent := self.shapes[x][a], int):
            return
        start = self.below(extent)
        stop = start + 1 + self.below(extent - start)
        step = self.below(2) + 1
        shape = (*self.shapes[x][:a], -(-(stop - start) // step), *self.shapes[x][a + 1 :])
        bounds = [self.ints(v) for v in (start, stop, a, step)]
        self.node("Slice", [x, *bounds], shape)

    def make_gather(self, x: str) -> None:
        a = self.axis(x)
        if a is None or not isinstance(extent := self.shapes[x][a], int):
            return
        index = self.rng.integers(-extent, extent, [(), (1,), (3,), (2, 2)][self.below(4)])
        shape = (*self.shapes[x][:a], *index.shape, *self.shapes[x][a + 1 :])
        self.node("Gather", [x, self.constant(np.asarray(index, np.int64))], shape, axis=a)

    def make_pad(self, x: str) -> None:
        if all(isinstance(e, int) for e in self.shapes[x]) and self.shapes[x]:
            amounts = self.rng.integers(0, 2, (2, len(self.shapes[x])))
            shape = tuple(
                int(e) + int(v) for e, v in zip(self.shapes[x], amounts.sum(axis=0), strict=True)
            )
            self.node("Pad", [x, self.ints(*amounts.reshape(-1).tolist())], shape)

    # -- along axes ----------------------------------------------------------------------------

    def make_reduce(self, x: str) -> None:
        rank = len(self.shapes[x])
        axes = sorted({self.below(rank) for _ in range(self.below(3) + 1)}) if rank else []
        keep = int(self.chance(0.5))
        shape = tuple(
            1 if a in axes else e for a, e in enumerate(self.shapes[x]) if keep or a not in axes
        )
        if axes:
            self.node(self.choose(REDUCTIONS), [x], shape, axes=axes, keepdims=keep)

    def make_softmax(self, x: str) -> None:
        a = self.axis(x)
        if a is not None:
            self.node(self.choose(["Softmax", "LogSoftmax"]), [x], self.shapes[x], axis=a)

    def make_linear(self, x: str) -> None:
        """A product with a constant of one to four axes."""
        if not self.shapes[x] or not isinstance(inner := self.shapes[x][-1], int):
            return
        lead = [1] * self.below(3)
        vector = self.chance(0.2)
        w = self.floats([inner] if vector else [*lead, inner, 4])
        rows, outer = self.shapes[x][-2:-1], self.shapes[x][:-2]
        batch = outer if vector else self.broadcast(outer, tuple(lead))
        self.node("MatMul", [x, w], (*(batch or ()), *rows, *(() if vector else (4,))))

    def make_matmul(self, x: str) -> None:
        if len(self.shapes[x]) < 2:
            return
        fit = [y for y, s in self.shapes.items() if len(s) > 1 and s[-2] == self.shapes[x][-1]]
        if not fit:
            return
        y = self.choose(fit)
        batch = self.broadcast(self.shapes[x][:-2], self.shapes[y][:-2])
        if batch is not None:
            self.node("MatMul", [x, y], (*batch, self.shapes[x][-2], self.shapes[y][-1]))

    def make_conv(self, x: str) -> None:
        shape = self.shapes[x]
        if len(shape) not in (3, 4) or not isinstance(shape[1], int):
            return
        spatial = len(shape) - 2
        w = self.floats([3, shape[1], *[1] * spatial])
        self.node("Conv", [x, w, self.floats([3])], (shape[0], 3, *shape[2:]))

    def make_column_conv(self, x: str) -> None:
        """A convolution along the height alone, of whatever width."""
        shape = self.shapes[x]
        if len(shape) != 4 or not all(isinstance(e, int) for e in shape[1:3]):
            return
        taps, stride = self.below(3) + 1, self.below(2) + 1
        pads = [self.below(taps), 0, self.below(taps), 0]
        room = int(shape[2]) + pads[0] + pads[2] - taps
        if room < 0:
            return
        w = self.floats([4, int(shape[1]), taps, 1])
        made = (shape[0], 4, room // stride + 1, shape[3])
        self.node("Conv", [x, w], made, pads=pads, strides=[stride, 1])

    def make_norm(self, x: str) -> None:
        shape = self.shapes[x]
        if len(shape) < 2 or not isinstance(c := shape[1], int):
            return
        values = [self.floats([c]) for _ in range(3)]
        variance = self.constant((self.rng.random(c) + 0.5).astype(np.float32))
        self.node("BatchNormalization", [x, *values, variance], shape)

    def make_layer_norm(self, x: str) -> None:
        shape = self.shapes[x]
        if shape and isinstance(shape[-1], int) and shape[-1] > 1:
            scale, bias = (self.floats([shape[-1]]) for _ in range(2))
            self.node("LayerNormalization", [x, scale, bias], shape, axis=-1)
