"""What users declare of plugins and their kernels, taken or refused: ModelError names the argument and the fix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.plugins import registry
from camshaft.ir.plugins.kernels import Params
from camshaft.ir.types import HALVES, DType, dtype_named, dtype_of

Combinations = Sequence[Any] | None
"""Element types of one input (a name as "f32", or NumPy's type), or a sequence of all inputs', for each combination."""

_STANDARD_DOMAIN = "ai.onnx"


def require_name(name: Any) -> None:
    """The qualified name of a plugin: "domain::type", or "type" alone for nodes of no domain."""
    if not isinstance(name, str):
        raise ModelError(
            f"a plugin is declared by its name, @camshaft.plugin('domain::type'), not by {name!r:.60}"
        )
    domain, op_type = registry.split(name)
    whole = op_type and (domain or registry.SEPARATOR not in name)
    if not whole or registry.SEPARATOR in domain or any(c.isspace() for c in name):
        raise ModelError(f"{name!r} is no name of a plugin: give 'domain::type'")
    if domain == _STANDARD_DOMAIN:
        raise ModelError(
            f"plugin {name!r}: {_STANDARD_DOMAIN!r} is the domain of ONNX's own operators; give a domain of your own, "
            f"or {op_type!r} alone for nodes that have none"
        )


def require_function(given: Any, whose: str, argument: str, takes: str) -> None:
    """`given` must be called with what `takes` says."""
    if not callable(given):
        raise ModelError(f"{whose}: {argument} is {given!r:.60}, not a function of {takes}")


def require_text(given: Any, whose: str, argument: str) -> None:
    """`given` must be a text that is not empty."""
    if not isinstance(given, str) or not given:
        raise ModelError(f"{whose}: {argument} is {given!r:.60}, not a text")


def combinations(given: Combinations, whose: str) -> tuple[tuple[str, ...], ...] | None:
    """Combinations of element types in full, by name."""
    if given is None:
        return None
    if isinstance(given, str | Mapping) or not isinstance(given, Sequence):
        raise ModelError(
            f"{whose}: types is {given!r:.60}, not a list; give one entry for each combination, as ['f32'] or "
            "[('f32', 'i64')]"
        )
    if not given:
        raise ModelError(f"{whose}: types is empty, so that it takes nothing; leave it out for any")
    return tuple(_combination(c, whose) for c in given)


def _combination(given: Any, whose: str) -> tuple[str, ...]:
    entries = given if isinstance(given, list | tuple) else (given,)
    try:
        found = [element_type(e) for e in entries]
    except (ModelError, TypeError) as error:
        raise ModelError(f"{whose}: types has {given!r:.60}: {error}") from error
    if any(t in HALVES for t in found):
        raise ModelError(
            f"{whose}: types has {given!r:.60}, and floats of 16 bits come as f32, in which graphs hold them; give 'f32'"
        )
    return tuple(t.name for t in found)


def element_type(given: Any) -> DType:
    """An element type by ours, our name for it, or NumPy's.  TypeError or ModelError if it is none."""
    if isinstance(given, DType):
        return given
    try:
        return dtype_named(given) if isinstance(given, str) else dtype_of(np.empty(0, given))
    except ModelError:
        try:
            return dtype_of(np.empty(0, given))
        except TypeError:
            pass
        raise


def variants(given: Any, whose: str) -> tuple[Params, ...]:
    """A kernel's variants: dictionaries of plain values."""
    if isinstance(given, Mapping) or not isinstance(given, Sequence):
        raise ModelError(
            f"{whose}: params is {given!r:.60}, not a list with a dictionary for each variant"
        )
    if not given:
        raise ModelError(f"{whose} has no variants; leave params out")
    for variant in given:
        if not isinstance(variant, Mapping):
            raise ModelError(f"{whose}: params has {variant!r:.60}, not a dictionary")
        for name, value in variant.items():
            if not isinstance(name, str) or not isinstance(value, bool | int | str):
                raise ModelError(
                    f"{whose}: params has {name!r}: {value!r:.60}; give ints, texts and bools by name"
                )
            if name == "kernel":
                raise ModelError(f"{whose}: 'kernel' in params is taken; give another name")
    return tuple(given)


def require_attributes(given: Any, whose: str) -> None:
    """`given` must be defaults by name."""
    if not isinstance(given, Mapping) or not all(isinstance(k, str) for k in given):
        raise ModelError(
            f"{whose}: attributes is {given!r:.60}, not a dictionary of defaults by name; "
            "camshaft.ir.op.REQUIRED stands for those that have none"
        )


def require_version(given: Any, whose: str) -> None:
    """`given` must be an int."""
    if isinstance(given, bool) or not isinstance(given, int):
        raise ModelError(f"{whose}: version is {given!r:.60}, not an int")


def require_tolerance(given: Any, whose: str) -> None:
    """`given` must be a number from 0 on, or None."""
    number = isinstance(given, float | int) and not isinstance(given, bool)
    if given is not None and not (number and given >= 0):
        raise ModelError(f"{whose}: tolerance is {given!r:.60}, not a number from 0 on")


def require_flag(given: Any, whose: str, argument: str) -> None:
    """`given` must be a bool."""
    if not isinstance(given, bool):
        raise ModelError(f"{whose}: {argument} is {given!r:.60}, not True or False")
