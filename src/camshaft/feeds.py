"""Arrays to feed a model with where the user gives none, and the arrays among what it gives."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from camshaft.errors import BuildError
from camshaft.ir.extents.sizes import is_static, typical
from camshaft.ir.graph import Graph
from camshaft.ir.script import End, If, Loop, Run, Script
from camshaft.ir.types import TensorType

ROUNDS = 8
"""How often loops go round whose count is an input that nobody has given."""


def decisions(script: Script, inputs: Sequence[End]) -> dict[str, int | bool]:
    """What the inputs of a script that decide how it runs are where nobody says: ROUNDS of an integer that
    is a Loop's count, True of a bool that is the condition of a Loop or If.

    So are inputs of one element of which a graph computes the count or the condition.
    """
    types = {e.value: e.type for e in inputs if isinstance(e.type, TensorType)}
    names = {e.value: e.name for e in inputs}
    made = {o: step.inputs for step in script.walk() if isinstance(step, Run) for o in step.outputs}
    found: dict[str, int | bool] = {}
    for step in script.walk():
        asked = (step.count, step.condition) if isinstance(step, Loop) else ()
        asked = (None, step.condition) if isinstance(step, If) else asked
        for value, kinds in zip(asked, ("iu", "b"), strict=False):
            for source in () if value is None else made.get(value, (value,)):
                type_ = types.get(source)
                if type_ is not None and type_.dtype.kind in kinds and _is_one(type_):
                    found[names[source]] = True if kinds == "b" else ROUNDS
    return found


def _is_one(type_: TensorType) -> bool:
    """Whether it has one element."""
    return is_static(type_.shape) and all(d == 1 for d in type_.shape)


def random_feeds(
    inputs: Mapping[str, Any],
    seed: int = 0,
    elements: Mapping[str, Sequence[int]] | None = None,
    numbers: Mapping[str, Any] | None = None,
) -> dict[str, np.ndarray]:
    """Arrays for inputs given as name -> TensorType: floats from N(0, 1), integers and bools zero, or one in masks,
    which are known by their name: hidden everywhere, nothing would hang on the other inputs.  Lengths of sequences, known by
    their name and shape, are the longest that there can be.

    elements: of inputs that say sizes by them.  numbers: inputs that hold these (one for all elements, or
    an array).  Open extents have their typical size.
    BuildError for an input that there is no memory for.
    """
    rng = np.random.default_rng(seed)
    feeds = {}
    for name, t in inputs.items():
        shape = tuple(typical(d) for d in t.shape)
        if elements and name in elements:
            feeds[name] = np.array(elements[name], t.dtype.numpy).reshape(shape)
            continue
        if numbers and name in numbers:
            feeds[name] = np.full(shape, numbers[name], t.dtype.numpy)
            continue
        try:
            if t.dtype.is_float:
                drawn = rng.standard_normal(shape)
            else:
                drawn = np.full(shape, _longest(name, t, inputs) or "mask" in name.lower())
            feeds[name] = drawn.astype(t.dtype.numpy)
        except (MemoryError, ValueError) as error:  # ValueError: more than addresses reach
            raise BuildError(
                f"no memory for random values of input {name!r}, of shape {shape}; give smaller shapes"
            ) from error
    return feeds


def typical_feeds(graph: Graph) -> dict[str, np.ndarray]:
    """Random inputs of typical sizes."""
    elements = {t.name: [typical(e) for e in t.values] for t in graph.inputs if t.values}
    shapes = {t.name: tuple(typical(d) for d in t.shape) for t in graph.inputs}
    masks = {t.name: t.kept.full(shapes) for t in graph.inputs if t.kept is not None}
    return random_feeds({t.name: t.type for t in graph.inputs}, 0, elements, masks)


def _longest(name: str, type_: TensorType, inputs: Mapping[str, TensorType]) -> int:
    """How many steps the sequences of another input have, of which this one says the lengths: one for each, by its
    extent; else 0."""
    if "len" not in name.lower() or type_.rank != 1 or type_.dtype.kind not in "iu":
        return 0
    for other in inputs.values():
        axes = [n for n, d in enumerate(other.shape[:2]) if d == type_.shape[0]]
        if other.rank >= 2 and axes:
            return typical(other.shape[1 - axes[-1] if other.rank > 2 else 1 - axes[0]])
    return 0


def archive(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The contents of an .npz file of arrays, whatever they are called: numpy.savez takes no "file".  Strings become text."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as file:
        for name, array in arrays.items():
            plain = array.astype(str) if array.dtype.kind == "O" else array
            with file.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asanyarray(plain), allow_pickle=False)
    return memory.getvalue()


def arrays_of(results: Mapping[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays among results, by name; nothing for None.

    Those of a sequence are called NAME[0], NAME[1], ..., the values of a map NAME['key'], ...; so are those of a
    sequence of maps with the same keys, an array of one element for each map.
    """
    for name, value in results.items():
        if isinstance(value, dict):
            yield from arrays_of({f"{name}[{k!r}]": v for k, v in value.items()})
        elif not isinstance(value, list):
            if value is not None:
                yield name, np.asarray(value)
        elif value and all(isinstance(v, dict) and v.keys() == value[0].keys() for v in value):
            yield from arrays_of({name: {k: np.array([v[k] for v in value]) for k in value[0]}})
        else:
            yield from arrays_of({f"{name}[{i}]": v for i, v in enumerate(value)})
