"""What an engine file's metadata holds: what was built, the program, and notes on it."""

from __future__ import annotations

from dataclasses import dataclass

from camshaft.program.program import Note, Program


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What an engine was made from and for.

    driver: what links and runs the code, one of `runtime.driver.DRIVERS` ("cpu").
    target: name of the target compiled for.  features: CPU features the code needs, sorted.
    camshaft, llvmlite: versions.  format: engine file format.
    model: hash of the source model.  config: one-line summary of the build's options.
    """

    driver: str
    target: str
    features: tuple[str, ...]
    camshaft: str
    format: int
    llvmlite: str
    model: str = ""
    config: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """An engine without its weights and object code.

    notes: one for each instruction of the program, in order.
    """

    fingerprint: Fingerprint
    program: Program
    notes: tuple[Note, ...]
