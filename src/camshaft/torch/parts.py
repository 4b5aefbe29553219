"""An FX graph as engines and what is left to PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.fx import GraphModule, Node
from torch.fx.passes.infra.partitioner import CapabilityBasedPartitioner
from torch.fx.passes.operator_support import OperatorSupportBase

from camshaft.frontends.onnx import Imported
from camshaft.frontends.torch.coverage import shaped, uncovered
from camshaft.frontends.torch.dtypes import array_of
from camshaft.frontends.torch.importer import Program, read
from camshaft.frontends.torch.sizes import Sizes, limits
from camshaft.frontends.torch.strides import inverse
from camshaft.frontends.torch.walk import ends, name_of
from camshaft.runtime.engine import Engine
from camshaft.torch.pending import Pending

Build = Callable[[Imported], Pending]


@dataclass(frozen=True)
class Part:
    """nodes: names of operators in it.  pending: the engine that computes them; None: PyTorch does, and why: for which reason."""

    nodes: tuple[str, ...]
    pending: Pending | None
    why: str = ""

    @property
    def engine(self) -> Engine | None:
        """What computes the nodes, where it is there."""
        return None if self.pending is None else self.pending.engine


@dataclass
class EngineCall:
    """An engine as a function of the tensors of an FX graph.  pending: the engine.  program: what it computes.  eager: the same in
    PyTorch, for as long as there is no engine.

    Tensors that lie as the program says are read in place, and results are views of what the engine made.
    """

    pending: Pending
    program: Program
    eager: Callable[..., Any]

    def __call__(self, *args: Any) -> Sequence[Any]:
        engine = self.pending.engine
        if engine is None:
            return self._without(args)
        made = engine(self.feeds(args))
        plain = self.program.plain
        return [
            plain.get(at) if n is None else self._result(n, made[n])
            for at, n in enumerate(self.program.outputs)
        ]

    def feeds(self, args: Sequence[Any]) -> dict[str, np.ndarray]:
        """The engine's inputs, of the graph's."""
        given = zip(self.program.inputs, args, strict=True)
        return {name: fed(self.program, name, x) for name, x in given if name is not None}

    def _without(self, args: Sequence[Any]) -> Sequence[Any]:
        if self.pending.records:
            self.pending.record(self.feeds(args))
        self.pending.tell()
        with torch.no_grad():
            return ends(self.eager(*args))

    def _result(self, name: str, array: np.ndarray) -> Any:
        if name in self.program.whole:
            return int(array)
        made = as_tensor(array)
        order = self.program.orders.get(name)
        return made if order is None else made.permute(inverse(order))


def fed(program: Program, name: str, tensor: torch.Tensor | int) -> np.ndarray:
    """A tensor or a whole number as an input of a program's engine, a tensor in its own memory where it lies as the program says."""
    if not isinstance(tensor, torch.Tensor):
        return np.asarray(int(tensor), np.int64)
    order = program.orders.get(name)
    return array_of(tensor if order is None else tensor.permute(order))


def as_tensor(array: np.ndarray) -> torch.Tensor:
    """A tensor in an array's memory."""
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def versions(weights: Sequence[torch.Tensor]) -> list[tuple[int, int]]:
    """By which changed weights are known: how often each was written in place, and where it lies."""
    return [(0 if w.is_inference() else w._version, w.data_ptr()) for w in weights]


@dataclass
class Split:
    """A graph in parts.  run: computes it.  parts: what computes what."""

    run: Callable[..., Any]
    parts: list[Part] = field(default_factory=list)


class _Support(OperatorSupportBase):
    def __init__(self, left: Mapping[Node, str]) -> None:
        self.left = left

    def is_node_supported(self, submodules: Any, node: Node) -> bool:
        if node.op == "get_attr":
            return node not in self.left
        return node.op == "call_function" and node not in self.left and not _is_size(node)


def _is_size(node: Node) -> bool:
    return isinstance(node.meta.get("val"), torch.SymInt | int | float | bool)


