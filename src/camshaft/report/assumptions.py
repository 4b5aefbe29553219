"""What a build assumed of open extents and the options that give them, and sizes that it moved.

A size that nobody gave is taken from the rule in `frontends.onnx.sizes.open_extents`; the engine takes
other sizes as well, but is tuned for that one.
"""

from __future__ import annotations

from collections.abc import Sequence

from camshaft.config import BuildConfig
from camshaft.ir.extents.extent import Extent, sole_symbol
from camshaft.ir.extents.said import Range, Said, flat_values, is_fixed, parse_said, shape_text
from camshaft.ir.extents.sizes import typical_sizes
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
            if _asked(config, t, axis) != Range():
                said.add(symbol.name)
        for at, element in enumerate(t.values):
            symbol = sole_symbol(element)
            if symbol is not None:
                found.setdefault(symbol.name, symbol)
                if _asked_element(config, t, at) != Range():
                    said.add(symbol.name)
    return tuple(s for name, s in found.items() if name not in said)


def _asked(config: BuildConfig, t: Tensor, axis: int) -> Range:
    """What `config` says of the size of an axis."""
    shape = config.shapes.get(t.name, ())
    said = _range_of(shape[axis]) if axis < len(shape) else Range()
    triples = [p[t.name] for p in config.profiles if t.name in p]
    if not triples:
        return said
    least, typical, most = (
        [shape[axis] for shape in shapes] for shapes in zip(*triples, strict=True)
    )
    return said.otherwise(Range(min(least), typical[0], max(most)))


def _asked_element(config: BuildConfig, t: Tensor, at: int) -> Range:
    """What `config` says of the size that an element says."""
    value = config.values.get(t.name)
    if is_fixed(value) and isinstance(value, tuple):  # least, typical and most
        numbers = [flat_values(v)[at] for v in value]
        return Range(*(n for n in numbers if isinstance(n, int)))
    elements = flat_values(value)
    return _range_of(elements[at]) if at < len(elements) else Range()


def _range_of(said: object) -> Range:
    return parse_said(said)[1] if isinstance(said, str) else Range()


def moved(graph: Graph, config: BuildConfig) -> list[str]:
    """Sizes that `config` asks for and the model does not take, and what the build took in their place,
    in a sentence for each place."""
    found: dict[tuple[str, Range], str] = {}
    for t in graph.inputs:
        asked = [
            (f"input {t.name!r}, axis {axis}", extent, _asked(config, t, axis))
            for axis, extent in enumerate(t.shape)
        ]
        asked += [
            (f"input {t.name!r}, element {at}", extent, _asked_element(config, t, at))
            for at, extent in enumerate(t.values)
        ]
        for where, extent, said in asked:
            if changes := _changes(said, extent):
                needed = _needed(graph, extent, said)
                text = f"{where} ({extent}): {changes}, since {needed}"
                found.setdefault((str(extent), said), text)
    return list(found.values())


def _changes(said: Range, extent: Extent) -> str:
    """How what is said differs from what an extent became, in words."""
    symbol = sole_symbol(extent)
    if symbol is not None:
        became = Range(symbol.low, symbol.typical, symbol.high)
    elif isinstance(extent, int):
        became = Range(extent, extent, extent)
    else:
        return ""
    pairs = (
        ("least", said.low, became.low),
        ("typical", said.typical, became.typical),
        ("most", said.high, became.high),
    )
    return ", ".join(f"{w} {a} becomes {b}" for w, a, b in pairs if a is not None and a != b)


def _needed(graph: Graph, extent: Extent, said: Range) -> str:
    """Why a size asked for is not taken: what node needs another, where a call is held to that."""
    otherwise = "the model does not take it"
    symbol = sole_symbol(extent)
    if symbol is None or said.typical is None:
        return otherwise
    for c in graph.constraints:
        sizes = typical_sizes(c.symbols) | {symbol.name: said.typical}
        if symbol in c.symbols and not c.holds(sizes):
            return f"{c.why} needs {c}"
    return otherwise


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
    most = (
        (8 if symbol.typical == 1 else 2 * symbol.typical) if symbol.high is None else symbol.high
    )
    middle = None if symbol.typical == symbol.low else symbol.typical
    return f"{symbol.name}={Range(symbol.low, middle, most)}"
