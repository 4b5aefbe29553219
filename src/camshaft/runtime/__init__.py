"""Running engines: engine file, contexts, profiler.

The last stage of the pipeline, and all that a machine needs which only runs engines: neither onnx
nor torch is imported, and llvmlite only when an engine's code is linked.
"""

from __future__ import annotations

from camshaft.runtime.context import ExecutionContext
from camshaft.runtime.engine import Engine
from camshaft.runtime.profile import LayerTime, Profile
from camshaft.runtime.script.context import ScriptContext
from camshaft.runtime.script.engine import ScriptEngine

__all__ = ["Engine", "ExecutionContext", "LayerTime", "Profile", "ScriptContext", "ScriptEngine"]