def split(
    module: GraphModule, weights: Mapping[Node, torch.Tensor], least: int, build: Build
) -> Split:
    """Engines for all that has a form, in blocks of at least `least` operators; the rest stays in PyTorch.

    weights: placeholders -> what they stand for.
    """
    sizes = sizes_of(module)
    constants = {n: (n.name, t) for n, t in weights.items()}
    left = uncovered(module.graph, sizes, constants)
    support = _Support(left)
    calls = [n for n in module.graph.nodes if n.op == "call_function"]
    inside_all = all(
        support.is_node_supported({}, n) or (_is_size(n) and n not in left) for n in calls
    )
    if inside_all and len(calls) >= least:
        made = _call_of(module, constants, sizes, build)
        return Split(made, [Part(tuple(map(name_of, calls)), made.pending)])
    partitioner = CapabilityBasedPartitioner(
        module, support, allows_single_node_partition=least <= 1
    )
    proposed = [
        p
        for p in partitioner.propose_partitions()
        if sum(n.op == "call_function" for n in p.nodes) >= least
    ]
    inside = {n for p in proposed for n in p.nodes}
    few = f"fewer than {least} operators together"
    parts = [
        Part((name_of(n),), None, left.get(n, few))
        for n in calls
        if n not in inside and not _is_size(n)
    ]
    named = {n.name: (n.name, t) for n, t in weights.items()}
    fused = partitioner.fuse_partitions(proposed)
    for node in [n for n in fused.graph.nodes if n.op == "call_module"]:
        part = getattr(fused, node.target)
        _with_sizes(fused, node, part)
        holes = [n for n in part.graph.nodes if n.op == "placeholder"]
        held = {
            hole: named[given.name]
            for hole, given in zip(holes, node.args, strict=True)
            if isinstance(given, Node) and given.name in named
        }
        called = _call_of(part, held, sizes, build)
        found = tuple(name_of(n) for n in part.graph.nodes if n.op == "call_function")
        setattr(fused, node.target, _Module(called, part))
        parts.append(Part(found, called.pending))
    fused.recompile()
    return Split(fused, parts)


def _with_sizes(whole: GraphModule, call: Node, part: GraphModule) -> None:
    """Give a part, as further inputs, symbols of its shapes that the shapes of its inputs do not say."""
    holes = [n for n in part.graph.nodes if n.op == "placeholder"]
    if not holes:
        return
    known = {*shaped(part.graph)}
    for node in holes:
        expr = _expression(node)
        if expr is not None and expr.is_Symbol:
            known.add(str(expr))
    givers = {
        str(_expression(n)): n
        for n in whole.graph.nodes
        if n.op == "placeholder" and _expression(n) is not None
    }
    last = holes[-1]
    for name in sorted(_symbols(part) - known):
        if name in givers:
            with part.graph.inserting_after(last):
                last = part.graph.placeholder(f"size_{name}")
            last.meta["val"] = givers[name].meta["val"]
            call.args = (*call.args, givers[name])
    part.recompile()


def _expression(node: Node) -> Any:
    """The expression of a size; None of what is none."""
    value = node.meta.get("val")
    return value.node.expr if isinstance(value, torch.SymInt) else None


def _symbols(module: GraphModule) -> set[str]:
    """Symbols of all shapes and sizes in a graph."""
    found: set[str] = set()
    for node in module.graph.nodes:
        values = node.meta.get("val")
        for value in values if isinstance(values, list | tuple) else [values]:
            for size in (value, *getattr(value, "shape", ())):
                if isinstance(size, torch.SymInt):
                    found |= {str(s) for s in size.node.expr.free_symbols}
    return found


class _Module(torch.nn.Module):
    """An engine in the place of a part of a graph."""

    def __init__(self, call: EngineCall, part: GraphModule) -> None:
        super().__init__()
        self.call = call
        end = next(n for n in part.graph.nodes if n.op == "output")
        self.single = isinstance(end.args[0], Node)

    def forward(self, *args: Any) -> Any:
        made = self.call(*args)
        return made[0] if self.single else made


def _call_of(
    module: GraphModule,
    constants: Mapping[Node, tuple[str, torch.Tensor]],
    sizes: Sizes,
    build: Build,
) -> EngineCall:
    """The engine of a graph all of whose nodes have a form."""
    made = read(
        module.graph, sizes, constants, lambda number, _: f"output_{number}", as_they_lie=True
    )
    return EngineCall(build(made.imported), made, module)


def sizes_of(module: GraphModule) -> Sizes:
    """Symbols of a graph, with the ranges that PyTorch knows; typical are the sizes of now.  Whole numbers that may be below 0 are none."""
    found: dict[str, tuple[int, int, int | None]] = {}
    extents = shaped(module.graph)
    for node in module.graph.nodes:
        value = node.meta.get("val")
        values = [value, *getattr(value, "shape", ())]
        for size in values:
            if isinstance(size, torch.SymInt) and size.node.expr.is_Symbol:
                shapes = size.node.shape_env
                symbol = size.node.expr
                bounds = shapes.var_to_range.get(symbol)
                is_size = str(symbol) in extents or (bounds is not None and bounds.lower >= 0)
                if size.node.has_hint() and bounds is not None and is_size:
                    found[str(symbol)] = limits(bounds.lower, bounds.upper, int(size.node.hint))
    return Sizes(found)
