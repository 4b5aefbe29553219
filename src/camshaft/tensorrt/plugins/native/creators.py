"""Creators of TensorRT's own plugins."""

from __future__ import annotations

from typing import Any

from camshaft.ir.plugins.values import from_text
from camshaft.tensorrt.plugins.fields import fields_of
from camshaft.tensorrt.plugins.interfaces import IPluginCreator, IPluginCreatorV3One
from camshaft.tensorrt.plugins.native import batched, efficient, normalization, regions
from camshaft.tensorrt.plugins.native.base import Kind, NativeV2, NativeV3
from camshaft.tensorrt.plugins.registry import REGISTRY

KINDS: tuple[Kind, ...] = (*efficient.KINDS, *batched.KINDS, *normalization.KINDS, *regions.KINDS)


class _CreatorV2(IPluginCreator):
    """Of plugins of the second generation."""

    def __init__(self, of: Kind, version: str) -> None:
        super().__init__()
        self._of = of
        self.name, self.plugin_version = of.name, version
        self.field_names = of.field_names()

    def create_plugin(self, name: str, field_collection: Any) -> Any:
        """A plugin with these fields."""
        values = self._of.values(fields_of(field_collection))
        return NativeV2(self._of, self.plugin_version, self.plugin_namespace, values)

    def deserialize_plugin(self, name: str, serialized_plugin: bytes) -> Any:
        """The plugin of its attributes."""
        values = from_text(bytes(serialized_plugin).decode())
        return NativeV2(self._of, self.plugin_version, self.plugin_namespace, values)


class _CreatorV3(IPluginCreatorV3One):
    """Of plugins of the third generation."""

    def __init__(self, of: Kind, version: str) -> None:
        super().__init__()
        self._of = of
        self.name, self.plugin_version = of.name, version
        self.field_names = of.field_names()

    def create_plugin(self, name: str, field_collection: Any, phase: Any) -> Any:
        """A plugin with these fields."""
        return NativeV3(self._of, self._of.values(fields_of(field_collection)))


def init_libnvinfer_plugins(logger: Any, namespace: str) -> bool:
    """Register TensorRT's own plugins, as far as they are here, in a namespace: True.  Those of the namespace "" always are."""
    for kind in KINDS:
        for version, generation in kind.versions.items():
            made = (_CreatorV2 if generation == 2 else _CreatorV3)(kind, version)
            REGISTRY.register_creator(made, namespace)
    return True


init_libnvinfer_plugins(None, "")
