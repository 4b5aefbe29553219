"""From an optimized graph to one of nodes that standard ONNX has."""
