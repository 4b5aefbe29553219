"""ONNX models in (`import_onnx`) and graphs out for looking at (`export_onnx`)."""

from camshaft.frontends.onnx.export import export_onnx
from camshaft.frontends.onnx.importer import Imported, import_model, import_onnx

__all__ = ["Imported", "export_onnx", "import_model", "import_onnx"]
