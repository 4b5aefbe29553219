"""Whether a script is safe to run: every value is made before it is read, every graph exists.

Run on every script before its engine is used: one that a build got wrong is a `BuildError`, and so is one from
a damaged file.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from camshaft.errors import BuildError
from camshaft.ir.script import Call, If, Loop, Run, Scan, Script, Step
from camshaft.program.program import Program
from camshaft.runtime.file.manifest import ScriptManifest

_EXECUTOR = re.compile(r"camshaft(\.\w+)+:\w+")


def check_script(
    manifest: ScriptManifest, parts: Sequence[Program], stored: Collection[str]
) -> None:
    """BuildError names the first step that cannot be run.  stored: names of the constants there are."""
    for name in (
        *(c.stored for c in manifest.constants),
        *(f.constant for f in manifest.face.fixed),
    ):
        if name not in stored:
            raise BuildError(f"the script: there is no constant called {name!r:.80}")
    known = {c.value for c in manifest.constants} | {e.value for e in manifest.inputs}
    names = [e.value for e in manifest.inputs]
    if {*manifest.script.inputs} - known or len({*names}) != len(names):
        raise BuildError("the script takes other values than the engine's inputs")
    made = _checked(manifest.script, known, parts)
    for end in manifest.outputs:
        _require(end.value, made, f"output {end.name!r}")


def _checked(script: Script, known: set[str], parts: Sequence[Program]) -> set[str]:
    """What is known behind the steps of a script."""
    known = {*known, *script.inputs}
    for number, step in enumerate(script.steps):
        _check_step(f"step {number} of a script", step, known, parts)
        known.update(n for n in step.outputs if n is not None)
    for name in script.outputs:
        _require(name, known, "the end of a script")
    return known


def _check_step(where: str, step: Step, known: set[str], parts: Sequence[Program]) -> None:
    for name in _read(step):
        _require(name, known, where)
    if isinstance(step, Run):
        _check_run(where, step, parts)
    elif isinstance(step, Call):
        if not _EXECUTOR.fullmatch(step.executor):
            raise BuildError(f"{where}: {step.executor!r:.80} is no executor of camshaft's")
    elif isinstance(step, If):
        for branch in (step.then, step.otherwise):
            _checked(branch, known, parts)
            if len(branch.outputs) != len(step.outputs):
                raise BuildError(f"{where}: a branch gives other results than it should")
    else:
        _checked(step.body, known, parts)
        states, ends = len(step.carried), len(step.body.outputs)
        extra = 2 if isinstance(step, Loop) else len(step.sequences)
        first = 1 if isinstance(step, Loop) else 0
        fits = len(step.body.inputs) == states + extra and len(step.outputs) == ends - first
        if not fits or len(step.collected) != len(step.outputs) - states:
            raise BuildError(f"{where}: its body takes or gives other values than it should")
        if isinstance(step, Scan):
            _check_scan(where, step)


def _check_run(where: str, step: Run, parts: Sequence[Program]) -> None:
    if not 0 <= step.graph < len(parts):
        raise BuildError(f"{where}: graph {step.graph} of {len(parts)}")
    program = parts[step.graph]
    own = program.inputs[: len(program.inputs) - bool(step.sizes)]
    sizes = program.inputs[len(own) :]
    if (
        len(own) != len(step.inputs)
        or len(program.outputs) != len(step.outputs)
        or (step.sizes and (not sizes or sizes[0].type.shape != (len(step.sizes),)))
        or any(s.at < 0 for s in step.sizes)
    ):
        raise BuildError(f"{where}: graph {step.graph} takes or gives other values")


def _check_scan(where: str, step: Scan) -> None:
    sequences, collected = len(step.sequences), len(step.outputs) - len(step.carried)
    lengths = (len(step.axes), len(step.backward), len(step.output_axes), len(step.output_backward))
    if not sequences or lengths != (sequences, sequences, collected, collected):
        raise BuildError(f"{where}: its axes and directions do not fit its values")


def _read(step: Step) -> list[str]:
    """The values that a step itself reads."""
    if isinstance(step, Run):
        return [*step.inputs, *(s.name for s in step.sizes)]
    if isinstance(step, Call):
        return [n for n in step.inputs if n is not None]
    if isinstance(step, If):
        return [step.condition]
    names = [*step.carried]
    if isinstance(step, Loop):
        names += [n for n in (step.count, step.condition) if n is not None]
    else:
        names += [*step.sequences, *([step.lengths] if step.lengths is not None else [])]
    return [*names, *(s.name for s in step.sizes)]


def _require(name: str, known: Collection[str], where: str) -> None:
    if name not in known:
        raise BuildError(f"{where} reads {name!r:.80}, which nothing before it makes")
