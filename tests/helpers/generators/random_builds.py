"""Random nets as the builder sees them, built on one backend, and their plans checked by brute force."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from camshaft.backends.cpu.target import CpuTarget
from camshaft.builder.engine_builder import Builder, Tuned
from camshaft.builder.tuning.timing_cache import TimingCache
from camshaft.ir.graph import Graph, Tensor
from camshaft.machine.backend import backend_of
from camshaft.program.program import HostCall, Program
from camshaft.program.view import Buffer, View
from camshaft.runtime.engine import Engine
from random_nets import BINARY, UNARY, RandomNet
from targets import RUNNABLE, skip_unless_runnable


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


def built(graph: Graph, target: CpuTarget, level: int, threads: int) -> Engine:
    """An engine of the graph.  Its memory is checked; the test ends here if the machine cannot run it.

    level: 1 takes the first kernels, 2 times some where the machine can.
    """
    level = level if target in RUNNABLE else 1
    builder = Builder(
        backend_of(target), TimingCache(), level=level, threads=threads, workspace_limit=1 << 30
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
