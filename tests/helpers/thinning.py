"""Combinations of which the default suite runs every second one, the slow tests the others."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest


def every_second(*axes: tuple[str, Sequence[Any]]) -> pytest.MarkDecorator:
    """Parametrize by all combinations of the axes (name, values).

    Those whose places add up to an odd number are slow, so that every two values of two axes still meet in the
    default suite where a third axis has more than one, and every value is there in any case.
    """
    found = []
    for places in itertools.product(*(range(len(values)) for _, values in axes)):
        chosen = [values[place] for (_, values), place in zip(axes, places, strict=True)]
        marks = [pytest.mark.slow] if sum(places) % 2 else []
        found.append(pytest.param(*chosen, marks=marks, id="-".join(map(_told, chosen))))
    return pytest.mark.parametrize([name for name, _ in axes], found)


def _told(value: Any) -> str:
    if isinstance(value, tuple):
        return "-".join(map(_told, value))
    return str(getattr(value, "__name__", getattr(value, "name", value)))
