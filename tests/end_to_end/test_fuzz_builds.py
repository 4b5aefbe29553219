"""Whole builds of random nets: passes, placement, kernels, plan and runtime against the reference.

Two judges: the reference interpreter on the *unoptimized* graph for float builds, and for INT8
builds each node's reference on what the engine itself computed for the node's inputs, so that a
rounding that falls the other way is not carried on.  `FUZZ_SEEDS=200-400 pytest -k fuzz_int8` (or
`FUZZ_SEEDS=500`) runs other nets than the few of the default suite.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir import expr as E
from camshaft.ir.graph import Graph, Tensor
from camshaft.ir.interpret import interpret
from camshaft.ops import CONV, DEQUANTIZE, QUANTIZE
from camshaft.passes.pipeline import optimize, with_merged_siblings
from camshaft.passes.qdq.lowering import lower_quantization
from camshaft.quant.implicit import ImplicitQuantization
from camshaft.runtime.engine import Engine
from graph_checks import feeds
from random_builds import (
    WideNet,
    built,
    close,
    same_bits_however_run,
    seeds,
)
from small_nets import NETS
from targets import PLAIN, RUNNABLE

pytestmark = pytest.mark.codegen


# -- float -----------------------------------------------------------------------------------------


def check_float(
    graph: Graph, target: CpuTarget, level: int, threads: int, optimization: int
) -> None:
    x = feeds(graph)
    final = optimize(graph, level=optimization)
    if optimization > 0 and threads == 2:
        final = with_merged_siblings(final)
    engine = built(final, target, level, threads)
    close(same_bits_however_run(engine, x), interpret(graph, x), 1e-4 if level < 2 else 4e-4)


@pytest.mark.parametrize("seed", seeds(14))
def test_fuzz_float(seed: int) -> None:
    graph = WideNet(seed).grow(4 + seed % 22)
    target = PLAIN[seed % 3]
    check_float(graph, target, 1, 1 + seed // 3 % 3, 0 if seed % 5 == 0 else 1)


@pytest.mark.parametrize("seed", seeds(2, first=1000))
def test_fuzz_float_tuned(seed: int) -> None:
    check_float(WideNet(seed).grow(4 + seed % 9), PLAIN[seed % 3], 2, 1 + seed % 3, 1)


@pytest.mark.parametrize("make", NETS, ids=lambda f: f.__name__)
def test_known_nets_and_their_arenas(make) -> None:
    graph = make()
    x = feeds(graph)
    engine = built(optimize(graph), RUNNABLE[0], 1, 2)
    close(same_bits_however_run(engine, x), interpret(graph, x), 1e-4)
    align = 64 * len(engine.program.arena.slots)
    assert engine.program.arena.nbytes <= 1.15 * engine.program.arena.lower_bound + align


# -- INT8 ------------------------------------------------------------------------------------------


def quantize_randomly(graph: Graph, rng: np.random.Generator) -> Graph:
    """The lowered INT8 graph of an optimized one: ranges near the true ones, layers kept float."""
    seen: dict[str, tuple[float, float]] = {}

    def tap(name: str, a: np.ndarray) -> None:
        if a.dtype == np.float32 and a.size:
            low, high = float(a.min()), float(a.max())
            f = float(rng.uniform(0.6, 1.3))
            seen[name] = (min(0.0, low * f), max(0.0, high * f, 1e-3))

    interpret(graph, feeds(graph), tap)
    convs = sorted({n.origin[0] for n in graph.nodes if n.op is CONV})
    kept = frozenset(name for name in convs if rng.random() < 0.15)
    q = ImplicitQuantization(graph, noise_reduction=bool(rng.random() < 0.5))
    plan = q.plan(kept)
    q.ranges = {name: seen[name] for name in plan.observed}
    return lower_quantization(q.quantized(kept)[0])


def check_lowered(graph: Graph, target: CpuTarget, level: int, threads: int) -> None:
    """Every node of a lowered graph computes its reference; results keep their bits."""
    x = feeds(graph)
    engine = built(graph, target, level, threads)
    got, want = same_bits_however_run(engine, x), interpret(graph, x)
    for name, y in want.items():
        scale = max(1.0, float(np.max(np.abs(y.astype(np.float64)), initial=0.0)))
        error = np.abs(got[name].astype(np.float64) - y) / scale
        assert error.max(initial=0.0) < 0.15 and error.mean() < 0.03, name
    check_nodes(graph, target, level, threads)


def check_nodes(graph: Graph, target: CpuTarget, level: int, threads: int) -> None:
    tensors = [t for n in graph.nodes for t in n.outputs]
    tapped = replace(
        graph, outputs=tuple(tensors), output_names=tuple(f"tap {t.name}" for t in tensors)
    )
    engine = built(tapped, target, level, threads)
    x = feeds(graph)
    values = {**x, **{t.name: engine_value for t, engine_value in _taps(engine, tensors, x)}}
    for node in graph.nodes:
        args = [t.data if t.data is not None else values[t.name] for t in node.args]
        results = node.op.reference(args, node.attrs)
        for t, y in zip(node.outputs, results, strict=True):
            close({t.name: values[t.name]}, {t.name: np.asarray(y)}, node_tolerance(node.attrs))


def _taps(engine: Engine, tensors: list[Tensor], x: dict[str, np.ndarray]):
    found = engine(x)
    return [(t, found[f"tap {t.name}"]) for t in tensors]


def node_tolerance(attrs: Mapping[str, object]) -> float:
    """One quantum where the node's expression quantizes within, else float rounding."""
    for e in attrs.values():
        if isinstance(e, E.Expr) and any(
            n.op == "cast" and n.dtype is not None and n.dtype.bits == 8 for n in E.nodes(e)
        ):
            return 2.0 / 127
    return 1e-4


