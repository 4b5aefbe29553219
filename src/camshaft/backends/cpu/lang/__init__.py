"""The kernel language: a small typed layer over LLVM IR in which CPU tactics are written.

module   the frame: Module, phases, Arg
values   operators; arith: arithmetic, comparisons, lanes
memory   loads and stores; strided: those of lanes that lie apart
control  loops and branches with carried values
tiles    axes cut into tiles; matrix_tiles: the tile registers of AMX
convert  casts and rounding; small_floats: those of 16 bits and fewer
dot      dot products of bytes and of bf16 pairs
"""

from camshaft.backends.cpu.lang.control import Carry
from camshaft.backends.cpu.lang.module import Arg, FunctionBuilder, Module, Scalar
from camshaft.backends.cpu.lang.tiles import Part, Tile
from camshaft.backends.cpu.lang.values import Index, Number, Pointer, Value

__all__ = [
    "Arg",
    "Carry",
    "FunctionBuilder",
    "Index",
    "Module",
    "Number",
    "Part",
    "Pointer",
    "Scalar",
    "Tile",
    "Value",
]
