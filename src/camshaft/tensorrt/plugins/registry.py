"""The registry of creators."""

from __future__ import annotations

from typing import Any

from camshaft.tensorrt.errors import IErrorRecorder
from camshaft.tensorrt.objects import Result
from camshaft.tensorrt.plugins.interfaces import IPluginCreator, IPluginCreatorInterface

Key = tuple[str, str, str]
"""Type, version and namespace."""


def _key(creator: Any) -> Key:
    return str(creator.name), str(creator.plugin_version), str(creator.plugin_namespace)


class IPluginRegistry(Result):
    """Creators by type, version and namespace of their plugins."""

    _creators: dict[Key, Any]
    _resources: dict[str, tuple[Any, int]]
    _recorder: IErrorRecorder | None
    _search: bool

    @classmethod
    def _made(cls) -> IPluginRegistry:
        made = cls.__new__(cls)
        made._creators, made._resources = {}, {}
        made._recorder, made._search = None, True
        return made

    @property
    def plugin_creator_list(self) -> list[Any]:
        """Creators of plugins of the second generation."""
        return [c for c in self._creators.values() if isinstance(c, IPluginCreator)]

    @property
    def all_creators(self) -> list[Any]:
        """All creators."""
        return list(self._creators.values())

    @property
    def all_creators_recursive(self) -> list[Any]:
        """All creators, those of parents included; there are no parents."""
        return list(self._creators.values())

    def register_creator(self, creator: Any, plugin_namespace: str = "") -> bool:
        """Add a creator; False if there is one of its type, version and namespace.  TypeError for what is no creator."""
        if not isinstance(creator, IPluginCreatorInterface):
            raise TypeError(f"creator={creator!r} is no IPluginCreatorInterface")
        creator.plugin_namespace = plugin_namespace  # type: ignore[attr-defined]
        key = _key(creator)
        if key in self._creators:
            return False
        self._creators[key] = creator
        return True

    def deregister_creator(self, creator: Any) -> bool:
        """Remove a creator; whether it was there."""
        found = [key for key, c in self._creators.items() if c is creator]
        for key in found:
            del self._creators[key]
        return bool(found)

    def get_plugin_creator(self, type: str, version: str, plugin_namespace: str = "") -> Any:
        """A creator of plugins of the second generation; None: there is none."""
        found = self._creators.get((type, version, plugin_namespace))
        return found if isinstance(found, IPluginCreator) else None

    def get_creator(self, type: str, version: str, plugin_namespace: str = "") -> Any:
        """A creator; None: there is none."""
        return self._creators.get((type, version, plugin_namespace))

    @property
    def error_recorder(self) -> IErrorRecorder | None:
        """Takes errors."""
        return self._recorder

    @error_recorder.setter
    def error_recorder(self, recorder: IErrorRecorder | None) -> None:
        if recorder is not None and not isinstance(recorder, IErrorRecorder):
            raise TypeError(f"error_recorder={recorder!r} is no IErrorRecorder")
        self._recorder = recorder

    @property
    def parent_search_enabled(self) -> bool:
        """Kept: there are no parents."""
        return self._search

    @parent_search_enabled.setter
    def parent_search_enabled(self, enabled: bool) -> None:
        self._search = bool(enabled)

    def load_library(self, plugin_path: str) -> Any:
        """None: libraries of plugins hold code for GPUs."""
        return None

    def deregister_library(self, handle: Any) -> None:
        """Nothing: there are no libraries."""

    def acquire_plugin_resource(self, key: str, resource: Any) -> Any:
        """The resource of a key; a clone of `resource` if there is none yet."""
        held, count = self._resources.get(key, (None, 0))
        if held is None:
            held = resource.clone()
        self._resources[key] = held, count + 1
        return held

    def release_plugin_resource(self, key: str) -> bool:
        """Give a resource back, which is released when all have; whether there was one."""
        if key not in self._resources:
            return False
        held, count = self._resources.pop(key)
        if count > 1:
            self._resources[key] = held, count - 1
        else:
            held.release()
        return True


REGISTRY = IPluginRegistry._made()
"""The registry of the process."""


def creator_named(type: str, version: str, namespace: str) -> Any:
    """The creator, whatever releases call the method that looks for it; None: there is none."""
    return REGISTRY._creators.get((type, version, namespace))


def get_plugin_registry() -> IPluginRegistry:
    """The registry of the process."""
    return REGISTRY


def get_builder_plugin_registry(capability: Any) -> IPluginRegistry:
    """The registry of the process, for engines of any capability."""
    return REGISTRY
