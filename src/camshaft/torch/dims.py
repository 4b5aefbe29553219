"""What sizes that vary are called: the names of torch.export's Dims."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

Names = Mapping[int, str]


def dims_of(
    model: Any, args: Sequence[Any], kwargs: Mapping[str, Any] | None, dynamic_shapes: Any
) -> list[Names]:
    """Of each flat argument of a module, axis -> the name of its Dim; {} where it has none.  Nothing of a program that is exported
    already."""
    if not dynamic_shapes or not isinstance(model, torch.nn.Module):
        return []
    kwargs = kwargs or {}
    given: Any
    if isinstance(dynamic_shapes, Mapping):
        bound = inspect.signature(model.forward).bind(*args, **kwargs).arguments
        order = [n for n in bound if n not in kwargs] + list(kwargs)
        shapes: Any = [dynamic_shapes.get(n) for n in order]
        given = [bound.get(n, kwargs.get(n)) for n in order]
    else:
        shapes = list(dynamic_shapes)
        given = [*args, *kwargs.values()]
    return [names for value, said in zip(given, shapes, strict=False) for names in _of(value, said)]


def _of(value: Any, said: Any) -> Iterator[Names]:
    """Of the leaves of one argument."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _of(inner, said.get(key) if isinstance(said, Mapping) else None)
    elif isinstance(value, list | tuple):
        many = said if isinstance(said, list | tuple) else [None] * len(value)
        for inner, one in zip(value, many, strict=False):
            yield from _of(inner, one)
    elif isinstance(value, torch.Tensor):
        sides = said.items() if isinstance(said, Mapping) else enumerate(said or ())
        named = ((axis, getattr(size, "__name__", None)) for axis, size in sides)
        yield {axis: name for axis, name in named if name and name.isidentifier()}
    else:
        yield {}
