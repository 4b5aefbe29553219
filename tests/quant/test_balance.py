"""Channels scaled of what several layers share, and inputs in two parts: where, what is gained, what is computed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pytest
from onnx import ModelProto, helper

from camshaft.builder.engine_builder import Builder
from camshaft.builder.tuning.timing_cache import TimingCache
from camshaft.frontends.onnx import import_model
from camshaft.ir.graph import Graph
from camshaft.ir.interpret import interpret
from camshaft.machine.backend import cpu_backend
from camshaft.passes.pipeline import optimize
from camshaft.passes.qdq.lowering import lower_quantization
from camshaft.passes.qdq.simulate import simulated
from camshaft.quant.channels.families import Family
from camshaft.quant.implicit import ImplicitQuantization
from graph_checks import interpreted
from joined_net import CHANNELS, TIMES, images, net
from onnx_models import model_of

LAYERS = ("loud", "quiet", "both", "own", "then", "last")


def optimized(model: ModelProto) -> Graph:
    return optimize(import_model(model).graphs[0])


def calibrated(
    graph: Graph, batches: Sequence[dict[str, np.ndarray]], calibrator: str = "minmax"
) -> ImplicitQuantization:
    quantization = ImplicitQuantization(graph)
    quantization.calibrate(batches, interpreted, calibrator, 100.0)
    return quantization


def noise(graph: Graph, made: Graph, batches: Sequence[dict[str, np.ndarray]]) -> float:
    """Root mean square error over root mean square."""
    pairs = [(interpret(graph, b)["y"], interpret(made, b)["y"]) for b in batches]
    off = sum(float(((a - b) ** 2).sum()) for a, b in pairs)
    return float(np.sqrt(off / sum(float((a**2).sum()) for a, _ in pairs)))


def joins(quantization: ImplicitQuantization) -> list[Family]:
    return [f for f in quantization.families() if f.joins]


# -- where -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("between", ["", "MaxPool"])
def test_a_join_is_one_family_whose_channels_are_those_of_its_parts(between: str) -> None:
    (family,) = joins(calibrated(optimized(net(between)), images(2)))
    assert {o for n in family.convs for o in n.origin} >= {"both", "own"}
    (read,) = (n.args[0].name for n in family.convs if "both" in n.origin)
    loud, quiet = family.sources.values()
    np.testing.assert_array_equal(family.members[read], [*loud, *quiet])
    assert family.channels == 2 * CHANNELS


def test_averages_of_bytes_are_left_alone() -> None:
    """Their levels are added up, so that channels must mean the same wherever an average is taken as integers."""
    assert not joins(calibrated(optimized(net("AveragePool")), images(2)))


def test_ranges_by_hand_are_left_alone() -> None:
    quantization = calibrated(optimized(net()), images(2))
    (family,) = joins(quantization)
    quantization.by_hand = {next(iter(family.sources)): 5.0}
    assert not joins(quantization)


# -- what is gained ----------------------------------------------------------------------------------


@pytest.mark.parametrize("between", ["", "MaxPool"])
def test_a_quiet_branch_keeps_its_levels_beside_a_loud_one(between: str) -> None:
    graph = optimized(net(between))
    quantization = calibrated(graph, images(6))
    before = noise(graph, simulated(quantization.quantized()[0]), images(3, seed=5))
    (made,), undo = quantization.balance(joins(quantization))
    after = noise(graph, simulated(quantization.quantized()[0]), images(3, seed=5))
    assert before > 0.2 and after < before / 8
    quiet = made.tensors[list(joins_of(made, graph))[-1]]
    assert quiet.factors.min() > TIMES / 16
    reasons = quantization.quantized()[1]
    assert "input channels scaled by 1 to" in reasons["both"]
    undo()
    assert noise(graph, simulated(quantization.quantized()[0]), images(3, seed=5)) == before


def joins_of(made, graph: Graph) -> list[str]:
    (concat,) = (n for n in graph.nodes if n.op.name == "concat")
    return [t.name for t in concat.args if t.name in made.tensors]


def test_layers_in_float_change_nothing_of_the_others() -> None:
    """Whoever goes back to float reads floats; those that stay read scaled bytes."""
    graph = optimized(net())
    quantization = calibrated(graph, images(6))
    quantization.balance(joins(quantization))
    all_int8 = noise(graph, simulated(quantization.quantized()[0]), images(2, seed=5))
    for count in (1, 2):
        for kept in combinations(LAYERS, count):
            made = lower_quantization(quantization.quantized(frozenset(kept))[0])
            assert noise(graph, made, images(2, seed=5)) < 1.2 * all_int8, kept


def residual() -> ModelProto:
    """A block whose input of uneven channels is also added to its output."""
    rng = np.random.default_rng(0)
    uneven = np.geomspace(1, 60, CHANNELS).astype(np.float32)

    def w(*shape: int) -> np.ndarray:
        return (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    c = CHANNELS
    first, second = (
        w(c, c, 1, 1) * uneven[:, None, None, None],
        w(c, c, 3, 3) / uneven[:, None, None],
    )
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], name="uneven"),
        helper.make_node("Relu", ["a"], ["ar"]),
        helper.make_node("Conv", ["ar", "w1"], ["b"], name="block", pads=[1] * 4),
        helper.make_node("Add", ["b", "ar"], ["s"], name="skip"),
        helper.make_node("Conv", ["s", "w2"], ["t"], name="next"),
        helper.make_node("Relu", ["t"], ["tr"]),
        helper.make_node("Conv", ["tr", "w3"], ["y"], name="last"),
    ]
    constants = {"w0": first, "w1": second, "w2": w(c, c, 1, 1) / uneven[:, None, None], "w3": w(c, c, 1, 1)}  # fmt: skip
    return model_of(nodes, {"x": images(1)[0]["x"]}, ["y"], constants)


def test_a_skip_branch_reads_what_its_bytes_stand_for() -> None:
    graph = optimized(residual())
    quantization = calibrated(graph, images(6))
    (family,) = (f for f in quantization.families() if f.plain)
    before = noise(graph, simulated(quantization.quantized()[0]), images(3, seed=5))
    made, _ = quantization.balance(quantization.families())
    assert family.plain[0] in quantization.equalized and len(made) == 2
    after = noise(graph, simulated(quantization.quantized()[0]), images(3, seed=5))
    assert after < before / 4


def test_channels_of_one_magnitude_are_left_alone() -> None:
    graph = optimized(net())
    quantization = calibrated(graph, images(4))
    rest = [f for f in quantization.families() if not f.joins]
    before = quantization.equalized
    made, _ = quantization.balance(rest)
    assert rest and not made and quantization.equalized == before


# -- inputs in two parts -----------------------------------------------------------------------------


def exact() -> ModelProto:
    """The second convolution's weights are levels, so that its input alone is rounded."""
    rng = np.random.default_rng(0)
    c = CHANNELS
    levels = rng.integers(-127, 128, (c, c, 3, 3)).astype(np.float32)
    levels[:, 0, 0, 0] = 127
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], name="before"),
        helper.make_node("Relu", ["a"], ["ar"]),
        helper.make_node("Conv", ["ar", "w1"], ["b"], name="exact", pads=[1] * 4),
        helper.make_node("Relu", ["b"], ["br"]),
        helper.make_node("Conv", ["br", "w2"], ["y"], name="last"),
    ]
    constants = {"w0": rng.standard_normal((c, c, 1, 1)).astype(np.float32), "w1": levels / 127}
    constants["w2"] = rng.standard_normal((c, c, 1, 1)).astype(np.float32)
    return model_of(nodes, {"x": images(1)[0]["x"]}, ["y"], constants)


