"""Branches and loops that are made of single nodes: Switch, Merge, Enter, Exit and what is between them.

What runs in a branch that is not taken gives nothing, so that an engine may have a whole one or no part of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from camshaft.tensorflow.messages import node_of

_SWITCHES = ("Switch", "RefSwitch", "_SwitchN")
_OPEN, _CLOSE, _BACK = (
    (*_SWITCHES, "Enter", "RefEnter"),
    ("Merge", "Exit", "RefExit"),
    "NextIteration",
)


def constructs(nodes: Sequence[Any]) -> list[list[str]]:
    """Names of the nodes of each branch and loop, nested ones in one.  nodes: in an order in which they can run."""
    if not any(n.op in _OPEN for n in nodes):
        return []
    by_name = {n.name: n for n in nodes}
    depth: dict[str, int] = {}
    members: list[str] = []
    for node in nodes:
        behind = [node_of(i) for i in node.input]
        inside = max((depth.get(b, 0) for b in behind), default=0)
        turns = [b for b in behind if b in by_name and _turns(by_name[b], by_name)]
        change = (node.op in _OPEN) - (node.op in _CLOSE)
        if _turns(node, by_name) or (node.op in _SWITCHES and turns):
            change = 0
        depth[node.name] = max(0, inside + change)
        if inside or depth[node.name] or node.op == _BACK:
            members.append(node.name)
    return _joined(members, by_name, depth)


def _turns(node: Any, by_name: dict[str, Any]) -> bool:
    """Whether a node is where a loop begins anew."""
    return node.op == "Merge" and any(by_name[node_of(i)].op == _BACK for i in node.input)


def _joined(
    members: Sequence[str], by_name: dict[str, Any], depth: dict[str, int]
) -> list[list[str]]:
    within = set(members)
    parent = {n: n for n in members}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for name in members:
        for giver in (node_of(i) for i in by_name[name].input):
            if giver in within and (depth[giver] or by_name[giver].op == _BACK):
                parent[root(giver)] = root(name)
    found: dict[str, list[str]] = {}
    for name in members:
        found.setdefault(root(name), []).append(name)
    return list(found.values())
