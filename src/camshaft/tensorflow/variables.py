"""Variables of a function as constants, but for those that it assigns, which stay variables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tensorflow.python.framework import convert_to_constants

from camshaft.tensorflow.messages import functions, is_control, node_of

_READ = ("ReadVariableOp", "ResourceGather", "ResourceGatherNd", "VariableShape")
_SAME = ("Identity", "IdentityN", "StopGradient")
_SKIPPED = {"If": 1, "StatelessIf": 1, "Case": 1, "StatelessCase": 1}
"""How many inputs of operators that call functions are not passed on."""


def without_variables(function: Any) -> Any:
    """A concrete function with constants in the places of variables that it only reads."""
    graph = function.graph.as_graph_def()
    captured = [t.name.partition(":")[0] for t in function.graph.internal_captures]
    kept = _assigned(graph, captured)
    made = convert_to_constants._FunctionConverterDataInEager(
        func=function,
        lower_control_flow=False,
        aggressive_inlining=False,
        variable_names_denylist=kept,
    )
    definition, converted = convert_to_constants._replace_variables_by_constants(made)
    return convert_to_constants._construct_concrete_function(function, definition, converted)


def _assigned(graph: Any, captured: Sequence[str]) -> set[str]:
    """Which captured resources more than read-only operators take."""
    library = {f.signature.name: f for f in graph.library.function}
    return {name for name in captured if _writes(graph.node, {name}, library)}


def _writes(nodes: Iterable[Any], names: set[str], library: Mapping[str, Any]) -> bool:
    """Whether nodes do more than read what these names give, in functions that they call too."""
    reach, pending = set(names), list(nodes)
    more = True
    while more:  # nodes of functions come in any order
        more = False
        for node in pending:
            if node.op in _SAME and node.name not in reach and _places(node, reach):
                reach.add(node.name)
                more = True
    for node in pending:
        places = _places(node, reach)
        if not places or node.op in (*_READ, *_SAME):
            continue
        called = functions(node)
        if not called:
            return True
        first = _SKIPPED.get(node.op, 0)
        for name in called:
            taken = library[name].signature.input_arg
            inner = {taken[i - first].name for i in places if 0 <= i - first < len(taken)}
            if inner and _writes(library[name].node_def, inner, library):
                return True
    return False


def _places(node: Any, names: set[str]) -> list[int]:
    return [i for i, n in enumerate(node.input) if not is_control(n) and node_of(n) in names]
