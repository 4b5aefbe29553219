"""Graphs out as standard ONNX that any runtime runs (`standard_onnx`, `write_model`)."""

from camshaft.frontends.onnx.standard.files import unwritable_model, weights_file, write_model
from camshaft.frontends.onnx.standard.model import standard_onnx

__all__ = ["standard_onnx", "unwritable_model", "weights_file", "write_model"]
