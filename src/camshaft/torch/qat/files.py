"""A trained module as an ONNX file with Q/DQ nodes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn
from torch.export import ExportedProgram

from camshaft.errors import ConfigError, ModelError
from camshaft.frontends.onnx.standard import standard_onnx
from camshaft.frontends.onnx.standard.files import write_model
from camshaft.frontends.torch.importer import import_program
from camshaft.passes.pipeline import optimize
from camshaft.passes.standard.form import standard_form
from camshaft.torch.dims import dims_of
from camshaft.torch.engines import exported
from camshaft.torch.quantizers import quantizers
from camshaft.torch.recurrent import WHOLE_OF


def export(
    model: nn.Module,
    example: Sequence[Any],
    path: str | os.PathLike[str],
    *,
    kwargs: Mapping[str, Any] | None = None,
    dynamic_shapes: Any = None,
) -> Path:
    """Write a trained module as an ONNX model of opset 21, with QuantizeLinear and DequantizeLinear nodes; batch norms are folded.

    model: what `prepare` made, in evaluation mode.  example, kwargs, dynamic_shapes: as for `camshaft.torch.export`.
    `camshaft.build(path, precision={"int8"})` answers as the module does in evaluation, but for the order of float sums.
    Raises ModelError, also for recurrent layers, which files do not hold, and ConfigError, also where the file cannot be written.
    """
    if not isinstance(model, nn.Module) or not quantizers(model):
        raise ConfigError("the module has no quantizers: give what qat.prepare made")
    dims = dims_of(model, example, kwargs, dynamic_shapes)
    read = exported(model, example, kwargs, dynamic_shapes)
    _refuse_recurrent(read)
    program = import_program(read, dims)
    graph = optimize(program.imported.graphs[0], level=1)
    target = Path(path)
    write_model(standard_onnx(standard_form(graph)), target)
    return target


def _refuse_recurrent(program: ExportedProgram) -> None:
    for node in program.graph.nodes:
        if node.op == "call_function" and node.target in WHOLE_OF:
            stack = list((node.meta.get("nn_module_stack") or {}).values())
            raise ModelError(
                f"{(str(stack[-1][0]) if stack else '') or node.name!r} is a recurrent layer, which the exported file cannot hold: make "
                "an engine of the module by camshaft.torch.compile, or camshaft.torch.export"
            )
