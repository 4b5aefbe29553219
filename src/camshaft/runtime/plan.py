"""The executable plan: everything an engine needs besides weights and machine code.

The build writes a `Plan`, the engine file stores it as JSON, and the runtime turns it into a table
of pointers.  All classes are frozen, compare by value, and hold only JSON's types, so that equal
builds give equal bytes.  `runtime.check` says whether a plan is safe to run; `runtime.codec` reads
and writes the JSON.  Units: offsets and extents are bytes, strides are elements.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from camshaft.backends.base import Phase
from camshaft.ir.types import TensorType

Space = Literal["input", "output", "arena", "constant", "null"]

ALIGNMENT = 64
"""Alignment in bytes of the arena, of buffers in it, and of constants."""


@dataclass(frozen=True, slots=True)
class Ref:
    """A run of bytes that a step reads or writes.

    space: "input" and "output" are the caller's arrays, called `name`; "constant" is the engine's
    stored or expanded tensor called `name`; "arena" is the context's memory (`name` is "" or a buffer's, for dumps);
    "null" is a null pointer (a workspace of zero bytes).
    offset: first byte within that space.  nbytes: how far the step may reach from there; the
    extent is what makes a plan checkable, so it is never left at 0 unless nothing is touched.
    """

    space: Space
    name: str = ""
    offset: int = 0
    nbytes: int = 0


NULL = Ref("null")


@dataclass(frozen=True, slots=True)
class View:
    """A typed, strided array within a `Ref`, as host steps see their operands.

    ref: where element (0, ..., 0) lies and how many bytes the view spans.
    strides: in elements, none negative; 0 where broadcast.
    """

    ref: Ref
    type: TensorType
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Binding:
    """An input or output array of the engine: C-contiguous, owned by the caller."""

    name: str
    type: TensorType


@dataclass(frozen=True, slots=True)
class Buffer:
    """A named piece of the arena, for reports: an intermediate tensor or a workspace."""

    name: str
    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class KernelCode:
    """One compiled kernel.

    code: name of its object code among the engine's code tensors.
    phases: its functions in order; all items of a phase finish before the next one starts.
    """

    code: str
    phases: tuple[Phase, ...]


@dataclass(frozen=True, slots=True)
class Expanded:
    """A constant that the file does not hold: code makes it from a stored one on linking.

    name: what references to "constant" memory call it.  stored: name of the constant it is made
    from.  nbytes: its size.  code, phase: the function, called with pointers to the stored and the
    expanded constant (`backends.base.Expansion`).
    """

    name: str
    stored: str
    nbytes: int
    code: str
    phase: Phase


@dataclass(frozen=True, slots=True)
class HostCall:
    """An operator without a kernel, run in Python by its reference.

    executor: "module:function" that turns payload bytes into a callable
    `f(inputs: Sequence[ndarray | None]) -> Sequence[ndarray]`; imported only when such a step runs.
    payload: name of the constant (u8) that describes the operator in the executor's own form.
    inputs: None stands for an absent optional operand.  outputs: None is a result nobody reads.
    """

    executor: str
    payload: str
    inputs: tuple[View | None, ...]
    outputs: tuple[View | None, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One row of the program: a kernel or a host call.  The rest explains it to people.

    name: the fused layer's name (`conv1 + relu1`).  op: the anchor operator.
    kernel: index into `Plan.kernels`, -1 for a host step.
    args: pointers in the calling convention's order (see `backends.base`), () for a host step.
    host: the host call, None for a kernel.
    waits: whether all earlier steps must have finished first.  False lets a worker go on from the
    previous step at once; only right if the two steps touch nothing in common but what they read.
    origin: names of the source model's nodes.  tactic, params: what was chosen.
    precision: element type of the arithmetic ("f32", "i8", ...).  reason: why this tactic and
    precision, in words.  time_us: microseconds measured in tuning (0 when not timed).
    macs, bytes: multiply-accumulates and bytes moved, for reports.
    """

    name: str
    op: str
    kernel: int = -1
    args: tuple[Ref, ...] = ()
    host: HostCall | None = None
    waits: bool = True
    origin: tuple[str, ...] = ()
    tactic: str = ""
    params: tuple[tuple[str, int | str | bool], ...] = ()
    precision: str = ""
    reason: str = ""
    time_us: float = 0.0
    macs: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What an engine was made from and for.

    driver: what links and runs the code, one of `runtime.driver.DRIVERS` ("cpu").
    target: name of the target compiled for.  features: CPU features the code needs, sorted.
    camshaft, llvmlite: versions.  format: engine file format.
    model: hash of the source model.  config: one-line summary of the build's options.
    rebuild: the command that makes this engine again; error messages quote it.
    """

    driver: str
    target: str
    features: tuple[str, ...]
    camshaft: str
    format: int
    llvmlite: str
    model: str = ""
    config: str = ""
    rebuild: str = "camshaft build MODEL.onnx -o ENGINE"


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole program.

    expanded: constants that are made from stored ones on linking.
    max_threads: how many workers the workspaces in the arena have room for; a context may use
    fewer, never more.
    arena_bytes: size of a context's arena, zeroed once when the context is made (halos rely on
    it).  lower_bound_bytes: the most bytes live at once.
    """

    fingerprint: Fingerprint
    inputs: tuple[Binding, ...]
    outputs: tuple[Binding, ...]
    kernels: tuple[KernelCode, ...]
    steps: tuple[Step, ...]
    arena_bytes: int
    lower_bound_bytes: int
    buffers: tuple[Buffer, ...] = ()
    expanded: tuple[Expanded, ...] = ()
    max_threads: int = 1
