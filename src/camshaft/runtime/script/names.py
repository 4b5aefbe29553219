"""How messages call the values of a script: by the input or the node that they come from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from camshaft.errors import ShapeError
from camshaft.ir.script import If, Loop, Run, Scan, Script, inner_scripts
from camshaft.runtime.sizes import WIDER


def names_of_values(script: Script) -> dict[str, str]:
    """Name of a value -> what messages call it, of all values of a script."""
    found = {name: f"input {name!r}" for name in script.inputs}
    for step in script.walk():
        outputs = [name for name in step.outputs if name is not None]
        if isinstance(step, Run):
            found.update((name, f"tensor {name!r}") for name in outputs)
            continue
        op = type(step).__name__ if isinstance(step, If | Loop | Scan) else step.op
        node = f"node {step.name!r} ({op})"
        found.update((name, f"the result of {node}") for name in outputs)
        if len(step.outputs) > 1:
            numbered = enumerate(step.outputs, 1)
            found.update((n, f"result {i} of {node}") for i, n in numbered if n is not None)
        for inner in inner_scripts(step):
            found.update((name, f"what {node} gives its body") for name in inner.inputs)
    return found


def named_again(
    error: ShapeError, names: Sequence[str], step: Run, called: Mapping[str, str]
) -> ShapeError:
    """The error of a graph about its inputs, told of the values that they stand for.

    names: of the graph's inputs in order, sizes last.  called: see `names_of_values`.
    """
    meant = {
        f"input {name!r}": called.get(value, repr(value))
        for name, value in zip(names, step.inputs, strict=False)
    }
    if step.sizes:
        for at, size in enumerate(step.sizes):
            part = "element" if size.of_elements else "axis"
            place = f"{called.get(size.name, repr(size.name))}, {part} {size.at}"
            meant[f"input {names[-1]!r}, element {at}"] = place
    found = re.compile("|".join(map(re.escape, sorted(meant, key=len, reverse=True))))
    text = str(error)
    used = [meant[m] for m in found.findall(text)] if meant else []
    text = found.sub(lambda m: meant[m[0]], text) if meant else text
    if any(not name.startswith("input ") for name in used):
        text = re.sub(WIDER, "what follows takes no other", text)
    needs = " and ".join(step.needs[:3])
    return ShapeError(f"{text}; in this call, {needs}" if needs else text)
