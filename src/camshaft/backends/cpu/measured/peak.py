"""The peak throughput of one core: independent chains of multiply-adds in registers.

Benchmarks give a convolution's speed as a share of it, `camshaft.hardware` reports it.  Where a target
has no instruction for a type, operands are widened first, as kernels do it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from camshaft.backends.base import Source
from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.lang import Arg, FunctionBuilder, Module, Value
from camshaft.backends.cpu.link import call, link, pointer_table
from camshaft.backends.cpu.target import CpuTarget
from camshaft.ir.types import DType, f16, f32, i32

_STEPS = 20_000
_ROUNDS = 200


@dataclass(frozen=True)
class Product:
    """One kind of multiply-add: acc + x * w.

    operand, sums: element types of x and w (`dot2`, `dot4`: 32-bit groups of them), and of acc.
    products: of one lane.  native: whether the target has it in one instruction.
    """

    operand: DType
    sums: DType
    products: int
    native: bool
    add: Callable[[FunctionBuilder, Value, Value, Value], Value]


def product_of(kind: str, target: CpuTarget) -> Product:
    """The multiply-add of "fp32", "int8" (u8 x s8, exact sums), "bf16" or "fp16" on a target.

    fp16 without arithmetic of its own is widened and summed in f32.
    """
    if kind == "fp32":
        return Product(f32, f32, 1, True, lambda k, x, w, acc: k.fma(x, w, acc))
    if kind == "int8":
        return Product(i32, i32, 4, target.has_vnni, lambda k, x, w, acc: k.dot4(x, w, acc))
    if kind == "bf16":
        return Product(i32, f32, 2, target.has_bf16, lambda k, x, w, acc: k.dot2(x, w, acc))
    if target.has_fp16:
        return Product(f16, f16, 1, True, lambda k, x, w, acc: k.fma(x, w, acc))
    return Product(
        f16, f32, 1, False, lambda k, x, w, acc: k.fma(k.cast(x, f32), k.cast(w, f32), acc)
    )


def peak(kind: str, target: CpuTarget, rounds: int = _ROUNDS) -> float:
    """Best rate of one core in GFLOP/s, for "int8" GOP/s (a multiply-add counts 2)."""
    product = product_of(kind, target)
    lanes, chains = target.lanes(product.sums), len(_tile(target, product))
    library = link(CpuCompiler(target).compile(source(target, product)).code, ["peak"])
    memory = np.zeros((chains + 8) * lanes * product.sums.bytes + 128, np.uint8)
    table = pointer_table([memory.ctypes.data + -memory.ctypes.data % 64])
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        call(library["peak"], table, 0, _STEPS)
        best = min(best, time.perf_counter() - start)
    return 2.0 * lanes * product.products * chains * _STEPS / best / 1e9


def _tile(target: CpuTarget, product: Product) -> list[tuple[int, int]]:
    """The chains: number of the input and of the weights of each."""
    if product.native:
        return [(0, n) for n in range(3 * target.registers // 4)]
    return [(i, j) for i in range(5) for j in range(2)]


def source(target: CpuTarget, product: Product) -> Source:
    """Code of one phase, "peak", each item of which is one step of all chains.

    Steps without an instruction of their own must not be shared between chains: the inputs change from
    step to step, as in a register tile of 5 x 2.
    """
    operand, sums = product.operand, product.sums
    lanes, tile = target.lanes(sums), _tile(target, product)
    module = Module(target)
    with module.phase("peak", 1, [Arg("data", sums, align=64)]) as k:
        data = k.args["data"]
        line = data.as_type(operand)
        weights = 1 if product.native else 2
        w = [k.load(line.at(n * lanes), lanes) for n in range(weights)]
        acc = [k.load(data.at(n * lanes), lanes) for n in range(len(tile))]
        with k.loop(0, k.end, carry=acc) as step:
            first = line if product.native else line.at((step & 7) * lanes)
            inputs = {i: k.broadcast(first.at(i), lanes) for i in dict.fromkeys(i for i, _ in tile)}
            for n, (i, j) in enumerate(tile):
                acc[n] = product.add(k, inputs[i], w[j % weights], acc[n])
        for n, total in enumerate(acc):
            k.store(total, data.at(n * lanes))
    return module.source()
