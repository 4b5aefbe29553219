"""The plugins that this process knows, by qualified name ("domain::type")."""

from __future__ import annotations

import re
import threading
import warnings
from typing import TYPE_CHECKING

from camshaft.errors import ModelError

if TYPE_CHECKING:
    from camshaft.ir.plugins.plugin import Plugin

_PLUGINS: dict[str, Plugin] = {}
_LOCK = threading.Lock()
SEPARATOR = "::"


def split(name: str) -> tuple[str, str]:
    """Domain and type of a qualified name; "" is the domain of a name without one."""
    domain, _, op_type = name.rpartition(SEPARATOR)
    return domain, op_type


def joined(domain: str, op_type: str) -> str:
    """The qualified name."""
    return f"{domain}{SEPARATOR}{op_type}" if domain else op_type


def register(plugin: Plugin) -> None:
    """Make a plugin known; one of the same name is replaced, as when a notebook's cell runs again.  One of another module
    is so with a warning, which points at what calls the caller."""
    with _LOCK:
        before = _PLUGINS.get(plugin.name)
        _PLUGINS[plugin.name] = plugin
    old, new = before.module if before else plugin.module, plugin.module
    if old != new and "__main__" not in (old, new):  # a script may import itself
        warnings.warn(
            f"plugin {plugin.name!r} of module {old} is replaced by that of module {new}; give one of them another name",
            stacklevel=3,
        )


def unregister(name: str) -> None:
    """Forget a plugin, if there is one of that name."""
    with _LOCK:
        _PLUGINS.pop(name, None)


def found(name: str) -> Plugin | None:
    """The plugin of that qualified name, None where there is none."""
    return _PLUGINS.get(name)


def plugin_named(name: str) -> Plugin:
    """The plugin of that qualified name; ModelError says how to get it."""
    plugin = _PLUGINS.get(name)
    if plugin is None:
        raise ModelError(
            f"plugin {name!r} is not registered in this process: import the module that registers it before loading"
        )
    return plugin


def registered() -> tuple[str, ...]:
    """The qualified names, sorted."""
    return tuple(sorted(_PLUGINS))


# -- functions by address ----------------------------------------------------------------------------------------------


def reference_of(plugin: str, kernel: str) -> str:
    """What engines call a plugin's function by address."""
    return f"{plugin}/{kernel}"


def symbol_of(reference: str) -> str:
    """The symbol that kernel code calls such a function by."""
    return "plugin." + re.sub(r"[^A-Za-z0-9.]", lambda m: f"_{ord(m[0]):x}_", reference)


def resolved(reference: str) -> int:
    """The address of a plugin's function in this process; ModelError says why there is none."""
    name, _, kernel = reference.rpartition("/")
    return plugin_named(name).address(kernel)
