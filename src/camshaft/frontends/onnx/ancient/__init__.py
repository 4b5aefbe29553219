"""Nodes older than opset 7, in the spelling of opset 7, which is the oldest that handlers read.

A node is respelled when it is imported: only then are the ranks known that broadcasting by `axis`
needs, also of tensors that a loop's body captures, and no weight is touched.  ONNX's own version
converter copies the weights, asks for declared shapes, and leaves out some of what changed.
"""

from camshaft.frontends.onnx.ancient.table import CHANGES, OLDEST_OPSET, modern

__all__ = ["CHANGES", "OLDEST_OPSET", "modern"]
