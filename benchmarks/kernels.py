"""Kernels of convolutions and matrix products as a share of what the core can do at all.

    python -m benchmarks.kernels [--precision int8]

Every convolution shape of ResNet-50, and product by constant weights of the zoo's transformers, with a reduction of
256 or more becomes a network of one layer; its step's best time is compared with the measured peak of independent multiply-adds in
registers.  Winograd does fewer multiplications than it is credited with and may exceed 100 %.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from benchmarks.job import NotBuilt, build
from benchmarks.packages import ROOT
from benchmarks.report import table, write_json
from camshaft.backends.cpu.measured.peak import peak as peak_of
from camshaft.backends.cpu.processor import host_target
from camshaft.machine.description import describe

OUT = ROOT / "build" / "bench"
SHARE = {"fp32": 0.92, "bf16": 0.9, "int8": 0.92}
LAYER = "layer"
"""The name of the node that is measured."""


@dataclass(frozen=True)
class Shape:
    """A square convolution with "same" padding and ReLU: pixels per side going in, stride."""

    channels: int
    features: int
    kernel: int
    side: int
    stride: int = 1

    @property
    def reduction(self) -> int:
        return self.channels * self.kernel**2

    @property
    def macs(self) -> int:
        """Multiply-accumulates for a batch of one; taps that meet padding do not count."""
        starts = range(-(self.kernel // 2), self.side - self.kernel // 2, self.stride)
        taps = sum(0 <= s + k < self.side for s in starts for k in range(self.kernel))
        return self.channels * self.features * taps**2

    @property
    def input(self) -> tuple[int, ...]:
        return (1, self.channels, self.side, self.side)

    def network(self) -> onnx.ModelProto:
        """Convolution, bias, ReLU."""
        out = self.side // self.stride
        pad = self.kernel // 2
        end = pad if self.stride == 1 else max(0, pad - 1 + self.side % 2)
        strides, pads = [self.stride] * 2, [pad, pad, end, end]
        conv = helper.make_node("Conv", ["x", "w", "b"], ["y"], LAYER, strides=strides, pads=pads)
        relu = helper.make_node("Relu", ["y"], ["z"], "relu")
        weights = (self.features, self.channels, self.kernel, self.kernel)
        return _model([conv, relu], self, weights, (1, self.features, out, out))

    def __str__(self) -> str:
        k = f"{self.kernel}x{self.kernel}"
        stride = f" /{self.stride}" if self.stride > 1 else ""
        return f"{k} {self.channels}->{self.features} at {self.side}{stride}"


RESNET50 = (
    Shape(64, 64, 3, 56),
    Shape(256, 64, 1, 56),
    Shape(256, 128, 1, 56),
    Shape(256, 512, 1, 56, 2),
    Shape(128, 128, 3, 56, 2),
    Shape(128, 128, 3, 28),
    Shape(512, 128, 1, 28),
    Shape(512, 256, 1, 28),
    Shape(512, 1024, 1, 28, 2),
    Shape(256, 256, 3, 28, 2),
    Shape(256, 1024, 1, 14),
    Shape(256, 256, 3, 14),
    Shape(1024, 256, 1, 14),
    Shape(1024, 512, 1, 14),
    Shape(1024, 2048, 1, 14, 2),
    Shape(512, 512, 3, 14, 2),
    Shape(512, 2048, 1, 7),
    Shape(512, 512, 3, 7),
    Shape(2048, 512, 1, 7),
)
"""The distinct convolutions of ResNet-50 with a reduction of 256 or more."""


@dataclass(frozen=True)
class Product:
    """rows x reduction times constant reduction x features, and a bias."""

    rows: int
    reduction: int
    features: int

    @property
    def macs(self) -> int:
        return self.rows * self.reduction * self.features

    @property
    def input(self) -> tuple[int, ...]:
        return (1, self.rows, self.reduction)

    def network(self) -> onnx.ModelProto:
        """Product and bias."""
        nodes = [
            helper.make_node("MatMul", ["x", "w"], ["y"], LAYER),
            helper.make_node("Add", ["y", "b"], ["z"], "bias"),
        ]
        weights = (self.reduction, self.features)
        return _model(nodes, self, weights, (1, self.rows, self.features))

    def __str__(self) -> str:
        return f"{self.rows} x {self.reduction} x {self.features}"


PRODUCTS = (
    Product(32, 384, 1536),
    Product(32, 1536, 384),
    Product(128, 384, 384),
    Product(128, 384, 1536),
    Product(128, 1536, 384),
    Product(128, 768, 768),
    Product(128, 768, 2304),
    Product(128, 768, 3072),
    Product(128, 3072, 768),
    Product(197, 768, 3072),
    Product(197, 3072, 768),
    Product(196, 384, 1536),
)
"""Of the zoo's encoders, MiniLM, ViT and Swin."""


