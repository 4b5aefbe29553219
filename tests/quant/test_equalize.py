"""Channels that depthwise convolutions read, each at its own scale: factors, where they are used, what they gain."""

from __future__ import annotations

import numpy as np
import pytest

from camshaft.builder.engine_builder import Builder
from camshaft.builder.tuning.timing_cache import TimingCache
from camshaft.ir.graph import Graph, GraphBuilder
from camshaft.ir.interpret import interpret
from camshaft.ir.op import Attr
from camshaft.ir.types import TensorType, f32
from camshaft.machine.backend import cpu_backend
from camshaft.ops import CONCAT, CONV
from camshaft.ops import functional as F
from camshaft.passes.pipeline import optimize
from camshaft.passes.qdq.lowering import lower_quantization
from camshaft.quant.channels.equalize import MOST, ROOM, equalized
from camshaft.quant.channels.extremes import ChannelExtremes
from camshaft.quant.deviation import worst_deviation
from camshaft.quant.implicit import ImplicitQuantization
from camshaft.quant.scheme import dequantize, params_from_range, quantize
from graph_checks import interpreted

CHANNELS = 16
MAGNITUDES = np.geomspace(1, 40, CHANNELS).astype(np.float32)


def net(end: str = "depthwise", multiple: int = 1) -> Graph:
    """A 1x1 convolution whose outputs have very different magnitudes, and what reads them."""
    rng = np.random.default_rng(0)
    b = GraphBuilder("depthwise")
    x = b.input("x", TensorType(f32, (1, 9, 9, CHANNELS)))
    first = rng.standard_normal((CHANNELS, 1, 1, CHANNELS)).astype(np.float32)
    first *= MAGNITUDES[:, None, None, None] / 4
    plain: dict[str, Attr] = {"layout": "NHWC"}
    wide = F.relu(b, b.emit(CONV, [x, b.constant(first, "first")], plain, name="first"))
    second = rng.standard_normal((CHANNELS * multiple, 3, 3, 1)).astype(np.float32)
    second /= np.repeat(MAGNITUDES, multiple)[:, None, None, None]
    attrs: dict[str, Attr] = {**plain, "pads": (1, 1, 1, 1), "groups": CHANNELS}
    bias = b.constant(rng.standard_normal(CHANNELS * multiple).astype(np.float32), "bias")
    y = F.relu(
        b, F.add(b, b.emit(CONV, [wide, b.constant(second, "second")], attrs, name="each"), bias)
    )
    if end == "added":
        y = F.add(b, y, wide)
    if end == "joined":
        y = b.emit(CONCAT, [y, wide], {"axis": 3}, name="join")
    last = rng.standard_normal((4, 1, 1, y.shape[-1])).astype(np.float32)
    return optimize(b.graph({"y": b.emit(CONV, [y, b.constant(last, "last")], plain, name="last")}))


