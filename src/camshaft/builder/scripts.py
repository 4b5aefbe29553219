"""From the engines of single graphs to the engine of a model with a script."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np

from camshaft.builder.assemble import constant_name
from camshaft.ir.extents.extent import Extent, symbols_of
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.graph import Graph
from camshaft.ir.script import End, Loop, Opaque, Scan, Script
from camshaft.ir.types import dtype_of, string
from camshaft.program.program import Binding, Block, FixedInput, Program
from camshaft.program.view import Buffer
from camshaft.runtime.engine import Engine
from camshaft.runtime.file.manifest import Constant, Fingerprint, Part, ScriptManifest
from camshaft.runtime.script.engine import ScriptEngine


def script_engine(
    script: Script,
    face: Graph,
    inputs: Sequence[End],
    outputs: Sequence[End],
    constants: Mapping[str, np.ndarray],
    parts: Sequence[Engine],
    fingerprint: Fingerprint,
    threads: int,
) -> ScriptEngine:
    """The engine that runs `script` on `parts`, an engine for each of its graphs.

    face: a graph with the model's inputs that are tensors, and what is known of their sizes.
    constants: values of the script that are constant, by name.  threads: most workers of a context.
    """
    stored: dict[str, np.ndarray] = {}
    kept = tuple(_constant(name, array, stored) for name, array in constants.items())
    fixed = []
    for t in face.fixed:
        name = _store(t.array, stored)
        fixed.append(FixedInput(t.name, t.type, name, t.position))
    bindings = tuple(Binding(t.name, t.type, t.values) for t in face.inputs)
    said = symbols_of(*(e for b in bindings for e in (*b.type.shape, *b.values)))
    program = Program(
        inputs=bindings,
        outputs=(),
        buffers=tuple(Buffer(b.name, b.type.dtype, b.type.size, "input") for b in bindings),
        kernels=(),
        body=Block(),
        max_threads=threads,
        symbols=said,
        constraints=tuple(c for c in face.constraints if {*c.symbols} <= {*said}),
        fixed=tuple(fixed),
    )
    manifest = ScriptManifest(
        fingerprint,
        program,
        script,
        tuple(inputs),
        tuple(outputs),
        kept,
        tuple(Part(p.program, p.notes) for p in parts),
        _all_symbols(script, inputs, outputs),
    )
    return ScriptEngine(manifest, stored, parts)


def _store(array: np.ndarray, stored: dict[str, np.ndarray]) -> str:
    """Keep an array under the hash of its type and content."""
    array = np.asarray(array, order="C")
    name = constant_name(array)
    stored.setdefault(name, array)
    return name


def _constant(name: str, array: np.ndarray, stored: dict[str, np.ndarray]) -> Constant:
    dtype = dtype_of(array)
    if dtype == string:
        texts = [str(s) for s in array.reshape(-1)]
        kept = np.frombuffer(json.dumps(texts).encode(), np.uint8)
        return Constant(name, _store(kept, stored), "string", array.shape)
    return Constant(name, _store(array, stored), dtype.name, array.shape)


def _all_symbols(
    script: Script, inputs: Sequence[End], outputs: Sequence[End]
) -> tuple[Symbol, ...]:
    """Every symbol that a type in the script names."""
    types = [e.type for e in (*inputs, *outputs)]
    for step in script.walk():
        if isinstance(step, Loop | Scan):
            types += step.collected
    extents: list[Extent] = [e for t in types if not isinstance(t, Opaque) for e in t.shape]
    extents += [e for end in inputs for e in end.values]
    return symbols_of(*extents)
