"""Functions of users, called; what they give, taken or refused: ModelError names the plugin and the function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from camshaft.errors import CamshaftError, ModelError
from camshaft.ir.extents.extent import Dim, Extent
from camshaft.ir.extents.symbol import UndecidedExtent
from camshaft.ir.plugins.declared import element_type
from camshaft.ir.types import DType, TensorType

Loose = tuple[DType, tuple[Extent | None, ...]]
"""Element type and shape; an extent that hangs on data is None."""


def called(
    plugin: str,
    what: str,
    function: Callable[..., Any],
    given: Sequence[Any],
    attrs: Mapping[str, Any],
) -> Any:
    """What a function of that plugin gives.  what: the function, in words."""
    try:
        return function(*given, **attrs)
    except (CamshaftError, UndecidedExtent):
        raise
    except Exception as error:  # a user's function may raise anything
        raise ModelError(
            f"the {what} of plugin {plugin!r} failed: {type(error).__name__}: {error}"
        ) from error


def result_types(plugin: str, made: Any) -> list[Loose]:
    """What inference gives of each result."""
    several = isinstance(made, list) or (isinstance(made, tuple) and not _is_pair(made))
    return [_type(plugin, t) for t in (made if several else [made])]


def _type(plugin: str, made: Any) -> Loose:
    if isinstance(made, TensorType):
        return made.dtype, made.shape
    if not _is_pair(made):
        raise ModelError(
            f"the inference of plugin {plugin!r} gives {made!r:.80}, not a type, a pair (dtype, shape) or a list of these"
        )
    try:
        return element_type(made[0]), tuple(_extent(d) for d in made[1])
    except (ModelError, TypeError) as error:
        raise ModelError(
            f"the inference of plugin {plugin!r} gives {made!r:.80}: {error}"
        ) from error


def _extent(given: Any) -> Extent | None:
    if isinstance(given, np.integer):
        return int(given)
    if given is None or (isinstance(given, int | Dim) and not isinstance(given, bool)):
        return given
    raise ModelError(
        f"{given!r:.40} is no extent: these are ints, what is computed with extents of the inputs' shapes, and None where it "
        "hangs on data"
    )


def _is_pair(made: Any) -> bool:
    return (
        isinstance(made, tuple)
        and len(made) == 2
        and isinstance(made[1], list | tuple)
        and not isinstance(made[0], TensorType)
    )


def integer_ranges(plugin: str, made: Any, inputs: int) -> dict[int, tuple[Any, Any]]:
    """What `integers` gives: input number -> the least and the greatest integer.  inputs: how many there are."""
    try:
        ranges = {int(i): (low, high) for i, (low, high) in made.items()}
    except (AttributeError, TypeError, ValueError):
        ranges = {-1: (0, 0)}
    if not all(0 <= i < inputs for i in ranges):
        raise ModelError(
            f"integers of plugin {plugin!r} gives {made!r:.80}, not {{number of an input: (least, greatest)}} for the "
            f"{inputs} inputs"
        )
    return ranges


def sample_arrays(
    plugin: str, made: Any, types: Sequence[TensorType | None]
) -> list[np.ndarray | None]:
    """What `samples` gives: an array for each input, None for one that is left out."""
    given = list(made) if isinstance(made, list | tuple) else [made]
    if len(given) != len(types):
        raise ModelError(
            f"samples of plugin {plugin!r} gives {len(given)} arrays, and there are {len(types)} inputs"
        )
    return [_sample(plugin, i, a, t) for i, (a, t) in enumerate(zip(given, types, strict=True))]


def _sample(plugin: str, number: int, made: Any, type: TensorType | None) -> np.ndarray | None:
    if type is None:
        return None
    try:
        array = np.asarray(made)
        if array.shape == type.shape:
            return array.astype(type.dtype.numpy)
    except (TypeError, ValueError) as error:
        raise ModelError(f"samples of plugin {plugin!r}, input {number}: {error}") from error
    raise ModelError(
        f"samples of plugin {plugin!r} gives input {number} the shape {list(array.shape)}, and it is {type}"
    )
