"""Running engines: engine file, contexts, profiler.

The last stage of the pipeline, and all that a machine needs which only runs engines: neither onnx
nor torch is imported, and llvmlite only when an engine's code is linked.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from camshaft.runtime.context import ExecutionContext
from camshaft.runtime.engine import Engine
from camshaft.runtime.profile import LayerTime, Profile

if TYPE_CHECKING:
    from camshaft.runtime.script.context import ScriptContext
    from camshaft.runtime.script.engine import ScriptEngine

_LATE = {
    "ScriptContext": "camshaft.runtime.script.context",
    "ScriptEngine": "camshaft.runtime.script.engine",
}

__all__ = ["Engine", "ExecutionContext", "LayerTime", "Profile", "ScriptContext", "ScriptEngine"]


def __getattr__(name: str) -> Any:
    module = _LATE.get(name)
    if module is None:
        raise AttributeError(f"module 'camshaft.runtime' has no attribute {name!r}")
    return getattr(importlib.import_module(module), name)