def test_an_input_in_two_parts_is_hardly_rounded() -> None:
    graph = optimized(exact())
    quantization = calibrated(graph, images(6))
    others = frozenset({"before", "last"})

    def off() -> float:
        return noise(graph, simulated(quantization.quantized(others)[0]), images(6))

    before = off()
    count, undo = quantization.refine(["exact"])
    assert count == 1 and off() < before / 100
    reasons = quantization.quantized(others)[1]
    assert reasons["exact"] == "int8: permitted; its input in two parts of 8 bits"
    undo()
    assert off() == before


def test_scaled_channels_in_two_parts() -> None:
    graph = optimized(net())
    quantization = calibrated(graph, images(6))
    quantization.balance(joins(quantization))
    before = noise(graph, simulated(quantization.quantized()[0]), images(3, seed=5))
    assert quantization.refine(LAYERS)[0] == len(LAYERS)
    assert noise(graph, simulated(quantization.quantized()[0]), images(3, seed=5)) < before / 1.3


# -- what is computed --------------------------------------------------------------------------------


@pytest.mark.parametrize("fine", [(), ("both", "own")])
def test_engines_compute_it_to_a_level(fine: tuple[str, ...]) -> None:
    graph = optimized(net("MaxPool"))
    quantization = calibrated(graph, images(4))
    quantization.balance(joins(quantization))
    quantization.refine(fine)
    made = lower_quantization(quantization.quantized()[0])
    products = [n for n in made.nodes if n.op.name == "conv" and n.args[0].type.dtype.bits == 8]
    assert len(products) == len(LAYERS) + len(fine)
    builder = Builder(
        cpu_backend("host"), TimingCache(), level=1, threads=2, workspace_limit=1 << 30
    )
    engine = builder.finish(builder.tune(made), builder.backend.fingerprint)
    for feeds in images(2, seed=3):
        want = interpret(made, feeds)["y"]
        off = engine(feeds)["y"] - want
        assert np.sqrt((off**2).mean() / (want**2).mean()) < 1e-3


def test_factors_are_part_of_steps_that_are_there_anyway() -> None:
    graph = optimized(net())
    quantization = calibrated(graph, images(4))
    plain = [n.op.name for n in lower_quantization(quantization.quantized()[0]).nodes]
    quantization.balance(joins(quantization))
    scaled = [n.op.name for n in lower_quantization(quantization.quantized()[0]).nodes]
    assert sorted(plain) == sorted(scaled)
