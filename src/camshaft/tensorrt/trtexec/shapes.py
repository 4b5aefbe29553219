"""Shapes of inputs, as flags say them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

from camshaft.tensorrt.plan import Triple

T = TypeVar("T")

Shapes = Mapping[str, tuple[int, ...]]
"""Input -> extents; of an input that says shapes, its elements."""
Profile = Mapping[str, Triple]
"""Input -> least, typical and most."""


def filled(sides: Sequence[Shapes | None]) -> Profile:
    """A profile from least, typical and most shapes, of which what is not said is as what is.  ValueError for none, or where they have
    other inputs."""
    low, typical, high = sides
    least = low if low is not None else typical if typical is not None else high
    most = high if high is not None else typical if typical is not None else low
    middle = typical if typical is not None else most
    if least is None or middle is None or most is None:
        raise ValueError("an optimization profile has no shapes; give --optShapes")
    if not set(least) == set(middle) == set(most):
        raise ValueError("--minShapes, --optShapes and --maxShapes must name the same inputs")
    return {name: (least[name], middle[name], most[name]) for name in middle}


def found(told: Mapping[str, T], name: str) -> T | None:
    """What was told of a tensor or layer: by its name, or else by one with a `*`, which stands for any letters."""
    if name in told:
        return told[name]
    # Brackets and question marks are letters of names here.
    patterns = (said for said in told if "*" in said and fnmatchcase(name, _literal(said)))
    return next((told[said] for said in patterns), None)


def unused(told: Mapping[str, T], names: Sequence[str]) -> list[str]:
    """What was told of tensors or layers that there are not."""
    exact = set(names)
    return [
        said
        for said in told
        if said not in exact
        and not ("*" in said and any(fnmatchcase(n, _literal(said)) for n in names))
    ]


def said(shape: Sequence[int]) -> str:
    """`1x3x224x224`, or `scalar`."""
    return "x".join(map(str, shape)) or "scalar"


def _literal(pattern: str) -> str:
    return "".join(f"[{c}]" if c in "[?" else c for c in pattern)
