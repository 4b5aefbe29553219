"""Half precision: weights, or weights and activations, of layers as bf16 or f16 (ADR 9).

Arithmetic stays in f32.  A layer reads its weights as halves; where its activations become halves too, they are
rounded by a cast in front of it, which the fusions take into whatever makes them.  Attention has no weights: its
products are of bf16, queries, keys and values come as halves from what computes them, or are rounded by its kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from camshaft.ir import expr as E
from camshaft.ir.constants import holds
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.rebuild import Rebuild
from camshaft.ir.types import DType, bf16, dtype_named, f16, f32
from camshaft.ops import ATTENTIONS, CONV, MATMUL, POINTWISE, RECURRENT, RESHAPE, SLICE, TRANSPOSE

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


def obstacle(node: Node, how: Halving) -> str:
    """Why a layer cannot become half that way, or ""."""
    dtype = how.dtype
    if node.op in ATTENTIONS:
        return _obstacle_of_attention(node, how)
    if node.op not in (CONV, MATMUL, RECURRENT):
        return f"its op ({node.op.name}) has no weights"
    x, w = node.args[:2]
    if x.type.dtype != f32 or x.is_const:
        return f"its input is {x.type}, not a float activation"
    if not w.is_const or w.type.dtype != f32:
        return "its weights are no float constants"
    if dtype == f16 and not holds(_fit_halves, [w], "weights are within the range of FP16"):
        return f"its weights reach {_largest(w):.3g}, beyond the {f16.largest:.0f} of FP16"
    return ""


def _obstacle_of_attention(node: Node, how: Halving) -> str:
    if node.attrs["products"] != "f32":
        return f"its products are of {node.attrs['products']!r} already"
    if how.dtype != bf16:
        return "attention has products of f32 and of bf16 only"
    return "" if how.activations else "attention has no weights"


def asked_for(node: Node, dtype: DType, *, activations: bool) -> Halving:
    """What it means for a layer to be half: of attention always the products, of recurrent cells the weights alone."""
    both = node.op in ATTENTIONS or (activations and node.op is not RECURRENT)
    return Halving(dtype, both)


def permitted_for(node: Node, how: Halving) -> Halving:
    """What a way of halving a graph means for a layer: recurrent cells have float states."""
    return Halving(how.dtype, how.activations and node.op is not RECURRENT)


def _largest(w: Tensor) -> float:
    finite = w.content[np.isfinite(w.content)]
    return float(np.abs(finite).max(initial=0.0))


def _fit_halves(w: np.ndarray) -> bool:
    return bool((np.abs(w[np.isfinite(w)]) <= f16.largest).all())


def has_sums_within(node: Node, most: float) -> bool:
    """Of a layer with constant weights: whether its outputs are within `most` where no input is beyond 1."""
    words = "sums of products are within the range of FP16"
    return holds(_are_sums_within, [node.args[1]], words, filters=node.op is CONV, most=most)


def _are_sums_within(weights: np.ndarray, filters: bool, most: float) -> bool:
    w = np.abs(weights.astype(np.float64))
    sums = w.sum(axis=tuple(range(1, w.ndim)) if filters else (-2,))
    return max(1.0, float(sums.max(initial=0.0))) <= most


def rounded_to(array: np.ndarray, dtype: str) -> np.ndarray:
    """An array as a float type, by its name, rounded to nearest even."""
    return array.astype(dtype_named(dtype).numpy)


def as_halves(b: GraphBuilder, w: Tensor, dtype: DType) -> Tensor:
    """The constant of weights as halves, rounded to nearest even."""
    return b.derived(rounded_to, [w], f"{w.name}:{dtype}", dtype=dtype.name)


def are_halves(w: Tensor, dtype: DType) -> bool:
    """Whether rounding leaves a constant as it is, and would whatever the weights that it comes of are."""
    if w.changes:
        return False
    array = w.content
    bits = array.view(np.uint32) & np.uint32((1 << (23 - dtype.fraction)) - 1)
    if bits.any():
        return False
    halves = rounded_to(array, dtype.name).astype(np.float32)
    return bool(np.array_equal(halves, array, equal_nan=True))


def with_halves(graph: Graph, how: Mapping[str, Halving]) -> Graph:
    """The graph with some layers on halves.  how: output name of a layer without `obstacle` -> how."""
    rebuild, casts = Rebuild(graph), dict[tuple[str, DType], Tensor]()
    b = rebuild.builder
    attended = _Attended(graph, how)

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
        if node.op in ATTENTIONS:
            inputs = [
                early if (early := attended.moved(t, rebuild, rounded)) else rebuild.get(t)
                for t in old.args[:3]
            ]
            attrs: dict[str, Attr] = {**node.attrs, "products": "bf16"}
            made = b.add(node.op, [*inputs, *node.args[3:]], attrs, like=node, name=node.name)
            rebuild.replace(old, made)
            continue
        x, w, *operands = node.args
        if halving.activations:
            x = rounded(x, halving.dtype, node)
        weights = as_halves(b, w, halving.dtype)
        rebuild.replace(
            old, b.add(node.op, [x, weights, *operands], node.attrs, like=node, name=node.name)
        )
    return rebuild.finish()


Rounded = Callable[[Tensor, DType, Node], Tensor]
"""(a tensor of the new graph, a half type, the node whose names the cast takes) -> the tensor so rounded."""
_MOVES = (RESHAPE, TRANSPOSE, SLICE)


class _Attended:
    """Queries, keys and values that whoever computes them can write as halves: nothing but attention reads them,
    behind reshapes, transposes and slices."""

    def __init__(self, graph: Graph, how: Mapping[str, Halving]) -> None:
        self.graph = graph
        self.attentions = {n for n in how if graph.producers[n].op in ATTENTIONS}
        self._made: dict[str, Tensor] = {}

    def moved(self, t: Tensor, rebuild: Rebuild, rounded: Rounded) -> Tensor | None:
        """What stands for `t` as bf16, the cast right behind what computes it; None where it is not so."""
        source = self.graph.producers.get(t.name)
        while source is not None and source.op in _MOVES:
            source = self.graph.producers.get(source.args[0].name)
        if source is None or not (source.op.anchors or source.op is POINTWISE):
            return None
        return self._moved(t, rebuild, rounded) if self._is_read_here(source.output) else None

    def _moved(self, t: Tensor, rebuild: Rebuild, rounded: Rounded) -> Tensor:
        move = self.graph.producers[t.name]
        if move.op not in _MOVES:
            return rounded(rebuild.get(t), bf16, move)
        if t.name not in self._made:
            before = self._moved(move.args[0], rebuild, rounded)
            self._made[t.name] = rebuild.builder.emit(
                move.op, [before], move.attrs, like=move, name=move.name, output=f"{t.name}:{bf16}"
            )
        return self._made[t.name]

    def _is_read_here(self, t: Tensor) -> bool:
        if t.type.dtype != f32 or any(t.name == out.name for out in self.graph.outputs):
            return False
        return all(
            all(t.name != other.name for other in node.args[3:])
            if node.op in ATTENTIONS and node.output.name in self.attentions
            else node.op in _MOVES and self._is_read_here(node.output)
            for node in self.graph.consumers.get(t.name, ())
        )


def exact_halves(graph: Graph) -> dict[str, Halving]:
    """Layers whose weights are halves already, as a model of half floats has them: to be stored so."""
    found: dict[str, Halving] = {}
    for node in graph.nodes:
        for dtype in HALF_PRECISIONS.values():
            if not obstacle(node, Halving(dtype, activations=False)) and are_halves(
                node.args[1], dtype
            ):
                found.setdefault(node.outputs[0].name, Halving(dtype, activations=False))
    return found
