"""Op definitions by family.  `ALL_OPS` is the whole vocabulary of the graph, one explicit tuple."""

from __future__ import annotations

from collections.abc import Mapping

from camshaft.ir.extents.shape_values import EXTENTS
from camshaft.ir.op import OpDef
from camshaft.ops import (
    attention,
    contraction,
    elementwise,
    host,
    movement,
    nbits,
    plugin,
    pooling,
    quantize,
    recurrent,
    rowwise,
    shapes,
)
from camshaft.ops.attention import ATTENTION, ATTENTIONS, RAGGED_ATTENTION
from camshaft.ops.contraction import CONV, CONV_TRANSPOSE, MATMUL
from camshaft.ops.elementwise import POINTWISE
from camshaft.ops.host import HOST
from camshaft.ops.movement import (
    BROADCAST,
    CONCAT,
    GATHER,
    INTERLEAVE,
    PAD,
    RESHAPE,
    SLICE,
    TRANSPOSE,
)
from camshaft.ops.nbits import MATMUL_NBITS
from camshaft.ops.plugin import PLUGIN
from camshaft.ops.pooling import POOL, RESAMPLE
from camshaft.ops.quantize import DEQUANTIZE, QUANTIZE
from camshaft.ops.recurrent import RECURRENT
from camshaft.ops.rowwise import REDUCE, SOFTMAX, TALLY
from camshaft.ops.shapes import IOTA, KEPT_ROWS

ALL_OPS = (
    *contraction.OPS,
    *nbits.OPS,
    *attention.OPS,
    *recurrent.OPS,
    *pooling.OPS,
    *rowwise.OPS,
    *elementwise.OPS,
    *movement.OPS,
    *shapes.OPS,
    *quantize.OPS,
    *host.OPS,
    *plugin.OPS,
)

OPS_BY_NAME: Mapping[str, OpDef] = {op.name: op for op in ALL_OPS}

__all__ = [
    "ALL_OPS",
    "ATTENTION",
    "ATTENTIONS",
    "BROADCAST",
    "CONCAT",
    "CONV",
    "CONV_TRANSPOSE",
    "DEQUANTIZE",
    "EXTENTS",
    "GATHER",
    "HOST",
    "INTERLEAVE",
    "IOTA",
    "KEPT_ROWS",
    "MATMUL",
    "MATMUL_NBITS",
    "OPS_BY_NAME",
    "PAD",
    "PLUGIN",
    "POINTWISE",
    "POOL",
    "QUANTIZE",
    "RAGGED_ATTENTION",
    "RECURRENT",
    "REDUCE",
    "RESAMPLE",
    "RESHAPE",
    "SLICE",
    "SOFTMAX",
    "TALLY",
    "TRANSPOSE",
]
