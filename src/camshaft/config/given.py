"""What is given as build options, as it should be; ConfigError otherwise."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from numbers import Real
from operator import index
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeGuard

from camshaft.errors import ConfigError
from camshaft.ir.extents.said import (
    FORMS,
    LARGEST,
    Profile,
    Said,
    Value,
    parse_said,
    too_large,
)

PRECISIONS = ("fp32", "bf16", "fp16", "int8")


def is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def integer(name: str, value: object, low: int, high: int | None) -> int:
    wanted = f"an integer of at least {low}" if high is None else f"an integer, {low} to {high}"
    number = _index(value)
    if number is None or number < low or (high is not None and number > high):
        raise ConfigError(f"{name} is {value!r}, must be {wanted}")
    return number


def _index(value: Any) -> int | None:
    """A whole number of any type as an int, None if it is something else."""
    try:
        return None if isinstance(value, bool) else index(value)
    except TypeError:
        return None


def precisions(value: object) -> frozenset[str]:
    if isinstance(value, str):
        raise ConfigError(f"precision is a set, e.g. {{{value!r}}}, not a string")
    if not isinstance(value, Iterable):
        raise ConfigError(f"precision is {value!r}, must be a set such as {{'int8'}}, or empty")
    given = list(value)
    unknown = [p for p in given if not isinstance(p, str) or p.lower() not in PRECISIONS]
    if unknown:
        raise ConfigError(
            f"precision {', '.join(map(repr, unknown))} is unknown; there is {', '.join(PRECISIONS)}"
        )
    return frozenset(p.lower() for p in given)


def names_or_all(name: str, value: object) -> bool | frozenset[str]:
    if isinstance(value, bool):
        return value
    found = list(value) if isinstance(value, Iterable) and not isinstance(value, str) else None
    if found is None or not all(isinstance(v, str) for v in found):
        raise ConfigError(f"{name} is {value!r}, must be True, False or a set of names")
    return frozenset(found)


def mapping(name: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(
            f"{name} is of type {type(value).__name__}, must be a dictionary with names as keys"
        )
    return MappingProxyType(dict(value))


def shape(name: str, value: object) -> tuple[Said, ...]:
    known = _extents(value)
    if known is None:
        raise ConfigError(
            f"shapes[{name!r}] is {value!r}, must be extents such as (1, 3, 224, 224) or "
            f'("batch=1..16", 3, 224, 224); an extent is {FORMS}, or None'
        )
    try:
        for extent in known:
            if isinstance(extent, str):
                parse_said(extent)
            elif extent is not None and extent > LARGEST:
                raise ConfigError(too_large(extent))
    except ConfigError as error:
        raise ConfigError(f"shapes[{name!r}]: {error}") from None
    return tuple("".join(d.split()) if isinstance(d, str) else d for d in known)


def _extents(value: object) -> tuple[Said, ...] | None:
    """Ints of at least 0, texts, None; None in place of all if one is something else."""
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        return None
    known: list[Said] = []
    for d in value:
        number = _index(d)
        if isinstance(d, str):
            known.append(d)
        elif d is None or (number is not None and number >= 0):
            known.append(number)
        else:
            return None
    return tuple(known)


def values(what: str, value: Any) -> Value:
    """Numbers and texts as Python's own, arrays and lists as nested tuples."""
    plain = value.tolist() if hasattr(value, "tolist") else value  # of NumPy, whatever type
    if isinstance(plain, str):
        try:
            parse_said(plain)
        except ConfigError as error:
            raise ConfigError(f"{what}: {error}") from None
        return "".join(plain.split())
    if plain is None or isinstance(plain, bool | int | float):
        return plain
    if isinstance(plain, Iterable) and not isinstance(plain, bytes | Mapping):
        made = tuple(values(what, v) for v in plain)
        if len({len(v) if isinstance(v, tuple) else None for v in made}) > 1:
            raise ConfigError(f"{what} is {value!r}, whose rows differ in length")
        return made
    raise ConfigError(
        f"{what} is {value!r}, must be a number, a list of numbers, or an array; an element of an "
        f"input that says sizes may also be {FORMS}"
    )


def profiles(value: object) -> tuple[Mapping[str, Profile], ...]:
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        raise ConfigError(
            f"profiles is of type {type(value).__name__}, must be a list of dictionaries "
            "[{input name: (least, typical, most shape)}, ...]"
        )
    return tuple(_one_profile(f"profiles[{i}]", p) for i, p in enumerate(value))


def _one_profile(what: str, value: object) -> Mapping[str, Profile]:
    given = mapping(what, value)
    return MappingProxyType({n: _triple(f"{what}[{n!r}]", shapes) for n, shapes in given.items()})


def _triple(what: str, value: object) -> Profile:
    shapes = list(value) if isinstance(value, Iterable) and not isinstance(value, str) else []
    known = [_extents(shape) for shape in shapes]
    ranks = {None if shape is None else len(shape) for shape in known}
    whole = [shape for shape in known if shape is not None and _are_numbers(shape)]
    if len(whole) != 3 or len(known) != 3 or len(ranks) != 1:
        raise ConfigError(
            f"{what} is {value!r}, must be three shapes of one rank, the least, the typical and the "
            "most: ((1, 3, 224, 224), (4, 3, 224, 224), (16, 3, 224, 224))"
        )
    low, typical, high = whole
    if max((*low, *typical, *high), default=0) > LARGEST:
        raise ConfigError(f"{what}: {too_large(max(*low, *typical, *high))}")
    for axis, (a, b, c) in enumerate(zip(low, typical, high, strict=True)):
        if not a <= b <= c:
            raise ConfigError(
                f"{what}, axis {axis}: least {a}, typical {b} and most {c} must ascend"
            )
    return low, typical, high


def _are_numbers(shape: tuple[Said, ...]) -> TypeGuard[tuple[int, ...]]:
    return all(isinstance(d, int) for d in shape)


def path(name: str, value: object) -> Path | None:
    if value is None:
        return None
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise ConfigError(f"{name} is {value!r}, must be the path of a file")
    return Path(value)
