"""`tensorrt.plugin`: plugins of decorated functions, and what these are given."""

from camshaft.tensorrt.plugins.quick.calls import op
from camshaft.tensorrt.plugins.quick.combinations import AutoTuneCombination
from camshaft.tensorrt.plugins.quick.definitions import QuickPlugin as Plugin
from camshaft.tensorrt.plugins.quick.definitions import aot_impl, autotune, impl, register
from camshaft.tensorrt.plugins.quick.shapes import (
    KernelLaunchParams,
    Shape,
    ShapeExpr,
    ShapeExprs,
    SymExprs,
    SymInt32,
    SymIntExpr,
    SymIntExprs,
    cdiv,
    maximum,
    minimum,
)
from camshaft.tensorrt.plugins.quick.shapes import maximum as max
from camshaft.tensorrt.plugins.quick.shapes import minimum as min
from camshaft.tensorrt.plugins.quick.tensors import (
    SizeTensorDesc,
    Tensor,
    TensorDesc,
    from_shape_expr,
    size_tensor,
)

__all__ = [
    "AutoTuneCombination",
    "KernelLaunchParams",
    "Plugin",
    "Shape",
    "ShapeExpr",
    "ShapeExprs",
    "SizeTensorDesc",
    "SymExprs",
    "SymInt32",
    "SymIntExpr",
    "SymIntExprs",
    "Tensor",
    "TensorDesc",
    "aot_impl",
    "autotune",
    "cdiv",
    "from_shape_expr",
    "impl",
    "max",
    "maximum",
    "min",
    "minimum",
    "op",
    "register",
    "size_tensor",
]
