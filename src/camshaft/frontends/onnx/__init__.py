"""ONNX models in (`import_onnx`) and graphs out for looking at (`export_onnx`)."""

from camshaft.frontends.onnx.importer import import_onnx

__all__ = ["import_onnx"]
