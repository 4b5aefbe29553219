"""Which inputs of ONNX's operators say shapes: profiles tell their elements, as they do of layers made by hand."""

from __future__ import annotations

from onnx import NodeProto

_INPUTS: dict[tuple[int, ...], str] = {
    (0,): "ConstantOfShape Loop",
    (1,): "AffineGrid CenterCropPad DFT Expand OneHot Reshape Split Squeeze Tile TopK Unsqueeze "
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare",
    (2,): "MaxUnpool",
    (3,): "Resize",
    (1, 2): "Col2Im",
    (1, 3): "Pad",
    (0, 1, 2): "Range",
    (1, 2, 3, 4): "Slice",
}
_BY_OPERATOR = {op: indices for indices, ops in _INPUTS.items() for op in ops.split()}


def shape_inputs(node: NodeProto) -> tuple[int, ...]:
    """The indices of the inputs on whose elements the shapes of a node's results depend, some perhaps missing."""
    return () if node.domain not in ("", "ai.onnx") else _BY_OPERATOR.get(node.op_type, ())


def reads_shapes_only(node: NodeProto) -> bool:
    """Whether a node's results do not depend on the elements of what it reads."""
    return node.domain in ("", "ai.onnx") and node.op_type in ("Shape", "Size")
