"""`EngineInspector`: what an engine is made of, as text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from camshaft.program.program import HostCall, Program
from camshaft.program.view import View
from camshaft.runtime.script.engine import ScriptEngine
from camshaft.tensorrt.enums.builder import ProfilingVerbosity
from camshaft.tensorrt.enums.runtime import LayerInformationFormat
from camshaft.tensorrt.errors import Reporting, Reports
from camshaft.tensorrt.inspection.layers import layers as layers_of
from camshaft.tensorrt.network.params import member, whole
from camshaft.tensorrt.objects import Result

if TYPE_CHECKING:
    from camshaft.tensorrt.running.context import IExecutionContext
    from camshaft.tensorrt.running.engine import ICudaEngine

_NONE, _DETAILED = ProfilingVerbosity.NONE, ProfilingVerbosity.DETAILED
_JSON = LayerInformationFormat.JSON
_format = member(LayerInformationFormat)


class EngineInspector(Reporting, Result):
    """Describes an engine, as far as its `profiling_verbosity` permits."""

    _engine: ICudaEngine

    @classmethod
    def _made(cls, engine: ICudaEngine) -> EngineInspector:
        made = cls.__new__(cls)
        made._reports = Reports(engine._reports.logger, engine._reports)
        made._engine, made._context = engine, None
        return made

    @property
    def execution_context(self) -> IExecutionContext | None:
        """Kept: shapes that are shown are typical ones."""
        return self._context

    @execution_context.setter
    def execution_context(self, context: IExecutionContext | None) -> None:
        self._context = context

    def get_layer_information(self, layer_index: int, format: LayerInformationFormat) -> str:
        """A layer: an object in JSON where details are permitted, else its name.  "", and an error, of an index that is none."""
        layers, index = self._layers(), whole(layer_index, "layer_index")
        if not 0 <= index < len(layers):
            self._reports.error(f"layer_index={index}: the engine has {len(layers)} layers")
            return ""
        return _shown(layers[index], format)

    def get_engine_information(self, format: LayerInformationFormat) -> str:
        """All layers, and names of inputs and outputs."""
        layers = self._layers()
        names = list(self._engine._names)
        if _format(format, "format") == _JSON:
            return json.dumps({"Layers": layers, "Bindings": names}, indent=1)
        lines = [_shown(layer, format) for layer in layers]
        return "\n".join(["Layers:", *lines, "", "Bindings:", *names, ""])

    def _layers(self) -> list[Any]:
        verbosity = ProfilingVerbosity(self._engine._plan.verbosity)
        steps = self._engine._inspected["steps"]
        if verbosity == _NONE:
            return [""] * len(steps)
        if verbosity != _DETAILED:
            return [step["name"] for step in steps]
        plan = self._engine._plan
        return layers_of(steps, views_of(self._engine), plan.parameters, plan.origins)

    _context: IExecutionContext | None


def _shown(layer: Any, format: LayerInformationFormat) -> str:
    if _format(format, "format") == _JSON:
        return json.dumps(layer, indent=1)
    if isinstance(layer, str):
        return layer
    return ", ".join(f"{key}: {value}" for key, value in layer.items())


def views_of(engine: ICudaEngine) -> list[tuple[Sequence[View], Sequence[View]]]:
    """What each step reads and writes, in the order of `Engine.inspect`."""
    inner = engine._engine
    programs = (
        [p.program for p in inner.parts] if isinstance(inner, ScriptEngine) else [inner.program]
    )
    found = [views for program in programs for views in _views(program)]
    return found + [((), ())] * (len(engine._inspected["steps"]) - len(found))


def _views(program: Program) -> list[tuple[Sequence[View], Sequence[View]]]:
    found: list[tuple[Sequence[View], Sequence[View]]] = []
    for step in program.instructions:
        if isinstance(step, HostCall):
            read, written = step.inputs, step.outputs
        else:
            roles = [role for role, _ in program.kernels[step.kernel].args]
            read = tuple(v for v, r in zip(step.views, roles, strict=True) if r == "in")
            written = tuple(v for v, r in zip(step.views, roles, strict=True) if r == "out")
        found.append(([v for v in read if v], [v for v in written if v]))
    return found
