"""Creators of plugins, resources, and the parts of plugins of the third generation."""

from __future__ import annotations

from typing import Any

from camshaft.tensorrt.objects import Result
from camshaft.tensorrt.plugins.stored import Stored
from camshaft.tensorrt.running.allocators import IVersionedInterface


def missing(this: object, method: str) -> NotImplementedError:
    """What a method raises that a script has to override."""
    return NotImplementedError(f"{type(this).__name__} must override {method}")


class IPluginCapability(IVersionedInterface):
    """A part of a plugin."""


class IPluginCreatorInterface(IVersionedInterface):
    """Makes plugins of a type."""


class IPluginCreator(IPluginCreatorInterface):
    """Makes plugins of the second generation."""

    def __init__(self) -> None:
        pass

    name = Stored("Type of the plugins.")
    plugin_version = Stored("Their version.")
    plugin_namespace = Stored("Their namespace.", "")
    field_names = Stored("Their fields.", None)

    @property
    def tensorrt_version(self) -> int:
        """Version of the API that it was written for."""
        return 8601

    def create_plugin(self, name: str, field_collection: Any) -> Any:
        """A plugin with these fields; None: they make none."""
        raise missing(self, "create_plugin")

    def deserialize_plugin(self, name: str, serialized_plugin: bytes) -> Any:
        """The plugin that `serialize` gave these bytes of."""
        raise missing(self, "deserialize_plugin")


class IPluginCreatorV3One(IPluginCreatorInterface):
    """Makes plugins of the third generation."""

    def __init__(self) -> None:
        pass

    name = Stored("Type of the plugins.")
    plugin_version = Stored("Their version.")
    plugin_namespace = Stored("Their namespace.", "")
    field_names = Stored("Their fields.", None)

    def create_plugin(self, name: str, field_collection: Any, phase: Any) -> Any:
        """A plugin with these fields.  phase: whether for a network or of an engine."""
        raise missing(self, "create_plugin")


class IPluginCreatorV3Quick(IPluginCreatorInterface):
    """Makes plugins of decorated functions."""

    def __init__(self) -> None:
        pass

    name = Stored("Type of the plugins.")
    plugin_version = Stored("Their version.")
    plugin_namespace = Stored("Their namespace.", "")
    field_names = Stored("Their fields.", None)

    def create_plugin(
        self, name: str, namespace: str, field_collection: Any, phase: Any, quickPluginType: Any
    ) -> Any:
        """A plugin with these fields."""
        raise missing(self, "create_plugin")


class IPluginResource(IVersionedInterface):
    """What several plugins share."""

    def __init__(self) -> None:
        pass

    def release(self) -> None:
        """Give back what it holds."""
        raise missing(self, "release")

    def clone(self) -> Any:
        """What is registered instead of it."""
        raise missing(self, "clone")


class IPluginResourceContext(Result):
    """What a plugin that is attached to an execution context may use."""

    @classmethod
    def _made(cls) -> IPluginResourceContext:
        return cls.__new__(cls)

    @property
    def error_recorder(self) -> None:
        """None."""
        return None

    @property
    def gpu_allocator(self) -> None:
        """None: memory is the process's own."""
        return None
