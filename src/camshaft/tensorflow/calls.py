"""Calls of a model: which value goes to which input."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from camshaft.errors import BindingError

Pair = tuple[Any, tf.TensorSpec]


@dataclass(frozen=True)
class Signature:
    """What a model is called with.

    positional, named: structures of specs, and of other values, which a call may leave out and must not change.
    named is sorted, which is how TensorFlow orders them; loaded signatures have them in any order.
    names: of the positional ones.  keras: whether it is a Keras model, which has one argument and switches such as training=.
    """

    positional: tuple[Any, ...]
    named: Mapping[str, Any]
    names: tuple[str, ...]
    keras: bool = False

    @property
    def specs(self) -> tuple[tf.TensorSpec, ...]:
        """Of the tensors of a call, flat."""
        structure = (self.positional, dict(self.named))
        return tuple(s for s in tf.nest.flatten(structure) if isinstance(s, tf.TensorSpec))

    def flat(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[tf.Tensor]:
        """The tensors of a call.  BindingError where it has another structure, other types or other shapes than the model takes."""
        positional, named = self._bound(tuple(args), dict(kwargs))
        wanted = (*self.positional, *self.named.values())
        given = (*positional, *(named[key] for key in self.named))
        names = (*self.names, *self.named)
        found: list[Pair] = []
        for value, want, name in zip(given, wanted, names, strict=True):
            found += _matched(value, want, name)
        return [_tensor(value, spec) for value, spec in found]

    def _bound(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """The arguments of a call, each in its place."""
        if self.keras:
            args, kwargs = self._without_switches(args, kwargs)
        if len([p for p in self.positional if _has_specs(p)]) == 1 and not self.named:
            args, kwargs = self._in_one(args, kwargs)
        if not self.positional and self.named and not kwargs:
            args, kwargs = (), self._by_name(args)
        places: dict[str, Any] = dict(zip(self.names, args, strict=False))
        twice = sorted(set(places) & set(kwargs))
        unknown = sorted(set(kwargs) - set(self.names) - set(self.named))
        places.update(kwargs)
        for name, value in (*zip(self.names, self.positional, strict=True), *self.named.items()):
            if name not in places and not _has_specs(value):
                places[name] = value
        missing = sorted({*self.names, *self.named} - set(places))
        if twice or unknown or missing or len(args) > len(self.names):
            raise BindingError(
                f"a call has the structure {_shown((args, kwargs))}; the model takes {self._shown()}"
            )
        return tuple(places[n] for n in self.names), {n: places[n] for n in self.named}

    def _without_switches(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """A call of a Keras model without what says how it is called; BindingError where engines cannot do that."""
        if kwargs.pop("training", None):
            raise BindingError("training is True; engines infer: leave it out, or call the model")
        if kwargs.pop("mask", None) is not None:
            raise BindingError("mask is given; engines take inputs only: compile a tf.function")
        return args, kwargs

    def _in_one(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """A call of a model of one argument that gives what is in it by name, or one by one."""
        wanted, name = self.positional[0], self.names[0]
        if kwargs and not args and name not in kwargs:
            return (kwargs,), {}
        if len(args) > 1 and isinstance(wanted, list | tuple) and len(args) == len(wanted):
            return (args,), kwargs
        return args, kwargs

    def _by_name(self, args: Sequence[Any]) -> dict[str, Any]:
        """Positional arguments, in the order of names, or one dictionary, for a signature that has names."""
        names = list(self.named)
        if len(args) == 1 and isinstance(args[0], Mapping):
            return dict(args[0])
        if len(args) == 1 and isinstance(args[0], list | tuple):
            args = args[0]
        if len(args) > len(names):
            raise BindingError(f"a call gives {len(args)} tensors; the model takes {names}")
        return dict(zip(names, args, strict=False))

    def _shown(self) -> str:
        return _shown((self.positional, dict(self.named)))


def _has_specs(value: Any) -> bool:
    return any(isinstance(v, tf.TensorSpec) for v in tf.nest.flatten(value))


def _matched(given: Any, wanted: Any, name: str) -> Iterator[Pair]:
    """Values and their specs, in the order of tf.nest.flatten."""
    if isinstance(wanted, tf.TensorSpec):
        yield _single(given, wanted, name), wanted
    elif isinstance(wanted, Mapping):
        _check_keys(given, sorted(wanted), name)
        for key in sorted(wanted):
            yield from _matched(given[key], wanted[key], f"{name}[{key!r}]")
    elif isinstance(wanted, list | tuple):
        if isinstance(given, Mapping):
            keys = [w.name if isinstance(w, tf.TensorSpec) else None for w in wanted]
            _check_keys(given, keys, name)
            given = [given[key] for key in keys]
        if not isinstance(given, list | tuple) or len(given) != len(wanted):
            raise BindingError(
                f"{name} has the structure {_shown(given)}; the model takes {_shown(wanted)}"
            )
        for i, (value, want) in enumerate(zip(given, wanted, strict=True)):
            yield from _matched(value, want, f"{name}[{i}]")
    elif given is not wanted and given != wanted:
        raise BindingError(
            f"{name} is {given!r}; the model was compiled for {wanted!r}: compile it for the other"
        )


def _single(given: Any, wanted: tf.TensorSpec, name: str) -> Any:
    """What is given for one tensor: itself, or what has it alone."""
    if isinstance(given, Mapping):
        _check_keys(given, [wanted.name], name)
        return given[wanted.name]
    alone = isinstance(given, list | tuple) and len(given) == 1
    if alone and len(getattr(given[0], "shape", ())) == wanted.shape.rank:
        return given[0]
    return given


def _check_keys(given: Any, keys: Sequence[Any], name: str) -> None:
    if not isinstance(given, Mapping) or set(given) != set(keys):
        raise BindingError(f"{name} has the structure {_shown(given)}; the model takes {keys}")


def _tensor(value: Any, spec: tf.TensorSpec) -> tf.Tensor:
    name = spec.name or "the input"
    if isinstance(value, tf.RaggedTensor | tf.SparseTensor):
        raise BindingError(f"{name} is a {type(value).__name__}; give a dense tensor")
    try:
        tensor = tf.convert_to_tensor(value, dtype=spec.dtype)
    except (TypeError, ValueError) as error:
        raise BindingError(f"{name}: {error}") from None
    if not spec.shape.is_compatible_with(tensor.shape):
        raise BindingError(f"{name} has the shape {tensor.shape}; the model takes {spec.shape}")
    return tensor


def _shown(structure: Any) -> str:
    def shown(value: Any) -> Any:
        return getattr(value, "name", None) or type(value).__name__

    return str(tf.nest.map_structure(shown, structure))
