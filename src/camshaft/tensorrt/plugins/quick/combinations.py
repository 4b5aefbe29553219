"""Which element types a plugin of functions takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

from camshaft.tensorrt.enums.data import DataType

_NAMES = {"FP32": DataType.FLOAT, "FP16": DataType.HALF, **DataType.__members__}


class AutoTuneCombination:
    """Types and layouts that go together.

    io_types: for each input and output names of types: "FP32|FP16, FP32|FP16" are two combinations, "FP32*FP16, FP32*FP16" four.
    layouts: likewise, names of TensorFormat.  tactics: numbers of ways to compute.
    """

    def __init__(
        self,
        io_types: str | None = None,
        layouts: str | None = None,
        tactics: Iterable[int] | None = None,
    ) -> None:
        self.io_types: list[str | None] = [] if io_types is None else _parts(io_types)
        given = _parts(layouts or "LINEAR") if io_types is not None else []
        self.layouts: list[str | None] = given * len(self.io_types) if len(given) == 1 else given
        if len(self.layouts) != len(self.io_types):
            raise ValueError(f"{layouts!r} and {io_types!r} are of different numbers of tensors")
        self._tactics = None if tactics is None else [*tactics]

    def pos(self, pos: int | Iterable[int], io_types: str, layouts: str = "LINEAR") -> None:
        """Say types and layouts of inputs and outputs by their numbers.  ValueError if they were said."""
        places = [pos] if isinstance(pos, int) else [*pos]
        more = max(places) + 1 - len(self.io_types)
        self.io_types += [None] * more
        self.layouts += [None] * more
        for place in places:
            if self.io_types[place] is not None:
                raise ValueError(f"types of tensor {place} were said already")
            self.io_types[place], self.layouts[place] = io_types, layouts

    def tactics(self, tactics: Iterable[int]) -> None:
        """Say the numbers of ways to compute."""
        self._tactics = [*tactics]

    def _combinations(self) -> list[tuple[DataType, ...]]:
        """The element types of all tensors, with layouts that have LINEAR among them."""
        linear = all("LINEAR" in _choices(entry or "LINEAR")[0] for entry in self.layouts)
        return _combined(self.io_types) if linear else []


def _parts(text: str) -> list[str | None]:
    return [s.strip() for s in text.split(",")]


def _choices(entry: str) -> tuple[list[str], bool]:
    """The names, and whether they are chosen together with those of other tensors."""
    together = "|" in entry
    if together and "*" in entry:
        raise ValueError(f"{entry!r} has both | and *")
    return [s.strip() for s in entry.split("|" if together else "*")], together


def _combined(entries: Sequence[str | None]) -> list[tuple[Any, ...]]:
    read = [_choices(entry or "FP32") for entry in entries]
    counts = {len(names) for names, together in read if together}
    if len(counts) > 1:
        raise ValueError(f"{list(entries)} have | between different numbers of types")
    found = []
    for turn in range(max(counts, default=1)):
        rows = [[names[turn]] if together else names for names, together in read]
        found += [tuple(_type(n) for n in names) for names in product(*rows)]
    return found


def _type(name: str) -> DataType:
    if name not in _NAMES:
        raise ValueError(f"{name!r} is no type; use one of {', '.join(_NAMES)}")
    return _NAMES[name]
