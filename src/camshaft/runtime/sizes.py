"""What a call says of sizes: the shapes of its inputs, and elements of inputs that say sizes."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from camshaft.errors import BindingError, ShapeError
from camshaft.ir.extents.extent import Extent, extent_of, sole_symbol, symbols_of
from camshaft.ir.extents.sizes import Constraint, evaluate
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.types import number_text
from camshaft.program.program import Binding, Program
from camshaft.program.state import StateSpec
from camshaft.runtime.bindings import Bindings

Sizes = dict[str, int]
Shapes = tuple[tuple[int, ...], ...]
"""What a call says, in the order of `sources`."""
MOST = (1 << 31) - 1
"""Largest size that an element of an input may say; without it extents could overflow."""
_MOST_BYTES = 1 << 46
"""More than any array has."""
_LONGEST = (1 << 63) - 1
"""The largest extent that arrays can have."""
WIDER = r"rebuild with a (wider )?range \([^)]*\), where the model allows it"
"""The way out in messages about sizes that were said in the build."""
_FAR = 512
"""How far from a size that does not fit one that does is looked for."""


@dataclass(frozen=True)
class SizeSource:
    """Where a call says sizes: the shape of an input ("axis"), its elements ("element"), how many rows it keeps
    ("rows"), or how long a state is that it finds ("length")."""

    binding: Binding
    extents: tuple[Extent, ...]
    part: str

    def where(self, at: int) -> str:
        """How messages call one of the extents."""
        if self.part == "length":
            return f"the length of state {self.binding.name!r}"
        name = f"input {self.binding.name!r}"
        if self.part == "rows":
            return f"{name}, rows kept"
        return (
            f"{name}, {self.part} {at}" if self.part == "axis" or self.binding.type.shape else name
        )

    def high(self, symbol: Symbol) -> float:
        """The largest size of `symbol` that may be said here."""
        high = float("inf") if symbol.high is None else symbol.high
        return min(high, MOST) if self.part == "element" else high


def sources(program: Program) -> list[SizeSource]:
    """The shapes of the inputs in order, then the elements of those that say sizes by them, then the rows that
    masks keep, then the lengths of growing states."""
    shapes = [SizeSource(b, b.type.shape, "axis") for b in program.inputs]
    elements = [SizeSource(b, b.values, "element") for b in program.valued]
    rows = [SizeSource(b, (extent_of(k.symbol),), "rows") for b, k in program.masks]
    lengths = [SizeSource(Binding(s.name, s.type), (s.length,), "length") for s in program.growing]
    return shapes + elements + rows + lengths


def sizes_of(program: Program, said: Sequence[tuple[int, ...]]) -> Sizes:
    """The symbols' sizes from what a call says, in the order of `sources`.

    ShapeError names the input and its axis or element that does not fit, the value there and what is
    allowed, or the node that needs other sizes.
    """
    sizes: Sizes = {}
    by: dict[str, str] = {}
    places = sources(program)
    for source, given in zip(places, said, strict=True):
        if len(given) != len(source.extents):
            binding = source.binding
            raise ShapeError(
                f"input {binding.name!r} has shape {given}, expected {binding.type!r}: its rank is "
                f"{len(source.extents)}"
            )
        if source.part == "axis":
            _check_fixed(source, given)
        for at, (extent, size) in enumerate(zip(source.extents, given, strict=True)):
            symbol = sole_symbol(extent)
            if symbol is not None:
                _take(source, at, symbol, size, sizes, by)
    for source, given in zip(places, said, strict=True):
        _check_expected(source, given, sizes)
    for state in program.growing:
        _check_room(state, sizes)
    for constraint in program.constraints:
        if not constraint.holds(sizes):
            raise _broken(program, constraint, sizes)
    for extent, name in program.unproven.items():
        if evaluate(extent, sizes) < 0:
            given_sizes = ", ".join(f"{s.name}={sizes[s.name]}" for s in symbols_of(extent))
            raise ShapeError(
                f"{name!r} would have the extent {extent} = {evaluate(extent, sizes)} at "
                f"{given_sizes}; give inputs of other sizes"
            )
    return sizes


def _take(
    source: SizeSource,
    at: int,
    symbol: Symbol,
    size: int,
    sizes: Sizes,
    by: dict[str, str],
) -> None:
    """Let the size said at one place be that of the symbol.  by: symbol -> the place that said it."""
    where = source.where(at)
    if sizes.setdefault(symbol.name, size) != size:
        raise ShapeError(
            f"{where} is {size}, and {by[symbol.name]} is {sizes[symbol.name]}: both are "
            f"{symbol.name}, one size"
            + ("; rebuild with a range of its own (values=)" if source.part == "element" else "")
        )
    by.setdefault(symbol.name, where)
    if symbol.low <= size <= source.high(symbol):
        return
    option = "values=" if source.part == "element" else "shapes= or profiles="
    option += ', "0.." where it may be empty' if size == 0 and source.part == "axis" else ""
    most = f", and {MOST} at most" if size > MOST and source.part == "element" else ""
    raise ShapeError(
        f"{where} is {size}, and the engine was built for {symbol.name} = {symbol.range}{most}; rebuild "
        f"with a wider range ({option}), where the model allows it"
    )


def _check_fixed(source: SizeSource, given: tuple[int, ...]) -> None:
    """ShapeError if an axis that is not open has another extent: whatever else does not fit, this is
    what to say (of an image with its channels last, say)."""
    fixed = tuple(
        e if isinstance(e, int) else n for e, n in zip(source.extents, given, strict=True)
    )
    if fixed != given:
        raise _misfit(
            source.binding, given, "" if fixed == source.extents else f", such as {fixed}"
        )


def _check_expected(source: SizeSource, given: tuple[int, ...], sizes: Sizes) -> None:
    """ShapeError unless what is said is what the extents come to."""
    expected = tuple(evaluate(e, sizes) for e in source.extents)
    if given == expected:
        return
    if source.part == "axis":
        raise _misfit(source.binding, given, f", which is {expected} here")
    if source.part == "length":
        raise ShapeError(
            f"{source.where(0)} is {given[0]}, and the inputs say {expected[0]} ({source.extents[0]}); give inputs that "
            "belong to it, or reset the context"
        )
    at = next(i for i, (a, b) in enumerate(zip(given, expected, strict=True)) if a != b)
    raise ShapeError(
        f"{source.where(at)} is {given[at]}, and the engine was built for {expected[at]} there; rebuild "
        "with a range (values=), where the model allows it"
    )


def _check_room(state: StateSpec, sizes: Sizes) -> None:
    """ShapeError if a call would leave more in a state than it has memory for."""
    length = evaluate(state.length_after, sizes)
    if length > state.capacity:
        symbol = sole_symbol(state.length)
        name = "" if symbol is None else f"{symbol.name} = "
        raise ShapeError(
            f"state {state.name!r} would be {length} long along axis {state.axis} ({state.length_after}), and the engine "
            f"was built for {name}0..{state.capacity}; reset the context, or rebuild with a wider range (shapes= or "
            "profiles=), where the model allows it"
        )


def _misfit(binding: Binding, given: tuple[int, ...], hint: str) -> ShapeError:
    return ShapeError(f"input {binding.name!r} has shape {given}, expected {binding.type!r}{hint}")


def _broken(program: Program, constraint: Constraint, sizes: Sizes) -> ShapeError:
    """The error for sizes that break a constraint."""
    symbols = constraint.symbols
    given = ", ".join(f"{s.name}={sizes[s.name]}" for s in symbols)
    near = _near(program, symbols[0], sizes) if len(symbols) == 1 else []
    mend = f"; the next that fit: {' and '.join(map(str, near))}" if near else ""
    return ShapeError(
        f"{constraint.why} needs {constraint}, which {given} breaks"
        f"{mend or '; give inputs of other sizes'}"
    )


def _near(program: Program, symbol: Symbol, sizes: Sizes) -> list[int]:
    """The next smaller and the next larger size that meet all that is required of this symbol alone."""
    size = sizes[symbol.name]
    rules = [c for c in program.constraints if c.symbols == (symbol,)]
    top = size + _FAR if symbol.high is None else min(symbol.high, size + _FAR)
    ways = (range(size - 1, max(symbol.low, size - _FAR) - 1, -1), range(size + 1, top + 1))
    found = (
        next((n for n in way if all(r.holds({symbol.name: n}) for r in rules)), None)
        for way in ways
    )
    return [n for n in found if n is not None]


def bytes_by_name(program: Program) -> list[tuple[str, Extent]]:
    """The bytes of all arrays of a call, by what messages call them."""
    bindings = (("input", program.inputs), ("output", program.outputs))
    found = [(f"{kind} {b.name!r}", b.type.nbytes) for kind, group in bindings for b in group]
    return found + [(f"tensor {s.buffer.name!r}", s.buffer.nbytes) for s in program.arena.slots]


def check_bytes(program: Program, sizes: Sizes) -> None:
    """ShapeError if an array would have more bytes at these sizes than any memory."""
    for name, extent in bytes_by_name(program):
        nbytes = evaluate(extent, sizes)
        if nbytes > _MOST_BYTES:
            raise ShapeError(f"{name} would have {nbytes} bytes at {sizes}; give smaller inputs")


def output_shapes(
    program: Program,
    inputs: Bindings,
    given: Mapping[str, Any],
    lengths: Sequence[int] | None = None,
) -> dict[str, tuple[int, ...]]:
    """Shapes of the outputs by name.  given, lengths, errors: as of `sizes_given`."""
    sizes = sizes_given(program, inputs, given, lengths)
    return {b.name: tuple(evaluate(e, sizes) for e in b.type.shape) for b in program.outputs}


def sizes_given(
    program: Program,
    inputs: Bindings,
    given: Mapping[str, Any],
    lengths: Sequence[int] | None = None,
) -> Sizes:
    """The sizes that these inputs say.  given: input name -> array, or shape as tuple or list; inputs
    whose elements say sizes as arrays.  lengths: of growing states, in order; None: all are empty.

    Errors as in `Bindings.arrange`, `Bindings.elements`, `sizes_of` and `check_bytes`.
    """
    if isinstance(given, Mapping):
        given = {n: x for n, x in given.items() if not _is_fixed_shape(inputs, n, x)}
    arrays = inputs.with_scalars(inputs.arrange(given))
    shapes = [_shape(name, x) for name, x in zip(inputs.names, arrays, strict=True)]
    found = [(n,) for n in lengths or [0] * len(program.growing)]
    counts = inputs.counts(arrays, shapes)
    sizes = sizes_of(program, (*shapes, *inputs.elements(arrays), *counts, *found))
    check_bytes(program, sizes)
    return sizes


def _is_fixed_shape(inputs: Bindings, name: str, given: Any) -> bool:
    """Whether this is the shape of an input that the build fixed; ShapeError if it is another."""
    if name not in inputs.fixed or not isinstance(given, tuple | list):
        return False
    shape, held = _shape(name, given), inputs.fixed[name].shape
    if shape != held:
        raise ShapeError(
            f"input {name!r} is given the shape {shape}, and the build fixed it to values (values=) of "
            f"the shape {held}; leave it out, or give that shape"
        )
    return True


def _shape(name: str, given: Any) -> tuple[int, ...]:
    if isinstance(given, np.ndarray | np.generic | bool | int | float):
        return np.shape(given)
    sizes = [_size(d) for d in given] if isinstance(given, tuple | list) else [None]
    shape = tuple([d for d in sizes if d is not None])
    if len(shape) < len(sizes):
        raise BindingError(
            f"input {name!r} is given as {number_text(given)}, which is neither an array nor a shape; a "
            f"shape is a tuple or list of whole numbers of 0 to {_LONGEST}"
        )
    return shape


def _size(given: Any) -> int | None:
    """An extent that an array may have; None if it is none."""
    try:
        size = -1 if isinstance(given, bool | np.bool_) else operator.index(given)
    except TypeError:
        return None
    return size if 0 <= size <= _LONGEST else None
