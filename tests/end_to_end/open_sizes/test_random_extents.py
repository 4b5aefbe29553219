"""Random models with open extents: one engine at many sizes, in any order.

ONNX Runtime judges importer and interpreter, the interpreter judges passes and engines.
`FUZZ_SEEDS=1000-3000` runs other models.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from onnx import helper

import camshaft
from camshaft.backends.base import Backend
from camshaft.backends.cpu.processor import host_target
from camshaft.builder.engine_builder import Builder
from camshaft.builder.tuning.contest import Contest, Contests
from camshaft.builder.tuning.timing_cache import TimingCache
from camshaft.errors import ModelError
from camshaft.frontends.onnx import import_onnx
from camshaft.ir.graph import Graph
from camshaft.ir.interpret import interpret
from camshaft.ir.verify import verify
from camshaft.machine.backend import backend_of
from camshaft.passes.pipeline import optimize
from camshaft.program.program import HostCall
from camshaft.runtime.engine import Engine
from camshaft.runtime.file.manifest import Fingerprint
from onnx_models import check, compare, model_of
from random_builds import bits, close, seeds
from random_models import RandomModel
from random_open_models import OpenModel, ValuedModel

NAMES = ("n", "m", "k", "l")
SIZES = ((1, 2, 3, 5), (1, 1, 1, 1), (3, 5, 7, 2), (16, 9, 33, 4), (2, 17, 1, 8))
"""Of the names, from run to run."""
TYPICAL = {"n": 4, "m": 5, "k": 6, "l": 7}
MOST = 3_000_000
"""Elements of the largest run."""


def model(seed: int) -> RandomModel:
    kind = OpenModel if seed % 3 else RandomModel
    return kind(seed, steps=2 + seed % 12)


def said(made: RandomModel) -> dict[str, list[int | str]]:
    """The shapes of the inputs with typical sizes small enough for products of all names."""
    return {
        name: [f"{e}=1..{TYPICAL[e]}.." if isinstance(e, str) else e for e in made.shapes[name]]
        for name in made.inputs
    }


def graph_of(made: RandomModel) -> Graph:
    return import_onnx(made.proto(NAMES), shapes=said(made))


def runs(made: RandomModel, seed: int) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Number of the sizes, and inputs: all sizes in random order, and again in another order."""
    rng = np.random.default_rng(seed)
    for i in (*rng.permutation(len(SIZES)), *rng.permutation(len(SIZES))):
        made.sizes = dict(zip(NAMES, SIZES[i], strict=True))
        if sum(np.prod(made.extents(s)) for s in made.shapes.values()) < MOST:
            yield int(i), made.feeds(int(i))


def engine_of(graph: Graph, on: Backend[Fingerprint] | None = None, threads: int = 1) -> Engine:
    """An engine of an optimized graph, with the first kernels that fit."""
    on = on or backend_of(host_target())
    builder = Builder(on, TimingCache(), level=1, threads=threads, workspace_limit=1 << 30)
    return builder.finish(builder.tune(graph), on.fingerprint)


def check_engine(engine: Engine, graph: Graph, made: RandomModel, seed: int) -> None:
    """The engine's results at all sizes are the interpreter's, and the same bits every time."""
    seen: dict[int, dict[str, bytes]] = {}
    with engine.create_context(1) as context:
        for i, x in runs(made, seed):
            got = context.run(x)
            assert context.output_shapes(x) == {name: y.shape for name, y in got.items()}
            if i not in seen:
                for name, y in interpret(graph, x).items():
                    compare(got[name], y, 1e-4)
            assert seen.setdefault(i, bits(got)) == bits(got)
    for threads in range(2, engine.program.max_threads + 1):
        with engine.create_context(threads) as context:
            for i, x in runs(made, seed + 1):
                assert bits(context.run(x)) == seen[i], f"{threads} threads"


