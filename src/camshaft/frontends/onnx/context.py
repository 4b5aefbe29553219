"""What a handler sees of one ONNX node: its inputs as tensors, its attributes, ways to emit ops.

Handlers (the `handlers` package) turn one ONNX node into canonical ops through a `NodeContext`.
`step` emits an op whose result is only an intermediate; `result` emits the op that makes the
node's own output and so carries the ONNX tensor's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Protocol, TypeVar

import numpy as np
import onnx

from camshaft.errors import ModelError
from camshaft.ir import expr as E
from camshaft.ir.expr import Expr
from camshaft.ir.graph import GraphBuilder, Node, Tensor
from camshaft.ir.op import Attr, Attrs, OpDef
from camshaft.ir.sizes import typical
from camshaft.ir.types import DType, Shape, f32
from camshaft.ops import DEQUANTIZE, POINTWISE, RESHAPE, TRANSPOSE

MOST_ELEMENTS = 2**31
MOST_FOLDED = 2**29
"""Elements of the largest tensor, and of the largest one that is computed while importing."""

Results = Tensor | Sequence[Tensor]


class SubgraphImporter(Protocol):
    """Imports a graph in place, its inputs bound to tensors, and returns its outputs.

    opsets: those the graph is written in, where not the ones of the node it belongs to.
    """

    def __call__(
        self,
        graph: onnx.GraphProto,
        bound: Mapping[str, Tensor],
        opsets: Mapping[str, int] | None = None,
    ) -> Sequence[Tensor]: ...


V = TypeVar("V")


@dataclass
class NodeContext:
    """One ONNX node on its way into the graph.

    proto: the node.  name: its name, or its first output's.  opset: version of its domain.
    inputs: its inputs as tensors, None where an optional input is left out.
    reserved: names of all tensors of the model, which intermediates must not take.
    kept: those of them that may name a result; others (of inner graphs) get the node's name before.
    narrow: ONNX names of tensors of fewer than 8 bits (held one value to a byte) and their types.
    subgraph: imports a branch or loop body in place.
    """

    builder: GraphBuilder
    proto: onnx.NodeProto
    name: str
    opset: int
    inputs: tuple[Tensor | None, ...]
    reserved: frozenset[str]
    kept: frozenset[str]
    narrow: dict[str, int]
    subgraph: SubgraphImporter

    # -- inputs ------------------------------------------------------------------------------

    def has(self, index: int) -> bool:
        """Whether input `index` is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def arg(self, index: int) -> Tensor:
        """Input `index`; ModelError when it is missing."""
        tensor = self.inputs[index] if index < len(self.inputs) else None
        if tensor is None:
            raise ModelError(f"input number {index} is missing")
        return tensor

    def const(self, index: int, what: str) -> np.ndarray | None:
        """The array of constant input `index`, None when the input is left out.

        ModelError, saying that `what` must be constant, when it is computed from the model's inputs.
        """
        if not self.has(index):
            return None
        tensor = self.arg(index)
        if tensor.data is None:
            raise ModelError(
                f"its {what} ({tensor.name!r}) depends on the model's input data; "
                "only a constant is supported"
            )
        return tensor.data

    def const_ints(self, index: int, what: str) -> tuple[int, ...] | None:
        """Constant input `index` as ints, None when it is left out."""
        array = self.const(index, what)
        return None if array is None else tuple(int(v) for v in array.reshape(-1))

    def wants(self, index: int) -> bool:
        """Whether output `index` is named, so that somebody may read it."""
        return index < len(self.proto.output) and bool(self.proto.output[index])

    # -- attributes --------------------------------------------------------------------------

    def _attr(self, name: str, kind: type[V] | tuple[type, ...], default: V | None) -> V | None:
        for attribute in self.proto.attribute:
            if attribute.name == name:
                value = onnx.helper.get_attribute_value(attribute)
                if isinstance(value, bytes):
                    value = value.decode("utf-8", "replace")
                if not isinstance(value, kind):
                    raise ModelError(f"attribute {name!r} has the wrong type: {value!r}")
                return value  # type: ignore[return-value]
        return default

    def attr_int(self, name: str, default: int = 0) -> int:
        """An integer attribute."""
        return self._attr(name, int, default)  # type: ignore[return-value]

    def attr_float(self, name: str, default: float = 0.0) -> float:
        """A float attribute."""
        return self._attr(name, float, default)  # type: ignore[return-value]

    def attr_str(self, name: str, default: str = "") -> str:
        """A string attribute."""
        return self._attr(name, str, default)  # type: ignore[return-value]

    def attr_ints(self, name: str) -> tuple[int, ...] | None:
        """A list of ints, None when absent."""
        value = self._sequence(name)
        return None if value is None else tuple(int(v) for v in value)

    def attr_floats(self, name: str) -> tuple[float, ...] | None:
        """A list of floats, None when absent."""
        value = self._sequence(name)
        return None if value is None else tuple(float(v) for v in value)

    def _sequence(self, name: str) -> Sequence[float] | None:
        for attribute in self.proto.attribute:
            if attribute.name == name:
                return list(attribute.ints) or list(attribute.floats)
        return None

    def ints_or_input(self, name: str, index: int) -> tuple[int, ...] | None:
        """Ints that older opsets give as attribute `name` and newer ones as input `index`."""
        given = self.attr_ints(name)
        return given if given is not None else self.const_ints(index, name)

    # -- emitting ----------------------------------------------------------------------------

    def _free(self, base: str) -> str:
        while base in self.reserved:
            base += "'"
        return base

    def output_name(self, out: int = 0) -> str:
        """The name in the graph of output number `out`."""
        name = self.proto.output[out]
        return name if name in self.kept else self._free(f"{self.name}:{name}")

    def constant(self, array: np.ndarray | np.generic, what: str) -> Tensor:
        """A new constant, named after the node and `what` it is."""
        return self.builder.constant(array, self._free(f"{self.name}:{what}"))

    def emit(
        self,
        op: OpDef,
        inputs: Sequence[Tensor | None],
        attrs: Attrs,
        *,
        last: bool,
        out: int = 0,
    ) -> Tensor:
        """Emit `op`, as the node's output number `out` when `last`, else for an intermediate."""
        name = self.output_name(out) if last else self._free(f"{self.name}:{op.name}")
        _check_size(op, inputs, attrs)
        return self.builder.emit(op, inputs, attrs, name=self.name, output=name)

    def step(self, op: OpDef, inputs: Sequence[Tensor | None], **attrs: Attr) -> Tensor:
        """Emit `op` for an intermediate value."""
        return self.emit(op, inputs, attrs, last=False)

    def result(self, op: OpDef, inputs: Sequence[Tensor | None], **attrs: Attr) -> Tensor:
        """Emit `op` for the node's first output."""
        return self.emit(op, inputs, attrs, last=True)

    def pointwise(self, expr: Expr, *inputs: Tensor, last: bool = True) -> Tensor:
        """Emit an elementwise expression, as the node's result when `last`.

        Its f32 literals take the type of the operands where that is another one.
        """
        kinds = {t.type.dtype for t in inputs}
        if len(kinds) == 1:
            expr = retyped(expr, kinds.pop())
        if expr == E.inp(0):
            return inputs[0]
        return self.emit(POINTWISE, inputs, {"expr": expr}, last=last)

    def cast(self, x: Tensor, dtype: DType, *, last: bool = False) -> Tensor:
        """`x` in another element type by ONNX's rules; x itself where it has that type."""
        if x.type.dtype == dtype:
            return x
        expr = converted(E.inp(0), x.type.dtype, dtype)
        return self.emit(POINTWISE, [x], {"expr": expr}, last=last)

    def reshape(self, x: Tensor, shape: Sequence[int], *, last: bool = False) -> Tensor:
        """`x` in another shape; x itself where it has that shape.

        A dequantized constant stays one, unless its scales lie along an axis that the shape divides.
        """
        if x.shape == tuple(shape):
            return x
        made = self._dequantized_constant(x)
        if made is not None:
            data, scale, zero = made.args
            axis = _positive(made.attrs["axis"], x.type.rank) if scale.type.rank else 0
            kept = [i for i, d in enumerate(shape) if _stays(x.shape, axis, shape[:i], d)]
            if kept or not scale.type.rank:
                moved = self.step(RESHAPE, [data], shape=tuple(shape))
                attrs = {"axis": kept[0] if kept else 0}
                return self.emit(DEQUANTIZE, [moved, scale, zero], attrs, last=last)
        return self.emit(RESHAPE, [x], {"shape": tuple(shape)}, last=last)

    def transpose(self, x: Tensor, perm: Sequence[int], *, last: bool = False) -> Tensor:
        """`x` with permuted axes; x itself where they stay.

        A dequantized constant stays one: the stored integers are permuted.
        """
        perm = tuple(perm)
        if perm == tuple(range(x.type.rank)):
            return x
        made = self._dequantized_constant(x)
        if made is not None:
            data, scale, zero = made.args
            axis = perm.index(_positive(made.attrs["axis"], x.type.rank))
            moved = self.step(TRANSPOSE, [data], perm=perm)
            return self.emit(DEQUANTIZE, [moved, scale, zero], {"axis": axis}, last=last)
        return self.emit(TRANSPOSE, [x], {"perm": perm}, last=last)

    def _dequantized_constant(self, x: Tensor) -> Node | None:
        """The dequantize node that makes `x` of constants, if that is how it is made."""
        made = self.builder.producer(x)
        if made is None or made.op is not DEQUANTIZE or not all(t.is_const for t in made.args):
            return None
        return made

    def column(self, vector: Tensor, rank: int) -> Tensor:
        """A per-channel vector [C] as [C,1,...] that broadcasts to axis 1 of a rank-`rank` tensor."""
        return self.reshape(vector, (vector.type.size, *([1] * (rank - 2))))


