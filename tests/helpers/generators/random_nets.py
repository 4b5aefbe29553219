"""Random small graphs: any operator after any other."""

from __future__ import annotations

from camshaft.ir import expr as E
from camshaft.ir.graph import Graph, Tensor
from camshaft.ops import BROADCAST, CONCAT, PAD, POINTWISE, REDUCE, SLICE, SOFTMAX, TRANSPOSE
from camshaft.passes.canonical.slices import slice_attrs
from small_nets import Net, shuffle

UNARY = (
    E.maximum(E.inp(0), E.const(0.0)),
    E.clip(E.inp(0), 0.0, 6.0),
    E.clip(E.inp(0), -1.0, 2.0),
    E.sigmoid(E.inp(0)),
    E.unary("abs", E.inp(0)),
    E.unary("neg", E.inp(0)),
    E.mul(E.inp(0), E.const(0.5)),
    E.sub(E.const(1.0), E.inp(0)),
    E.div(E.inp(0), E.const(3.0)),
)


BINARY = (
    E.add(E.inp(0), E.inp(1)),
    E.mul(E.inp(1), E.inp(0)),
    E.sub(E.inp(0), E.inp(1)),
    E.maximum(E.inp(0), E.inp(1)),
)


class RandomNet(Net):
    """Grows a graph by random operators on random earlier tensors."""

    def __init__(self, seed: int) -> None:
        super().__init__(f"random{seed}", seed)
        self.tensors = [self.input((1, 4, 6, 6)), self.relu(self.input((2, 6, 4, 5), "z"))]

    def pick(self) -> Tensor:
        late = self.rng.random() < 0.7
        pool = self.tensors[-4:] if late else self.tensors
        return pool[int(self.rng.integers(len(pool)))]

    def chance(self, p: float) -> bool:
        return bool(self.rng.random() < p)

    def choose(self, items):
        return items[int(self.rng.integers(len(items)))]

    def grow(self, steps: int) -> Graph:
        kinds = [getattr(self, name) for name in dir(self) if name.startswith("make_")]
        for _ in range(steps):
            made = self.choose(kinds)(self.pick())
            if made is not None and 0 < made.type.size < 4000:
                self.tensors.append(made)
        outs = dict.fromkeys([self.tensors[-1], self.pick(), self.pick()])
        return self.done(*outs)

    # -- operators: each returns a tensor, or None where it does not apply -------------------

    def make_unary(self, x: Tensor) -> Tensor:
        return self.point(self.choose(UNARY), x)

    def make_unary_again(self, x: Tensor) -> Tensor:
        return self.make_unary(self.make_unary(x))

    def make_binary(self, x: Tensor) -> Tensor:
        same_shape = [t for t in self.tensors if t.shape == x.shape]
        return self.point(self.choose(BINARY), x, self.choose(same_shape))

    def make_channel_constant(self, x: Tensor) -> Tensor:
        axis = int(self.rng.integers(x.type.rank))
        shape = (x.shape[axis], *(1,) * (x.type.rank - 1 - axis))
        return self.point(self.choose(BINARY), x, self.random(*shape))

    def make_norm(self, x: Tensor) -> Tensor | None:
        return self.bn(x) if x.type.rank == 4 else None

    def make_conv(self, x: Tensor) -> Tensor | None:
        if x.type.rank != 4:
            return None
        groups = self.choose([g for g in (1, 2, x.shape[1]) if x.shape[1] % g == 0])
        size = self.choose([s for s in (1, 1, 2, 3) if s <= min(x.shape[2:])])
        pads = tuple(int(v) for v in self.rng.integers(0, size, 4))
        k = groups * int(self.rng.integers(1, 4))
        strides = (int(self.rng.integers(1, 3)), 1)
        return self.conv(
            x, k, size, bias=self.chance(0.5), groups=groups, pads=pads, strides=strides
        )

    make_conv_again = make_conv

    def make_deconv(self, x: Tensor) -> Tensor | None:
        if x.type.rank != 4 or x.shape[1] > 8:
            return None
        strides = tuple(int(v) for v in self.rng.integers(1, 4, 2))
        return self.deconv(x, 3, 3, strides=strides, pads=(1, 0, 1, 1), dilations=(1, 2))

    def make_pool(self, x: Tensor) -> Tensor | None:
        if x.type.rank != 4 or min(x.shape[2:]) < 3:
            return None
        return self.pool(
            x, self.choose(["max", "avg"]), 3, int(self.rng.integers(1, 3)), int(self.chance(0.5))
        )

    def make_mean(self, x: Tensor) -> Tensor | None:
        return self.mean(x, self.chance(0.5)) if x.type.rank == 4 else None

    def make_reduce(self, x: Tensor) -> Tensor:
        axis = int(self.rng.integers(x.type.rank))
        attrs = {"kind": self.choose(["sum", "max"]), "axes": (axis,), "keepdims": self.chance(0.5)}
        if x.type.rank == 1:
            attrs["keepdims"] = True
        return self.b.emit(REDUCE, [x], attrs, name=self.name("reduce"))

    def make_softmax(self, x: Tensor) -> Tensor:
        axis = int(self.rng.integers(x.type.rank))
        return self.b.emit(SOFTMAX, [x], {"axis": axis}, name=self.name("softmax"))

    def make_concat(self, x: Tensor) -> Tensor:
        axis = int(self.rng.integers(x.type.rank))
        fit = [
            t
            for t in self.tensors
            if t.type.rank == x.type.rank
            and all(
                a == axis or d == e for a, (d, e) in enumerate(zip(t.shape, x.shape, strict=True))
            )
        ]
        parts = [x, *(self.choose(fit) for _ in range(2))]
        return self.b.emit(CONCAT, parts, {"axis": axis}, name=self.name("concat"))

    def make_slice(self, x: Tensor) -> Tensor:
        axis = int(self.rng.integers(x.type.rank))
        start = int(self.rng.integers(x.shape[axis]))
        size = int(self.rng.integers(1, x.shape[axis] - start + 1))
        step = 2 if start + 2 * (size - 1) < x.shape[axis] and self.chance(0.5) else 1
        attrs = slice_attrs(x.shape, axis, start, size, step)
        return self.b.emit(SLICE, [x], attrs, name=self.name("slice"))

    def make_split_and_join(self, x: Tensor) -> Tensor:
        axis = int(self.rng.integers(x.type.rank))
        cut = int(self.rng.integers(x.shape[axis] + 1))
        ends = ((0, cut), (cut, x.shape[axis] - cut))
        parts = [
            self.b.emit(SLICE, [x], slice_attrs(x.shape, axis, at, size), name=self.name("slice"))
            for at, size in ends
            if size
        ]
        return self.b.emit(CONCAT, parts, {"axis": axis}, name=self.name("concat"))

    def make_pad(self, x: Tensor) -> Tensor:
        amounts = self.rng.integers(0, 2, (2, x.type.rank))
        attrs = {
            "before": tuple(int(v) for v in amounts[0]),
            "after": tuple(int(v) for v in amounts[1]),
            "value": self.choose([0.0, 0.0, 1.0, -1.0]),
        }
        return self.b.emit(PAD, [x], attrs, name=self.name("pad"))

    def make_image_pad(self, x: Tensor) -> Tensor | None:
        return self.pad(x, 1, 0, 1, 1) if x.type.rank == 4 else None

    def make_transpose(self, x: Tensor) -> Tensor:
        perm = tuple(int(a) for a in self.rng.permutation(x.type.rank))
        return self.b.emit(TRANSPOSE, [x], {"perm": perm}, name=self.name("transpose"))

    def make_channels_last(self, x: Tensor) -> Tensor | None:
        return self.transpose(x, 0, 2, 3, 1) if x.type.rank == 4 else None

    def make_merge_axes(self, x: Tensor) -> Tensor | None:
        if x.type.rank < 2:
            return None
        a = int(self.rng.integers(x.type.rank - 1))
        return self.reshape(x, *x.shape[:a], x.shape[a] * x.shape[a + 1], *x.shape[a + 2 :])

    def make_split_axis(self, x: Tensor) -> Tensor | None:
        a = int(self.rng.integers(x.type.rank))
        if x.type.rank > 4 or x.shape[a] % 2:
            return None
        return self.reshape(x, *x.shape[:a], 2, x.shape[a] // 2, *x.shape[a + 1 :])

    def make_unit_axis(self, x: Tensor) -> Tensor | None:
        a = int(self.rng.integers(x.type.rank + 1))
        return self.reshape(x, *x.shape[:a], 1, *x.shape[a:]) if x.type.rank < 5 else None

    def make_shuffle(self, x: Tensor) -> Tensor | None:
        return shuffle(self, x, 2) if x.type.rank == 4 and x.shape[1] % 2 == 0 else None

    def make_linear(self, x: Tensor) -> Tensor | None:
        return self.linear(x, 4) if x.type.rank >= 2 else None

    def make_gate(self, x: Tensor) -> Tensor | None:
        if x.type.rank != 4:
            return None
        gate = self.sigmoid(self.conv(self.mean(x), x.shape[1]))
        return self.mul(gate, x)

    def make_broadcast(self, x: Tensor) -> Tensor | None:
        if x.type.rank != 4 or x.shape[0] != 1:
            return None
        wide = self.b.emit(BROADCAST, [x], {"shape": (2, *x.shape[1:])}, name=self.name("expand"))
        return self.b.emit(POINTWISE, [wide], {"expr": UNARY[0]}, name=self.name("relu"))
