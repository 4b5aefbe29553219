"""Small networks in the form the ONNX importer yields (NCHW), for tests of passes.

Each builder function returns a graph; weights are random but fixed by the seed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from camshaft.ir import expr as E
from camshaft.ir.graph import Graph, GraphBuilder, Tensor
from camshaft.ir.types import TensorType, f32
from camshaft.ops import (
    CONCAT,
    CONV,
    CONV_TRANSPOSE,
    MATMUL,
    PAD,
    POINTWISE,
    POOL,
    REDUCE,
    RESAMPLE,
    RESHAPE,
    SLICE,
    SOFTMAX,
    TRANSPOSE,
)

ADD = E.add(E.inp(0), E.inp(1))
MUL = E.mul(E.inp(0), E.inp(1))


class Net:
    """A graph builder that speaks in layers."""

    def __init__(self, name: str, seed: int = 0) -> None:
        self.b = GraphBuilder(name)
        self.rng = np.random.default_rng(seed)
        self.count = 0

    def name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count}"

    def input(self, shape: tuple[int, ...], name: str = "x") -> Tensor:
        return self.b.input(name, TensorType(f32, shape))

    def random(self, *shape: int) -> Tensor:
        return self.b.constant(self.rng.standard_normal(shape).astype(np.float32))

    def positive(self, *shape: int) -> Tensor:
        return self.b.constant((self.rng.random(shape) + 0.5).astype(np.float32))

    def conv(
        self, x: Tensor, k: int, size: int = 1, *, rows: int = 0, bias: bool = False, **attrs
    ) -> Tensor:
        """Filters of size x size, or of `rows` x size."""
        c = x.shape[1] // attrs.get("groups", 1)
        shape = (k, c, rows or size, size)
        scale = np.sqrt(np.prod(shape[1:]))
        w = self.b.constant((self.rng.standard_normal(shape) / scale).astype(np.float32))
        inputs = [x, w]
        if bias:
            inputs.append(self.random(k, 1, 1))
            attrs["epilogue"] = ADD
        return self.b.emit(CONV, inputs, {"layout": "NCHW", **attrs}, name=self.name("conv"))

    def bn(self, x: Tensor) -> Tensor:
        c = x.shape[1]
        expr = E.add(E.mul(E.inp(0), E.inp(1)), E.inp(2))
        inputs = [x, self.positive(c, 1, 1), self.random(c, 1, 1)]
        return self.b.emit(POINTWISE, inputs, {"expr": expr}, name=self.name("bn"))

    def point(self, expr: E.Expr, *xs: Tensor, kind: str = "pointwise") -> Tensor:
        return self.b.emit(POINTWISE, xs, {"expr": expr}, name=self.name(kind))

    def relu(self, x: Tensor) -> Tensor:
        return self.point(E.maximum(E.inp(0), E.const(0.0)), x, kind="relu")

    def relu6(self, x: Tensor) -> Tensor:
        return self.point(E.clip(E.inp(0), 0.0, 6.0), x, kind="clip")

    def sigmoid(self, x: Tensor) -> Tensor:
        return self.point(E.sigmoid(E.inp(0)), x, kind="sigmoid")

    def mul(self, x: Tensor, y: Tensor) -> Tensor:
        return self.point(MUL, x, y, kind="mul")

    def add(self, x: Tensor, y: Tensor) -> Tensor:
        return self.point(ADD, x, y, kind="add")

    def swish(self, x: Tensor) -> Tensor:
        return self.mul(x, self.sigmoid(x))

    def pool(self, x: Tensor, kind: str, kernel: int, stride: int, pad: int = 0) -> Tensor:
        attrs = {
            "kind": kind,
            "kernel": (kernel, kernel),
            "strides": (stride, stride),
            "pads": (pad,) * 4,
            "layout": "NCHW",
        }
        return self.b.emit(POOL, [x], attrs, name=self.name("pool"))

    def mean(self, x: Tensor, keep: bool = True) -> Tensor:
        n = x.shape[2] * x.shape[3]
        attrs = {
            "kind": "sum",
            "axes": (2, 3),
            "keepdims": keep,
            "epilogue": E.mul(E.inp(0), E.const(1.0 / n)),
        }
        return self.b.emit(REDUCE, [x], attrs, name=self.name("mean"))

    def reshape(self, x: Tensor, *shape: int) -> Tensor:
        return self.b.emit(RESHAPE, [x], {"shape": shape}, name=self.name("reshape"))

    def transpose(self, x: Tensor, *perm: int) -> Tensor:
        return self.b.emit(TRANSPOSE, [x], {"perm": perm}, name=self.name("transpose"))

    def concat(self, *xs: Tensor, axis: int = 1) -> Tensor:
        return self.b.emit(CONCAT, xs, {"axis": axis}, name=self.name("concat"))

    def channels(self, x: Tensor, start: int, size: int) -> Tensor:
        attrs = {
            "starts": (0, start, 0, 0),
            "sizes": (x.shape[0], size, *x.shape[2:]),
            "steps": (1, 1, 1, 1),
        }
        return self.b.emit(SLICE, [x], attrs, name=self.name("slice"))

    def pad(self, x: Tensor, top: int, left: int, bottom: int, right: int) -> Tensor:
        attrs = {"before": (0, 0, top, left), "after": (0, 0, bottom, right)}
        return self.b.emit(PAD, [x], attrs, name=self.name("pad"))

    def linear(self, x: Tensor, k: int) -> Tensor:
        y = self.b.emit(MATMUL, [x, self.random(x.shape[-1], k)], name=self.name("fc"))
        return self.point(ADD, y, self.random(k), kind="bias")

    def upsample(self, x: Tensor) -> Tensor:
        h, w = x.shape[2:]
        tables = []
        for extent in (h, w):
            index = np.repeat(np.arange(extent, dtype=np.int32), 2)[:, None]
            tables += [self.b.constant(index), self.b.constant(np.ones(index.shape, np.float32))]
        attrs = {"layout": "NCHW"}
        return self.b.emit(RESAMPLE, [x, *tables], attrs, name=self.name("resize"))

    def deconv(self, x: Tensor, k: int, size: int, **attrs) -> Tensor:
        w = self.random(x.shape[1], k // attrs.get("groups", 1), size, size)
        return self.b.emit(CONV_TRANSPOSE, [x, w], attrs, name=self.name("deconv"))

    def done(self, *ys: Tensor) -> Graph:
        return self.b.graph({f"y{i}": t for i, t in enumerate(ys)})


def resnet() -> Graph:
    """Stem, a downsampling block, an identity block, head."""
    n = Net("resnet")
    x = n.input((1, 3, 16, 16))
    x = n.relu(n.bn(n.conv(x, 8, 7, strides=(2, 2), pads=(3, 3, 3, 3))))
    x = n.pool(x, "max", 3, 2, 1)
    y = n.relu(n.bn(n.conv(x, 4)))
    y = n.relu(n.bn(n.conv(y, 4, 3, strides=(2, 2), pads=(1, 1, 1, 1))))
    y = n.bn(n.conv(y, 16))
    x = n.relu(n.add(y, n.bn(n.conv(x, 16, strides=(2, 2)))))
    y = n.relu(n.bn(n.conv(x, 4)))
    y = n.relu(n.bn(n.conv(y, 4, 3, pads=(1, 1, 1, 1))))
    x = n.relu(n.add(n.bn(n.conv(y, 16)), x))
    x = n.reshape(n.pool(x, "avg", 2, 1), 1, 16)
    return n.done(n.linear(x, 10))


def mobilenet() -> Graph:
    """Inverted residuals with squeeze and excitation, swish and ReLU6; mean as a reduction."""
    n = Net("mobilenet")
    x = n.input((1, 3, 12, 12))
    x = n.relu6(n.bn(n.conv(x, 8, 3, strides=(2, 2), pads=(0, 0, 1, 1))))
    y = n.swish(n.bn(n.conv(x, 16)))
    y = n.swish(n.bn(n.conv(y, 16, 3, pads=(1, 1, 1, 1), groups=16)))
    gate = n.mean(y)
    gate = n.sigmoid(n.conv(n.swish(n.conv(gate, 4, bias=True)), 16, bias=True))
    x = n.add(x, n.bn(n.conv(n.mul(gate, y), 8)))
    return n.done(n.linear(n.mean(x, keep=False), 5))


def inception() -> Graph:
    """Branches joined along channels, batch norm behind the concat, average pool inside."""
    n = Net("inception")
    x = n.input((2, 4, 9, 9))
    x = n.pool(n.relu(n.pad(x, 1, 1, 1, 1)), "max", 3, 2)
    parts = [
        n.relu(n.conv(x, 4, bias=True)),
        n.relu(n.conv(n.relu(n.conv(x, 3, bias=True)), 5, 3, bias=True, pads=(1, 1, 1, 1))),
        n.relu(n.conv(n.pool(x, "avg", 3, 1, 1), 2, bias=True)),
    ]
    return n.done(n.relu(n.bn(n.concat(*parts))))


def densenet() -> Graph:
    """Pre-activation, features that many layers read."""
    n = Net("densenet")
    x = n.conv(n.input((1, 3, 8, 8)), 6, 3, pads=(1, 1, 1, 1))
    features = [x]
    for _ in range(3):
        y = n.concat(*features) if len(features) > 1 else x
        y = n.conv(n.relu(n.bn(y)), 8)
        features.append(n.conv(n.relu(n.bn(y)), 4, 3, pads=(1, 1, 1, 1)))
    y = n.pool(n.conv(n.relu(n.bn(n.concat(*features))), 6), "avg", 2, 2)
    return n.done(n.bn(y))


def shuffle(n: Net, x: Tensor, groups: int) -> Tensor:
    """Channel shuffle as PyTorch exports it."""
    b, c, h, w = x.shape
    y = n.transpose(n.reshape(x, b, groups, c // groups, h, w), 0, 2, 1, 3, 4)
    return n.reshape(y, b, c, h, w)


def shufflenet() -> Graph:
    """Split, branch, concat, shuffle."""
    n = Net("shufflenet")
    x = n.relu(n.conv(n.input((1, 3, 8, 8)), 8, 3, pads=(1, 1, 1, 1)))
    for _ in range(2):
        left, right = n.channels(x, 0, 4), n.channels(x, 4, 4)
        right = n.relu(n.bn(n.conv(right, 4)))
        right = n.bn(n.conv(right, 4, 3, groups=4, pads=(1, 1, 1, 1)))
        x = shuffle(n, n.concat(left, n.relu(n.bn(n.conv(right, 4)))), 2)
    return n.done(n.reshape(n.pool(x, "avg", 8, 1), 1, 8))


def detector() -> Graph:
    """A feature pyramid and heads that end in transposes and reshapes."""
    n = Net("detector")
    c3 = n.relu(n.conv(n.input((1, 3, 16, 16)), 8, 3, strides=(2, 2), pads=(1, 1, 1, 1)))
    c4 = n.relu(n.conv(c3, 8, 3, strides=(2, 2), pads=(1, 1, 1, 1)))
    p3 = n.add(n.conv(c3, 6, bias=True), n.upsample(n.conv(c4, 6, bias=True)))
    outs = []
    for p in (p3, n.conv(c4, 6)):
        score = n.sigmoid(
            n.reshape(
                n.transpose(n.conv(p, 4, bias=True), 0, 2, 3, 1), p.shape[2] * p.shape[3] * 2, 2
            )
        )
        box = n.mul(n.conv(p, 8, 3, pads=(1, 1, 1, 1)), n.b.constant(np.float32(1.5)))
        outs += [score, n.reshape(n.transpose(box, 0, 2, 3, 1), p.shape[2] * p.shape[3] * 2, 4)]
    return n.done(*outs)


def channels_last_input() -> Graph:
    """A network exported from a channels-last framework: transposes at both ends."""
    n = Net("channels-last")
    x = n.transpose(n.input((1, 8, 8, 3)), 0, 3, 1, 2)
    x = n.relu(n.conv(x, 4, 3, pads=(0, 0, 1, 1), strides=(2, 2), bias=True))
    x = n.transpose(x, 0, 2, 3, 1)
    x = n.point(E.add(E.mul(E.inp(0), E.inp(1)), E.const(0.5)), x, n.positive(4))
    x = n.transpose(x, 0, 3, 1, 2)
    x = n.conv(x, 6)
    return n.done(n.b.emit(SOFTMAX, [n.transpose(x, 0, 2, 3, 1)], {"axis": -1}, name="softmax"))


def deconvolution() -> Graph:
    """Transposed convolutions, as segmentation and CenterFace use them."""
    n = Net("deconv")
    x = n.conv(n.input((1, 3, 5, 6)), 4)
    x = n.relu(n.bn(n.deconv(x, 6, 4, strides=(2, 2), pads=(1, 1, 1, 1))))
    x = n.relu(n.deconv(x, 6, 3, strides=(2, 2), groups=6, pads=(1, 0, 1, 0)))
    return n.done(n.deconv(x, 2, 3, strides=(1, 2), pads=(1, 1, 0, 1), output_padding=(0, 1)))


def heads() -> Graph:
    """YOLO-like: anchors split off the channels, boxes decoded, levels joined."""
    n = Net("yolo")
    x = n.relu(n.conv(n.input((1, 3, 8, 8)), 8, 3, pads=(1, 1, 1, 1)))
    levels = []
    for y in (x, n.pool(x, "max", 2, 2)):
        b, _, h, w = y.shape
        y = n.transpose(n.reshape(n.conv(y, 10, bias=True), b, 2, 5, h, w), 0, 1, 3, 4, 2)
        levels.append(n.reshape(n.sigmoid(y), b, 2 * h * w, 5))
    return n.done(n.concat(*levels))


NETS: tuple[Callable[[], Graph], ...] = (
    resnet,
    mobilenet,
    inception,
    densenet,
    shufflenet,
    detector,
    channels_last_input,
    deconvolution,
    heads,
)
