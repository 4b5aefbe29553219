"""The precision decision: which graph wins, and that what is told of it is told of the winner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from camshaft.builder.engine_builder import Builder, Tuned
from camshaft.builder.precision import Attempt, choose_precision
from camshaft.config import BuildConfig
from camshaft.ir.graph import Graph, GraphBuilder
from camshaft.ir.types import TensorType, f32
from camshaft.ops import QUANTIZE
from camshaft.session import BuildSession
from onnx_models import two_convs


def computes_int8(tuned: Tuned) -> bool:
    return any(t.macs and t.precision == "u8" for t in tuned.tasks)


@pytest.mark.codegen
@pytest.mark.parametrize("winner", ["fp32", "int8"])
def test_steps_and_session_tell_of_the_graph_that_won(
    winner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    faster = winner == "int8"
    time = property(lambda self: 1.0 if computes_int8(self) == faster else 2.0)
    monkeypatch.setattr(Tuned, "time_us", time)
    monkeypatch.setattr(Tuned, "time_by_origin", lambda self: dict.fromkeys(origins(self), 1.0))
    rng = np.random.default_rng(0)
    batches = [{"x": rng.standard_normal((1, 4, 9, 9)).astype(np.float32)}]
    config = BuildConfig.of(None, {"precision": {"int8"}, "optimization_level": 2})
    session = BuildSession(two_convs(), config, batches)
    start = perf_counter()
    engine = session.run()
    assert 0 < sum(session.seconds.values()) <= perf_counter() - start  # no stage within another
    convs = [s for s in engine.inspect()["steps"] if s["op"] == "conv"]
    assert convs and all((s["precision"] == "u8") == faster for s in convs)
    assert all(s["reason"].startswith(f"{winner}: ") for s in convs)
    assert {why.partition(":")[0] for why in session.reasons.values()} == {winner}
    assert session.precision_summary.startswith(winner)
    if faster:
        assert session.quantized is not None
        assert any(n.op is QUANTIZE for n in session.quantized.nodes)
    else:
        assert session.quantized is None


def origins(tuned: Tuned) -> list[tuple[str, ...]]:
    return [t.origin for t in tuned.tasks]


# -- the search, on graphs whose times are given ---------------------------------------------------


class Layers:
    """A net of layers with times in float and in INT8; stands for a builder."""

    times = True

    def __init__(self, times: Mapping[str, tuple[float, float]], overhead: float = 0.0) -> None:
        self.layers, self.overhead = times, overhead
        self.tuned: list[frozenset[str]] = []  # layers in float, and what a variant gains
        self.announced: list[tuple[str, int]] = []  # stage, graphs tuned before

    def attempt(self, kept: frozenset[str]) -> Attempt:
        b = GraphBuilder(",".join(sorted(kept)))
        graph = b.graph({"y": b.input("x", TensorType(f32, (1,)))})
        reasons = {n: "fp32: by time" if n in kept else "int8: permitted" for n in self.layers}
        quantized = None if kept == frozenset(self.layers) else graph
        return Attempt(graph, quantized, reasons)

    def variant(self, gain: float) -> Graph:
        """The float graph, faster by `gain`."""
        b = GraphBuilder(f"{','.join(sorted(self.layers))}:{gain}")
        return b.graph({"y": b.input("x", TensorType(f32, (1,)))})

    def announce(self, graph: Graph, stage: str, after: Sequence[Graph] = ()) -> None:
        assert graph.name.partition(":")[0] == ",".join(sorted(self.layers))  # a float graph
        assert after
        self.announced.append((stage, len(self.tuned)))

    def tune(self, graph: Graph, stage: str) -> Any:
        layers, _, gain = graph.name.partition(":")
        kept = frozenset(filter(None, layers.split(",")))
        self.tuned.append(kept | {gain})
        spent = {(n,): t[n not in kept] for n, t in self.layers.items()}
        borders = self.overhead if 0 < len(kept) < len(self.layers) else 0.0
        tasks = [SimpleNamespace(origin=(n,), macs=1, is_int8=n not in kept) for n in self.layers]
        return SimpleNamespace(
            graph=graph,
            tasks=tasks,
            time_us=sum(spent.values()) + borders - float(gain or 0),
            time_by_origin=lambda: spent,
        )


def decide(net: Layers, required: bool = False, variants: Sequence[Graph] = ()) -> Any:
    everything = net.attempt(frozenset(net.layers))
    builder = cast(Builder, net)
    return choose_precision(builder, everything, net.attempt, variants, int8_required=required)


def test_layers_that_lose_stay_float_if_the_whole_graph_gains() -> None:
    net = Layers({"a": (2, 1), "b": (1, 3), "c": (5, 2)})
    made = decide(net)
    assert made.attempt.reasons == {
        "a": "int8: permitted",
        "b": "fp32: by time",
        "c": "int8: permitted",
    }
    assert made.attempt.quantized is made.tuned.graph
    assert made.summary.startswith("int8 with 1 layers kept in fp32 by time")


def test_they_become_int8_if_the_borders_cost_more() -> None:
    made = decide(Layers({"a": (2, 1), "b": (1, 1.5), "c": (5, 2)}, overhead=1.0))
    assert set(made.attempt.reasons.values()) == {"int8: permitted"}


def test_float_wins_as_a_whole_but_not_where_a_layer_must_be_int8() -> None:
    times = {"a": (1.0, 1.0), "b": (1.0, 0.9), "c": (1.0, 2.0)}
    made = decide(Layers(times, overhead=3.0))
    assert set(made.attempt.reasons.values()) == {"fp32: by time"}
    assert made.attempt.quantized is None and made.summary.startswith("fp32")
    made = decide(Layers(times, overhead=3.0), required=True)
    assert made.attempt.quantized is not None and made.summary.startswith("int8")


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("gain", [0.1, 1.0])
def test_float_is_as_fast_as_a_float_build_would_make_it(gain: float, required: bool) -> None:
    net = Layers({"a": (2, 1.8), "b": (1, 1)})
    merged = net.variant(gain)
    made = decide(net, required, [merged])
    assert (made.tuned.graph is merged) == (gain == 1.0 and not required)
    assert (made.attempt.graph is merged) == (made.tuned.graph is merged)


def test_no_graph_is_tuned_twice() -> None:
    net = Layers({"a": (2, 1), "b": (1, 3), "c": (5, 2)})
    decide(net)
    assert len(net.tuned) == len(set(net.tuned))


def test_progress_hears_of_the_float_graph_before_the_int8_graph_is_tuned() -> None:
    net = Layers({"a": (2.0, 1.0)})
    decide(net)
    assert net.announced == [("tuning fp32", 0)]


def test_progress_hears_of_variants_before_anything_is_tuned() -> None:
    net = Layers({"a": (2.0, 1.0)})
    decide(net, variants=[net.variant(0.5)])
    assert net.announced == [("tuning fp32", 0), ("tuning fp32, merged siblings", 0)]
