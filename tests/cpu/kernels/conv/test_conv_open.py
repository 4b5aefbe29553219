"""Direct convolutions of symbolic batch, height and width: one kernel, many sizes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pytest

from camshaft.backends.base import KernelSpec, Operand
from camshaft.backends.cpu.conv.direct import ConvDirect
from camshaft.backends.cpu.target import AVX2, CpuTarget
from camshaft.ir import expr as E
from camshaft.ir.extents.extent import Extent, extent_of
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.types import f32, i8, row_major_strides, u8
from camshaft.ops import CONV
from kernel_harness import SymbolicKernel, at_sizes
from targets import each_target
from thinning import every_second

pytestmark = pytest.mark.sampled

N = extent_of(Symbol("n", 1, 1, 9))
H = extent_of(Symbol("h", 5, 14, 80))
W = extent_of(Symbol("w", 5, 24, 90))
V = extent_of(Symbol("v", 1, 20, 40))
TWO = extent_of(Symbol("two", 1, 2, 9))
SEVEN, SIX, FIVE = (extent_of(Symbol("v", 1, typical, 40)) for typical in (7, 6, 5))


@dataclass(frozen=True)
class Layer:
    name: str
    x: tuple[Extent, Extent, Extent, int]
    k: int
    window: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (1, 1, 1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    pitch: int = 0

    def __repr__(self) -> str:
        return self.name


LAYERS = (
    Layer("batch", (N, 9, 11, 8), 24),
    Layer("height", (1, H, 13, 8), 24),
    Layer("width", (1, 7, W, 8), 24),
    Layer("all", (N, H, W, 16), 40, pitch=3),
    Layer("pointwise", (N, H, W, 24), 17, (1, 1), pads=(0, 0, 0, 0)),
    Layer("pointwise of rows with gaps", (N, H, W, 24), 17, (1, 1), pads=(0, 0, 0, 0), pitch=5),
    Layer("vectors", (1, 1, N, 64), 33, (1, 1), pads=(0, 0, 0, 0)),
    Layer("odd vectors", (1, 1, N, 67), 70, (1, 1), pads=(0, 0, 0, 0)),
    Layer("pairs of vectors", (1, 1, TWO, 65), 49, (1, 1), pads=(0, 0, 0, 0)),
    Layer("stride 2", (N, H, W, 8), 16, stride=(2, 2)),
    Layer("stride 3, pads that differ", (1, H, W, 8), 16, (5, 4), (2, 3), (2, 1, 1, 3)),
    Layer("dilated", (1, H, W, 8), 16, (3, 3), (1, 2), (2, 2, 2, 2), (2, 2)),
    Layer("first layer", (N, H, W, 3), 32, (3, 3), (2, 2)),
    Layer("7x7", (1, H, W, 3), 16, (7, 7), (2, 2), (3, 3, 3, 3)),
    Layer("large pads", (1, H, W, 8), 8, (2, 2), (1, 1), (3, 2, 3, 2)),
    Layer("groups", (N, H, W, 24), 48, groups=2),
    Layer("valid", (1, H, W, 8), 16, pads=(0, 0, 0, 0)),
    Layer("first layer, valid", (N, H, W, 3), 16, pads=(0, 0, 0, 0)),
    Layer("first layer, stride 2, valid", (1, H, W, 3), 16, stride=(2, 2), pads=(0, 0, 0, 0)),
    Layer("first layer, pixels apart", (1, H, W, 3), 16, pitch=2),
    Layer("one channel, dilated", (1, H, V, 1), 16, pads=(2, 2, 2, 2), dilation=(2, 2)),
    Layer("two channels, large pads", (1, H, V, 2), 8, (4, 4), pads=(3, 3, 3, 3)),
    Layer("four channels, narrow", (N, H, V, 4), 24, stride=(2, 2)),
    Layer("narrow", (1, H, V, 8), 16),
    Layer("one or two tiles", (1, H, SEVEN, 8), 24),
    Layer("one or two tiles, gaps", (N, H, SEVEN, 6), 70, pads=(1, 2, 1, 0), pitch=3),
    Layer("one tile, stride 2", (1, H, SEVEN, 8), 16, stride=(2, 2)),
    Layer("one tile, stride 2, even", (1, H, SIX, 8), 16, stride=(1, 2)),
    Layer("one tile, large pads", (1, H, FIVE, 8), 8, (3, 4), pads=(2, 3, 2, 5)),
    Layer("one tile, dilated", (1, H, FIVE, 5), 8, (2, 3), pads=(2, 4, 2, 4), dilation=(1, 3)),
    Layer("one tile, first layer", (1, H, SEVEN, 3), 24, (3, 3), (2, 2)),
    Layer("many weights", (1, 1, SIX, 260), 280, (1, 1), pads=(0, 0, 0, 0)),
    Layer("many weights, rows", (1, H, SIX, 64), 150),
)


def spec_of(layer: Layer, integer: bool) -> KernelSpec:
    n, h, w, c = layer.x
    r, s = layer.window
    top, left, bottom, right = layer.pads
    oh = (h + top + bottom - (r - 1) * layer.dilation[0] - 1) // layer.stride[0] + 1
    ow = (w + left + right - (s - 1) * layer.dilation[1] - 1) // layer.stride[1] + 1
    whole = (n, h, w, c + layer.pitch)
    x = Operand(u8 if integer else f32, layer.x, row_major_strides(whole))
    weights = Operand.dense(i8 if integer else f32, (layer.k, r, s, c // layer.groups), True)
    bias = Operand.dense(f32, (layer.k,), True)
    shape = (n, oh, ow, layer.k)
    residual = Operand.dense(f32, shape)
    total = E.cast(E.inp(0), f32) if integer else E.inp(0)
    epilogue = E.add(E.add(total, E.inp(1)), E.inp(2))
    attrs = {
        "strides": layer.stride,
        "pads": layer.pads,
        "dilations": layer.dilation,
        "groups": layer.groups,
        "x_zero_point": 7 if integer else 0,
        "epilogue": epilogue,
    }
    out = Operand.dense(f32, shape)
    return KernelSpec("conv", (x, weights, bias, residual), (out,), tuple(sorted(attrs.items())))


@dataclass(frozen=True)
class Sized:
    """A layer at some sizes: operands, of which those that are constant, and the result."""

    sizes: dict[str, int]
    variable: list[np.ndarray]
    consts: list[np.ndarray]
    expected: np.ndarray


@lru_cache(maxsize=2 * len(LAYERS))
def sized(layer: Layer, integer: bool) -> list[Sized]:
    """At the least sizes and those just above, typical ones, and some at random."""
    spec, rng = spec_of(layer, integer), np.random.default_rng(0)
    rounds = [{s.name: s.typical for s in spec.symbols}]
    rounds += [{s.name: s.low + extra for s in spec.symbols} for extra in range(5)]
    rounds += [
        {s.name: int(rng.integers(s.low, (s.high or 0) + 1)) for s in spec.symbols}
        for _ in range(4)
    ]
    found = []
    for sizes in rounds:
        fixed = at_sizes(spec, sizes)
        arrays = [_values(o, rng) for o in fixed.inputs]
        attrs = CONV.complete({**dict(fixed.attrs), "layout": "NHWC"})
        (expected,) = CONV.reference(arrays, attrs)
        pairs = list(zip(arrays, fixed.inputs, strict=True))
        variable = [a for a, o in pairs if not o.const]
        found.append(Sized(sizes, variable, [a for a, o in pairs if o.const], expected))
    return found


@each_target
@every_second(("layer", LAYERS), ("integer", [False, True]))
def test_open_convolutions(target: CpuTarget, layer: Layer, integer: bool) -> None:
    found = ConvDirect().plan(spec_of(layer, integer), target, 2)
    assert found
    other = [c for c in found[1:] if c.params["order"] != found[0].params["order"]]
    in_turns = [c for c in found if "sums" in c.params]
    for candidate in (found[0], *(other or found[1:])[:1], *in_turns[:1], *in_turns[1:][-1:]):
        kernel = SymbolicKernel(candidate, target)
        for number, case in enumerate(sized(layer, integer)):
            run = kernel.laid_out(case.sizes, case.variable, case.consts, threads=1 + number % 3)
            run.run()
            run.check_guards()
            (got,) = run.outputs()
            if integer:
                np.testing.assert_array_equal(got, case.expected, err_msg=str(case.sizes))
            else:
                np.testing.assert_allclose(got, case.expected, 1e-4, 1e-3, err_msg=str(case.sizes))


@pytest.mark.parametrize("name", ["many weights", "many weights, rows"])
def test_few_pixels_fetch_weights_ahead(name: str) -> None:
    """As in kernels of fixed sizes, without which eight rows take a third longer."""
    layer = next(layer for layer in LAYERS if layer.name == name)
    found = ConvDirect().plan(spec_of(layer, integer=False), AVX2, 1)
    by_panel = [c for c in found if c.params["order"] == "panel"]
    assert by_panel and all("llvm.prefetch" in c.emit().text for c in by_panel[:2])


@each_target
def test_few_pixels_of_an_open_number_may_read_the_panels_of_many(target: CpuTarget) -> None:
    """Otherwise a layer that is called with one row and with many keeps its weights twice."""

    def packings(pixels: int) -> set[object]:
        n = extent_of(Symbol("n", 1, pixels, 512))
        layer = Layer("rows", (1, 1, n, 256), 512, (1, 1), pads=(0, 0, 0, 0))
        return {c.packing for c in ConvDirect().plan(spec_of(layer, integer=False), target, 1)}

    for many in (5, 23, 108, 512):
        assert packings(1) & packings(many) and packings(2) & packings(many)
    assert packings(1) & packings(5) & packings(23) & packings(108) & packings(512)


def _values(operand: Operand, rng: np.random.Generator) -> np.ndarray:
    if operand.dtype.is_float:
        scale = 1 if not operand.const else 0.3
        return np.asarray(np.rint(rng.standard_normal(operand.shape) * 8) / 8 * scale, np.float32)
    low, high = operand.dtype.range
    return np.asarray(rng.integers(low, high + 1, operand.shape), operand.dtype.numpy)
