"""How a constant comes of a model's weights, so that it can be made again when these change.

A `Source` is one weight of the model.  A `Recipe` is a function of constants with its plain parameters; since functions
are named (`module:function`, within this package) and parameters are attributes, a recipe can be stored in a file.
A constant has one of the two if it came of weights that may change (`GraphBuilder.source`), and code that looks at the
values of such a constant without saying what it makes of them (`Tensor.data`) is written down in the source's
`reads`: the engine then holds more of the weight than recipes say, and it cannot be exchanged.  Code that asks one
question of the values (`constants.holds`) leaves a `Condition`, which other weights must fulfil.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.op import Attr
from camshaft.ir.types import TensorType

PACKAGE = "camshaft."


@dataclass(frozen=True, eq=False)
class Source:
    """A weight of the model.

    value: in the model.  reads: where it was looked at, other than by recipes.  conditions: what was asked of it and
    is true, by the question.
    """

    name: str
    type: TensorType
    value: np.ndarray = field(repr=False)
    reads: dict[str, None] = field(default_factory=dict)
    conditions: dict[object, Condition] = field(default_factory=dict, repr=False)

    @property
    def sources(self) -> tuple[Source, ...]:
        """Itself."""
        return (self,)


@dataclass(frozen=True, eq=False)
class Recipe:
    """The `result`-th array that a function gives for constants, each a source, another recipe's, or an array.

    function: "module:name".  params: its keyword arguments, by name.
    """

    function: str
    inputs: tuple[Known | np.ndarray, ...]
    params: tuple[tuple[str, Attr], ...] = ()
    result: int = 0

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """The weights that it comes of, each once."""
        return sources_of(self.inputs)


Known = Source | Recipe


@dataclass(frozen=True, eq=False)
class Condition:
    """What the engine is right for alone.  question: its first element is the answer.  words: what must be true."""

    question: Recipe
    words: str


def recipe_of(
    function: Callable[..., Any],
    inputs: Sequence[Known | np.ndarray],
    params: Mapping[str, Attr],
    result: int = 0,
) -> Recipe | None:
    """The recipe of what a function gives; None where no input comes of weights that may change."""
    if not any(isinstance(i, Source | Recipe) for i in inputs):
        return None
    return Recipe(name_of(function), tuple(inputs), tuple(sorted(params.items())), result)


def sources_of(inputs: Iterable[Known | np.ndarray | None]) -> tuple[Source, ...]:
    """The weights that any of these come of, each once."""
    found = (i.sources for i in inputs if isinstance(i, Source | Recipe))
    return tuple(dict.fromkeys(s for sources in found for s in sources))


def note_read(known: Known) -> None:
    """Write down that the caller's caller looks at values."""
    frame = sys._getframe(2)
    where = f"{frame.f_globals.get('__name__', '?')}.{frame.f_code.co_name}:{frame.f_lineno}"
    for source in known.sources:
        source.reads[where] = None


def name_of(function: Callable[..., Any]) -> str:
    """What recipes call a function.  ModelError for one that cannot be found again by that name."""
    name = f"{function.__module__}:{function.__qualname__}"
    if not name.startswith(PACKAGE) or "<" in name:
        raise ModelError(
            f"{name} cannot be part of a recipe: it is no function of a module of ours"
        )
    return name


def function_named(name: str) -> Callable[..., Any]:
    """The function.  ModelError where there is none."""
    module, _, path = name.partition(":")
    if not module.startswith(PACKAGE):
        raise ModelError(f"recipe names {name!r:.80}, which is not part of camshaft")
    try:
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ModelError(f"recipe names {name!r:.80}, which this camshaft lacks") from error
    function: Callable[..., Any] = found
    return function


def called(
    function: Callable[..., Any], arrays: Sequence[np.ndarray], params: Mapping[str, Attr]
) -> tuple[np.ndarray, ...]:
    """What a recipe's function gives: one array or several."""
    made = function(*arrays, **params)
    return tuple(made) if isinstance(made, tuple | list) else (made,)
