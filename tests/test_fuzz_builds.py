"""Whole builds of random nets: passes, placement, kernels, plan and runtime against the reference.

Two judges: the reference interpreter on the *unoptimized* graph for float builds, and for INT8
builds each node's reference on what the engine itself computed for the node's inputs, so that a
rounding that falls the other way is not carried on.  `FUZZ_SEEDS=200-400 pytest -k fuzz_int8` (or
`FUZZ_SEEDS=500`) runs other nets than the few of the default suite.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from camshaft.backends.base import Backend, Kernel, Source
from camshaft.backends.cpu.target import TARGETS, CpuTarget
from camshaft.builder.engine_builder import Builder, Tuned
from camshaft.builder.timing_cache import TimingCache
from camshaft.ir import expr as E
from camshaft.ir.graph import Graph, Tensor
from camshaft.ir.interpret import interpret
from camshaft.machine import backend_of
from camshaft.ops import CONV, DEQUANTIZE, QUANTIZE
from camshaft.passes.pipeline import optimize, with_merged_siblings
from camshaft.passes.qdq.lowering import lower_quantization
from camshaft.program.program import HostCall, Program
from camshaft.program.view import Buffer, View
from camshaft.quant.implicit import ImplicitQuantization
from camshaft.runtime.engine import Engine
from small_nets import NETS
from targets import RUNNABLE, skip_unless_runnable
from test_passes_random import BINARY, UNARY, RandomNet
from test_passes_rules import feeds

pytestmark = pytest.mark.codegen


def seeds(default: int, first: int = 0) -> range:
    """The seeds to run: `default` many, or what FUZZ_SEEDS ("N" or "FROM-TO") asks for."""
    asked = os.environ.get("FUZZ_SEEDS", "")
    if not asked:
        return range(first, first + default)
    start, _, stop = asked.rpartition("-")
    return range(int(start or 0), int(stop))


class WideNet(RandomNet):
    """Adds what the builder sees and the passes alone do not: shapes, views, kinds of kernels."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        n = int(self.rng.integers(1, 4))
        c = self.choose([1, 3, 5, 8, 16, 17, 24])
        h, w = (int(v) for v in self.rng.integers(1, 14, 2))
        image = self.input((n, c, h, w), "image")
        self.tensors += [image, image, image]

    def grow(self, steps: int) -> Graph:
        kinds = [getattr(self, name) for name in dir(self) if name.startswith("make_")]
        kinds += self.favourites()
        for _ in range(steps):
            made = self.choose(kinds)(self.pick())
            if made is not None and 0 < made.type.size < 9000:
                self.tensors.append(made)
        outs = [self.tensors[-1], *(self.pick() for _ in range(int(self.rng.integers(1, 4))))]
        if self.chance(0.2):
            outs.append(self.choose(self.tensors))  # perhaps an input, or an output again
        return self.done(*outs)

    def favourites(self) -> list:
        """Operators to be drawn more often than others."""
        return [self.make_any_conv]

    def _conv(self, x: Tensor, size: int, groups: int, k: int) -> Tensor | None:
        strides = tuple(int(v) for v in self.rng.integers(1, 4, 2))
        dilations = tuple(int(v) for v in self.rng.integers(1, 3, 2))
        pads = tuple(int(v) for v in self.rng.integers(0, size, 4))
        for axis in (0, 1):
            room = x.shape[2 + axis] + pads[axis] + pads[axis + 2]
            if room < dilations[axis] * (size - 1) + 1:
                return None
        attrs = {"groups": groups, "pads": pads, "strides": strides, "dilations": dilations}
        y = self.conv(x, k, size, bias=self.chance(0.5), **attrs)
        return self.point(self.choose(UNARY), y) if self.chance(0.5) else y

    def make_any_conv(self, x: Tensor) -> Tensor | None:
        if x.type.rank != 4:
            return None
        groups = self.choose([g for g in (1, 1, 2, 4) if x.shape[1] % g == 0])
        k = groups * self.choose([1, 3, 4, 8, 9, 16])
        return self._conv(x, self.choose([1, 1, 3, 3, 5]), groups, k)

    def make_depthwise(self, x: Tensor) -> Tensor | None:
        if x.type.rank != 4:
            return None
        return self._conv(x, self.choose([3, 3, 5]), x.shape[1], x.shape[1])

    def make_same_conv(self, x: Tensor) -> Tensor | None:
        """A 3x3 convolution that Winograd can take, and a residual around it."""
        if x.type.rank != 4:
            return None
        y = self.conv(x, x.shape[1], 3, bias=True, pads=(1, 1, 1, 1))
        return self.relu(self.add(y, x))

    def make_resize(self, x: Tensor) -> Tensor | None:
        return self.upsample(x) if x.type.rank == 4 else None

    def make_wide_pool(self, x: Tensor) -> Tensor | None:
        if x.type.rank != 4 or min(x.shape[2:]) < 2:
            return None
        return self.pool(x, self.choose(["max", "avg"]), 2, self.choose([1, 2]))

    def make_siblings(self, x: Tensor) -> Tensor | None:
        """Branches joined along channels, as in GoogLeNet."""
        if x.type.rank != 4:
            return None
        parts = [self.relu(self.conv(x, self.choose([2, 5, 8]))) for _ in range(2)]
        return self.concat(*parts, self.conv(x, 3, 1, bias=True))

    def make_scaled_channels(self, x: Tensor) -> Tensor | None:
        if x.type.rank != 4:
            return None
        return self.point(self.choose(BINARY), x, self.mean(x))


