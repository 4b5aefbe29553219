"""Shapes as they are typed: `x:1x3x224x224`, `x:batch=1..16x3x224x224`, profiles of them.

An "x" separates extents, or a "/" where a name holds an "x": `x:batch/max_length`, `x:max_length/`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import isinf

from camshaft.errors import ConfigError
from camshaft.ir.extents.extent import Extent, sole_symbol
from camshaft.ir.extents.fitting import fitted
from camshaft.ir.extents.said import (
    UNSAID,
    Profile,
    Range,
    Said,
    Value,
    flat_values,
    parse_number,
    parse_said,
)
from camshaft.ir.extents.sizes import evaluate, typical_sizes
from camshaft.ir.types import TensorType
from camshaft.runtime.engine import Engine
from camshaft.runtime.sizes import check_bytes, sizes_of

Shapes = dict[str, tuple[Said, ...]]
FIXED = "1x3x224x224"
OPEN = f"{FIXED}, or batch=1..16x3x224x224 where sizes vary, with a ? for what the model says"


def pairs(option: str, texts: Sequence[str] | None) -> dict[str, str]:
    """`a:1,b:2` (or several of them) as a dictionary; a name may itself hold colons."""
    found: dict[str, str] = {}
    for part in ",".join(texts or ()).split(","):
        if not part:
            continue
        name, colon, value = part.rpartition(":")
        if not colon or not name or not value:
            raise ConfigError(f"{option} has {part!r}; it must be NAME:VALUE,...")
        if name in found:
            raise ConfigError(f"{option} names {name!r} twice")
        found[name] = value
    return found


def said_shapes(option: str, texts: Sequence[str] | None) -> Shapes:
    """Input name -> extents that are numbers, names or ranges, None for `?`; `scalar` is ()."""
    return {n: _extents(option, n, text, OPEN) for n, text in pairs(option, texts).items()}


def fixed_shapes(option: str, texts: Sequence[str] | None) -> dict[str, tuple[int, ...]]:
    """Input name -> shape."""
    found: dict[str, tuple[int, ...]] = {}
    for name, text in pairs(option, texts).items():
        extents = _extents(option, name, text, FIXED)
        found[name] = tuple(d for d in extents if isinstance(d, int))
        if len(found[name]) != len(extents):
            raise ConfigError(f"{option}: {text!r} for input {name!r} must be numbers: {FIXED}")
    return found


def _extents(option: str, name: str, text: str, like: str) -> tuple[Said, ...]:
    if text == "scalar":
        return ()
    words = text.removesuffix("/").split("/") if "/" in text else re.split("[xX]", text)
    extents: list[Said] = []
    for word in words:
        if word == UNSAID:
            extents.append(None)
            continue
        try:
            number = parse_number(word)
            if number is None:
                parse_said(word)
        except ConfigError as error:
            raise ConfigError(
                f"{option}: {text[:80]!r} for input {name!r} is no shape ({error}); write it like {like}"
            ) from None
        extents.append(word if number is None else number)
    return tuple(extents)


def said_values(texts: Sequence[str] | None) -> dict[str, Value]:
    """`NAME=VALUE` or `NAME=VALUE,VALUE,...` each: input name -> what is said of its values."""
    found: dict[str, Value] = {}
    for text in texts or ():
        name, equals, said = text.partition("=")
        if not equals or not name or not said:
            raise ConfigError(
                f"--values has {text!r}; it must be NAME=VALUE or NAME=VALUE,VALUE,..."
            )
        if name in found:
            raise ConfigError(f"--values names {name!r} twice")
        elements = tuple(_value(word.strip()) for word in said.split(","))
        found[name] = elements if len(elements) > 1 else elements[0]
    return found


def _value(word: str) -> bool | int | float | str:
    """A number, or what may be said of one."""
    words = {"true": True, "false": False}
    if word.lower() in words:
        return words[word.lower()]
    for number in (int, typed_float):
        try:
            return number(word)
        except ValueError:
            pass
    return word


def typed_float(text: str) -> float:
    """The number; ValueError if it is none, or if only infinity is as large and it was not meant."""
    number = float(text)
    if isinf(number) and text.strip().lstrip("+-").lower() not in ("inf", "infinity"):
        raise ValueError(f"{text:.40} is more than a float holds")
    return number


# -- optimization profiles -----------------------------------------------------------------------


def typed_profiles(
    whole: Sequence[str] | None,
    least: Sequence[str] | None,
    typical: Sequence[str] | None,
    most: Sequence[str] | None,
) -> list[dict[str, Profile]]:
    """The profiles: those of `--profile x:1..4..16x3`, then the n-th of `--min-shapes`,
    `--opt-shapes` and `--max-shapes` together.

    A `--profile` that is a number only separates groups of these three, as in trtexec.
    """
    given = {"--min-shapes": least or (), "--opt-shapes": typical or (), "--max-shapes": most or ()}
    counts = {option: len(texts) for option, texts in given.items()}
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{option} {count} times" for option, count in counts.items())
        raise ConfigError(f"{said}: each profile needs all three, the n-th of each belong together")
    profiles = [_profile(text) for text in whole or () if not text.isdecimal()]
    for texts in zip(*given.values(), strict=True):
        three = [fixed_shapes(o, [t]) for o, t in zip(given, texts, strict=True)]
        for option, shapes in zip(given, three, strict=True):
            if set(shapes) != set(three[0]):
                raise ConfigError(
                    f"--min-shapes names {', '.join(three[0])}, {option} names "
                    f"{', '.join(shapes)}; they must name the same inputs"
                )
        profiles.append({n: (three[0][n], three[1][n], three[2][n]) for n in three[0]})
    return profiles


def _profile(text: str) -> dict[str, Profile]:
    profile: dict[str, Profile] = {}
    for name, extents in said_shapes("--profile", [text]).items():
        ranges = [_whole_range(name, d) for d in extents]
        low, middle, high = zip(*ranges, strict=True) if ranges else ((), (), ())
        profile[name] = (low, middle, high)
    return profile


def _whole_range(name: str, extent: Said) -> tuple[int, int, int]:
    if isinstance(extent, int):
        return extent, extent, extent
    known = Range() if extent is None else parse_said(extent)[1]
    if known.low is None or known.typical is None or known.high is None:
        raise ConfigError(
            f"--profile: {extent!r} of input {name!r} must be a number or least, typical and most "
            "(1..4..16)"
        )
    return known.low, known.typical, known.high


# -- sizes of one call -----------------------------------------------------------------------------


Elements = dict[str, tuple[int, ...]]


def sizes_for(
    engine: Engine, shapes: Mapping[str, Sequence[int]], values: Mapping[str, Value]
) -> tuple[dict[str, TensorType], Elements]:
    """Types of the engine's inputs and states where these have the given shapes, and elements of those that say
    sizes by them; what is not given is what follows, or typical, or next to that what fits.

    ConfigError for a name that is no such input; ShapeError for sizes that the engine does not take.
    """
    saying = {b.name: b for b in engine.program.valued}
    program = engine.program
    inputs = {b.name: b.type for b in program.inputs}  # those that are tensors
    inputs |= {s.name: s.type for s in program.states}
    for option, given, known in (("--shapes", shapes, inputs), ("--values", values, saying)):
        unknown = [name for name in given if name not in known]
        if unknown:
            kind = "inputs" if option == "--shapes" else "inputs that say sizes"
            raise ConfigError(
                f"{option} names {', '.join(map(repr, unknown))}; the engine's {kind} are "
                f"{', '.join(known) or 'none'}"
            )
    elements = {name: _whole_numbers(name, value) for name, value in values.items()}
    sizes = typical_sizes(engine.program.symbols)
    fixed: set[str] = set()
    said: list[tuple[Sequence[Extent], Sequence[int]]]
    said = [(inputs[name].shape, shape) for name, shape in shapes.items()]
    said += [(saying[name].values, numbers) for name, numbers in elements.items()]
    for extents, numbers in said:
        for extent, size in zip(extents, numbers, strict=False):
            symbol = sole_symbol(extent)
            if symbol is not None:
                sizes[symbol.name] = size
                fixed.add(symbol.name)
    if any(s.name in shapes for s in program.growing):
        sizes = fitted(program.constraints, sizes, sizes.keys() - fixed)
    else:
        sizes = program.with_room(sizes, fixed)
    types = {
        n: TensorType(t.dtype, tuple(shapes.get(n, (evaluate(d, sizes) for d in t.shape))))
        for n, t in inputs.items()
    }
    for name, b in saying.items():
        elements.setdefault(name, tuple(evaluate(e, sizes) for e in b.values))
    said_in_call = [types[b.name].static for b in program.inputs]
    said_in_call += [elements[n] for n in saying]
    given_shapes = {n: t.static for n, t in types.items()}
    said_in_call += [(kept.most(b.name, given_shapes),) for b, kept in program.masks]
    said_in_call += [(types[s.name].static[s.axis],) for s in program.growing if s.axis is not None]
    check_bytes(program, sizes_of(program, said_in_call))
    return types, elements


def said_states(texts: Sequence[str] | None) -> dict[str, str]:
    """`INPUT=OUTPUT` each: input name -> output name, as `BuildConfig.state` has them."""
    found: dict[str, str] = {}
    for text in texts or ():
        name, _, output = text.partition("=")
        if not name or not output or "=" in output:
            raise ConfigError(
                f"--state has {text!r}; it must be INPUT=OUTPUT, as in past.*=present.*"
            )
        if found.setdefault(name, output) != output:
            raise ConfigError(f"--state names {name!r} twice")
    return found


def _whole_numbers(name: str, value: Value) -> tuple[int, ...]:
    numbers = tuple(v for v in flat_values(value) if isinstance(v, int))
    if len(numbers) != len(flat_values(value)):
        raise ConfigError(f"--values of input {name!r} of an engine must be whole numbers")
    return numbers