Handler = Callable[[NodeContext], Results]


def _check_size(op: OpDef, inputs: Sequence[Tensor | None], attrs: Attrs) -> None:
    """Refuse results so large that computing them, at build time or later, cannot be meant."""
    present = [t for t in inputs if t is not None]
    folds = op.folds and all(t.is_const for t in present)
    limit = MOST_FOLDED if folds else MOST_ELEMENTS
    for t in op.infer([t.type for t in present], op.complete(attrs)):
        if typical(t.size) > limit:
            raise ModelError(
                f"{'a constant' if folds else 'a result'} of type {t} has more than {limit} "
                "elements; the shapes or attributes cannot be right"
            )


def _positive(axis: object, rank: int) -> int:
    value = int(axis)  # type: ignore[call-overload]
    return int(value + rank if value < 0 else value)


def _stays(shape: Shape, axis: int, before: Sequence[int], extent: int) -> bool:
    """Whether axis `axis` of `shape` is the axis of `extent` behind the axes `before`."""
    return extent == shape[axis] and prod(before) == prod(shape[:axis])


def retyped(expr: Expr, dtype: DType) -> Expr:
    """`expr` with its f32 literals as literals of `dtype`; ModelError if one has no such value."""
    if dtype in (f32,) or dtype.kind == "s":
        return expr
    done: dict[Expr, Expr] = {}

    def walk(x: Expr) -> Expr:
        if x.op == "const" and x.dtype is f32 and dtype.kind != "b":
            value = float(x.value or 0)
            if dtype.is_int and not value.is_integer():
                raise ModelError(f"works on floats, not on {dtype.name}")
            return E.const(value, dtype)
        if not x.args:
            return x
        if x not in done:
            done[x] = Expr(x.op, tuple(walk(a) for a in x.args), x.value, x.dtype)
        return done[x]

    return walk(expr)


def converted(x: Expr, source: DType, target: DType) -> Expr:
    """ONNX Cast: floats truncate toward zero on their way to integers; bool is "not zero"."""
    if source == target:
        return x
    if target.kind == "b":
        return E.unary("not", E.binary("eq", x, E.const(0, source)))
    if source.is_float and target.is_int:
        zero = E.const(0.0, source)
        truncated = E.select(E.binary("lt", x, zero), E.unary("ceil", x), E.unary("floor", x))
        return E.cast(truncated, target)
    return E.cast(x, target)
