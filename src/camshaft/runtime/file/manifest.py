"""What an engine file's metadata holds: what was built, the program, and notes on it."""

from __future__ import annotations

from dataclasses import dataclass

from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.script import End, Script
from camshaft.program.program import Note, Program


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What an engine was made from and for.

    driver: what links and runs the code, one of `runtime.driver.DRIVERS` ("cpu").
    target: name of the target compiled for.  features: CPU features the code needs, sorted.
    camshaft, llvmlite: versions.  format: engine file format.
    model: hash of the source model.  config: one-line summary of the build's options.  streams: contexts that answer requests
    side by side, where it was built for throughput; 0: for latency.  batch: most rows of the calls that answer them; 0 and 1:
    requests are not joined.
    """

    driver: str
    target: str
    features: tuple[str, ...]
    camshaft: str
    format: int
    llvmlite: str
    model: str = ""
    config: str = ""
    streams: int = 0
    batch: int = 0


@dataclass(frozen=True, slots=True)
class Manifest:
    """An engine without its weights and object code.

    notes: one for each instruction of the program, in order.
    """

    fingerprint: Fingerprint
    program: Program
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """One graph of an engine with a script: its program, and a note for each instruction."""

    program: Program
    notes: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class Constant:
    """A value of a script that is constant.

    stored: the name of the stored constant that holds it; of strings, their JSON as u8.  shape: of the value.
    dtype: its element type, by name.
    """

    value: str
    stored: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ScriptManifest:
    """An engine with a script, without its weights and object code.

    face: a program without instructions whose inputs are the engine's (those that are tensors), with what
    is known of their sizes.  inputs, outputs: all of them.  symbols: all sizes that the types of
    values name.
    """

    fingerprint: Fingerprint
    face: Program
    script: Script
    inputs: tuple[End, ...]
    outputs: tuple[End, ...]
    constants: tuple[Constant, ...]
    parts: tuple[Part, ...]
    symbols: tuple[Symbol, ...] = ()
