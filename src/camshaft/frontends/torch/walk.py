"""From the nodes of an FX graph of ATen operators to a camshaft graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.frontends.torch import handlers  # noqa: F401  (registers them)
from camshaft.frontends.torch.call import HANDLERS, Call
from camshaft.frontends.torch.dtypes import array_of, dtype_of
from camshaft.frontends.torch.plugins import plugin_handler
from camshaft.frontends.torch.sizes import Sizes
from camshaft.frontends.torch.strides import Order, inverse, order_of
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ir.recipe import Source
from camshaft.ir.types import DType, TensorType, i64, type_of
from camshaft.ops import functional as F
from camshaft.ops.functional import NoCanonicalForm

_ASSERTIONS = (
    "aten::_assert_scalar",
    "aten::_assert_async",
    "aten::_assert_tensor_metadata",
    "aten::sym_constrain_range",
    "aten::sym_constrain_range_for_size",
)
_CALLED = ("wrap_with_set_grad_enabled", "wrap_with_autocast")
"""Higher-order operators that call a graph as it is."""


@dataclass
class Walk:
    """One walk.  shaped: symbols that the shapes of inputs say.  as_they_lie: whether inputs and results are those of PyTorch with their axes in the order of memory; orders: of
    such, by name, where that is another one.  refittable: names of weights that may be exchanged later.  weights: those that may.  values: of nodes (by FX node), tensors, numbers, extents, lists of them.
    """

    builder: GraphBuilder
    sizes: Sizes
    as_they_lie: bool = False
    orders: dict[str, Order] = field(default_factory=dict)
    values: dict[Any, Any] = field(default_factory=dict)
    refittable: frozenset[str] = frozenset()
    weights: dict[str, Source] = field(default_factory=dict)
    shaped: frozenset[str] = frozenset()

    def type_of(self, meta: Any) -> TensorType:
        """The type of a fake tensor, as it is declared."""
        shape = tuple(self.sizes.extent(s) for s in meta.shape)
        return TensorType(dtype_of(meta.dtype), shape)

    def declare(self, node: Any, name: str) -> Tensor:
        """Declare an input of the graph for a placeholder."""
        made = self._declared(node.meta["val"], name)
        self.values[node] = made
        return made

    def constant(self, node: Any, tensor: Any, name: str) -> None:
        """Take a placeholder or attribute for a constant."""
        made = self.builder.constant(array_of(tensor), name)
        self.values[node] = F.cast(self.builder, made, made.type.dtype.held)

    def weight(self, node: Any, tensor: Any, name: str) -> None:
        """Take a placeholder for a weight of the module, which may be exchanged later if that is wanted."""
        if name not in self.refittable:
            self.constant(node, tensor, name)
            return
        array = np.array(array_of(tensor))  # the module's own may change meanwhile
        array.flags.writeable = False
        source = self.weights[name] = Source(name, type_of(array), array)
        made = self.builder.source(source, name)
        self.values[node] = F.cast(self.builder, made, made.type.dtype.held)

    def whole(self, node: Any, name: str) -> str | None:
        """Take a placeholder that is a whole number; its name where it becomes an input of the graph, a scalar.

        A number that shapes of inputs do not say is one: a size that it says itself, or, where it may be below 0, plain data.
        """
        meta = node.meta["val"]
        expr = getattr(getattr(meta, "node", None), "expr", None)
        scalar = TensorType(i64, ())
        try:
            extent = self.sizes.extent(meta)
        except NoCanonicalForm:
            if type(meta).__name__ != "SymInt":  # of floats and bools there are symbols too
                raise
            self.values[node] = self.builder.input(name, scalar)
            return name
        self.values[node] = extent
        if isinstance(extent, int) or not getattr(expr, "is_Symbol", False):
            return None
        if str(expr) in self.shaped:
            return None
        self.builder.input(name, scalar, (extent,))
        return name

    def nodes(self, graph: Any) -> list[Any]:
        """Walk a graph whose placeholders have values; what it returns."""
        for node in graph.nodes:
            if node.op == "output":
                return [self._value(v) for v in ends(node.args[0])]
            self.node(node)
        raise ModelError("the graph has no output node")

    def node(self, node: Any) -> None:
        """Walk one node.  NoCanonicalForm for an operator that has no form here; other ModelErrors name what is wrong."""
        if node.op == "call_function":
            self._call(node)
        elif node.op == "get_attr":
            self._attribute(node)

    def stand_in(self, node: Any) -> None:
        """Declare inputs of the graph for what a node makes that is not walked."""
        made = node.meta.get("val")
        if isinstance(made, list | tuple):
            self.values[node] = [
                self._declared(m, f"{node.name}_{n}") if _is_tensor(m) else m
                for n, m in enumerate(made)
            ]
        elif _is_tensor(made):
            self.declare(node, node.name)
        elif type(made).__name__ == "SymInt":
            self.whole(node, node.name)

    def _declared(self, meta: Any, name: str) -> Tensor:
        made, b = self.type_of(meta), self.builder
        order = order_of(meta) if self.as_they_lie else None
        if order is None:
            return F.cast(b, b.input(name, made), made.dtype.held)
        self.orders[name] = order
        lying = TensorType(made.dtype, tuple(made.shape[a] for a in order))
        x = F.cast(b, b.input(name, lying), made.dtype.held)
        return F.transpose(b, x, inverse(order))

    def result(self, value: Any, meta: Any, name: str) -> Tensor:
        """What the graph returns under a name, as a tensor of its declared type."""
        b = self.builder
        tensor = value if isinstance(value, Tensor) else b.extents([value], "size", scalar=True)
        if not _is_tensor(meta):
            return tensor
        made = F.cast(b, tensor, dtype_of(meta.dtype))
        order = order_of(meta) if self.as_they_lie else None
        if order is None:
            return made
        self.orders[name] = order
        return F.transpose(b, made, order)

    # -- nodes -------------------------------------------------------------------------------

    def _attribute(self, node: Any) -> None:
        owner = node.graph.owning_module
        for part in node.target.split("."):
            owner = getattr(owner, part)
        if hasattr(owner, "graph"):
            self.values[node] = owner
        else:
            self.constant(node, owner, node.target)

    def _call(self, node: Any) -> None:
        name = name_of(node)
        if name == "getitem":
            of, at = node.args
            self.values[node] = self._value(of)[at]
        elif name in _ASSERTIONS:
            return
        elif name in _CALLED:
            self._inline(node)
        elif not _is_tensor_like(node.meta.get("val")):
            self.values[node] = self.sizes.extent(node.meta["val"])
        else:
            self.values[node] = self._handled(node, name)

    def _inline(self, node: Any) -> None:
        """Walk the graph that a node calls."""
        at = next(n for n, a in enumerate(node.args) if getattr(a, "op", "") == "get_attr")
        module, given = self._value(node.args[at]), node.args[at + 1 :]
        holes = [n for n in module.graph.nodes if n.op == "placeholder"]
        for hole, value in zip(holes, given, strict=True):
            self.values[hole] = self._value(value)
        self.values[node] = self.nodes(module.graph)

    def _handled(self, node: Any, name: str) -> Any:
        handler = HANDLERS.get(name) or plugin_handler(name)
        if handler is None:
            raise NoCanonicalForm(f"operator {name} has no form here")
        metas = node.meta["val"]
        many = isinstance(metas, list | tuple)
        read = _read(node) if many and name.endswith("_with_indices") else None
        results = [
            None if n and read is not None and n not in read else self._inner(m)
            for n, m in enumerate(metas if many else [metas])
        ]
        call = Call(self.builder, name, self._arguments(node), results, _common(node))
        with self.builder.scope(node.name):
            made = handler(call)
            return made if many else F.cast(self.builder, made, call.dtype)

    def _inner(self, meta: Any) -> TensorType | None:
        if not _is_tensor(meta):
            return None
        made = self.type_of(meta)
        return TensorType(made.dtype.held, made.shape)

    def _arguments(self, node: Any) -> dict[str, Any]:
        schema = node.target._schema.arguments
        found = {a.name: a.default_value for a in schema if a.has_default_value()}
        found.update((a.name, self._value(v)) for a, v in zip(schema, node.args, strict=False))
        found.update((n, self._value(v)) for n, v in node.kwargs.items())
        return {a.name: found[a.name] for a in schema if a.name in found}

    def _value(self, value: Any) -> Any:
        if hasattr(value, "op") and hasattr(value, "meta"):
            if value not in self.values:
                raise NoCanonicalForm(f"{value.name} is no tensor of the graph")
            return self.values[value]
        if isinstance(value, list | tuple):
            return [self._value(v) for v in value]
        return value


def ends(value: Any) -> Sequence[Any]:
    """What a graph returns, one or several nodes, as a sequence."""
    return value if isinstance(value, list | tuple) else [value]


def name_of(node: Any) -> str:
    """Name of the operator that a node calls: "aten::conv2d", or that of a Python function."""
    schema = getattr(node.target, "_schema", None)
    if schema is not None:
        return str(schema.name)
    return str(getattr(node.target, "__name__", node.target))


def _read(node: Any) -> set[int] | None:
    """Which results of a node others read, by number; None if all of them may be."""
    picked = [u.args[1] for u in node.users if name_of(u) == "getitem"]
    return {*picked} if len(picked) == len(node.users) else None


def _is_tensor(meta: Any) -> bool:
    return hasattr(meta, "shape") and hasattr(meta, "dtype")


def _is_tensor_like(meta: Any) -> bool:
    return _is_tensor(meta) or isinstance(meta, list | tuple)


_PRECEDENCE = ("b", "iu", "f")


def _common(node: Any) -> DType | None:
    """The type in which operands of different types meet (torch.result_type): that of the highest kind, of tensors with axes
    before those without, before Python's numbers."""
    best: tuple[tuple[int, int, int], DType] | None = None
    for argument in (*node.args, *node.kwargs.values()):
        meta: Any = argument.meta.get("val") if hasattr(argument, "meta") else argument
        if _is_tensor(meta):
            dtype, dims = dtype_of(meta.dtype).held, 2 if len(meta.shape) else 1
        elif isinstance(meta, bool):
            dtype, dims = dtype_of("torch.bool"), 0
        elif isinstance(meta, int):
            dtype, dims = dtype_of("torch.int64"), 0
        elif isinstance(meta, float):
            dtype, dims = dtype_of("torch.float32"), 0
        else:
            continue
        kind = next(n for n, kinds in enumerate(_PRECEDENCE) if dtype.kind in kinds)
        rank = (kind, dims, dtype.bits)
        if best is None or rank > best[0]:
            best = rank, dtype
    return None if best is None else best[1]