def batches(count: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    return [
        {"x": rng.standard_normal((1, 9, 9, CHANNELS)).astype(np.float32)} for _ in range(count)
    ]


def calibrated(graph: Graph, **by_hand: float) -> ImplicitQuantization:
    quantization = ImplicitQuantization(graph)
    quantization.set_by_hand(by_hand)

    quantization.calibrate(batches(4), interpreted, "minmax", 100.0)
    return quantization


def read_by_depthwise(graph: Graph) -> str:
    return next(n for n in graph.nodes if n.attrs.get("groups") == CHANNELS).args[0].name


# -- factors -----------------------------------------------------------------------------------------


def test_each_channel_has_the_levels_that_its_range_needs() -> None:
    least, most = np.float32([-1, 0, -0.5, 0, 0]), np.float32([1, 16, 0, 0.01, 0])
    made = equalized(least, most, params_from_range(-1, 16))
    assert made is not None
    low, high = made.params.interval
    for f, a, z in zip(made.factors[:4], least, most, strict=False):
        assert low * 1.001 <= f * a and f * z <= high * 1.001, "nothing that was seen is clipped"
    assert made.factors.min() == 1 and made.factors.max() == MOST
    assert made.factors[4] == 1, "of a channel of zeros nothing is known"
    free = (made.factors > 1) & (made.factors < MOST)
    needed = np.maximum(made.factors * most / high, made.factors * least / low)
    np.testing.assert_allclose(needed[free], 1 / ROOM, rtol=1e-4)


def test_channels_of_one_magnitude_are_left_alone() -> None:
    assert (
        equalized(np.zeros(4, np.float32), np.float32([4, 5, 6, 5]), params_from_range(0, 6))
        is None
    )
    assert (
        equalized(np.zeros(4, np.float32), np.zeros(4, np.float32), params_from_range(0, 0)) is None
    )


def test_no_range_is_wider_than_the_tensors() -> None:
    """The solver may have cut off what is rare."""
    made = equalized(np.zeros(3, np.float32), np.float32([100, 0.5, 0.5]), params_from_range(0, 8))
    assert made is not None
    np.testing.assert_allclose(made.params.interval[1], 8, rtol=1e-6)


def test_extremes_do_not_depend_on_batches() -> None:
    values = np.random.default_rng(0).standard_normal((6, 3, 3, 5)).astype(np.float32)
    parts = ChannelExtremes("x")
    for part in (values[4:], values[:1], values[1:4]):
        parts.add(part.min((0, 1, 2)), part.max((0, 1, 2)))
    np.testing.assert_array_equal(parts.seen, [values.min((0, 1, 2)), values.max((0, 1, 2))])


# -- where -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "scaled"), [("depthwise", True), ("added", False), ("joined", False)]
)
def test_only_what_depthwise_convolutions_alone_read_is_scaled(end: str, scaled: bool) -> None:
    graph = net(end)
    assert (read_by_depthwise(graph) in calibrated(graph).equalized) == scaled


def test_ranges_by_hand_hold_for_all_channels() -> None:
    graph = net()
    assert not calibrated(graph, **{read_by_depthwise(graph): 100.0}).equalized


def test_layers_say_it() -> None:
    graph = net()
    reasons = calibrated(graph).quantized()[1]
    assert reasons["each"].startswith("int8: permitted; input channels scaled by 1 to ")
    assert reasons["last"] == "int8: permitted"


# -- what is gained, and what is computed --------------------------------------------------------------


@pytest.mark.parametrize("multiple", [1, 2])
def test_errors_fall(multiple: int) -> None:
    graph = net(multiple=multiple)
    quantization = calibrated(graph)
    feeds = batches(3, seed=1)
    wanted = [interpret(graph, f) for f in feeds]

    def off() -> float:
        made = lower_quantization(quantization.quantized()[0])
        return worst_deviation(wanted, [interpret(made, f) for f in feeds])

    scaled = off()
    quantization.equalized = {}
    assert scaled < off() / 2


def test_biases_are_corrected_by_the_means_of_what_is_read() -> None:
    graph = net()
    feeds = batches(20, seed=2)
    shifts = []
    for corrected in (True, False):
        quantization = calibrated(graph)
        quantization.means = quantization.means if corrected else {}
        quantization._weights._quantize = lambda w, p: quantize(
            w + 0.4 * dequantize(np.ones_like(w, np.int8), p), p
        )  # rounded up: a shift that only means can undo
        made = lower_quantization(quantization.quantized()[0])
        off = [interpret(made, f)["y"] - interpret(graph, f)["y"] for f in feeds]
        shifts.append(np.abs(np.mean(off, axis=(0, 1, 2, 3))).max())
    assert shifts[0] < shifts[1] / 4


def test_engines_compute_it_to_a_level() -> None:
    graph = net()
    made = lower_quantization(calibrated(graph).quantized()[0])
    assert sum(n.op.name == "conv" for n in made.nodes) == 3 and len(made.nodes) <= 4, (
        "factors are part of the epilogue before"
    )
    builder = Builder(
        cpu_backend("host"), TimingCache(), level=1, threads=2, workspace_limit=1 << 30
    )
    engine = builder.finish(builder.tune(made), builder.backend.fingerprint)
    for feeds in batches(2, seed=3):
        want = interpret(made, feeds)["y"]
        np.testing.assert_allclose(engine(feeds)["y"], want, rtol=1e-4, atol=1e-3)
