"""Whether a plan is safe to run: every pointer a step gets lies in memory that exists.

Run on every plan before its code is linked: one that a build got wrong is a `BuildError`, and one
from a damaged engine file must not crash the process.  What kernels do within the extents they
declare is the tactics' responsibility.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from camshaft.backends.base import Phase
from camshaft.errors import BuildError
from camshaft.ir.types import string
from camshaft.runtime.plan import Expanded, HostCall, Plan, Ref, Step, View

RUNNER = "runner"
"""Name among the object code of the generated loop that walks the step table."""

MAX_THREADS = 256
MAX_EXPANSION = 64
"""How many times larger than the stored constant an expanded one may be."""
_MAX_BYTES = 1 << 46
_MAX_ITEMS = 1 << 40
_SYMBOL = re.compile(r"[A-Za-z_.$][A-Za-z0-9_.$]*\Z")
_EXECUTOR = re.compile(r"camshaft(\.[a-z_][a-z0-9_]*)+:[a-z_][a-z0-9_]*\Z")


def check_plan(plan: Plan, constants: Mapping[str, int], code: Collection[str]) -> None:
    """Raise BuildError, naming the step and the fault, unless the plan is sound.

    constants: name -> bytes of the tensors that go with the plan.  code: names of its objects.
    """
    _check_sizes(plan)
    for i, kernel in enumerate(plan.kernels):
        _check_code(f"kernel {i}", kernel.code, kernel.phases, code)
    sizes = {("input", b.name): b.type.nbytes for b in plan.inputs}
    sizes |= {("output", b.name): b.type.nbytes for b in plan.outputs}
    sizes |= {("constant", name): nbytes for name, nbytes in constants.items()}
    for e in plan.expanded:
        _check_expanded(e, constants, sizes, code)
        sizes["constant", e.name] = e.nbytes
    for i, step in enumerate(plan.steps):
        _check_step(f"step {i} ({step.name:.80})", step, plan, sizes)


def _check_code(where: str, name: str, phases: Sequence[Phase], code: Collection[str]) -> None:
    if name not in code:
        raise BuildError(f"{where}: there is no object code called {name!r:.80}")
    for phase in phases:
        if not _SYMBOL.match(phase.symbol):
            raise BuildError(f"{where}: {phase.symbol!r:.80} is no symbol")
        if not 0 <= phase.items <= _MAX_ITEMS:
            raise BuildError(f"{where}, {phase.symbol}: {phase.items} work items")


def _check_expanded(
    e: Expanded,
    constants: Mapping[str, int],
    sizes: Mapping[tuple[str, str], int],
    code: Collection[str],
) -> None:
    where = f"expanded constant {e.name!r:.80}"
    _check_code(where, e.code, (e.phase,), code)
    if ("constant", e.name) in sizes:
        raise BuildError(f"{where}: there is another constant of this name")
    if e.stored not in constants:
        raise BuildError(f"{where}: there is no constant called {e.stored!r:.80} to make it from")
    if not 0 < e.nbytes <= MAX_EXPANSION * constants[e.stored]:
        raise BuildError(f"{where}: {e.nbytes} bytes from {constants[e.stored]}")


def _check_sizes(plan: Plan) -> None:
    for kind, bindings in (("input", plan.inputs), ("output", plan.outputs)):
        names = [b.name for b in bindings]
        if len(set(names)) != len(names):
            raise BuildError(f"two {kind}s have the same name, among {names}")
        for b in bindings:
            if b.type.dtype == string:
                raise BuildError(f"{kind} {b.name!r}: strings are not supported as {kind}s")
            if b.type.rank > 32 or any(d < 0 or d > _MAX_BYTES for d in b.type.shape):
                raise BuildError(f"{kind} {b.name!r}: impossible shape {b.type!r:.80}")
    if not 0 <= plan.arena_bytes <= _MAX_BYTES:
        raise BuildError(f"arena of {plan.arena_bytes} bytes")
    if not 1 <= plan.max_threads <= MAX_THREADS:
        raise BuildError(f"max_threads is {plan.max_threads}, not within 1 to {MAX_THREADS}")
    for buffer in plan.buffers:
        if min(buffer.offset, buffer.nbytes) < 0 or (
            buffer.offset + buffer.nbytes > plan.arena_bytes
        ):
            raise BuildError(f"buffer {buffer.name!r:.80} lies outside the arena")


def _check_step(where: str, step: Step, plan: Plan, sizes: Mapping[tuple[str, str], int]) -> None:
    if step.host is not None:
        if step.kernel != -1 or step.args:
            raise BuildError(f"{where}: is a host step and a kernel at once")
        _check_host(where, step.host, plan, sizes)
        return
    if not 0 <= step.kernel < len(plan.kernels):
        raise BuildError(f"{where}: kernel {step.kernel} of {len(plan.kernels)}")
    for j, ref in enumerate(step.args):
        _check_ref(f"{where}, argument {j}", ref, plan, sizes)


def _check_ref(where: str, ref: Ref, plan: Plan, sizes: Mapping[tuple[str, str], int]) -> None:
    if ref.space == "null":
        if ref.offset or ref.nbytes:
            raise BuildError(f"{where}: a null pointer with an extent")
        return
    size = plan.arena_bytes if ref.space == "arena" else sizes.get((ref.space, ref.name))
    if size is None:
        raise BuildError(f"{where}: there is no {ref.space} called {ref.name!r:.80}")
    if ref.offset < 0 or ref.nbytes < 0 or ref.offset + ref.nbytes > size:
        raise BuildError(
            f"{where}: bytes {ref.offset} to {ref.offset + ref.nbytes} of {ref.space} "
            f"{ref.name!r:.80}, which has {size}"
        )


def _check_host(
    where: str, host: HostCall, plan: Plan, sizes: Mapping[tuple[str, str], int]
) -> None:
    if not _EXECUTOR.match(host.executor):
        raise BuildError(f"{where}: {host.executor!r:.80} is no executor of camshaft's")
    if ("constant", host.payload) not in sizes:
        raise BuildError(f"{where}: there is no payload called {host.payload!r:.80}")
    for written, views in ((False, host.inputs), (True, host.outputs)):
        for view in views:
            if view is not None:
                _check_view(where, view, written, plan, sizes)


def _check_view(
    where: str, view: View, written: bool, plan: Plan, sizes: Mapping[tuple[str, str], int]
) -> None:
    ref, shape = view.ref, view.type.shape
    _check_ref(where, ref, plan, sizes)
    if ref.space == "null" or (written and ref.space in ("constant", "input")):
        raise BuildError(f"{where}: {ref.space} memory as an operand")
    if view.type.dtype == string:
        raise BuildError(f"{where}: an operand of strings")
    if len(view.strides) != len(shape) or len(shape) > 32 or min((0, *view.strides, *shape)) < 0:
        raise BuildError(f"{where}: impossible view {view.type!r:.80} by {view.strides}")
    if view.type.size == 0:
        return
    span = 1 + sum((d - 1) * s for d, s in zip(shape, view.strides, strict=True))
    if span * view.type.dtype.bytes > ref.nbytes:
        raise BuildError(f"{where}: a view of {span} elements reaches past its {ref.nbytes} bytes")
