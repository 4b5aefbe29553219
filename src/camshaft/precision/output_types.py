"""Types of what layers give (`layer_output_type`): tensors of the imported graph that are rounded to half types, and types of
the engine's outputs.

Stored are the types by `passes.stored_halves`, where a tensor is more than a value inside one kernel.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from camshaft.builder.engine_builder import Builder
from camshaft.builder.precision import Decision
from camshaft.config import BuildConfig
from camshaft.errors import ConfigError
from camshaft.ir import expr as E
from camshaft.ir.attrs import expr_attr
from camshaft.ir.graph import Graph, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.rebuild import Rebuild
from camshaft.ir.types import HALVES, DType, f32
from camshaft.ops import POINTWISE
from camshaft.ops import functional as F
from camshaft.passes.half import HALF_PRECISIONS
from camshaft.passes.stored_halves import with_stored_halves
from camshaft.quant.placement import check_layer_names

OUTPUT_TYPES: Mapping[str, DType] = {"fp32": f32, **HALF_PRECISIONS}


@dataclass(frozen=True)
class Typed:
    """An imported graph whose tensors have the types that are asked for.  remarks: on what is preferred and cannot be."""

    graph: Graph
    remarks: tuple[str, ...] = ()


def with_output_types(config: BuildConfig, graph: Graph, states: Collection[str]) -> Typed:
    """An imported graph as `layer_output_type` says.

    states: names of outputs that contexts keep, whose types are those of inputs.
    ConfigError names a layer that the model lacks, a type that `precision` does not permit, and for orders a layer
    that has no output of such a type.
    """
    asked = config.layer_output_type
    if not asked:
        return Typed(graph)
    check_layer_names(graph, asked, "layer_output_type")
    for layer, name in asked.items():
        if name != "fp32" and name not in config.precision:
            raise ConfigError(
                f"layer_output_type asks for {name} of {layer!r}, which is not permitted: add "
                f"precision={{{name!r}}}"
            )
    unmet = _unmet(graph, asked, states)
    if config.precision_constraints == "obey":
        for layer, why in unmet.items():
            raise ConfigError(
                f"layer_output_type asks for {asked[layer]} of {layer!r}, but {why}; leave it out"
            )
    wanted = {n: OUTPUT_TYPES[t] for n, t in asked.items() if n not in unmet}
    hinted = config.precision_constraints == "fastest"
    inner = not (hinted and config.optimization_level > 1)  # there time decides, as of all tensors
    remarks = () if hinted else _remarks(asked, unmet)
    return Typed(_Typing(graph, wanted, inner=inner).run(), remarks)


def with_types_stored(builder: Builder, decision: Decision) -> Decision:
    """A decision, with tensors between kernels stored as the halves that they are rounded to."""
    graph = with_stored_halves(decision.attempt.graph, level=builder.level)
    tuned = builder.tune(graph, "tuning stored halves")
    return replace(decision, attempt=replace(decision.attempt, graph=graph), tuned=tuned)


def _remarks(asked: Mapping[str, str], unmet: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(
        f"layer_output_type prefers {asked[layer]} of {layer!r}, but {why}"
        for layer, why in unmet.items()
    )


def _unmet(graph: Graph, asked: Mapping[str, str], states: Collection[str]) -> dict[str, str]:
    """Layers that have no output of the type asked for, and why."""
    found: dict[str, str] = {}
    kept = {
        t.name for name, t in zip(graph.output_names, graph.outputs, strict=True) if name in states
    }
    for layer in asked:
        made = _results(graph, layer)
        floats = [t for t in made if t.type.dtype == f32]
        if not floats:
            types = ", ".join(str(t.type) for t in made)
            found[layer] = (
                f"its output is {types}, no float" if made else "nothing reads its output"
            )
        elif any(t.name in kept or _border_cast(graph, t, kept) for t in floats):
            found[layer] = "its output is a state, whose type is that of an input"
    return found


def _results(graph: Graph, layer: str) -> list[Tensor]:
    """What a layer gives other layers and the caller."""
    outputs = {t.name for t in graph.outputs}
    return [
        t
        for n in graph.nodes
        if layer in n.origin
        for t in n.outputs
        if t.name in outputs
        or any(layer not in reader.origin for reader in graph.consumers.get(t.name, ()))
    ]


def _border_cast(graph: Graph, t: Tensor, outputs: Collection[str]) -> Node | None:
    """The node that makes one of these outputs, of halves, of a tensor."""
    for reader in graph.consumers.get(t.name, ()):
        if reader.outputs[0].name not in outputs or reader.op.anchors != 0 or len(reader.args) > 1:
            continue
        dtype = reader.output.type.dtype
        assert reader.op.expression is not None
        if dtype in HALVES and expr_attr(reader, reader.op.expression) == E.cast(E.inp(0), dtype):
            return reader
    return None


class _Typing:
    """One rebuild of a graph; used once.  types: layer -> type of what it gives.  inner: whether tensors that are no
    outputs of the model get theirs."""

    def __init__(self, graph: Graph, types: Mapping[str, DType], *, inner: bool) -> None:
        self.graph, self.inner = graph, inner
        self.types = {
            t.name: dtype
            for layer, dtype in types.items()
            for t in _results(graph, layer)
            if t.type.dtype == f32
        }
        self.rebuild = Rebuild(graph)
        self.ends: dict[str, Tensor] = {}  # name of an output's tensor -> what it becomes

    def run(self) -> Graph:
        for old in self.graph.nodes:
            made = self.rebuild.carry(self.rebuild.present(old))
            self.rebuild.replace(
                old, [self._typed(old, t, new) for t, new in self._pairs(old, made)]
            )
        return self.rebuild.finish(lambda t: self.ends.get(t.name) or self.rebuild.get(t))

    @staticmethod
    def _pairs(old: Node, made: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        return list(zip(old.outputs, made, strict=True))

    def _typed(self, node: Node, old: Tensor, new: Tensor) -> Tensor:
        """What readers of `old` read."""
        dtype = self.types.get(old.name)
        if dtype is None:
            return new
        outputs = {t.name for t in self.graph.outputs}
        border = _border_cast(self.graph, old, outputs)
        ends = [t for t in (old, border.output if border else None) if t and t.name in outputs]
        b = self.rebuild.builder
        if ends:
            end = new
            if dtype != f32:
                attrs: dict[str, Attr] = {"expr": E.cast(E.inp(0), dtype)}
                name = f"{old.name}:{dtype} output"
                (end,) = b.add(POINTWISE, [new], attrs, like=node, outputs=[name])
            self.ends.update((t.name, end) for t in ends)
        if dtype == f32 or not (self.inner or ends):
            return new
        with b.scope(node.origin[-1]):
            return F.rounded(b, new, dtype, output=f"{old.name}:rounded")