def _model(
    nodes: Sequence[onnx.NodeProto],
    layer: Shape | Product,
    weights: tuple[int, ...],
    output: tuple[int, ...],
) -> onnx.ModelProto:
    """The nodes with seeded weights w and biases b, from x to z."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal(weights) * (2 / layer.reduction) ** 0.5
    bias = rng.standard_normal(layer.features) * 0.1
    constants = [
        numpy_helper.from_array(a.astype(np.float32), n) for a, n in ((weight, "w"), (bias, "b"))
    ]
    graph = helper.make_graph(
        nodes, LAYER, [_value("x", layer.input)], [_value("z", output)], constants
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _value(name: str, extents: tuple[int, ...]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, extents)


@dataclass(frozen=True)
class Share:
    """A kernel's measured rate in GFLOP/s (or GOP/s) and its share of the peak."""

    shape: str
    precision: str
    tactic: str
    rate: float
    share: float


def measure(shape: Shape | Product, precision: str, peak: float, runs: int = 200) -> Share:
    """The layer's step in an engine for one thread; NotBuilt if there is no such precision."""
    x = np.random.default_rng(1).standard_normal(shape.input).astype(np.float32)
    options: dict[str, Any] = {}
    if precision != "fp32":
        options = {"precision": {precision}, "layer_precision": {LAYER: precision}}
    if precision == "int8":
        options |= {"noise_reduction": False, "calibration": [{"x": x}]}
    engine = build(shape.network(), threads=1, **options)
    profile = engine.profile({"x": x}, runs=runs)
    layer = max(
        (s for s in profile.layers if LAYER in s.name.split(" + ")), key=lambda s: s.median_us
    )
    rate = 2e-3 * shape.macs / layer.min_us
    return Share(str(shape), precision, layer.tactic, rate, rate / peak)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: prints a table, writes build/bench/kernels-PRECISION.json.

    The peak is measured in the same run, on the machine that the file names.
    """
    parser = argparse.ArgumentParser("python -m benchmarks.kernels")
    parser.add_argument("--precision", choices=list(SHARE), default="fp32")
    precision = parser.parse_args(arguments).precision
    peak = peak_of(precision, host_target())
    try:
        shares = [measure(s, precision, peak) for s in (*RESNET50, *PRODUCTS)]
    except NotBuilt as reason:
        print(f"not built: {reason}")
        return
    content = {"machine": describe(), "peak": peak, "kernels": [asdict(s) for s in shares]}
    write_json(OUT / f"kernels-{precision}.json", content)
    least = min(shares, key=lambda s: s.share)
    met = "MET" if least.share >= SHARE[precision] else "MISSED"
    print(
        table(
            ["layer", "tactic", "rate", "share of peak"],
            [(s.shape, s.tactic, f"{s.rate:.1f}", f"{100 * s.share:.1f} %") for s in shares],
        ),
        f"peak {peak:.1f}; {met}: least {100 * least.share:.1f} % ({least.shape}), target {SHARE[precision]:.0%}",
        sep="\n",
    )


if __name__ == "__main__":
    main()
