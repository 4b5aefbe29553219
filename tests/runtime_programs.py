"""Small hand-written kernels and engines made of them, for the runtime's tests."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from camshaft.backends.base import Phase, Source
from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.processor import host_target
from camshaft.ir.types import TensorType, f32
from camshaft.runtime import Engine
from camshaft.runtime.plan import (
    Binding,
    Buffer,
    Fingerprint,
    HostCall,
    KernelCode,
    Plan,
    Ref,
    Step,
    View,
)
from camshaft.version import FORMAT, VERSION

_KERNEL = """
define void @{name}(ptr %args, i64 %begin, i64 %end, i64 %worker) {{
entry:
  %x = load ptr, ptr %args
  %p1 = getelementptr ptr, ptr %args, i64 1
  %y = load ptr, ptr %p1
  %p2 = getelementptr ptr, ptr %args, i64 2
  %z = load ptr, ptr %p2
  %lo = mul i64 %begin, {grain}
  %hi = mul i64 %end, {grain}
  br label %head
head:
  %i = phi i64 [ %lo, %entry ], [ %i1, %body ]
  %more = icmp ult i64 %i, %hi
  br i1 %more, label %body, label %done
body:
  %px = getelementptr float, ptr %x, i64 %i
  %a = load float, ptr %px
  %py = getelementptr float, ptr %y, i64 %i
  %b = load float, ptr %py
  %v = {op} float %a, %b
  %pz = getelementptr float, ptr %z, i64 %i
  store float %v, ptr %pz
  %i1 = add i64 %i, 1
  br label %head
done:
  ret void
}}
"""


def _executor(payload: bytes) -> Callable[[Sequence[np.ndarray | None]], list[np.ndarray]]:
    """The operator that host steps of these engines run."""
    assert payload == b"double"

    def run(arrays: Sequence[np.ndarray | None]) -> list[np.ndarray]:
        (x,) = arrays
        assert x is not None
        if x[0] == -1000:
            raise ZeroDivisionError("asked to fail")
        return [2 * x]

    return run


_module = types.ModuleType("camshaft.host_for_tests")
_module.executor = _executor  # type: ignore[attr-defined]
sys.modules[_module.__name__] = _module


@cache
def kernel(op: str, grain: int = 1) -> bytes:
    """Object code of z = x op y on float arrays; one item is `grain` elements.  args: x, y, z."""
    text = _KERNEL.format(name=op, op=op, grain=grain)
    return CpuCompiler(host_target()).compile(Source(text, (Phase(op, 0),))).code


def fingerprint(**changes: object) -> Fingerprint:
    target = host_target()
    values: dict[str, object] = {
        "driver": "cpu",
        "target": target.name,
        "features": tuple(sorted(target.requires)),
        "camshaft": VERSION,
        "format": FORMAT,
        "llvmlite": "0",
    }
    return Fingerprint(**{**values, **changes})  # type: ignore[arg-type]


def chain(
    length: int = 3,
    shape: tuple[int, ...] = (1, 64),
    threads: int = 1,
    items: int = 1,
    host_at: int | None = None,
) -> Engine:
    """y = (x + 1) + 1 + ... : `length` steps, alternating between two arena buffers.

    host_at: that step is a host step (y = 2 x) instead.
    """
    type_ = TensorType(f32, shape)
    size, n = type_.nbytes, type_.nbytes // 4
    assert n % items == 0
    room = -(-size // 64) * 64
    one = Ref("constant", "one", 0, size)
    steps = []
    for i in range(length):
        source = Ref("arena", "", room * ((i - 1) % 2), size) if i else Ref("input", "x", 0, size)
        last = i == length - 1
        target = Ref("output", "y", 0, size) if last else Ref("arena", "", room * (i % 2), size)
        if i == host_at:
            host = HostCall(
                "camshaft.host_for_tests:executor",
                "payload",
                (View(source, TensorType(f32, (n,)), (1,)),),
                (View(target, TensorType(f32, (n,)), (1,)),),
            )
            steps.append(Step(f"host{i}", "double", host=host, origin=(f"n{i}",)))
        else:
            steps.append(Step(f"add{i}", "add", 0, (source, one, target), origin=(f"n{i}",)))
    plan = Plan(
        fingerprint=fingerprint(),
        inputs=(Binding("x", type_),),
        outputs=(Binding("y", type_),),
        kernels=(KernelCode("add", (Phase("fadd", items),)),),
        steps=tuple(steps),
        arena_bytes=2 * room,
        lower_bound_bytes=2 * size,
        buffers=(Buffer("even", 0, room), Buffer("odd", room, room)),
        max_threads=threads,
    )
    constants = {"one": np.ones(n, np.float32)}
    if host_at is not None:
        constants["payload"] = np.frombuffer(b"double", np.uint8)
    return Engine(plan, constants, {"add": kernel("fadd", n // items)})
