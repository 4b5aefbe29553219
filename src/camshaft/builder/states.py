"""Which inputs and outputs of a model become states, and what kind: `BuildConfig.state` on an imported graph.

Both ends of a state have one shape, but for the axis along which it grows, if it does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isinf

from camshaft.errors import ConfigError
from camshaft.ir.extents.bounds import bounds
from camshaft.ir.extents.extent import sole_symbol, symbols_of
from camshaft.ir.graph import Graph, Tensor
from camshaft.ir.paired_names import paired
from camshaft.ir.types import string
from camshaft.program.state import StateSpec


def states_of(graph: Graph, said: Mapping[str, str]) -> tuple[StateSpec, ...]:
    """The states, in the order of the graph's inputs.

    said: input name -> output name; a `*` stands for any text, the same in both.
    ConfigError for names that the graph does not have, and for ends that cannot be one array.
    """
    if not said:
        return ()
    inputs = {t.name: t for t in graph.inputs}
    outputs = dict(zip(graph.output_names, graph.outputs, strict=True))
    pairs = paired(said, list(inputs), list(outputs))
    found = [
        _state(t, pairs[t.name], outputs[pairs[t.name]]) for t in graph.inputs if t.name in pairs
    ]
    _check_said(graph, found)
    return tuple(found)


def _state(past: Tensor, output: str, present: Tensor) -> StateSpec:
    """The state of an input and an output."""
    what = f"state= pairs input {past.name!r} ({past.type}) with output {output!r} ({present.type})"
    if past.values:
        raise ConfigError(f"{what}, and the elements of that input say sizes; leave it out")
    if past.type.dtype != present.type.dtype or past.type.dtype == string:
        raise ConfigError(
            f"{what}; a state has one type of numbers, at both ends; pair other names"
        )
    if past.type.rank != present.type.rank:
        raise ConfigError(f"{what}; a state has as many axes at both ends; pair other names")
    axes = [i for i, (a, b) in enumerate(zip(past.shape, present.shape, strict=True)) if a != b]
    if not axes:
        return StateSpec(past.name, output, past.type, present.shape)
    if len(axes) > 1:
        raise ConfigError(
            f"{what}; a state grows along one axis, and these differ along {axes}: pair other names, or say which sizes "
            "are equal (shapes=)"
        )
    return _growing(past, output, present, axes[0], what)


def _growing(past: Tensor, output: str, present: Tensor, axis: int, what: str) -> StateSpec:
    length = past.shape[axis]
    low, high = bounds(length)
    symbol = sole_symbol(length)
    name = "length" if symbol is None else symbol.name
    rank = past.type.rank
    like = ", ".join(f'"{name}=0..2048"' if i == axis else "None" for i in range(rank))
    mend = f"shapes={{{past.name!r}: ({like}{',' if rank == 1 else ''})}}"
    if isinstance(length, int):
        raise ConfigError(f"{what}; it grows along axis {axis}, which must be open: say {mend}")
    if low > 0:
        raise ConfigError(
            f"{what}; it is empty at first, and {length} is at least {low}: say a range from 0 on, {mend}"
        )
    if isinstance(high, float) and isinf(high):
        raise ConfigError(f"{what}; say how long it may become, such as {mend}")
    return StateSpec(past.name, output, past.type, present.shape, axis, int(high))


def _check_said(graph: Graph, states: Sequence[StateSpec]) -> None:
    """ConfigError for a size that a call would not say."""
    names = {s.name for s in states}
    places = [t.shape for t in graph.inputs if t.name not in names]
    places += [t.values for t in graph.inputs if t.name not in names]
    places += [(s.length,) for s in states if s.axis is not None]
    said = {sole_symbol(e) for place in places for e in place}
    extents = [e for t in graph.inputs for e in (*t.shape, *t.values)]
    needed = symbols_of(*extents, *(e for state in states for e in state.after))
    if lost := [symbol.name for symbol in needed if symbol not in said]:
        raise ConfigError(
            f"state= leaves no input that says {', '.join(lost)} in a call; fix the size with shapes="
        )
