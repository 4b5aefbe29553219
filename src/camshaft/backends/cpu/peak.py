"""The peak throughput of one core: independent chains of fma or dot4 in registers.

Benchmarks give a convolution's speed as a share of it.
"""

from __future__ import annotations

import time

import numpy as np

from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.lang import Arg, Module
from camshaft.backends.cpu.link import call, link, pointer_table
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.types import f32, i32

_STEPS = 20_000


def peak_fma(target: CpuTarget, rounds: int = 200) -> float:
    """Best f32 multiply-add rate of one core in GFLOP/s (a multiply-add counts 2)."""
    return _peak(target, rounds, integer=False)


def peak_dot4(target: CpuTarget, rounds: int = 200) -> float:
    """Best u8 x s8 dot product rate of one core in GOP/s (a multiply-add counts 2)."""
    return _peak(target, rounds, integer=True)


def _peak(target: CpuTarget, rounds: int, *, integer: bool) -> float:
    dtype = i32 if integer else f32
    lanes = target.lanes(dtype)
    # Without the dot product instruction its steps must not be shared between chains: the inputs
    # change from step to step, as in a register tile of 5 x 2.
    emulated = integer and not target.has_vnni
    inputs, weights = (5, 2) if emulated else (1, 3 * target.registers // 4)
    chains = inputs * weights
    module = Module(target)
    with module.phase("peak", 1, [Arg("data", dtype, align=64)]) as k:
        data = k.args["data"]
        w = [k.load(data.at(n * lanes), lanes) for n in range(weights if emulated else 1)]
        acc = [k.load(data.at(n * lanes), lanes) for n in range(chains)]
        with k.loop(0, k.end, carry=acc) as step:
            for i in range(inputs):
                place = data.at((step & 7) * lanes).at(i) if emulated else data
                x = k.broadcast(place, lanes)
                for j in range(weights):
                    n, vector = i * weights + j, w[j % len(w)]
                    acc[n] = k.dot4(x, vector, acc[n]) if integer else k.fma(x, vector, acc[n])
        for n in range(chains):
            k.store(acc[n], data.at(n * lanes))
    library = link(CpuCompiler(target).compile(module.source()).code, ["peak"])
    memory = np.zeros((chains + 8) * lanes + 16, dtype.numpy)
    table = pointer_table([memory.ctypes.data + -memory.ctypes.data % 64])
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        call(library["peak"], table, 0, _STEPS)
        best = min(best, time.perf_counter() - start)
    products = lanes * (4 if integer else 1)
    return 2.0 * products * chains * _STEPS / best / 1e9
