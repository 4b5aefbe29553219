"""What a build made of a model, as a standard ONNX model for other runtimes."""

from __future__ import annotations

from onnx import ModelProto

from camshaft.errors import BuildError, ConfigError
from camshaft.frontends.onnx.standard import standard_onnx
from camshaft.passes.standard.form import standard_form
from camshaft.session import BuildSession


def exported(session: BuildSession) -> ModelProto:
    """The built graph in operators of standard ONNX: in INT8 as Q/DQ nodes with the weights, scales and biases of the
    engine, so that other runtimes give its answers and a build of it is the same engine.

    session: after `run`.
    ConfigError for a model that is several graphs, ModelError names a node that standard ONNX has no form for.
    """
    graph = session.final if session.quantized is None else session.quantized
    if graph is None:
        raise BuildError("there is nothing to export before run()")
    if session.whole is not None and session.whole.script is not None:
        raise ConfigError(
            "the model is several graphs (a branch, a loop, or a shape that hangs on data), of which one ONNX file "
            "cannot be exported; say what decides it (values=, shapes=), or leave the export out"
        )
    return standard_onnx(standard_form(graph))
