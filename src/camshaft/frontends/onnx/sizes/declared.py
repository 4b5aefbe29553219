"""What a model declares of its inputs' extents: numbers, names, and names that are sums of other names.

Exporters call an extent by how it is computed ("past_sequence_length + sequence_length", "2*n"); where all
names in such a text are those of other axes of inputs, it is what it says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from onnx import GraphProto, ValueInfoProto

from camshaft.ir.extents.extent import Dim, sole_symbol
from camshaft.ir.extents.sizes import parse
from camshaft.ir.extents.symbol import NAME, Symbol

Declared = Sequence[int | str | None] | None
"""Declared extents: numbers, names, None for neither; None if not even the rank is declared."""
Place = tuple[str, int]
"""An input and one of its axes."""

_PLACEHOLDER = re.compile(r"\?|\*|-?\d*|none|null|any|dynamic|unknown|unk__\d+", re.IGNORECASE)


def declared_of(value: ValueInfoProto) -> Declared:
    """The declared extents of an input or output."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    declared: list[int | str | None] = []
    for d in tensor.shape.dim:
        if d.HasField("dim_value"):
            declared.append(d.dim_value if d.dim_value >= 0 else None)
        else:
            declared.append(d.dim_param or None)
    return declared


def declared_inputs(graph: GraphProto) -> dict[str, Sequence[int | str | None]]:
    """Input name -> its declared extents; without those of unknown rank, and those that are weights."""
    weights = {t.name for t in graph.initializer}
    shapes = {v.name: declared_of(v) for v in graph.input if v.name not in weights}
    return {name: shape for name, shape in shapes.items() if shape is not None}


def label_of(name: str, axis: int, own: int | str | None) -> str:
    """What an axis is called by the model, or else after its input."""
    return named(own) or f"{name}_{axis}"


def named(own: int | str | None) -> str | None:
    """The name that the model gives to an axis; placeholders name nothing."""
    return own if isinstance(own, str) and not _PLACEHOLDER.fullmatch(own) else None


def places_of(declared: Mapping[str, Sequence[int | str | None]]) -> dict[str, Place]:
    """Each plain name -> where it stands first."""
    found: dict[str, Place] = {}
    for name, shape in declared.items():
        for axis, own in enumerate(shape):
            said = named(own)
            if said is not None and NAME.fullmatch(said):
                found.setdefault(said, (name, axis))
    return found


def computed(said: str | None, places: Mapping[str, Place]) -> Dim | None:
    """The extent that a name says as a computation from other names, in symbols called as these are; None for
    a name that says none."""
    if said is None or NAME.fullmatch(said):
        return None
    try:
        found = parse(said, {name: Symbol(name) for name in places})
    except ValueError:
        return None
    return found if isinstance(found, Dim) and sole_symbol(found) is None else None
