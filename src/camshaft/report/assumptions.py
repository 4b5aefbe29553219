"""What a build assumed of open extents, and the options that give them.

A size that nobody gave is taken from the rule in `frontends.onnx.open_extents`; the engine takes
other sizes as well, but is tuned for that one.
"""

from __future__ import annotations

from collections.abc import Sequence

from camshaft.config import BuildConfig
from camshaft.ir.extents.extent import Extent, sole_symbol
from camshaft.ir.extents.said import Range, Said, flat_values, is_fixed, parse_said, shape_text
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.graph import Graph, Tensor


def assumed(graph: Graph, config: BuildConfig) -> tuple[Symbol, ...]:
    """The symbols of the inputs of whose sizes `config` says nothing, or no more than a name."""
    found: dict[str, Symbol] = {}
    said: set[str] = set()
    for t in graph.inputs:
        for axis, extent in enumerate(t.shape):
            symbol = sole_symbol(extent)
            if symbol is None:
                continue
            found.setdefault(symbol.name, symbol)
            if _is_said(config, t, axis):
                said.add(symbol.name)
        for at, element in enumerate(t.values):
            symbol = sole_symbol(element)
            if symbol is not None:
                found.setdefault(symbol.name, symbol)
                if _is_element_said(config, t, at):
                    said.add(symbol.name)
    return tuple(s for name, s in found.items() if name not in said)


def _is_said(config: BuildConfig, t: Tensor, axis: int) -> bool:
    if any(t.name in profile for profile in config.profiles):
        return True
    given = config.shapes.get(t.name, ())
    text = given[axis] if axis < len(given) else None
    return isinstance(text, str) and parse_said(text)[1] != Range()


def _is_element_said(config: BuildConfig, t: Tensor, at: int) -> bool:
    value = config.values.get(t.name)
    if is_fixed(value):  # least, typical and most
        return True
    elements = flat_values(value)
    text = elements[at] if at < len(elements) else None
    return isinstance(text, str) and parse_said(text)[1] != Range()


def advice(graph: Graph, symbols: Sequence[Symbol]) -> str:
    """The assumptions in a line, and options that replace them: "assumed: batch 1 (1..), ...".

    "" where nothing was assumed.
    """
    if not symbols:
        return ""
    sizes = ", ".join(f"{s.name} {s.typical} ({s.range})" for s in symbols)
    shapes = [
        f"{t.name}:{shape_text([_example(d) for d in t.shape])}"
        for t in graph.inputs
        if _any_of(t.shape, symbols)
    ]
    options = [f"--shapes {','.join(shapes)}"] * bool(shapes)
    options += [
        f"--values {t.name}={','.join(str(_example(e)) for e in t.values)}"
        for t in graph.inputs
        if _any_of(t.values, symbols)
    ]
    return f"assumed: {sizes}; set with {' '.join(options)}"


def _any_of(extents: Sequence[Extent], symbols: Sequence[Symbol]) -> bool:
    return any(sole_symbol(e) in symbols for e in extents)


def _example(extent: Extent) -> Said:
    """Name and range of this extent as an option says them."""
    symbol = sole_symbol(extent)
    if symbol is None:
        return extent if isinstance(extent, int) else None
    most = symbol.high or (8 if symbol.typical == 1 else 2 * symbol.typical)
    middle = None if symbol.typical == symbol.low else symbol.typical
    return f"{symbol.name}={Range(symbol.low, middle, most)}"
