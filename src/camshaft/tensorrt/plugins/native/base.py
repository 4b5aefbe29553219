"""What plugins of TensorRT's library have in common: they are layers of a network by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isnan
from typing import TYPE_CHECKING, Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.plugins.values import to_text
from camshaft.network import Network
from camshaft.network.tensor import Tensor
from camshaft.tensorrt.enums.plugins import PluginFieldType
from camshaft.tensorrt.plugins.fields import PluginField, PluginFieldCollection, fields_of
from camshaft.tensorrt.plugins.v2 import IPluginV2
from camshaft.tensorrt.plugins.v3 import IPluginV3

if TYPE_CHECKING:
    from camshaft.tensorrt.network.call import Call

Values = Mapping[str, Any]
Lower = Callable[[Network, Sequence[Tensor], Values], Sequence[Tensor]]
"""Adds layers; ModelError says what inputs or attributes cannot be."""
_FIELDS = {
    int: PluginFieldType.INT32,
    bool: PluginFieldType.INT32,
    float: PluginFieldType.FLOAT32,
    str: PluginFieldType.CHAR,
    tuple: PluginFieldType.FLOAT32,
}


@dataclass(frozen=True)
class Kind:
    """A plugin.  versions: by name, the generation.  fields: defaults by name; a tuple stands for several floats.
    limits: the least and the greatest value of fields that cannot hold any (inf: no greatest)."""

    name: str
    versions: Mapping[str, int]
    fields: Mapping[str, Any]
    outputs: int
    lower: Lower
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def require(self, values: Values) -> None:
        """ModelError names a field that holds what it cannot."""
        for name, value in values.items():
            low, high = self.limits.get(name, (-inf, inf))
            numbers = (
                value if isinstance(value, tuple) else () if isinstance(value, str) else (value,)
            )
            if any(isnan(n) for n in numbers) or not all(low <= n <= high for n in numbers):
                most = f"at least {low:g}" if high == inf else f"{low:g} to {high:g}"
                takes = most if name in self.limits else "a number"
                raise ModelError(f"{self.name}: {name}={value} must be {takes}")

    def values(self, given: PluginFieldCollection) -> dict[str, Any]:
        """Attributes as the defaults' kinds; fields of other names are left out, as TensorRT does."""
        made = dict(self.fields)
        made.update({f.name: _as(f, made[f.name]) for f in fields_of(given) if f.name in made})
        return made

    def field_names(self) -> PluginFieldCollection:
        """The fields, without elements."""
        kinds = ((name, type(value)) for name, value in self.fields.items())
        return PluginFieldCollection([PluginField(n, None, _FIELDS[kind]) for n, kind in kinds])


def _as(given: PluginField, default: Any) -> Any:
    data = given.data
    if isinstance(default, str):
        return bytes(data.astype(np.uint8)).decode("utf-8", "replace").rstrip("\0")
    if isinstance(default, tuple):
        return tuple(float(v) for v in data)
    return default if not data.size else type(default)(data[0])


class Native:
    """A plugin with its attributes."""

    _of: Kind
    _values: dict[str, Any]
    num_outputs: Any

    def _begin(self, of: Kind, values: dict[str, Any]) -> None:
        self._of, self._values = of, values
        self.num_outputs = of.outputs

    def _lowered(self, call: Call, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """Its layers."""
        self._of.require(self._values)
        return [*self._of.lower(call.net, inputs, self._values)]


class NativeV2(Native, IPluginV2):
    """One of the second generation."""

    def __init__(self, of: Kind, version: str, namespace: str, values: dict[str, Any]) -> None:
        self.plugin_type, self.plugin_version, self.plugin_namespace = of.name, version, namespace
        self._begin(of, values)

    def serialize(self) -> bytes:
        """The attributes, as text."""
        return to_text(self._values).encode()

    def clone(self) -> NativeV2:
        """A copy."""
        made = NativeV2.__new__(NativeV2)
        made.__dict__.update(self.__dict__)
        return made


class NativeV3(Native, IPluginV3):
    """One of the third generation."""

    def __init__(self, of: Kind, values: dict[str, Any]) -> None:
        IPluginV3.__init__(self)
        self._begin(of, values)

    def get_capability_interface(self, type: Any) -> Any:
        """The plugin."""
        return self

    def clone(self) -> NativeV3:
        """A copy."""
        return NativeV3(self._of, dict(self._values))
