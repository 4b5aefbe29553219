"""Small hand-written kernels and engines made of them, for the runtime's tests."""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from functools import cache

import numpy as np

from camshaft.backends.base import Source
from camshaft.backends.cpu.compile import CpuCompiler
from camshaft.backends.cpu.processor import host_target
from camshaft.ir.extents.extent import Extent
from camshaft.ir.types import TensorType, f32
from camshaft.program.program import (
    Arena,
    Binding,
    Block,
    HostCall,
    Instruction,
    KernelCode,
    Launch,
    Note,
    Phase,
    Program,
    Slot,
)
from camshaft.program.view import Buffer, Space, View
from camshaft.runtime import Engine
from camshaft.runtime.file.manifest import Fingerprint, Manifest
from camshaft.runtime.host import Operator
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


def _executor(payload: bytes) -> Operator:
    """The operator that host steps of these engines run."""
    assert payload == b"double"

    def run(arrays: Sequence[np.ndarray | None], dims: Sequence[int]) -> list[np.ndarray]:
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
    n = type_.size
    assert n % items == 0
    room = -(-type_.nbytes // 64) * 64
    x, y = flat("x", n, "input"), flat("y", n, "output")
    even, odd = flat("even", n), flat("odd", n)
    one = flat("one", n, "constant")
    body: list[Instruction] = []
    notes = []
    for i in range(length):
        source = (odd, even)[i % 2] if i else x
        target = y if i == length - 1 else (even, odd)[i % 2]
        name, op = ("host", "double") if i == host_at else ("add", "add")
        notes.append(Note(f"{name}{i}", op, (f"n{i}",)))
        if i == host_at:
            executor = "camshaft.host_for_tests:executor"
            body.append(HostCall(f"'host{i}' (double)", executor, "payload", (source,), (target,)))
        else:
            body.append(Launch(0, (source, one, target)))
    program = Program(
        inputs=(Binding("x", type_),),
        outputs=(Binding("y", type_),),
        buffers=tuple(v.buffer for v in (x, y, even, odd, one)),
        kernels=(sum_of("add", (Phase("fadd", items),), type_.nbytes),),
        body=Block(tuple(body)),
        arena=Arena((Slot(even.buffer, 0), Slot(odd.buffer, room)), 2 * room, 2 * type_.nbytes),
        max_threads=threads,
    )
    constants = {"one": np.ones(n, np.float32)}
    if host_at is not None:
        constants["payload"] = np.frombuffer(b"double", np.uint8)
    manifest = Manifest(fingerprint(), program, tuple(notes))
    return Engine(manifest, constants, {"add": kernel("fadd", n // items)})


def sum_of(code: str, phases: tuple[Phase, ...], nbytes: Extent) -> KernelCode:
    """A kernel whose pointers are x, y and z of so many bytes each."""
    return KernelCode(code, phases, (("in", nbytes), ("in", nbytes), ("out", nbytes)))


def flat(name: str, elements: int, space: Space = "arena") -> View:
    """A whole buffer of floats as one axis."""
    return View.dense(Buffer(name, f32, elements, space), (elements,))
