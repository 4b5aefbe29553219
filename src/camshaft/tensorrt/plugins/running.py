"""Plugins of TensorRT's API as one `camshaft.plugin`, whose attributes say which they are and what they hold.

The object that a network has stands for what it serializes to, as long as the process lives; in others, its creator makes it of
that.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.extents.extent import Extent
from camshaft.ir.op import REQUIRED
from camshaft.ir.plugins.asked import Loose, called
from camshaft.ir.plugins.plugin import Plugin, plugin
from camshaft.ir.plugins.values import from_text, to_text
from camshaft.ir.types import TensorType, type_of
from camshaft.tensorrt.enums.data import DataType
from camshaft.tensorrt.enums.plugins import PluginCapabilityType, TensorRTPhase
from camshaft.tensorrt.plugins.descriptions import description
from camshaft.tensorrt.plugins.expressions import IExprBuilder, shape_of
from camshaft.tensorrt.plugins.fields import fields_of, packed, unpacked
from camshaft.tensorrt.plugins.formats import accepted, data_type, dtype_of
from camshaft.tensorrt.plugins.generations import (
    Generation,
    SecondGeneration,
    ThirdGeneration,
    part,
)
from camshaft.tensorrt.plugins.registry import creator_named
from camshaft.tensorrt.plugins.v2 import IPluginV2

_ALIGNMENT = 256
_LIVE: dict[Identity, Any] = {}
"""Plugins of networks of this process."""
_ADAPTERS: dict[Identity, Adapter] = {}


class Identity(NamedTuple):
    """Which plugin: type, version and namespace of its creator, and what it serializes to, as text."""

    generation: int
    type: str
    version: str
    namespace: str
    state: str


def identity_of(given: Any, shape_inputs: Sequence[Sequence[int]]) -> Identity:
    """The identity of a plugin of a network, which stands for it from now on.  ModelError for what is none."""
    if isinstance(given, IPluginV2):
        data = given.serialize()
        data = data.encode() if isinstance(data, str) else bytes(data or b"")
        names = given.plugin_type, given.plugin_version, given.plugin_namespace
        made = _identity_by(2, names, to_text({"data": data}))
    else:
        core = part(given, PluginCapabilityType.CORE)
        fields = part(given, PluginCapabilityType.RUNTIME).get_fields_to_serialize()
        names = core.plugin_name, core.plugin_version, core.plugin_namespace
        state = {"fields": packed(fields_of(fields)), "shapes": tuple(map(tuple, shape_inputs))}
        made = _identity_by(3, names, to_text(state))
    if _LIVE.get(made) is not given:  # the last one that looks so
        _LIVE[made] = given
        _ADAPTERS.pop(made, None)
    return made


def _identity_by(generation: int, names: tuple[Any, Any, Any], state: str) -> Identity:
    kind, version, namespace = map(str, names)
    return Identity(generation, kind, version, namespace, state)


def _created(identity: Identity) -> Any:
    """The plugin, made by its creator."""
    creator = creator_named(identity.type, identity.version, identity.namespace)
    if creator is None:
        raise ModelError(
            f"plugin {identity.type!r}, version {identity.version!r}, namespace {identity.namespace!r}: the registry has no "
            "creator of it; register it (get_plugin_registry().register_creator) before the engine is loaded"
        )
    state = from_text(identity.state)
    if identity.generation == 2:
        made = creator.deserialize_plugin(identity.type, state["data"])
    else:
        fields = unpacked(state["fields"])
        made = creator.create_plugin(identity.type, fields, TensorRTPhase.RUNTIME)
    if made is None:
        raise ModelError(
            f"the creator of plugin {identity.type!r} makes none of what the engine holds"
        )
    return made


class Adapter:
    """Calls the methods of a plugin.  Runs of several contexts take turns."""

    def __init__(self, generation: Generation) -> None:
        self._plugin = generation
        self._lock = threading.Lock()
        self._configured: set[tuple[TensorType, ...]] = set()
        self._shapes: Any = None

    def inferred(self, types: Sequence[TensorType]) -> list[Loose]:
        """Types of the outputs; None for extents that hang on data."""
        kinds, shapes, _ = self._outputs(types)
        if tuple(types) not in self._configured:
            self._configured.add(tuple(types))
            wanted = [*(data_type(t.dtype) for t in types), *kinds]
            all_shapes = [*(t.shape for t in types), *shapes]
            self._plugin.configured(
                self._accepted(wanted, all_shapes, len(types)), all_shapes, len(types)
            )
        return [(dtype_of(k), tuple(s)) for k, s in zip(kinds, shapes, strict=True)]

    def _outputs(
        self, types: Sequence[TensorType]
    ) -> tuple[list[DataType], list[list[Extent | None]], tuple[Any, IExprBuilder]]:
        builder = IExprBuilder()
        kinds = self._plugin.types([data_type(t.dtype) for t in types])
        dims = self._plugin.shapes(types, builder)
        return kinds, [shape_of(d) for d in dims], (dims, builder)

    def _accepted(
        self, wanted: Sequence[DataType], shapes: Sequence[Sequence[Extent | None]], inputs: int
    ) -> list[DataType]:
        return accepted(wanted, lambda at, k: self._plugin.supports(at, k, shapes, inputs))

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The outputs."""
        with self._lock:
            return self._run(arrays)

    def _run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        types = [type_of(a) for a in arrays]
        kinds, _, (dims, builder) = self._outputs(types)
        upper = builder._upper()
        rooms = [[_number(d) for d in shape_of(d, upper)] for d in dims]
        wanted = [*(data_type(t.dtype) for t in types), *kinds]
        all_shapes = [*(t.shape for t in types), *rooms]
        taken = self._accepted(wanted, all_shapes, len(types))
        given = [
            np.array(a, dtype_of(k).numpy, order="C")
            for a, k in zip(arrays, taken[: len(types)], strict=True)
        ]
        results = self._memory(given, taken[len(types) :], rooms)
        self._enqueue(given, results, taken, all_shapes)
        found = {i: int(results[i].reshape(-1)[0]) for i in upper}
        made = []
        for result, d, kind in zip(results, dims, kinds, strict=True):
            shape = [_number(e) for e in shape_of(d, found)]
            flat = result.reshape(-1)[: prod(shape)]
            made.append(flat.reshape(shape).astype(dtype_of(kind).numpy, copy=False))
        return made

    def _memory(
        self, given: Sequence[np.ndarray], kinds: Sequence[DataType], rooms: Sequence[Sequence[int]]
    ) -> list[np.ndarray]:
        made = []
        for i, (kind, room) in enumerate(zip(kinds, rooms, strict=True)):
            source = self._plugin.aliased(i)
            made.append(given[source] if source >= 0 else np.zeros(room, dtype_of(kind).numpy))
        return made

    def _enqueue(
        self,
        given: Sequence[np.ndarray],
        results: Sequence[np.ndarray],
        kinds: Sequence[DataType],
        shapes: Sequence[Any],
    ) -> None:
        made = [description(k, s) for k, s in zip(kinds, shapes, strict=True)]
        inputs, outputs = made[: len(given)], made[len(given) :]
        key = tuple(kinds), tuple(map(tuple, shapes))
        if key != self._shapes:
            self._plugin.shaped(inputs, outputs)
            self._shapes = key
        scratch = np.empty(self._plugin.workspace(inputs, outputs) + _ALIGNMENT, np.uint8)
        address = -(-scratch.ctypes.data // _ALIGNMENT) * _ALIGNMENT
        ins, outs = ([a.ctypes.data for a in some] for some in (given, results))
        status = self._plugin.runtime.enqueue(inputs, outputs, ins, outs, address, 0)
        if isinstance(status, int) and status:
            raise ModelError(f"enqueue returned {status}, which says that it failed")


def _number(extent: Extent | None) -> int:
    if not isinstance(extent, int):
        raise ModelError("the plugin gives no size that is known when it runs")
    return extent


def _adapter(identity: Identity) -> Adapter:
    found = _ADAPTERS.get(identity)
    if found is None:
        held = _LIVE.get(identity)
        made = _created(identity) if held is None else held
        if identity.generation == 2:
            found = Adapter(SecondGeneration(made, ()))
        else:
            found = Adapter(ThirdGeneration(made, from_text(identity.state)["shapes"]))
        _ADAPTERS[identity] = found
    return found


def _identity(attrs: Mapping[str, Any]) -> Identity:
    return Identity(*(attrs[name] for name in Identity._fields))


def _infer(*types: TensorType, **attrs: Any) -> list[Loose]:
    identity = _identity(attrs)
    made: list[Loose] = called(identity.type, "inference", _adapter(identity).inferred, [types], {})
    return made


def _check(**attrs: Any) -> None:
    _adapter(_identity(attrs))


@plugin(
    "camshaft.tensorrt::Plugin",
    infer=_infer,
    attributes=dict.fromkeys(Identity._fields, REQUIRED),
    check=_check,
)
def run(*arrays: np.ndarray, **attrs: Any) -> list[np.ndarray]:
    """What the plugin's `enqueue` computes."""
    identity = _identity(attrs)
    made: list[np.ndarray] = called(identity.type, "enqueue", _adapter(identity).run, [arrays], {})
    return made


PLUGIN: Plugin = run
