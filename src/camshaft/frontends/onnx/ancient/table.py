"""What became of each operator that opsets 2 to 7 changed: every version of it, and how it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import onnx

from camshaft.frontends.onnx.ancient import respelling
from camshaft.frontends.onnx.ancient.respelling import SPELLING, respelled
from camshaft.frontends.onnx.context import NodeContext

OLDEST_OPSET = SPELLING
"""The oldest spelling of operators that the handlers read (NumPy's broadcasting came with it)."""

Change = Callable[[NodeContext], NodeContext]
"""The node as opset 7 spells it; ModelError where it means what no later opset can say."""

_IN_PLACE = [
    "Abs",
    "Ceil",
    "Clip",
    "Elu",
    "Exp",
    "Floor",
    "HardSigmoid",
    "InstanceNormalization",
    "LeakyRelu",
    "Log",
    "Max",
    "Mean",
    "Min",
    "Neg",
    "Reciprocal",
    "Relu",
    "Selu",
    "Sigmoid",
    "Sqrt",
    "Sum",
    "Tanh",
]
"""Version 6 took away `consumed_inputs`, a permission to reuse memory, and changed defaults of Selu."""

_ARITHMETIC = ("Add", "Sub", "Mul", "Div")
_COMPARISONS = ("And", "Or", "Xor", "Equal", "Greater", "Less", "Pow")

CHANGES: Mapping[tuple[str, int], Change] = {
    **{(op_type, 1): respelled for op_type in _IN_PLACE},
    **{(op_type, since): respelling.aligned for op_type in _ARITHMETIC for since in (1, 6)},
    **{(op_type, 1): respelling.aligned for op_type in _COMPARISONS},
    ("AveragePool", 1): respelled,  # 7 added count_include_pad
    ("BatchNormalization", 1): respelling.batch_normalization,
    ("BatchNormalization", 6): respelling.batch_normalization,
    ("Cast", 1): respelling.cast,
    ("Concat", 1): respelling.concat,
    ("Dropout", 1): respelling.dropout,
    ("Dropout", 6): respelling.dropout,
    ("GRU", 1): respelling.recurrent,
    ("GRU", 3): respelling.recurrent,
    ("Gemm", 1): respelling.gemm,
    ("Gemm", 6): respelling.gemm,
    ("GlobalLpPool", 1): respelling.lp_pool,
    ("LSTM", 1): respelling.recurrent,
    ("LpPool", 1): respelling.lp_pool,
    ("PRelu", 1): respelling.prelu,
    ("PRelu", 6): respelling.prelu,
    ("Pad", 1): respelling.pad,
    ("RNN", 1): respelling.recurrent,
    ("Reshape", 1): respelling.reshape,
    ("Selu", 1): respelling.selu,
    ("Split", 1): respelling.split,
    ("Tile", 1): respelling.tile,
    ("Upsample", 1): respelling.upsample,
}
"""(operator, version of its schema) -> how the node is respelled, for every version before opset 7 that
opset 7 does not have any more."""


def modern(ctx: NodeContext) -> NodeContext:
    """A node of ONNX's own domain as opset 7 spells it; one of opset 7 or later as it is.

    ModelError where it means what no later opset can say, or contradicts itself.
    """
    op_type = ctx.proto.op_type
    is_old = not ctx.domain and ctx.opset < OLDEST_OPSET
    if not is_old or not onnx.defs.has(op_type, ctx.opset, ""):
        return ctx
    since = onnx.defs.get_schema(op_type, ctx.opset, "").since_version
    change = CHANGES.get((op_type, since))
    if change is None:
        return replace(ctx, opset=OLDEST_OPSET)
    with ctx.builder.scope(ctx.name):
        return change(ctx)
