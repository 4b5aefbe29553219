"""Counting inside the engine: extremes and means are those of all values, histograms those of a sample that hangs on
places within images alone, and neither batches nor their order, threads or open sizes change anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from camshaft.builder.engine_builder import Builder
from camshaft.builder.tuning.timing_cache import TimingCache
from camshaft.errors import CalibrationError
from camshaft.ir import expr as E
from camshaft.ir.extents.extent import extent_of
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.graph import Graph, GraphBuilder
from camshaft.ir.interpret import interpret, sizes_of
from camshaft.ir.types import TensorType, f32
from camshaft.machine.backend import cpu_backend, histogram_kernel
from camshaft.ops import POINTWISE
from camshaft.passes.pipeline import optimize
from camshaft.precision.calibrating import float_runs
from camshaft.quant.calibration import calibrate, tally
from camshaft.quant.calibration.calibrate import Counting, Observers, observe
from camshaft.quant.calibration.observers import numpy_histogram
from camshaft.quant.calibration.tally import with_tallies
from camshaft.quant.placement import plan_quantization
from graph_checks import interpreted
from small_nets import Net

Batches = Sequence[Mapping[str, np.ndarray]]
IMAGES = np.random.default_rng(3).standard_normal((6, 3, 13, 11)).astype(np.float32)


@pytest.fixture(autouse=True)
def few_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small images count as large ones."""
    monkeypatch.setattr(tally, "SAMPLED", 100)
    monkeypatch.setattr(tally, "TOTAL", 1000)
    monkeypatch.setattr(tally, "PIECE", 200)
    monkeypatch.setattr(calibrate, "MOST_KEPT", 3)


def net(batch: Any, function: E.Expr | None = None, size: tuple[Any, Any] = (13, 11)) -> Graph:
    n = Net("net", seed=1)
    x = n.relu(n.conv(n.input((batch, 3, *size)), 10, 3, pads=(1, 1, 1, 1)))
    if function is not None:
        x = n.b.emit(POINTWISE, [x], {"expr": function}, name="strange", output="strange:y")
    return optimize(n.done(n.conv(n.relu(n.conv(x, 7)), 4)))


def watching(graph: Graph) -> Observers:
    plan = plan_quantization(graph)
    images = [t.name for node in graph.nodes for t in node.outputs if len(t.shape) == 4]
    return Observers.of(plan.observed, images[1:3], (), images[1:3])


def runs_of(graph: Graph, threads: int) -> calibrate.Runs:
    builder, quick = (
        Builder(
            cpu_backend("host"), TimingCache(), level=1, threads=threads, workspace_limit=1 << 28
        )
        for _ in range(2)
    )
    return float_runs(graph, builder, quick, lambda *a, **k: pytest.fail("nothing is timed"))


def seen_of(
    graph: Graph,
    sizes: Sequence[int],
    run: calibrate.Runs = interpreted,
    order: int = 1,
    threads: int = 1,
    histogram: Any = numpy_histogram,
) -> Observers:
    """What is seen of the images in batches of these sizes."""
    ends = np.cumsum([0, *sizes])
    parts = [IMAGES[::order][a:b] for a, b in pairwise(ends)]
    watched = watching(graph)
    observe(graph, [{"x": p} for p in parts], watched, run, None, histogram, None, threads)
    return watched


def states(watched: Observers) -> dict[str, Any]:
    observers = {
        n: (o.minimum, o.maximum, o.count, o.weight, o.width, o.counts.tobytes())
        for n, o in watched.observers.items()
    }
    means = {f"{n} mean": m.mean.tobytes() for n, m in watched.means.items()}
    extremes = {f"{n} most": np.concatenate(e.seen).tobytes() for n, e in watched.extremes.items()}
    return observers | means | extremes


