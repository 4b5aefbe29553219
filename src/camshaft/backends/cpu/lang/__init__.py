"""The kernel language: a small typed layer over LLVM IR in which CPU tactics are written.

See `module` for the frame (Module, phases, Arg), `values` for operators, `memory` for loads and
stores, `strided` for those of lanes that lie apart, `control` for loops and branches with carried values, `tiles` for axes cut into tiles, `convert` for casts and rounding,
`dot` for the integer dot product.
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
