"""ONNX operators in NumPy, for host steps: by the specification of each opset, without onnx.

`table.IMPLEMENTATIONS` lists them; `camshaft.ops.host` runs them.
"""
