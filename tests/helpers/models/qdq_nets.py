"""Small nets with Q/DQ nodes."""

from __future__ import annotations

import numpy as np

from camshaft.ir import expr as E
from camshaft.ir.graph import Graph, GraphBuilder, Tensor
from camshaft.ir.types import TensorType, f32
from camshaft.ops import CONV, DEQUANTIZE, MATMUL, POINTWISE, POOL, QUANTIZE, RESHAPE

RELU = {"expr": E.maximum(E.inp(0), E.const(0.0))}


ADD = {"expr": E.add(E.inp(0), E.inp(1))}


class QdqNet:
    """Builds NCHW nets the way ONNX Runtime's static quantization writes them."""

    def __init__(self, activations: type, per_channel: bool) -> None:
        self.b = GraphBuilder("qdq")
        self.rng = np.random.default_rng(3)
        self.activations, self.per_channel = activations, per_channel

    def qdq(self, x: Tensor, scale: float, zero: int, name: str) -> Tensor:
        z = zero - 128 if self.activations is np.int8 else zero
        params = [self.b.constant(np.float32(scale)), self.b.constant(self.activations(z))]
        q = self.b.emit(QUANTIZE, [x, *params], name=f"q {name}")
        return self.b.emit(DEQUANTIZE, [q, *params], name=f"dq {name}")

    def weight(self, shape: tuple[int, ...], axis: int, name: str) -> Tensor:
        w = self.b.constant(self.rng.integers(-127, 128, shape).astype(np.int8), name)
        n = shape[axis] if self.per_channel else None
        scale = np.asarray(self.rng.uniform(0.002, 0.006, n), np.float32)
        zero = np.zeros(() if n is None else n, np.int8)
        params = [self.b.constant(np.asarray(scale)), self.b.constant(zero)]
        return self.b.emit(DEQUANTIZE, [w, *params], {"axis": axis}, name=f"dq {name}")

    def conv(self, x: Tensor, k: int, size: int, name: str, **attrs: object) -> Tensor:
        groups = int(attrs.get("groups", 1))  # type: ignore[call-overload]
        w = self.weight((k, x.shape[1] // groups, size, size), 0, f"{name}.w")
        bias = self.b.constant(self.rng.standard_normal((k, 1, 1)).astype(np.float32))
        pad = size // 2
        more = {"layout": "NCHW", "pads": (pad,) * 4, **attrs}
        y = self.b.emit(CONV, [x, w], more, name=name)  # type: ignore[arg-type]
        return self.b.emit(POINTWISE, [y, bias], ADD, name=f"{name}.bias")

    def relu(self, x: Tensor, name: str) -> Tensor:
        return self.b.emit(POINTWISE, [x], RELU, name=name)


def residual_net(activations: type, per_channel: bool) -> Graph:
    n = QdqNet(activations, per_channel)
    x = n.qdq(n.b.input("x", TensorType(f32, (1, 4, 8, 8))), 0.03, 120, "x")
    a = n.qdq(n.relu(n.conv(x, 8, 3, "conv1"), "relu1"), 0.02, 0, "a")
    pool = {"kind": "max", "kernel": (2, 2), "strides": (2, 2), "layout": "NCHW"}
    p = n.qdq(n.b.emit(POOL, [a], pool, name="pool"), 0.02, 0, "p")
    d = n.qdq(n.relu(n.conv(p, 8, 3, "depthwise", groups=8), "relu2"), 0.02, 0, "d")
    c = n.qdq(n.conv(d, 8, 1, "conv2"), 0.03, 128, "c")
    s = n.qdq(n.relu(n.b.emit(POINTWISE, [c, p], ADD, name="add"), "relu3"), 0.03, 0, "s")
    mean = {"kind": "avg", "kernel": (4, 4), "layout": "NCHW"}
    g = n.qdq(n.b.emit(POOL, [s], mean, name="mean"), 0.02, 0, "g")
    flat = n.b.emit(RESHAPE, [g], {"shape": (1, 8)}, name="flat")
    fc = n.b.emit(MATMUL, [flat, n.weight((8, 5), 1, "fc.w")], name="fc")
    return n.b.graph({"y": n.qdq(fc, 0.02, 128, "y")})
