"""Plugins of users as operators that run between graphs."""

from __future__ import annotations

from collections.abc import Sequence

from camshaft.ir.plugins.registry import found, joined, plugin_named
from camshaft.ops.hosted.call import Call, Function, Value


def plugin_function(domain: str, op_type: str) -> Function | None:
    """The function that runs an operator that is a plugin, None where it is none."""
    name = joined(domain, op_type)
    if found(name) is None:
        return None

    def run(call: Call) -> Sequence[Value]:
        plugin = plugin_named(name)
        arrays = [call.given(i) for i in range(len(call.inputs))]
        return plugin.computed(arrays, plugin.complete(call.attrs))

    return run