@cache
def backend(target: CpuTarget) -> Backend:
    """A backend that compiles equal source once for the whole file."""
    made = backend_of(target)
    known: dict[str, Kernel] = {}

    def compile_once(source: Source) -> Kernel:
        if source.text not in known:
            known[source.text] = made.compile(source)
        return replace(known[source.text], phases=source.phases)

    return replace(made, compile=compile_once)


def built(graph: Graph, target: CpuTarget, level: int, threads: int) -> Engine:
    """An engine of the graph.  Its memory is checked; the test ends here if the machine cannot run it.

    level: 1 takes the first kernels, 2 times some where the machine can.
    """
    level = level if target in RUNNABLE else 1
    builder = Builder(
        backend(target), TimingCache(), level=level, threads=threads, workspace_limit=1 << 30
    )
    tuned = builder.tune(graph)
    engine = builder.finish(tuned, builder.backend.fingerprint)
    check_memory(tuned, engine.program)
    skip_unless_runnable(target)
    return engine


def close(got: Mapping[str, np.ndarray], want: Mapping[str, np.ndarray], tol: float) -> None:
    assert list(got) == list(want)
    for name, y in want.items():
        assert (got[name].dtype, got[name].shape) == (y.dtype, y.shape), name
        if y.dtype.kind == "f":
            scale = max(1.0, float(np.max(np.abs(y), initial=0.0)))
            np.testing.assert_allclose(got[name], y, rtol=tol, atol=tol * scale, err_msg=name)
        else:
            gap = np.abs(got[name].astype(np.int64) - y.astype(np.int64))
            assert gap.max(initial=0) <= (1 if y.dtype.itemsize == 1 else 0), name


