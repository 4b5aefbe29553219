"""Convolution kernels as a share of what the core can do at all.

    python -m benchmarks.kernels [--precision int8]

Every convolution shape of ResNet-50 with a reduction of 256 or more becomes a network of one layer;
its step's best time is compared with the measured peak of independent multiply-adds in
registers.  Winograd does fewer multiplications than it is credited with and may exceed 100 %.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

import camshaft
from benchmarks.packages import ROOT
from benchmarks.report import table, write_json
from camshaft.backends.cpu.measured.peak import peak as peak_of
from camshaft.backends.cpu.processor import host_target
from camshaft.machine.description import describe

OUT = ROOT / "build" / "bench"
SHARE = 0.92


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


def network(shape: Shape) -> onnx.ModelProto:
    """A network of one layer: convolution, bias, ReLU, with seeded weights."""
    rng = np.random.default_rng(0)
    extents = (shape.features, shape.channels, shape.kernel, shape.kernel)
    weight = rng.standard_normal(extents) * (2 / shape.reduction) ** 0.5
    bias = rng.standard_normal(shape.features) * 0.1
    out = shape.side // shape.stride
    pad = shape.kernel // 2
    end = pad if shape.stride == 1 else max(0, pad - 1 + shape.side % 2)
    conv = helper.make_node(
        "Conv",
        ["x", "w", "b"],
        ["y"],
        "conv",
        strides=[shape.stride] * 2,
        pads=[pad, pad, end, end],
    )
    relu = helper.make_node("Relu", ["y"], ["z"], "relu")
    graph = helper.make_graph(
        [conv, relu],
        "conv",
        [_value("x", (1, shape.channels, shape.side, shape.side))],
        [_value("z", (1, shape.features, out, out))],
        [
            numpy_helper.from_array(weight.astype(np.float32), "w"),
            numpy_helper.from_array(bias.astype(np.float32), "b"),
        ],
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


def measure(shape: Shape, precision: str, peak: float, runs: int = 200) -> Share:
    """The step of the convolution in an engine for one thread."""
    extents = (1, shape.channels, shape.side, shape.side)
    x = np.random.default_rng(1).standard_normal(extents).astype(np.float32)
    model = network(shape)
    if precision == "int8":
        engine = camshaft.build(
            model,
            threads=1,
            precision={"int8"},
            layer_precision={"conv": "int8"},
            noise_reduction=False,
            calibration=[{"x": x}],
        )
    else:
        engine = camshaft.build(model, threads=1)
    layers = [
        s for s in engine.profile({"x": x}, runs=runs).layers if "conv" in s.name.split(" + ")
    ]
    layer = max(layers, key=lambda s: s.median_us)
    rate = 2e-3 * shape.macs / layer.min_us
    return Share(str(shape), precision, layer.tactic, rate, rate / peak)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: prints a table, writes build/bench/kernels-PRECISION.json.

    The peak is measured in the same run, on the machine that the file names.
    """
    parser = argparse.ArgumentParser("python -m benchmarks.kernels")
    parser.add_argument("--precision", choices=("fp32", "int8"), default="fp32")
    precision = parser.parse_args(arguments).precision
    peak = peak_of(precision, host_target())
    shares = [measure(s, precision, peak) for s in RESNET50]
    content = {"machine": describe(), "peak": peak, "kernels": [asdict(s) for s in shares]}
    write_json(OUT / f"kernels-{precision}.json", content)
    least = min(shares, key=lambda s: s.share)
    met = "MET" if least.share >= SHARE else "MISSED"
    print(
        table(
            ["convolution", "tactic", "rate", "share of peak"],
            [(s.shape, s.tactic, f"{s.rate:.1f}", f"{100 * s.share:.1f} %") for s in shares],
        ),
        f"peak {peak:.1f}; {met}: least {100 * least.share:.1f} % ({least.shape}), target {SHARE:.0%}",
        sep="\n",
    )


if __name__ == "__main__":
    main()
