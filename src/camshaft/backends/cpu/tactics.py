"""All tactics of the CPU backend: the one place where a new tactic is listed.

The build asks every tactic in turn whether it supports a spec and times the candidates of those
that do; where two tie, the one further up wins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from camshaft.backends.base import Preferences, Tactic
from camshaft.backends.cpu.attention.tactic import Attention, RaggedAttention
from camshaft.backends.cpu.conv.amx import ConvAmx
from camshaft.backends.cpu.conv.depthwise.tactic import ConvDepthwiseI8
from camshaft.backends.cpu.conv.direct import ConvDirect, takes_any_strides
from camshaft.backends.cpu.conv.grouped import ConvGrouped
from camshaft.backends.cpu.matmul.amx import MatmulAmx
from camshaft.backends.cpu.matmul.blocked import MatmulBlocked
from camshaft.backends.cpu.matmul.tactic import Matmul
from camshaft.backends.cpu.matmul_nbits.bytes import MatmulNbitsBytes, MatmulNbitsFixed
from camshaft.backends.cpu.matmul_nbits.expand import MatmulNbitsExpanded
from camshaft.backends.cpu.matmul_nbits.floats import MatmulNbits
from camshaft.backends.cpu.movement.extents import Extents
from camshaft.backends.cpu.movement.iota import Iota
from camshaft.backends.cpu.movement.kept_rows import KeptRows
from camshaft.backends.cpu.movement.resample import Resample
from camshaft.backends.cpu.movement.tactics import Gather, Pad
from camshaft.backends.cpu.plugin.tactic import PLUGIN_TACTICS
from camshaft.backends.cpu.pointwise.tactic import Pointwise
from camshaft.backends.cpu.pool.whole import PoolGlobal
from camshaft.backends.cpu.pool.window import PoolWindow
from camshaft.backends.cpu.recurrent.tactic import Recurrent
from camshaft.backends.cpu.reduce.softmax import Softmax
from camshaft.backends.cpu.reduce.tactic import Reduce
from camshaft.backends.cpu.reduce.tally import Tally
from camshaft.backends.cpu.winograd.tactic import Winograd
from camshaft.ir.types import TensorType, i8, u8

TACTICS: tuple[Tactic[Any], ...] = (
    ConvAmx(),
    ConvDepthwiseI8(),
    ConvGrouped(),
    ConvDirect(),
    Winograd(),
    MatmulAmx(),
    Matmul(),
    MatmulBlocked(),
    MatmulNbitsExpanded(),
    MatmulNbitsFixed(),
    MatmulNbits(),
    MatmulNbitsBytes(),
    Attention(),
    RaggedAttention(),
    Recurrent(),
    PoolGlobal(),
    PoolWindow(),
    Reduce(),
    Resample(),
    Softmax(),
    Tally(),
    Pad(),
    Gather(),
    Iota(),
    KeptRows(),
    Extents(),
    Pointwise(),
    *PLUGIN_TACTICS,
)

STRIDED: Mapping[str, Callable[[int, TensorType], bool]] = {
    "conv": takes_any_strides,
    "matmul": lambda operand, type: operand == 1 and type.dtype in (i8, u8),
    "pointwise": lambda operand, type: True,
    "tally": lambda operand, type: True,
}
"""Op -> (operand, its type) -> whether its kernels read that operand through any strides."""

IN_ANY_ORDER = frozenset({"attention", "matmul", "ragged_attention", "recurrent"})
"""Ops whose kernels write results whose axes, but for the last, lie in any order."""

PREFERENCES = Preferences(
    takes_any_strides=lambda op, operand, type: op in STRIDED and STRIDED[op](operand, type),
    writes_any_order=lambda op: op in IN_ANY_ORDER,
)
