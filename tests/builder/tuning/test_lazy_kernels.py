"""Kernels are compiled when they are needed: those of graphs that lose never are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from camshaft.backends.base import Kernel, Source
from camshaft.backends.cpu.processor import host_target
from camshaft.builder.engine_builder import Builder
from camshaft.builder.tuning.contest import Contest, Contests
from camshaft.builder.tuning.timing_cache import TimingCache
from camshaft.errors import BuildError
from camshaft.ir import expr as E
from camshaft.ir.graph import Graph, GraphBuilder
from camshaft.ir.types import TensorType, f32
from camshaft.machine.backend import backend_of
from camshaft.ops import MATMUL, POINTWISE

X = np.linspace(-2.0, 2.0, 37, dtype=np.float32)


def chain(*functions: str) -> Graph:
    b = GraphBuilder("chain")
    y = b.input("x", TensorType(f32, X.shape))
    for name in functions:
        y = b.emit(POINTWISE, [y], {"expr": E.unary(name, E.inp(0))}, name=name)
    return b.graph({"y": y})


def counting(level: int, timings: TimingCache) -> tuple[Builder, list[Source]]:
    """A builder, and the sources that it compiles."""
    backend = backend_of(host_target())
    seen: list[Source] = []

    def compile_(source: Source) -> Kernel:
        seen.append(source)
        return backend.compile(source)

    options: dict[str, Any] = {"level": level, "threads": 1, "workspace_limit": 1 << 20}
    return Builder(replace(backend, compile=compile_), timings, **options), seen


@pytest.mark.codegen
@pytest.mark.parametrize("level", [1, 2], ids=["untimed", "timed"])
def test_only_the_kernels_of_the_engine_are_compiled(level: int) -> None:
    timings = TimingCache()
    graphs = [chain("abs", "sqrt"), chain("exp", "neg", "exp")]
    first, _ = counting(level, timings)
    for graph in graphs:
        first.finish(first.tune(graph), first.backend.fingerprint)
    again, compiled = counting(level, timings)
    tuned = [again.tune(graph) for graph in graphs]
    assert not compiled
    engine = again.finish(tuned[1], again.backend.fingerprint)
    assert len(compiled) == len(engine.program.kernels) == 2  # equal layers share one
    np.testing.assert_allclose(engine(X)["y"], np.exp(-np.exp(X)), rtol=1e-5)


@pytest.mark.codegen
def test_a_kernel_is_compiled_once() -> None:
    builder, compiled = counting(1, TimingCache())
    tuned = builder.tune(chain("tanh"))
    builder.finish(tuned, builder.backend.fingerprint)
    builder.finish(tuned, builder.backend.fingerprint)
    assert len(compiled) == 1


@pytest.mark.codegen
def test_a_winner_that_only_an_earlier_build_has_timed_is_recalled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A build whose time budget ends early times fewer candidates than the cache holds."""
    b = GraphBuilder("product")
    w = b.constant(np.ones((64, 96), np.float32), "w")
    graph = b.graph(
        {"y": b.emit(MATMUL, [b.input("x", TensorType(f32, (40, 64))), w], {}, name="y")}
    )
    timings = TimingCache()
    timed = Contests._timed
    best: list[int] = []

    def only(most: int) -> None:
        def times(contests: Contests, contest: Contest, ready: Any) -> dict[int, float]:
            few = dict(list(ready.forms.items())[:most])
            found = timed(contests, contest, replace(ready, forms=few))
            best.append(max(found))
            return {i: 10.0 - i for i in found}  # the last is the fastest

        monkeypatch.setattr(Contests, "_timed", times)

    only(3)
    first, _ = counting(3, timings)
    (chosen,) = first.tune(graph).choices
    only(1)
    again, _ = counting(3, timings)
    (recalled,) = again.tune(graph).choices
    assert best == [2, 0] and chosen is not None and recalled is not None
    assert dict(recalled.candidate.params) == dict(chosen.candidate.params)


@pytest.mark.codegen
def test_no_memory_for_a_trial_names_the_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr("camshaft.builder.tuning.trial.random_values", refuse)
    builder, _ = counting(2, TimingCache())
    with pytest.raises(
        BuildError, match=r"layer 'abs' .*arrays of \[37\] and \[37\]; give smaller"
    ):
        builder.tune(chain("abs", "exp"))
