"""Random ranks, broadcasts and constants: importer, passes and engines on the same random models.

ONNX Runtime judges importer and interpreter, the interpreter judges the passes and the engines.
`FUZZ_SEEDS=1000-3000` runs other models.
"""

from __future__ import annotations

from itertools import islice, product

import numpy as np
import pytest
from onnx import helper

import camshaft
from camshaft.config import BuildConfig
from camshaft.errors import ModelError
from camshaft.ir.interpret import interpret
from camshaft.passes.pipeline import optimize
from graph_checks import same
from onnx_models import check, compare, imported, model_of
from random_builds import seeds
from random_models import RandomModel


def model(seed: int) -> RandomModel:
    return RandomModel(seed, steps=2 + seed % 12)


@pytest.mark.peers
@pytest.mark.parametrize("seed", seeds(60))
def test_importer_agrees_with_onnxruntime(seed: int) -> None:
    pytest.importorskip("onnxruntime", reason="the importer is compared with ONNX Runtime")
    made = model(seed)
    check(made.proto(), made.feeds(), host=True)


@pytest.mark.parametrize("seed", seeds(150))
def test_passes_keep_values_and_shapes(seed: int) -> None:
    graph = imported(model(seed).proto())
    for level in (0, 1):
        same(graph, optimize(graph, level=level, check=True), 1e-4)


@pytest.mark.codegen
@pytest.mark.parametrize("seed", seeds(12))
def test_engine_agrees_with_interpreter(seed: int) -> None:
    made = model(seed)
    proto, x = made.proto(), made.feeds()
    want = interpret(imported(proto), x)
    got = camshaft.build(proto, config=BuildConfig(optimization_level=seed % 2))(x)
    for name, y in want.items():
        compare(got[name], y, 1e-4)


def test_named_extents_may_have_any_size() -> None:
    """The generator keeps its promise: constants fit whatever sizes the names have."""
    for seed, n in product(range(20), (2, 7)):
        sizes = {"n": n, "m": n + 1, "k": n + 3, "l": n + 5}
        made = RandomModel(seed, steps=6)
        made.sizes = sizes
        interpret(imported(made.proto()), made.feeds())


EMPTY = {"n": 0, "m": 2, "k": 3, "l": 5}
"""Sizes of the named extents of which one is zero."""


def with_empty_inputs(count: int) -> list[int]:
    """Seeds of models one of whose inputs has no elements, and which are no error then."""

    def fits(seed: int) -> bool:
        made = RandomModel(seed, 2 + seed % 12, EMPTY)
        if not any(0 in made.extents(made.shapes[name]) for name in made.inputs):
            return False
        try:
            imported(made.proto())
        except ModelError as error:
            assert "(Conv): window of" in str(error) or "(Reshape): " in str(error), error
            return False
        return True

    return list(islice(filter(fits, range(10_000)), count))


@pytest.mark.codegen
@pytest.mark.parametrize("level", [0, 1])
def test_tensors_without_elements(level: int) -> None:
    for seed in with_empty_inputs(25):
        made = RandomModel(seed, 2 + seed % 12, EMPTY)
        proto, x = made.proto(), made.feeds()
        graph = imported(proto)
        same(graph, optimize(graph, level=level, check=True), 1e-4)
        got = camshaft.build(proto, config=BuildConfig(optimization_level=level))(x)
        for name, y in interpret(graph, x).items():
            compare(got[name], y, 1e-4)


FEWER_AXES = np.arange(8, dtype=np.float32).reshape(2, 4)


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize(
    ("op", "constant"),
    [
        ("Add", np.linspace(-3, 1, 8, dtype=np.float32).reshape(1, 2, 4)),
        ("Mul", np.ones((1, 1, 4), np.float32)),
        ("Mul", np.ones((3, 1, 1), np.float32)),
        ("Add", np.zeros((1, 1, 1, 1), np.float32)),
        ("Max", np.full((1, 5, 1, 1), -100, np.float32)),
    ],
)
def test_constant_that_gives_the_result_its_shape(op: str, constant, level: int) -> None:
    nodes = [
        helper.make_node(op, ["x", "c"], ["t"]),
        helper.make_node("Add", ["t", "shift"], ["y"]),  # merged with the node before it
    ]
    constants = {"c": constant, "shift": np.zeros(4, np.float32)}
    proto = model_of(nodes, {"x": FEWER_AXES}, ["y"], constants)
    got = camshaft.build(proto, config=BuildConfig(optimization_level=level))({"x": FEWER_AXES})
    make = {"Add": np.add, "Mul": np.multiply, "Max": np.maximum}[op]
    np.testing.assert_array_equal(got["y"], make(FEWER_AXES, constant))
    assert got["y"].shape == np.broadcast_shapes(FEWER_AXES.shape, constant.shape)
