"""Algorithm selectors: what they are asked and told, and that builds take what they choose."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import camshaft.tensorrt as trt
from trt_networks import Log

RNG = np.random.default_rng(3)
WEIGHTS = RNG.standard_normal((64, 64)).astype(np.float32)


class Selector(trt.IAlgorithmSelector):
    """Keeps what it is told; `chosen` says what it chooses of the choices for a layer."""

    def __init__(self, chosen: Any = lambda name, choices: range(len(choices))) -> None:
        trt.IAlgorithmSelector.__init__(self)
        self.chosen = chosen
        self.offered: dict[str, list[tuple[int, int]]] = {}
        self.contexts: list[Any] = []
        self.algorithms: list[Any] = []

    def select_algorithms(self, context: Any, choices: Any) -> list[int]:
        self.offered[context.name] = [variant(choice) for choice in choices]
        return list(self.chosen(context.name, choices))

    def report_algorithms(self, contexts: Any, choices: Any) -> None:
        self.contexts, self.algorithms = list(contexts), list(choices)


def variant(algorithm: Any) -> tuple[int, int]:
    found = algorithm.algorithm_variant
    return found.implementation, found.tactic


def built(selector: Any, level: int = 2, flag: Any = None) -> tuple[Any, Log]:
    """An engine of two equal products, with a sine between them that keeps them apart."""
    log = Log()
    builder = trt.Builder(log)
    network = builder.create_network()
    x: Any = network.add_input("x", trt.float32, (8, 64))
    for name in ("first", "second"):
        constant = network.add_constant((64, 64), WEIGHTS)
        product: Any = network.add_matrix_multiply(
            x, trt.MatrixOperation.NONE, constant.get_output(0), trt.MatrixOperation.NONE
        )
        product.name = name
        softmax = network.add_softmax(product.get_output(0))
        softmax.axes = 2
        softmax.name = f"{name} softmax"
        x = softmax.get_output(0)
    x.name = "y"
    network.mark_output(x)
    config = builder.create_builder_config()
    config.builder_optimization_level = level
    config.algorithm_selector = selector
    if flag is not None:
        config.set_flag(flag)
    return builder.build_engine_with_config(network, config), log


def test_a_selector_is_told_what_was_chosen_of_what_it_was_offered() -> None:
    selector = Selector()
    engine, _ = built(selector)
    assert engine is not None
    assert len(selector.contexts) == len(selector.algorithms) > 0
    assert {"first", "second"} <= {context.name for context in selector.contexts}
    for context, algorithm in zip(selector.contexts, selector.algorithms, strict=True):
        assert variant(algorithm) in selector.offered[context.name]
        assert algorithm.workspace_size >= 0
    at = [context.name for context in selector.contexts].index("first")
    context, algorithm = selector.contexts[at], selector.algorithms[at]
    assert (context.num_inputs, context.num_outputs) == (2, 1)
    assert [tuple(s)[-2:] for s in context.get_shape(0)] == [(8, 64)] * 3
    assert context.get_shape(3) == []
    info = algorithm.get_algorithm_io_info(2)
    assert (info.dtype, len(info.strides)) == (trt.float32, len(context.get_shape(2)[0]))
    assert (info.vectorized_dim, info.components_per_element) == (-1, 1)
    assert algorithm.get_algorithm_io_info(3) is None
    assert algorithm.timing_msec > 0


def test_layers_get_the_kernels_that_are_chosen_and_equal_ones_different_ones() -> None:
    every = Selector()
    built(every)
    assert every.offered["first"] == every.offered["second"]
    assert len(every.offered["first"]) > 1
    at = {"first": 0, "second": 1}
    selector = Selector(lambda name, choices: [at[name]] if name in at else [])
    engine, _ = built(selector)
    assert engine is not None
    got = {c.name: variant(a) for c, a in zip(selector.contexts, selector.algorithms, strict=True)}
    for name, index in at.items():
        assert got[name] == every.offered[name][index]


@pytest.mark.parametrize(
    ("chosen", "flag", "text"),
    [
        ([99], None, "99"),
        ([-1], None, "-1"),
        ([], trt.BuilderFlag.REJECT_EMPTY_ALGORITHMS, "REJECT_EMPTY_ALGORITHMS"),
        (None, None, "TypeError"),
    ],
)
def test_a_build_fails_on_answers_that_are_none(chosen: Any, flag: Any, text: str) -> None:
    engine, log = built(Selector(lambda name, choices: chosen), 1, flag)
    assert engine is None
    assert any("select_algorithms" in line and text in line for line in log.errors)
