"""Winograd F(4,3) is used as far as the measured error of the outputs allows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from camshaft.builder.engine_builder import Builder, Tuned
from camshaft.builder.error_budget import deviation, within_budget
from camshaft.builder.tuning.timing_cache import TimingCache
from camshaft.ir import expr as E
from camshaft.ir.graph import Graph
from camshaft.ir.types import bf16
from camshaft.machine.backend import cpu_backend
from camshaft.passes.pipeline import optimize
from graph_checks import feeds
from small_nets import Net

pytestmark = pytest.mark.codegen


def net(scale: float = 1.0) -> Graph:
    """Three 3x3 convolutions of different channels; what the second and third read is far from
    zero, by `scale`, so that they round more than the first."""
    n = Net("winograd")
    x = n.relu(n.conv(n.input((1, 16, 24, 24)), 16, 3, bias=True, pads=(1, 1, 1, 1)))
    offset = n.b.constant(np.float32(scale))
    y = n.conv(n.point(E.add(E.inp(0), E.inp(1)), x, offset), 24, 3)
    return n.done(n.conv(y, 32, 3, pads=(1, 1, 1, 1)))


def builder() -> Builder:
    return Builder(cpu_backend("host"), TimingCache(), level=1, threads=1, workspace_limit=1 << 30)


def with_f43(b: Builder, graph: Graph) -> Tuned:
    """The graph with F(4,3) wherever there is a candidate of it."""
    tuned = b.tune(optimize(graph))
    choices = []
    for task, choice in zip(tuned.tasks, tuned.choices, strict=True):
        assert choice is not None and task.spec is not None
        offers = [o for _, os in b._tuner._plans(task.spec) for o in os if o.candidate.approximate]
        if offers:
            choice = b._tuner._choice(offers[0], choice.time_us, choice.reason)
        choices.append(choice)
    return replace(tuned, choices=tuple(choices))


def f43_layers(tuned: Tuned) -> list[int]:
    return [i for i, c in enumerate(tuned.choices) if c is not None and c.candidate.approximate]


def outputs(b: Builder, tuned: Tuned, x: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return b.finish(tuned, b.backend.fingerprint)(x)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_the_budget_is_kept_and_the_worst_layers_go_first(scale: float) -> None:
    b, graph = builder(), net(scale)
    tuned, x = with_f43(b, graph), feeds(graph)
    assert len(f43_layers(tuned)) >= 2  # with AVX-512 there are none of 16 filters
    exact = within_budget(b, tuned, x, 0.0)
    assert f43_layers(exact) == []
    want = outputs(b, exact, x)
    full = deviation(outputs(b, tuned, x), want)
    assert 0 < full < 1e-2
    assert within_budget(b, tuned, x, full) is tuned
    tight = within_budget(b, tuned, x, full * 0.6)
    assert deviation(outputs(b, tight, x), want) <= full * 0.6
    kept, layers = f43_layers(tight), f43_layers(tuned)
    assert len(kept) < len(layers) and (kept or scale == 1 or len(layers) < 3)

    def alone(layer: int) -> float:
        choices = [c if i == layer else e for i, (c, e) in pairs]
        return deviation(outputs(b, replace(tuned, choices=tuple(choices)), x), want)

    pairs = list(enumerate(zip(tuned.choices, exact.choices, strict=True)))
    dropped = [i for i in layers if i not in kept]
    assert max(map(alone, kept), default=0.0) <= min(map(alone, dropped))
    for i in dropped:
        choice = tight.choices[i]
        assert choice is not None and "beyond the error budget" in choice.reason


def test_nothing_is_run_where_no_kernel_is_approximate(monkeypatch: pytest.MonkeyPatch) -> None:
    b, graph = builder(), net()
    exact = within_budget(b, with_f43(b, graph), feeds(graph), 0.0)
    monkeypatch.setattr(b, "finish", None)
    assert within_budget(b, exact, {}, 1e-9) is exact


def test_a_net_that_cannot_be_run_on_the_samples_is_built_without() -> None:
    b, graph = builder(), net()
    kept = within_budget(b, with_f43(b, graph), {"x": np.zeros(3, np.float32)}, 1.0)
    assert f43_layers(kept) == []
    assert any("cannot be run" in c.reason for c in kept.choices if c is not None)


def test_deviation_is_relative_to_the_range() -> None:
    want = {"y": np.array([100.0, 102.0, np.inf], np.float32), "at": np.array([1])}
    near = {"y": np.array([100.0, 102.5, np.inf], np.float32), "at": np.array([2])}
    assert deviation(near, want) == 0.25
    assert deviation({**near, "y": np.array([100, np.nan, np.inf], np.float32)}, want) == np.inf
    assert deviation({**near, "y": np.array([100, 102, 7], np.float32)}, want) == np.inf
    assert deviation(want, want) == 0.0
    halves = {"y": want["y"].astype(bf16.numpy)}
    assert deviation({"y": halves["y"][[1, 0, 2]]}, halves) == 1.0
