"""Half precision: weights, or weights and activations, of layers as bf16 or f16 (ADR 9).

Arithmetic stays in f32.  A layer reads its weights as halves; where its activations become halves too, they are
rounded by a cast in front of it, which the fusions take into whatever makes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from camshaft.ir import expr as E
from camshaft.ir.graph import Graph, Node, Tensor
from camshaft.ir.rebuild import Rebuild
from camshaft.ir.types import DType, bf16, f16, f32
from camshaft.ops import CONV, MATMUL, POINTWISE

HALF_PRECISIONS: Mapping[str, DType] = {"bf16": bf16, "fp16": f16}
"""Name of a precision -> its element type."""


@dataclass(frozen=True)
class Halving:
    """dtype: bf16 or f16.  activations: whether they are rounded too, or the weights alone."""

    dtype: DType
    activations: bool

    def __str__(self) -> str:
        name = next(n for n, d in HALF_PRECISIONS.items() if d == self.dtype)
        return name if self.activations else f"{name} weights"


def obstacle(node: Node, dtype: DType) -> str:
    """Why a layer cannot have weights of a half type, or ""."""
    if node.op not in (CONV, MATMUL):
        return f"its op ({node.op.name}) has no weights"
    x, w = node.args[:2]
    if x.type.dtype != f32 or x.is_const:
        return f"its input is {x.type}, not a float activation"
    if not w.is_const or w.type.dtype != f32:
        return "its weights are no float constants"
    if dtype == f16 and _largest(w) > f16.largest:
        return f"its weights reach {_largest(w):.3g}, beyond the {f16.largest:.0f} of FP16"
    return ""


def _largest(w: Tensor) -> float:
    finite = w.array[np.isfinite(w.array)]
    return float(np.abs(finite).max(initial=0.0))


def _rounded(w: Tensor, dtype: DType) -> np.ndarray:
    """The constant as halves, rounded to nearest even; read-only."""
    halves = w.array.astype(dtype.numpy)
    halves.flags.writeable = False
    return halves


def are_halves(w: Tensor, dtype: DType) -> bool:
    """Whether rounding leaves a constant as it is."""
    bits = w.array.view(np.uint32) & np.uint32((1 << (23 - dtype.fraction)) - 1)
    if bits.any():
        return False
    return bool(np.array_equal(_rounded(w, dtype).astype(np.float32), w.array, equal_nan=True))


def with_halves(graph: Graph, how: Mapping[str, Halving]) -> Graph:
    """The graph with some layers on halves.  how: output name of a layer without `obstacle` -> how."""
    rebuild, casts = Rebuild(graph), dict[tuple[str, DType], Tensor]()
    b = rebuild.builder

    def rounded(x: Tensor, dtype: DType, like: Node) -> Tensor:
        key = (x.name, dtype)
        if key not in casts:
            attrs = {"expr": E.cast(E.inp(0), dtype)}
            casts[key] = b.emit(
                POINTWISE, [x], attrs, like=like, name=f"{dtype} {x.name}", output=f"{x.name}:{dtype}"
            )  # fmt: skip
        return casts[key]

    for old in graph.nodes:
        node = rebuild.present(old)
        halving = how.get(old.outputs[0].name)
        if halving is None:
            rebuild.replace(old, rebuild.carry(node))
            continue
        x, w, *operands = node.args
        if halving.activations:
            x = rounded(x, halving.dtype, node)
        weights = b.constant(_rounded(w, halving.dtype), f"{w.name}:{halving.dtype}")
        rebuild.replace(
            old, b.add(node.op, [x, weights, *operands], node.attrs, like=node, name=node.name)
        )
    return rebuild.finish()


def exact_halves(graph: Graph) -> dict[str, Halving]:
    """Layers whose weights are halves already, as a model of half floats has them: to be stored so."""
    found: dict[str, Halving] = {}
    for node in graph.nodes:
        for dtype in HALF_PRECISIONS.values():
            if not obstacle(node, dtype) and are_halves(node.args[1], dtype):
                found.setdefault(node.output.name, Halving(dtype, activations=False))
    return found
