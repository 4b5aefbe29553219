"""Window pooling of symbolic batch, height and width: one kernel, many sizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from camshaft.backends.base import KernelSpec, Operand
from camshaft.backends.cpu.pool.window import PoolWindow
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir import expr as E
from camshaft.ir.extents.extent import Extent, extent_of
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.types import DType, f32, i8, row_major_strides, u8
from camshaft.ops import POOL
from camshaft.ops.common import window_extent
from kernel_harness import SymbolicKernel, at_sizes
from targets import each_target
from thinning import every_second

pytestmark = pytest.mark.sampled

N = extent_of(Symbol("n", 1, 1, 5))
H = extent_of(Symbol("h", 7, 14, 40))
W = extent_of(Symbol("w", 7, 24, 70))
SEVEN, TWELVE = (extent_of(Symbol("w", 7, typical, 40)) for typical in (7, 12))


@dataclass(frozen=True)
class Layer:
    name: str
    x: tuple[Extent, Extent, Extent, int]
    attrs: dict[str, Any] = field(default_factory=dict)
    dtype: DType = f32
    pitch: int = 0

    def __repr__(self) -> str:
        return self.name


RESNET = {"kernel": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)}
LAYERS = (
    Layer("batch", (N, 9, 11, 40), RESNET),
    Layer("height", (1, H, 11, 40), RESNET),
    Layer("width", (1, 9, W, 40), RESNET),
    Layer("resnet", (N, H, W, 70), RESNET, pitch=3),
    Layer("resnet u8", (N, H, W, 70), RESNET, u8, pitch=3),
    Layer("ceil", (N, H, W, 20), {"kernel": (3, 3), "strides": (2, 2), "ceil_mode": True}),
    Layer(
        "ceil with pads",
        (1, H, W, 3),
        {"kernel": (3, 3), "strides": (2, 3), "pads": (1, 0, 1, 2), "ceil_mode": True},
    ),
    Layer(
        "ceil, windows in the padding",
        (1, H, W, 9),
        {"kernel": (2, 2), "strides": (3, 4), "pads": (1, 1, 3, 6), "ceil_mode": True},
    ),
    Layer(
        "ceil, window beyond the image",
        (1, H, W, 9),
        {"kernel": (9, 9), "strides": (3, 4), "ceil_mode": True},
    ),
    Layer("same", (1, H, W, 64), {"kernel": (3, 3), "pads": (1, 1, 1, 1)}, i8),
    Layer("5x5 as in SPPF", (N, H, W, 33), {"kernel": (5, 5), "pads": (2, 2, 2, 2)}),
    Layer("13x13 as in SPP", (1, H, W, 9), {"kernel": (13, 13), "pads": (6, 6, 6, 6)}),
    Layer("oblong", (1, H, W, 5), {"kernel": (2, 5), "strides": (1, 3), "pads": (0, 2, 1, 4)}),
    Layer("dilated", (1, H, W, 17), {"kernel": (3, 2), "dilations": (2, 3), "pads": (2, 1, 2, 1)}),
    Layer("dilated, strided", (1, H, W, 8), {"kernel": (2, 4), "dilations": (1, 2), "strides": (2, 2), "pads": (0, 3, 1, 2)}, u8),
    Layer("2x2", (N, H, W, 16), {"kernel": (2, 2), "strides": (2, 2)}),
    Layer("one tile", (1, H, SEVEN, 40), {"kernel": (3, 3), "pads": (1, 1, 1, 1)}),
    Layer("one tile, stride 2", (1, H, TWELVE, 40), RESNET, pitch=3),
    Layer(
        "one tile, windows in the padding",
        (1, H, TWELVE, 9),
        {"kernel": (2, 2), "strides": (3, 3), "pads": (1, 1, 3, 6), "ceil_mode": True},
    ),
    Layer("one tile, dilated", (1, H, SEVEN, 8), {"kernel": (2, 3), "dilations": (1, 2), "pads": (0, 3, 1, 3)}, u8),
    Layer("columns", (1, H, W, 1), {"kernel": (1, 3), "strides": (1, 2), "pads": (0, 1, 0, 1)}),
)  # fmt: skip


def spec_of(layer: Layer, **more: Any) -> KernelSpec:
    n, h, w, c = layer.x
    attrs = POOL.complete({**layer.attrs, "layout": "NHWC", **more})
    out = [
        window_extent(
            size,
            attrs["kernel"][a],  # type: ignore[index]
            attrs["strides"][a],  # type: ignore[index]
            (attrs["pads"][a], attrs["pads"][a + 2]),  # type: ignore[index]
            attrs["dilations"][a],  # type: ignore[index]
            bool(attrs["ceil_mode"]),
        )
        for a, size in enumerate((h, w))
    ]
    mean = attrs["kind"] == "avg"
    result: Any = (n, *out, c)
    whole: Any = (n, h, w, c + layer.pitch)
    x = Operand(layer.dtype, layer.x, row_major_strides(whole))
    bias, residual = Operand.dense(f32, (c,), True), Operand.dense(f32, result)
    total = E.inp(0) if layer.dtype is f32 or mean else E.cast(E.inp(0), f32)
    attrs["epilogue"] = E.add(E.add(total, E.inp(1)), E.inp(2))
    kept = {k: v for k, v in attrs.items() if k != "layout"}
    inputs = (x, bias, residual)
    return KernelSpec("pool", inputs, (Operand.dense(f32, result),), tuple(sorted(kept.items())))


def rounds_of(spec: KernelSpec, rng: np.random.Generator) -> Iterator[dict[str, int]]:
    yield {s.name: s.typical for s in spec.symbols}
    for extra in range(6):
        yield {s.name: min(s.low + extra, s.high or 0) for s in spec.symbols}
    for _ in range(4):
        yield {s.name: int(rng.integers(s.low, (s.high or 0) + 1)) for s in spec.symbols}


KINDS = {
    "max": {"kind": "max"},
    "mean": {"kind": "avg"},
    "mean with the padding": {"kind": "avg", "count_include_pad": True},
}


@every_second(("layer", LAYERS), ("kind", list(KINDS)))
@each_target
def test_open_windows(target: CpuTarget, layer: Layer, kind: str) -> None:
    zero = {"x_zero_point": 7} if kind != "max" and layer.dtype is not f32 else {}
    spec = spec_of(layer, **KINDS[kind], **zero)
    rng = np.random.default_rng(0)
    found = PoolWindow().plan(spec, target, 2)
    assert found
    for candidate in (found[0], found[-1])[: len(found)]:
        kernel = SymbolicKernel(candidate, target)
        for number, sizes in enumerate(rounds_of(spec, rng)):
            fixed = at_sizes(spec, sizes)
            arrays = [_values(o, rng) for o in fixed.inputs]
            attrs = POOL.complete({**dict(fixed.attrs), "layout": "NHWC"})
            (expected,) = POOL.reference(arrays, attrs)
            run = kernel.laid_out(sizes, [arrays[0], arrays[2]], [arrays[1]], 1 + number % 3)
            run.run()
            run.check_guards()
            (got,) = run.outputs()
            if kind == "max":
                np.testing.assert_array_equal(got, expected, err_msg=str(sizes))
            else:
                np.testing.assert_allclose(got, expected, 2e-6, 2e-5, err_msg=str(sizes))


def _values(operand: Operand, rng: np.random.Generator) -> np.ndarray:
    if operand.dtype.is_float:
        return np.asarray(np.rint(rng.standard_normal(operand.shape) * 60), np.float32)
    low, high = operand.dtype.range
    return np.asarray(rng.integers(low, high + 1, operand.shape), operand.dtype.numpy)
