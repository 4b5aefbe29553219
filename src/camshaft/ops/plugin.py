"""Operators of users: one op, which names the plugin and holds its attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ir.op import Attr, Attribute, Commutes, Int8Form, Integers, OpDef, Rounding
from camshaft.ir.plugins.plugin import Plugin
from camshaft.ir.plugins.registry import plugin_named
from camshaft.ir.plugins.values import from_text, to_text
from camshaft.ir.types import TensorType, f32, i8, type_of, u8

Attrs = Mapping[str, Any]


def _plugin(attrs: Attrs) -> Plugin:
    return plugin_named(attrs["plugin"])


def _spread(given: Sequence[Any], attrs: Attrs) -> list[Any]:
    """What was given for the inputs that are there, None for those left out."""
    rest = iter(given)
    return [next(rest) if there else None for there in attrs["given"]]


def _infer(types: Sequence[TensorType], attrs: Attrs) -> list[TensorType]:
    if len(types) != sum(attrs["given"]):
        raise ModelError(f"{len(types)} inputs are not those given: {attrs['given']}")
    return _plugin(attrs).inferred(_spread(types, attrs), values_of(attrs))


def _reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> list[np.ndarray]:
    plugin, values = _plugin(attrs), values_of(attrs)
    given = _spread(arrays, attrs)
    results = plugin.computed(given, values)
    types = [None if a is None else type_of(a) for a in given]
    wanted = plugin.inferred(types, values)
    if len(results) != len(wanted):
        raise ModelError(
            f"the reference of plugin {plugin.name!r} gives {len(results)} results, and its inference {len(wanted)}"
        )
    for number, (result, type) in enumerate(zip(results, wanted, strict=True)):
        if result.shape != type.shape:
            raise ModelError(
                f"the reference of plugin {plugin.name!r} gives result {number} the shape {list(result.shape)}, and its "
                f"inference {list(type.shape)}"
            )
    return [r.astype(t.dtype.numpy, copy=False) for r, t in zip(results, wanted, strict=True)]


def _rounding(types: Sequence[TensorType], attrs: Attrs) -> Rounding:
    return Rounding.EXACT if _plugin(attrs).moves else Rounding.SUMS


def _inner_rounding(arrays: Sequence[np.ndarray], attrs: Attrs) -> Sequence[np.ndarray] | None:
    tolerance = _plugin(attrs).tolerance
    if tolerance is None:
        return None
    results = _reference(arrays, attrs)
    return [np.full(r.shape, tolerance * _largest(r)) for r in results]


def _largest(a: np.ndarray) -> float:
    if a.dtype.kind not in "fV":
        return 0.0
    wide = np.abs(a.astype(np.float64))
    return float(np.max(wide, initial=0.0, where=np.isfinite(wide)))


def _integers(types: Sequence[TensorType], attrs: Attrs) -> Mapping[int, Integers]:
    valid = _plugin(attrs).valid_integers(_spread(types, attrs), values_of(attrs))
    place = np.cumsum(attrs["given"]) - 1  # among the inputs that are there
    return {int(place[i]): between for i, between in valid.items() if attrs["given"][i]}


def _samples(
    types: Sequence[TensorType], attrs: Attrs, rng: np.random.Generator
) -> Sequence[np.ndarray]:
    made = _plugin(attrs).sampled(_spread(types, attrs), values_of(attrs), rng)
    return [a for a in made if a is not None]


def _commutes(types: Sequence[TensorType], attrs: Attrs) -> bool:
    plugin = _plugin(attrs)
    if not plugin.moves:
        return False
    rest = tuple(t.dtype.name for t in types[1:])
    takes = plugin.types
    return takes is None or all((b.name, *rest) in takes for b in (u8, i8))


def _bytes(types: Sequence[TensorType], output: TensorType, attrs: Attrs) -> Sequence[int]:
    """The floats, where the plugin has a form on bytes."""
    if _plugin(attrs).int8 is None or output.dtype != f32:
        return ()
    return [i for i, t in enumerate(types) if t.dtype == f32]


def _require(attrs: Attrs) -> None:
    plugin = _plugin(attrs)
    if plugin.check is not None:
        plugin.check(**values_of(attrs))


def plugin_attrs(plugin: Plugin, values: Mapping[str, Any], given: Any) -> dict[str, Attr]:
    """The op's attributes for a plugin with these attributes.  given: 1 for each input that is there, 0 for others."""
    return {
        "plugin": plugin.name,
        "version": plugin.version,
        "values": to_text(plugin.complete(values)),
        "given": tuple(given),
    }


def values_of(attrs: Attrs) -> dict[str, Any]:
    """The plugin's attributes by name, from the op's."""
    return from_text(str(attrs["values"]))


def add_plugin(
    builder: GraphBuilder,
    plugin: Plugin,
    inputs: Sequence[Tensor | None],
    values: Mapping[str, Any],
    outputs: Sequence[str],
    name: str | None = None,
) -> tuple[Tensor, ...]:
    """Add a node of a plugin.  inputs: None where one is left out.  values: attributes by name.  outputs: names.

    ModelError names the node, and what does not fit.
    """
    attrs = plugin_attrs(plugin, values, [int(t is not None) for t in inputs])
    types = [None if t is None else t.type for t in inputs]
    with builder.constraints.learning(f"node {name or plugin.name!r}"):
        made = plugin.inferred(types, values_of(attrs))
    if len(outputs) > len(made):
        raise ModelError(f"plugin {plugin.name!r} has {len(made)} results, not {len(outputs)}")
    names = [*outputs, *(f"{outputs[0]}:{i}" for i in range(len(outputs), len(made)))]
    return builder.add(PLUGIN, inputs, attrs, name=name, outputs=names)


PLUGIN = OpDef(
    "plugin",
    "A user's operator (`camshaft.plugin`): its kernels, or its reference in Python where none fits.",
    _infer,
    _reference,
    {
        "plugin": Attribute("qualified name of the plugin"),
        "version": Attribute("of the plugin", 1, drawn=False),
        "values": Attribute("its attributes as JSON", "{}", drawn=False),
        "given": Attribute("1 for each input that is there, 0 for one left out", drawn=False),
    },
    "plugin",
    named_by="plugin",
    rounding=_rounding,
    inner_rounding=_inner_rounding,
    integers=_integers,
    samples=_samples,
    commutes=Commutes(_commutes, "where the plugin says that it moves elements"),
    int8=Int8Form(_bytes),
    requires=_require,
)

OPS = (PLUGIN,)
