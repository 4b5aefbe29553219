"""Making a graph from another one: nodes in their order, with a map from old tensors to new."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor


class Rebuild:
    """One graph being made from `old`; used once.

    Inputs are declared at once; constants are taken over when somebody asks for them.
    """

    def __init__(self, old: Graph) -> None:
        self.old = old
        self.builder = GraphBuilder(
            old.name, reserved=old.tensors, constraints=old.constraints, fixed=old.fixed
        )
        self._new: dict[str, Tensor] = {}
        for t in old.inputs:
            self.put(t, self.declared(t))

    def declared(self, old: Tensor) -> Tensor:
        """What stands for an input: one of its name and type."""
        return self.builder.input(old.name, old.type, old.values, old.kept)

    def get(self, old: Tensor) -> Tensor:
        """What stands for `old`."""
        new = self._new.get(old.name)
        if new is None:
            new = self.adopt(old)
            self.put(old, new)
        return new

    def adopt(self, old: Tensor) -> Tensor:
        """What stands for a constant from now on: itself."""
        return self.builder.adopt(old)

    def put(self, old: Tensor, new: Tensor) -> None:
        """Let `new` stand for `old`."""
        self._new[old.name] = new

    def replace(self, node: Node, made: Sequence[Tensor]) -> None:
        """Let `made` stand for the outputs of `node`."""
        for old, new in zip(node.outputs, made, strict=True):
            self.put(old, new)

    def present(self, node: Node) -> Node:
        """The node with its inputs replaced by what stands for them; itself if these are the same."""
        inputs = tuple(None if t is None else self.get(t) for t in node.inputs)
        same = all(a is b for a, b in zip(inputs, node.inputs, strict=True))
        return node if same else replace(node, inputs=inputs)

    def carry(self, node: Node) -> tuple[Tensor, ...]:
        """Take a presented node over as it is: its outputs in the new graph.

        It is folded if its inputs have become constants.
        """
        folds = node.op.folds and node.args and all(t.is_const for t in node.args)
        if not folds and self.builder.keep(node):
            return node.outputs
        return self.builder.add(node.op, node.inputs, node.attrs, like=node, name=node.name)

    def finish(self, read: Callable[[Tensor], Tensor] | None = None) -> Graph:
        """The new graph, under the old one's output names.

        read: the new tensor for an old output, if that is not what stands for it.
        """
        outs = zip(self.old.output_names, self.old.outputs, strict=True)
        return self.builder.graph({name: (read or self.get)(t) for name, t in outs})