def test_extremes_and_means_are_of_all_values_and_histograms_of_a_sample() -> None:
    graph = net(1)
    watched = seen_of(graph, [1] * 6)
    tapped = replace(
        graph,
        outputs=tuple(graph.tensors[n] for n in watched.names),
        output_names=watched.names,
    )
    tensors = {n: [] for n in watched.names}  # type: dict[str, list[np.ndarray]]
    for image in IMAGES:
        for name, array in interpret(tapped, {"x": image[None]}).items():
            tensors[name].append(array)
    weights = set()
    for name, seen in watched.observers.items():
        values = np.concatenate(tensors[name])
        assert (seen.minimum, seen.maximum) == (values.min(), values.max())
        sample = np.stack([v.reshape(-1)[:: seen.weight] for v in values])
        assert seen.count == sample.size
        assert seen.weight == 1 or sample.shape[1] <= tally.SAMPLED
        counts = np.zeros_like(seen.counts)
        numpy_histogram(sample, 1 / seen.width, counts, seen.minimum, seen.maximum)
        np.testing.assert_array_equal(seen.counts, counts)
        weights.add(seen.weight)
    assert max(weights) > 5
    for name in watched.means:
        values = np.concatenate(tensors[name]).reshape(-1, tensors[name][0].shape[-1])
        np.testing.assert_allclose(watched.means[name].mean, values.mean(0, np.float64), rtol=1e-6)
        np.testing.assert_array_equal(watched.extremes[name].seen, [values.min(0), values.max(0)])


@pytest.mark.parametrize("split", [(1, 6), (2, 3), (3, 2), (6, 1)], ids=str)
def test_neither_batches_nor_their_order_matter(split: tuple[int, int]) -> None:
    size, count = split
    whole = states(seen_of(net(1), [1] * 6))
    for order in (1, -1):
        assert states(seen_of(net(size), [size] * count, order=order)) == whole


def test_batches_of_several_sizes_through_one_graph_with_open_extents() -> None:
    graph = net(extent_of(Symbol("n", 1, 2, 8)))
    runs, histogram = runs_of(graph, 2), histogram_kernel(cpu_backend("host").target)
    whole = seen_of(graph, [6], runs, 1, 2, histogram)
    for sizes in ([1] * 6, [2, 4], [1, 1, 3, 1]):
        assert states(seen_of(graph, sizes, runs, -1, 2, histogram)) == states(whole)
    by_reference = seen_of(net(1), [1] * 6)
    for name, seen in whole.observers.items():
        other = by_reference.observers[name]
        assert (seen.count, seen.weight) == (other.count, other.weight)
        np.testing.assert_allclose(seen.maximum, other.maximum, rtol=1e-5)


def test_images_of_other_sizes_than_the_typical_ones() -> None:
    h, w = (extent_of(Symbol(s, 4, 16, 64)) for s in "hw")
    graph = net(1, size=(h, w))
    watched, means = watching(graph), []
    batches = [
        {"x": np.random.default_rng(s).standard_normal((1, 3, s, 2 * s)).astype(np.float32)}
        for s in (4, 9, 9, 20)
    ]
    observe(graph, batches, watched, runs_of(graph, 1))
    name = next(iter(watched.means))
    tapped = replace(graph, outputs=(graph.tensors[name],), output_names=(name,))
    for batch in batches:
        means.append(interpret(tapped, batch)[name].reshape(-1, graph.tensors[name].shape[-1]))
    values = np.concatenate(means)
    np.testing.assert_allclose(watched.means[name].mean, values.mean(0), rtol=1e-4)
    np.testing.assert_allclose(watched.extremes[name].seen[1], values.max(0), rtol=1e-5)


def test_threads_do_not_matter() -> None:
    graph = net(1)
    histogram = histogram_kernel(cpu_backend("host").target)
    found = [states(seen_of(graph, [1] * 6, runs_of(graph, t), 1, t, histogram)) for t in (1, 2, 3)]
    assert found[0] == found[1] == found[2]


def test_of_few_images_more_is_counted() -> None:
    graph = net(1)
    few, many = seen_of(graph, [1] * 2), seen_of(graph, [1] * 6)
    weights = [(few.observers[n].weight, many.observers[n].weight) for n in few.observers]
    assert all(a <= b for a, b in weights) and any(a < b for a, b in weights)
    assert states(seen_of(net(2), [2])) == states(few), "images count, not batches"


