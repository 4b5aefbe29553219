"""Whether a call may write what a state becomes where the state lies.

It may if no step can read there, afterwards, what it needs of the state as the call found it.  Two cases are
proven: a growing state to which rows are appended, and a state of fixed shape that is last read before the step
that makes the next one.
"""

from __future__ import annotations

from camshaft.ir.graph import Graph, Node, Tensor
from camshaft.program.state import StateSpec
from camshaft.program.view import View


def may_be_written_in_place(graph: Graph, state: StateSpec, result: Tensor) -> bool:
    """Whether `result`, what the state of a graph becomes, may be written to the state's memory."""
    if state.axis is None:
        return _is_read_before(graph, state, result)
    return _is_appended_to(graph, state, result)


def _is_appended_to(graph: Graph, state: StateSpec, result: Tensor) -> bool:
    """Whether the first part of a concatenation is the state where it lies: the other parts lie elsewhere."""
    view: View | None = state.left
    node = graph.producers.get(result.name)
    while view is not None and node is not None and node.op.inverse is not None:
        view = node.op.inverse(view, node.args[0].shape, node.attrs)
        node = graph.producers.get(node.args[0].name)
    if view is None or node is None or node.op.parts is None:
        return False
    first = node.op.parts(view, [t.shape for t in node.args], node.attrs)[0]
    return _lies_at(graph, node.args[0], first, state)


def _lies_at(graph: Graph, t: Tensor, view: View, state: StateSpec) -> bool:
    """Whether `t` is the state, and has it where the state lies, if it is at `view`."""
    found: View | None = view
    while found is not None and t.name != state.name:
        node = graph.producers.get(t.name)
        if node is None or node.op.inverse is None:
            return False
        t = node.args[0]
        found = node.op.inverse(found, t.shape, node.attrs)
    return found == state.found


def _is_read_before(graph: Graph, state: StateSpec, result: Tensor) -> bool:
    """Whether every step that reads the state comes before the one that makes the result."""
    maker = graph.producers.get(result.name)
    if maker is None or maker.op.inverse is not None or maker.op.parts is not None:
        return False
    same = {state.name}  # tensors that may be views of it
    is_over = False
    for node in graph.nodes:
        is_over = is_over or node is maker
        if not any(t.name in same for t in node.args):
            continue
        if is_over:
            return False
        if _may_be_view(node):
            same.update(t.name for t in node.outputs)
    return not any(t.name in same for t in graph.outputs)


def _may_be_view(node: Node) -> bool:
    return node.op.view is not None or node.op.inverse is not None or node.op.parts is not None
