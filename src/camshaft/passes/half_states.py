"""States of halves: rows are rounded as they are appended, not all of them in each call.

Models of halves are computed in f32, and what a state becomes is rounded at the end: `half(concat(f32(past), new))`.
That is `concat(past, half(new))`, the same bits, which writes new rows only.  What else reads the concatenation then reads the
state, with new rows rounded as the next call will find them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from camshaft.ir import expr as E
from camshaft.ir.graph import Graph, Node, Tensor
from camshaft.ir.rebuild import Rebuild
from camshaft.ir.types import HALVES, DType, f32
from camshaft.ops import CONCAT, POINTWISE


@dataclass(frozen=True)
class _Appended:
    """A concatenation in f32 behind a state of halves.  past: the state.  last: the node that rounds all of it."""

    past: Tensor
    last: Node


def with_half_states(graph: Graph, states: Mapping[str, str]) -> Graph:
    """The imported graph, with states of halves appended to as halves.  states: input name -> output name."""
    found = _found(graph, states)
    if not found:
        return graph
    rebuild = Rebuild(graph)
    whole: dict[int, Tensor] = {}  # id() of a rounding node -> what stands for its output
    for node in graph.nodes:
        if id(node) in whole:
            rebuild.put(node.output, whole[id(node)])
            continue
        rebuild.replace(node, rebuild.carry(rebuild.present(node)))
        appended = found.get(node.outputs[0].name)
        if appended is not None:
            made = _appended(rebuild, node, appended)
            whole[id(appended.last)] = made
            rebuild.put(node.output, _cast(rebuild, made, f32, node))
    return rebuild.finish()


def _found(graph: Graph, states: Mapping[str, str]) -> dict[str, _Appended]:
    """By name of the concatenation."""
    outputs = dict(zip(graph.output_names, graph.outputs, strict=True))
    found: dict[str, _Appended] = {}
    for past in graph.inputs:
        last = graph.producers.get(outputs[states[past.name]].name) if past.name in states else None
        if last is None or past.type.dtype not in HALVES or not _is_cast(last, past.type.dtype):
            continue
        joined = graph.producers.get(last.args[0].name)
        if joined is None or joined.op is not CONCAT:
            continue
        wide = graph.producers.get(joined.args[0].name)
        if wide is not None and _is_cast(wide, f32) and wide.args[0] is past:
            found[joined.output.name] = _Appended(past, last)
    return found


def _appended(rebuild: Rebuild, node: Node, appended: _Appended) -> Tensor:
    past = rebuild.get(appended.past)
    new = [_cast(rebuild, rebuild.get(t), past.type.dtype, node) for t in node.args[1:]]
    like = [node, appended.last]
    return rebuild.builder.emit(CONCAT, [past, *new], node.attrs, like=like)


def _cast(rebuild: Rebuild, x: Tensor, dtype: DType, like: Node) -> Tensor:
    attrs = {"expr": E.cast(E.inp(0), dtype)}
    return rebuild.builder.emit(POINTWISE, [x], attrs, like=like, output=f"{x.name}:{dtype.name}")


def _is_cast(node: Node, dtype: DType) -> bool:
    return (
        node.op is POINTWISE
        and len(node.args) == 1
        and node.attrs["expr"] == E.cast(E.inp(0), dtype)
    )
