"""IAlgorithmSelector: it is asked of each layer, what it leaves is taken, and it is told what each layer got."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import camshaft.tensorrt as trt
from trt_engines import Workshop, run_v3

Key = tuple[int, int]
RNG = np.random.default_rng(1)
X = RNG.standard_normal((1, 16, 8, 8)).astype(np.float32)
KERNEL = RNG.standard_normal((32, 16, 3, 3)).astype(np.float32)


class Recorder(trt.IAlgorithmSelector):
    """Leaves every choice; keeps what it is told."""

    def __init__(self) -> None:
        trt.IAlgorithmSelector.__init__(self)
        self.offered: dict[str, list[Key]] = {}
        self.used: dict[str, Key] = {}
        self.reports: list[tuple[Any, Any]] = []

    def select_algorithms(self, context: Any, choices: Any) -> list[int]:
        self.offered[context.name] = [key(c) for c in choices]
        return [*range(len(choices))]

    def report_algorithms(self, contexts: Any, choices: Any) -> None:
        self.reports.append((contexts, choices))
        self.used = {c.name: key(a) for c, a in zip(contexts, choices, strict=True)}


class Only(Recorder):
    """Leaves one choice of layers by name."""

    def __init__(self, wanted: dict[str, Key]) -> None:
        super().__init__()
        self.wanted = wanted

    def select_algorithms(self, context: Any, choices: Any) -> list[int]:
        every = super().select_algorithms(context, choices)
        wanted = self.wanted.get(context.name)
        return every if wanted is None else [i for i in every if key(choices[i]) == wanted]


def key(algorithm: Any) -> Key:
    variant = algorithm.algorithm_variant
    return variant.implementation, variant.tactic


def shop_of(selector: Any, level: int = 1, open_sizes: bool = False) -> Workshop:
    shop = Workshop()
    x = shop.network.add_input("x", trt.float32, (-1 if open_sizes else 1, 16, 8, 8))
    conv = shop.network.add_convolution_nd(x, 32, (3, 3), KERNEL, np.zeros(32, np.float32))
    conv.name, conv.padding_nd = "conv", (1, 1)
    relu = shop.network.add_activation(conv.get_output(0), trt.ActivationType.RELU)
    relu.name = "relu"
    shop.output(relu, "y")
    if open_sizes:
        shop.profile((1, 16, 8, 8), (2, 16, 8, 8), (4, 16, 8, 8))
    shop.config.builder_optimization_level = level
    shop.config.algorithm_selector = selector
    return shop


@pytest.mark.parametrize("open_sizes", [False, True])
@pytest.mark.parametrize("level", [1, 2])
def test_a_layer_gets_the_choice_that_is_left(level: int, open_sizes: bool) -> None:
    first = Recorder()
    plain = shop_of(first, level, open_sizes).engine()
    assert len(first.reports) == 1
    name = max(first.offered, key=lambda n: len(first.offered[n]))
    assert name.startswith("conv")
    assert first.used[name] in first.offered[name]
    others = [k for k in first.offered[name] if k != first.used[name]]
    assert len(set(others)) >= 2
    want = run_v3(plain.create_execution_context(), {"x": X})["y"]
    for wanted in (others[0], others[-1]):
        second = Only({name: wanted})
        engine = shop_of(second, level, open_sizes).engine()
        assert second.used[name] == wanted
        got = run_v3(engine.create_execution_context(), {"x": X})["y"]
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_a_report_can_be_replayed() -> None:
    first = Recorder()
    shop_of(first, 2).engine()
    second = Only(first.used)
    shop_of(second, 2).engine()
    assert second.used == first.used


def test_contexts_and_algorithms_say_what_a_layer_is() -> None:
    selector = Recorder()
    shop_of(selector, 2, open_sizes=True).engine()
    contexts, algorithms = selector.reports[0]
    context, algorithm = next(
        (c, a) for c, a in zip(contexts, algorithms, strict=True) if c.name.startswith("conv")
    )
    assert (context.num_inputs, context.num_outputs) == (1, 1)
    assert [dims[0] for dims in context.get_shape(0)] == [1, 2, 4]
    shapes = [sorted(context.get_shape(i)[1]) for i in range(2)]
    assert shapes == [[2, 8, 8, 16], [2, 8, 8, 32]]
    source = algorithm.get_algorithm_io_info(0)
    assert (source.dtype, source.tensor_format) == (trt.float32, trt.TensorFormat.LINEAR)
    assert (source.vectorized_dim, source.components_per_element) == (-1, 1)
    assert len(source.strides) == 4
    assert algorithm.timing_msec > 0
    assert algorithm.workspace_size >= 0
    with pytest.raises(IndexError, match="2 inputs and outputs"):
        algorithm.get_algorithm_io_info(2)


def test_layers_of_other_types_are_asked_of_by_a_name_of_their_own() -> None:
    selector = Recorder()
    shop = shop_of(selector)
    shop.config.set_flag(trt.BuilderFlag.INT8)
    shop.config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    shop.network[0].precision = trt.int8
    for tensor in (
        shop.network.get_input(0),
        shop.network[0].get_output(0),
        shop.network[1].get_output(0),
    ):
        tensor.dynamic_range = (-4, 4)
    shop.engine()
    (name,) = (n for n in selector.used if n.startswith("conv") and n.endswith("8]"))
    assert selector.used[name] in selector.offered[name]


def test_none_left_means_all_unless_that_is_refused() -> None:
    class Nothing(Recorder):
        def select_algorithms(self, context: Any, choices: Any) -> list[int]:
            return []

    shop = shop_of(Nothing())
    assert shop.plan() is not None
    shop = shop_of(Nothing())
    shop.config.set_flag(trt.BuilderFlag.REJECT_EMPTY_ALGORITHMS)
    assert shop.plan() is None
    assert "REJECT_EMPTY_ALGORITHMS is set" in shop.log.errors[-1]


def raising(context: Any, choices: Any) -> list[int]:
    raise KeyError("no such layer")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (raising, "select_algorithms raised KeyError"),
        (lambda context, choices: [len(choices)], "give numbers from 0 to"),
        (lambda context, choices: None, "give a list of indices"),
    ],
)
def test_a_selector_that_fails_is_none_and_a_line_in_the_log(answer: Any, said: str) -> None:
    selector = Recorder()
    selector.select_algorithms = answer  # type: ignore[method-assign]
    shop = shop_of(selector)
    assert shop.plan() is None
    assert said in shop.log.errors[-1]
    assert not selector.reports
