"""Values of inputs: those said before any call (`values=`), and those that say sizes in each call.

An input all of whose values are numbers is a constant.  Otherwise each element is a symbol, in a range,
whose size is read from the input when sizes are set: a shape that a Reshape takes, the limit of a
Range.  An integer input of which nothing is said becomes such a one if the import finds that a node
takes its elements, or what is computed from them, for sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from camshaft.errors import ConfigError
from camshaft.frontends.onnx.sizes.declared import Declared
from camshaft.frontends.onnx.sizes.open_extents import OpenExtents
from camshaft.frontends.onnx.sizes.usual_sizes import usual_size
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.known import MOST_KNOWN
from camshaft.ir.extents.said import Range, Said, Value, flat_values, is_fixed
from camshaft.ir.extents.sizes import is_static
from camshaft.ir.graph import Tensor
from camshaft.ir.types import DType, number_text, string


@dataclass
class InputValues:
    """What is known of inputs' values while one model is imported, perhaps several times.

    said: what the user says.  opened: integer inputs of which nothing is said, and which say sizes.
    """

    said: Mapping[str, Value] = field(default_factory=dict)
    opened: set[str] = field(default_factory=set)
    _asked: set[str] = field(default_factory=set)

    def of(self, name: str) -> Value:
        """What is said of the values of input `name`; None if nothing is."""
        return self.said.get(name)

    def has(self, name: str) -> bool:
        """Whether the values of input `name` are known, as numbers or as extents."""
        return name in self.said or name in self.opened

    def ask(self, inputs: Sequence[Tensor]) -> None:
        """A node takes what is computed from these inputs for sizes: open them in the next round."""
        self._asked.update(
            t.name
            for t in inputs
            if t.type.dtype.is_int
            and t.name not in self.said
            and t.type.rank <= 1
            and is_static(t.shape)
            and 0 < prod(t.shape) <= MOST_KNOWN
        )

    def learn(self) -> bool:
        """Open what was asked for; True if the model must be imported again."""
        fresh = self._asked - self.opened
        self.opened |= fresh
        self._asked.clear()
        return bool(fresh)


def said_elements(name: str, value: Value, dtype: DType, declared: Declared) -> list[Said] | None:
    """What is said of each element of input `name`; None if all are numbers, which fix it.

    declared: None takes the shape from `value`.  Three values, the least, the typical and the most,
    may be said of a tensor of one dimension less.  ConfigError if `value` says ranges of an input that
    cannot say sizes.
    """
    rank = _rank(value) if declared is None else len(declared)
    triple = value if isinstance(value, tuple) and len(value) == 3 else None
    if triple is not None and is_fixed(value) and declared is not None and _rank(value) == rank + 1:
        for number in flat_values(value):
            _check_holds(name, number, dtype)
        elements: list[Said] = _between(name, *(flat_values(v) for v in triple))
    elif is_fixed(value):
        return None
    else:
        elements = [e for e in flat_values(value) if _is_said(name, e)]  # type: ignore[misc]
    if rank == 0 and len(elements) != 1:
        raise ConfigError(f"values[{name!r}] says {len(elements)} values, the input is a scalar")
    if not dtype.is_int or rank > 1 or len(elements) > MOST_KNOWN:
        raise ConfigError(
            f"values[{name!r}] says ranges or names, and the input holds {dtype} of rank {rank}; only "
            f"integers of a scalar or a list of at most {MOST_KNOWN} say sizes, give others numbers"
        )
    return elements


def symbolic_values(
    name: str,
    elements: Sequence[Said],
    extents: OpenExtents,
    *,
    is_scalar: bool,
    least: int | None = None,
) -> tuple[Extent, ...]:
    """The elements of input `name` as extents; nothing said is a symbol of its own, of `least` at
    least."""
    shape = [e if isinstance(e, int) else None for e in elements]
    used = extents.elements.get(name, ())
    usual = used if len(used) == len(shape) else [usual_size(shape, i) for i in range(len(shape))]
    alone = is_scalar or len(shape) == 1
    return tuple(
        extents.element(name, None if alone else i, said, size, least)
        for i, (said, size) in enumerate(zip(elements, usual, strict=True))
    )


def _between(
    name: str, least: Sequence[Any], typical: Sequence[Any], most: Sequence[Any]
) -> list[Said]:
    """Least, typical and most of each element as it would be said."""
    found: list[Said] = []
    for low, middle, high in zip(least, typical, most, strict=True):
        if (
            not all(isinstance(v, int) for v in (low, middle, high))
            or not 0 <= low <= middle <= high
        ):
            raise ConfigError(
                f"values[{name!r}]: least {low}, typical {middle} and most {high} must be integers "
                "that ascend from 0 on"
            )
        found.append(low if low == high else str(Range(low, middle, high)))
    return found


def _is_said(name: str, element: object) -> bool:
    if (element is not None and not isinstance(element, int | str)) or isinstance(element, bool):
        raise ConfigError(f"values[{name!r}] holds {element!r}, which is no size")
    return True


def _rank(value: Value) -> int:
    return 1 + _rank(value[0]) if isinstance(value, tuple) and value else int(value == ())


def _check_holds(name: str, element: object, dtype: DType) -> None:
    if not dtype.takes(element):
        raise ConfigError(
            f"values[{name!r}] holds {number_text(element)}, and the input holds {dtype}"
        )


def fixed_array(name: str, value: Value, dtype: DType, declared: Declared) -> np.ndarray:
    """The values of input `name` as an array of its type; one number may stand for an array of one
    element, or for a list of any length that holds just this number.

    ConfigError where they are of another kind or range than `dtype`, or do not fit what is declared.
    """
    what = f"values[{name!r}]"
    if dtype == string:
        raise ConfigError(f"{what}: the input holds strings, which cannot be given a value")
    for element in flat_values(value):
        _check_holds(name, element, dtype)
    array = np.array(value, dtype.numpy)
    if declared is None:
        return array
    wanted = [d if isinstance(d, int) else None for d in declared]
    ones = all(d == 1 for d in wanted) or wanted == [None]
    if array.ndim == 0 and ones:
        return array.reshape((1,) * len(wanted))
    if array.ndim != len(wanted) or any(
        d is not None and d != given for d, given in zip(wanted, array.shape, strict=True)
    ):
        shape = [str(d) if d is not None else "?" for d in declared]
        raise ConfigError(
            f"{what} has the shape {list(array.shape)}, the model's input [{', '.join(shape)}]"
        )
    return array