@pytest.mark.parametrize("seed", seeds(8, first=2000))
def test_fuzz_int8(seed: int) -> None:
    graph = optimize(WideNet(seed).grow(6 + seed % 18))
    low = quantize_randomly(graph, np.random.default_rng(seed))
    check_lowered(low, PLAIN[seed % 3], 1, 1 + seed // 3 % 3)


@pytest.mark.parametrize("seed", seeds(1, first=3000))
def test_fuzz_int8_tuned(seed: int) -> None:
    graph = optimize(WideNet(seed).grow(5 + seed % 7))
    low = quantize_randomly(graph, np.random.default_rng(seed))
    check_lowered(low, PLAIN[seed % 3], 2, 1 + seed % 3)


class QdqWideNet(WideNet):
    """Puts Q/DQ pairs, u8 or s8, around random tensors and weights, as quantizers do."""

    def qdq(self, x: Tensor, scale: float, signed: bool) -> Tensor:
        zero = np.int8(self.rng.integers(-20, 21)) if signed else np.uint8(self.rng.integers(256))
        p = [self.b.constant(np.float32(scale)), self.b.constant(np.asarray(zero))]
        return self.b.emit(DEQUANTIZE, [self.b.emit(QUANTIZE, [x, *p]), *p])

    def make_pair(self, x: Tensor) -> Tensor:
        return self.qdq(x, float(self.rng.uniform(0.01, 0.06)), self.chance(0.5))

    def make_qdq_conv(self, x: Tensor) -> Tensor | None:
        if x.type.rank != 4:
            return None
        size, c = self.choose([1, 3]), x.shape[1]
        groups = self.choose([1, 1, c])
        k = c if groups == c else self.choose([3, 8, 16])
        q = self.rng.integers(-127, 128, (k, c // groups, size, size)).astype(np.int8)
        s = self.rng.uniform(0.002, 0.006, k).astype(np.float32)
        p = [self.b.constant(s), self.b.constant(np.zeros(k, np.int8))]
        w = self.b.emit(DEQUANTIZE, [self.b.constant(q), *p], {"axis": 0})
        pads = (size // 2,) * 4
        attrs = {"layout": "NCHW", "groups": groups, "pads": pads}
        y = self.b.emit(CONV, [self.make_pair(x), w], attrs, name=self.name("qconv"))
        if self.chance(0.5):
            y = self.relu(self.point(E.add(E.inp(0), E.inp(1)), y, self.random(k, 1, 1)))
        return self.make_pair(y) if self.chance(0.7) else y

    def favourites(self) -> list:
        return [self.make_pair] + [self.make_qdq_conv] * 30


@pytest.mark.parametrize("seed", seeds(6, first=4000))
def test_fuzz_qdq(seed: int) -> None:
    graph = QdqWideNet(seed).grow(6 + seed % 14)
    low = lower_quantization(optimize(graph), integer=seed % 7 != 0)
    check_lowered(low, PLAIN[seed % 3], 1, 1 + seed // 3 % 3)