@pytest.mark.parametrize("function", ["log", "exp"])
def test_what_is_not_finite_names_the_tensor(function: str) -> None:
    """Minus infinity of log(0), infinity of exp(exp(x))."""
    strange: Callable[[E.Expr], E.Expr] = lambda x: E.unary(function, x)  # noqa: E731
    expr = (
        strange(E.inp(0)) if function == "log" else strange(strange(E.mul(E.inp(0), E.const(9.0))))
    )
    graph = net(1, expr)
    name = next(n for n in plan_quantization(graph).observed if n.startswith("strange"))
    for run in (interpreted, runs_of(graph, 1)):
        with pytest.raises(CalibrationError, match=f"{name}.*infinite"):
            seen_of(graph, [1] * 6, run)


def test_samples_reach_every_channel_and_every_column() -> None:
    _, counted = with_tallies(net(1), watching(net(1)).names, watching(net(1)).observers)
    large = [c for c in counted if c.every > 1]
    assert large
    for c in large:
        places = np.arange(0, np.prod(c.shape[1:]), c.every)
        assert len(set(places % c.shape[-1])) == c.shape[-1]


def test_tensors_with_rows_of_all_images_in_one_axis_are_counted_whole() -> None:
    """Where axis 0 counts no images, places within them are not known."""
    n = Net("folded")
    x = n.relu(n.conv(n.input((4, 16, 12, 1)), 16))
    rows = n.b.emit(POINTWISE, [n.reshape(x, 1, 64, 12, 1)], {"expr": E.unary("tanh", E.inp(0))})
    graph = n.done(rows)
    _, counted = with_tallies(graph, [x.name, rows.name], [x.name, rows.name])
    assert [c.every > 1 for c in counted] == [True, False]


def test_memory_is_that_of_inference() -> None:
    n = Net("deep")
    x = n.input((1, 3, 40, 40))
    for _ in range(8):
        x = n.relu(n.conv(x, 16, 3, pads=(1, 1, 1, 1)))
    graph = optimize(n.done(n.conv(x, 4)))
    counted, _ = with_tallies(graph, watching(graph).names, watching(graph).observers)
    quick = Builder(cpu_backend("host"), TimingCache(), level=1, threads=1, workspace_limit=1 << 28)
    plain, counting = (
        quick.finish(quick.tune(g), quick.backend.fingerprint).program.arena.nbytes
        for g in (graph, counted)
    )
    assert counting <= plain


def test_layers_have_the_kernels_that_were_timed_for_the_float_engine() -> None:
    graph = net(1)
    timed = Builder(cpu_backend("host"), TimingCache(), level=2, threads=1, workspace_limit=1 << 28)
    quick = Builder(cpu_backend("host"), TimingCache(), level=1, threads=1, workspace_limit=1 << 28)
    tuned = timed.tune(graph)
    counted, _ = with_tallies(graph, watching(graph).names, watching(graph).observers)
    made = quick.tune(counted).with_kernels_of(tuned)
    times = {
        t.op: c.time_us for t, c in zip(made.tasks, made.choices, strict=True) if c is not None
    }
    assert times["conv"] > 0 and times["tally"] == 0
    run = float_runs(graph, timed, quick, lambda *a, **k: nullcontext())(counted)
    assert set(run({"x": IMAGES[:1]})) == set(tally.RESULTS)


def test_sizes_are_read_off_shapes_and_not_off_all_elements() -> None:
    """An input of a tebibyte, all of it one zero."""
    graph = GraphBuilder("large")
    x = graph.input("x", TensorType(f32, (extent_of(Symbol("n", 1, 8, None)), 1 << 20)))
    made = graph.graph(
        {"y": graph.emit(POINTWISE, [x], {"expr": E.unary("neg", E.inp(0))}, name="neg")}
    )
    assert sizes_of(made, {"x": np.broadcast_to(np.float32(0), (1 << 18, 1 << 20))}) == {
        "n": 1 << 18
    }


def test_a_graph_without_tensors_to_watch_runs_nothing() -> None:
    graph = net(1)
    counting = Counting(graph, Observers.of((), ()), lambda g: pytest.fail("nothing to run"))
    counting.add({"x": IMAGES[:1]})
    counting.finish()