@pytest.mark.codegen
@pytest.mark.parametrize("seed", seeds(24))
def test_engine_agrees_with_interpreter_at_all_sizes(seed: int) -> None:
    made = model(seed)
    graph = graph_of(made)
    final = optimize(graph, level=seed % 2)
    check_engine(engine_of(final, threads=1 + seed // 2 % 2), graph, made, seed)


@pytest.mark.codegen
@pytest.mark.parametrize("seed", seeds(12, first=400))
def test_shapes_that_inputs_give(seed: int) -> None:
    made = ValuedModel(seed, steps=3 + seed % 10)
    values = {
        name: tuple(f"1..{eval(e, {}, TYPICAL)}.." if isinstance(e, str) else e for e in extents)
        for name, extents in made.targets.items()
    }
    proto = made.proto(NAMES)
    graph = import_onnx(proto, shapes=said(made), values=values)
    ort = pytest.importorskip("onnxruntime", reason="the importer is compared with ONNX Runtime")
    judge = ort.InferenceSession(proto.SerializeToString())
    for _, x in runs(made, seed):
        for got, want in zip(interpret(graph, x).values(), judge.run(None, x), strict=True):
            compare(got, want, 1e-4)
    check_engine(engine_of(optimize(graph, level=seed % 2)), graph, made, seed)


@pytest.mark.codegen
@pytest.mark.parametrize("seed", seeds(12, first=200))
def test_kernels_for_ranges_of_sizes_agree_with_interpreter(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times are random, so that layers get several kernels, any of those that a tactic has."""
    made = model(seed)
    graph = graph_of(made)
    rng = np.random.default_rng(seed)

    def timed(self: Contests, contest: Contest, ready: Any) -> dict[int, float]:
        return {i: float(t) for i, t in enumerate(rng.uniform(1, 9, len(contest.candidates)))}

    monkeypatch.setattr(Contests, "_timed", timed)
    points = [dict(zip(NAMES, sizes, strict=True)) for sizes in SIZES]
    on = backend_of(host_target())
    threads = 1 + seed % 2
    builder = Builder(
        on, TimingCache(), level=2, threads=threads, workspace_limit=1 << 30, points=points
    )
    engine = builder.finish(builder.tune(optimize(graph)), on.fingerprint)
    check_engine(engine, graph, made, seed)
    layers = sum(engine.program.active(engine.program.typical))
    assert {sum(engine.program.active(sizes)) for sizes in points} == {layers}


@pytest.mark.codegen
@pytest.mark.parametrize("seed", seeds(6, first=100))
def test_open_and_fixed_engines_agree(seed: int) -> None:
    made = model(seed)
    engine = engine_of(optimize(graph_of(made)))
    for sizes in SIZES[2:4]:
        made.sizes = dict(zip(NAMES, sizes, strict=True))
        fixed = engine_of(optimize(import_onnx(made.proto())))
        x = made.feeds()
        close(engine(x), fixed(x), 1e-5)


@pytest.mark.peers
@pytest.mark.parametrize("seed", seeds(40))
def test_importer_agrees_with_onnxruntime_at_all_sizes(seed: int) -> None:
    pytest.importorskip("onnxruntime", reason="the importer is compared with ONNX Runtime")
    made = model(seed)
    proto = made.proto(NAMES)
    for sizes in SIZES[:3]:
        made.sizes = dict(zip(NAMES, sizes, strict=True))
        check(proto, made.feeds(), host=True)


@pytest.mark.parametrize("seed", seeds(80))
def test_passes_keep_values_at_all_sizes(seed: int) -> None:
    made = model(seed)
    graph = graph_of(made)
    optimized = [optimize(graph, level=level, check=True) for level in (0, 1)]
    for after in optimized:
        verify(after)
    for sizes in SIZES[:3]:
        made.sizes = dict(zip(NAMES, sizes, strict=True))
        x = made.feeds()
        want = interpret(graph, x)
        for after in optimized:
            close(interpret(after, x), want, 1e-4)


def on_the_host(graph: Graph) -> Engine:
    """An engine of an optimized graph most of whose ops are host steps."""
    made = backend_of(host_target())
    few = tuple(t for t in made.tactics if t.name == "pointwise")  # which copies cannot do without
    return engine_of(graph, replace(made, tactics=few))


@pytest.mark.codegen
@pytest.mark.parametrize("seed", seeds(10, first=1))
def test_host_steps_run_at_all_sizes(seed: int) -> None:
    made = model(seed)
    graph = optimize(graph_of(made), level=seed % 2)
    check_engine(on_the_host(graph), graph, made, seed)


def test_host_steps_take_attributes_of_open_extents() -> None:
    """Slices that count from the end, and broadcasts to a shape, by reference alone."""
    made = OpenModel(5, steps=12)
    graph = graph_of(made)
    engine = on_the_host(optimize(graph, level=0))
    calls = [i for i in engine.program.instructions if isinstance(i, HostCall)]
    assert any(call.dims for call in calls)


def test_the_interpreter_refuses_sizes_out_of_range() -> None:
    made = OpenModel(3, steps=3)
    graph = graph_of(made)
    x = feeds_of_rank(graph)
    with pytest.raises((camshaft.BindingError, ModelError)):
        interpret(graph, x)


def feeds_of_rank(graph: Graph) -> dict[str, np.ndarray]:
    """Inputs whose symbols have no one size."""
    rng = np.random.default_rng(0)
    return {
        t.name: rng.standard_normal([i + 2 for i in range(t.type.rank)]).astype(np.float32)
        for t in graph.inputs
    }


PADDED = [
    helper.make_node("Shape", ["x"], ["s"], start=1),
    helper.make_node("Neg", ["s"], ["less"]),
    helper.make_node("Mod", ["less", "eight"], ["missing"]),
    helper.make_node("Concat", ["none", "missing"], ["pads"], axis=0),
]
"""Amounts that make the second axis of x a multiple of 8, as window attention pads its images."""


@pytest.mark.codegen
@pytest.mark.parametrize("mode", ["constant", "edge"])
def test_pads_whose_amounts_vary_with_sizes(mode: str) -> None:
    nodes = [*PADDED, helper.make_node("Pad", ["x", "pads"], ["y"], mode=mode)]
    constants = {"eight": np.array([8]), "none": np.zeros(3, np.int64)}
    proto = model_of(nodes, {"x": np.zeros((2, 3), np.float32)}, ["y"], constants)
    engine = camshaft.build(proto, shapes={"x": (2, "n=1..7..")}, optimization_level=1)
    for n in (7, 8, 1, 17, 7):
        x = np.arange(2 * n, dtype=np.float32).reshape(2, n)
        np.testing.assert_array_equal(engine(x)["y"], np.pad(x, ((0, 0), (0, -n % 8)), mode))


@pytest.mark.codegen
def test_blocks_must_divide_open_extents() -> None:
    nodes = [helper.make_node("SpaceToDepth", ["x"], ["y"], "blocks", blocksize=2)]
    proto = model_of(nodes, {"x": np.zeros((1, 3, 4, 4), np.float32)}, ["y"], {})
    engine = camshaft.build(proto, shapes={"x": (1, 3, "h", "w")}, optimization_level=1)
    for h, w in ((2, 6), (4, 4), (8, 2)):
        x = np.arange(3 * h * w, dtype=np.float32).reshape(1, 3, h, w)
        want = x.reshape(1, 3, h // 2, 2, w // 2, 2).transpose(0, 3, 5, 1, 2, 4)
        np.testing.assert_array_equal(engine(x)["y"], want.reshape(1, 12, h // 2, w // 2))
    with pytest.raises(camshaft.ShapeError, match="blocks"):
        engine(np.zeros((1, 3, 3, 4), np.float32))


@pytest.mark.codegen
@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("axes", [[], [0]], ids=["vector", "matrix"])
def test_extents_are_read_as_data(axes: list[int], level: int) -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Unsqueeze", ["s", "axes"], ["t"]),
        helper.make_node("Mul", ["t", "t"], ["y"]),
    ]
    constants = {"axes": np.array(axes, np.int64)}
    proto = model_of(nodes, {"x": np.zeros((2, 3), np.float32)}, ["y"], constants)
    engine = camshaft.build(proto, shapes={"x": ("n", 3)}, optimization_level=level)
    for n in (5, 1):
        want = np.array([n * n, 9]).reshape((1,) * len(axes) + (2,))
        np.testing.assert_array_equal(engine(np.zeros((n, 3), np.float32))["y"], want)
