"""The bandwidth of memory: how fast one core, or several at once, read an array larger than the caches."""

from __future__ import annotations

import threading
import time

import numpy as np

from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.lang import Arg, Module
from camshaft.backends.cpu.link import call, link, pointer_table
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.types import i32

_BLOCK = 1 << 20
"""Bytes that one work item reads."""
_CHAINS = 8
_LANES_APART = 64


def bandwidth(target: CpuTarget, threads: int, nbytes: int, rounds: int = 8) -> float:
    """GB/s (10^9 bytes) at which `threads` workers read an array of `nbytes` together; the best round."""
    items = max(threads, nbytes // _BLOCK)
    data = np.ones(
        items * _BLOCK + 64, np.uint8
    )  # touched, or all pages would be one page of zeros
    result = np.zeros(threads * _LANES_APART, np.int32)
    address = data.ctypes.data + -data.ctypes.data % 64
    table = pointer_table([address, result.ctypes.data])
    library = link(_code(target), ["read"])
    best = float("inf")
    for _ in range(rounds):
        crew = [
            threading.Thread(
                target=call,
                args=(library["read"], table, items * w // threads, items * (w + 1) // threads, w),
            )
            for w in range(threads)
        ]
        start = time.perf_counter()
        for thread in crew:
            thread.start()
        for thread in crew:
            thread.join()
        best = min(best, time.perf_counter() - start)
    return items * _BLOCK / best / 1e9


def _code(target: CpuTarget) -> bytes:
    """A phase that reads the blocks begin .. end-1 and writes something that hangs on all of them."""
    lanes = target.lanes(i32)
    words = _BLOCK // i32.bytes
    module = Module(target)
    with module.phase("read", 1, [Arg("data", i32, align=64), Arg("out", i32)]) as k:
        acc = [k.const(0, i32, lanes) for _ in range(_CHAINS)]
        data = k.args["data"]
        with k.loop(k.begin * words, k.end * words, _CHAINS * lanes, carry=acc) as at:
            here = data.at(at).aligned(target.vector_bits // 8)
            for n in range(_CHAINS):
                acc[n] = acc[n] | k.load(here.at(n * lanes), lanes)
        total = acc[0]
        for more in acc[1:]:
            total = total | more
        k.store(total, k.args["out"].at(k.worker * _LANES_APART))
    return CpuCompiler(target).compile(module.source()).code