def bits(results: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    return {name: a.tobytes() for name, a in results.items()}


def same_bits_however_run(engine: Engine, x: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The results, equal for any number of threads, when run again and in parallel contexts."""
    with engine.create_context(1) as context:
        want = context.run(x)
        want = {name: a.copy() for name, a in want.items()}
        other = {name: (a * 0.5).astype(a.dtype) for name, a in x.items()}
        context.run(other)  # leaves other values in the arena
        assert bits(context.run(x)) == bits(want)
    for threads in range(2, engine.program.max_threads + 1):
        with engine.create_context(threads) as context:
            for _ in range(3):
                assert bits(context.run(x)) == bits(want), f"{threads} threads"
    with ThreadPoolExecutor(3) as pool:
        for got in pool.map(lambda _: engine(x), range(6)):
            assert bits(got) == bits(want)
    return want


# -- the plan, by brute force ----------------------------------------------------------------------


def footprint(place: View, base: int) -> np.ndarray:
    """Every byte a place holds, counted from the arena's beginning (or the caller's array's)."""
    at = np.zeros((), np.int64)
    for extent, stride in zip(place.shape, place.strides, strict=True):
        at = at[..., None] + np.arange(extent) * stride
    size = place.buffer.dtype.bytes
    return (base + (at.reshape(-1, 1) + place.offset) * size + np.arange(size)).reshape(-1)


def check_memory(tuned: Tuned, program: Program) -> None:
    """Replay the program on shadow memory: every byte read holds what its tensor's step wrote, no
    two steps between barriers meet, and nothing is written to an input."""
    base = {b.name: offset for b, offset in program.offsets.items()}
    owners = {("arena", ""): np.full(program.arena.nbytes, -1)}
    for binding in program.outputs:
        owners["output", binding.name] = np.full(binding.type.nbytes, -1)
    ids: dict[str, int] = {}
    recent: list[tuple[View, bool]] = []
    for step, task in zip(program.instructions, tuned.tasks, strict=True):
        reads = [p for p in task.inputs if isinstance(p, View)]
        for p, written in (*((p, False) for p in reads), *((p, True) for p in task.outputs)):
            if p.buffer.space == "input":
                assert not written, task.name
                continue
            arena = p.buffer.space == "arena"
            memory = owners["arena", ""] if arena else owners["output", p.buffer.name]
            where = footprint(p, base[p.buffer.name] if arena else 0)
            owner = ids.setdefault(f"{p.buffer.space}:{p.buffer.name}", len(ids))
            if written:
                memory[where] = owner
            else:
                assert (memory[where] == owner).all(), f"{task.name} reads what is not there"
        views = [v for v in step.views if v is not None]
        scratch = [v for v in views if v.buffer.space == "scratch"]
        for v in scratch:
            start = program.offsets[v.buffer]
            owners["arena", ""][start : start + v.nbytes] = -2
        operands = [] if isinstance(step, HostCall) else views[: len(reads) + len(task.outputs)]
        mine = [(v, i >= len(reads)) for i, v in enumerate(operands)] + [(v, True) for v in scratch]
        if isinstance(step, HostCall) or step.waits:
            recent = []
        for v, written in mine:
            for other, theirs in recent:
                clash = (written or theirs) and meet(v, other, program.offsets)
                assert not clash, f"{task.name} should wait"
        recent += mine
    for binding in program.outputs:
        assert (owners["output", binding.name] >= 0).all(), f"{binding.name} is not all written"


def meet(a: View, b: View, offsets: Mapping[Buffer, int]) -> bool:
    """Whether two views may share bytes; offsets: of the buffers in the arena."""
    placed = a.buffer in offsets and b.buffer in offsets
    if not placed and (a.buffer != b.buffer or a.buffer.space == "constant"):
        return False
    first, second = (offsets.get(v.buffer, 0) + v.first_byte for v in (a, b))
    return first < second + b.nbytes and second < first + a.nbytes


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
    target = TARGETS[seed % 3]
    check_float(graph, target, 1, 1 + seed // 3 % 3, 0 if seed % 5 == 0 else 1)


@pytest.mark.parametrize("seed", seeds(2, first=1000))
def test_fuzz_float_tuned(seed: int) -> None:
    check_float(WideNet(seed).grow(4 + seed % 9), TARGETS[seed % 3], 2, 1 + seed % 3, 1)


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
    check_lowered(low, TARGETS[seed % 3], 1, 1 + seed // 3 % 3)


@pytest.mark.parametrize("seed", seeds(1, first=3000))
def test_fuzz_int8_tuned(seed: int) -> None:
    graph = optimize(WideNet(seed).grow(5 + seed % 7))
    low = quantize_randomly(graph, np.random.default_rng(seed))
    check_lowered(low, TARGETS[seed % 3], 2, 1 + seed % 3)


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
    check_lowered(low, TARGETS[seed % 3], 1, 1 + seed // 3 % 3)
