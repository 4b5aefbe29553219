"""The rewriting engine: every fusion and clean-up is a `Rewrite`, and this module applies them.

A sweep rebuilds the graph in topological order.  Each old node is shown to the rules with its
inputs already replaced by what earlier rewrites of the same sweep made of them; a rule looks
*back* through producers, never forward, and answers with replacement tensors or None.  Nodes that
nobody reads any more vanish when the new graph is finished.  Sweeps repeat until nothing fires.

Because a rule only offers other tensors of the same value, no rule can make a graph wrong by
misjudging how often something is used; use counts only keep rules from computing things twice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, TypeVar, cast

from camshaft.errors import ModelError
from camshaft.ir.extents.symbol import UndecidedExtent
from camshaft.ir.graph import Graph, Node, Tensor
from camshaft.ir.op import Attrs, OpDef
from camshaft.ir.rebuild import Rebuild

T = TypeVar("T")

MAX_SWEEPS = 100


class Rewrite(ABC):
    """One rewriting rule.  Stateless; listed in the explicit tuples of the pass modules.

    name: shown in dumps and errors.  ops: the ops whose nodes the rule wants to see (all if empty).
    """

    name: ClassVar[str]
    ops: ClassVar[tuple[OpDef, ...]] = ()

    @abstractmethod
    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        """Tensors of the same types and values as the node's outputs, or None.

        `node` is the old node with new inputs; `r` looks back and makes nodes.  An old output
        name lives on when the new node is made with `like=[..., node]`.
        """

    @abstractmethod
    def example(self) -> Graph:
        """A small graph on which the rule fires (its test, and its documentation)."""


class Rewriter(Rebuild):
    """What a rule may ask and do while one sweep rebuilds a graph."""

    def __init__(self, graph: Graph) -> None:
        self._notes: dict[str, object] = {}
        self._old_uses = Counter(t.name for n in graph.nodes for t in n.args)
        self._old_uses.update(t.name for t in graph.outputs)
        self._uses: dict[str, int] = {}  # new tensor name -> uses of the old ones it stands for
        self._order: dict[str, int] = {}  # new tensor name -> position of its producer
        super().__init__(graph)

    def notes(self, owner: str, make: Callable[[], T]) -> T:
        """What a rule or an analysis remembers during this sweep: made on the first call.

        owner: its name.
        """
        if owner not in self._notes:
            self._notes[owner] = make()
        return cast(T, self._notes[owner])

    # -- looking back ------------------------------------------------------------------------

    def producer(self, tensor: Tensor | None, *ops: OpDef) -> Node | None:
        """The node that makes `tensor` (only if it is one of `ops`, where given), or None."""
        node = self.builder.producer(tensor)
        return node if node is not None and (not ops or node.op in ops) else None

    def uses(self, tensor: Tensor) -> int:
        """Readers (node inputs and graph outputs) of the old tensors that `tensor` stands for.

        A tensor that a rule made in this sweep as an intermediate counts as many; the next sweep
        counts its readers.
        """
        return self._uses.get(tensor.name, 2)

    def single_use(self, tensor: Tensor) -> bool:
        """Whether exactly one node input (and no graph output) reads `tensor`."""
        return self._uses.get(tensor.name, 2) == 1

    def old_uses(self, output: Tensor) -> int:
        """Readers of the output of the node that is being presented."""
        return self._old_uses[output.name]

    def position(self, tensor: Tensor) -> int:
        """Where the producer stands in execution order; -1 for inputs and constants."""
        return self._order.get(tensor.name, -1)

    # -- making nodes ------------------------------------------------------------------------

    def add(
        self,
        op: OpDef,
        inputs: Sequence[Tensor | None],
        attrs: Attrs | None = None,
        *,
        like: Node | Sequence[Node],
        name: str | None = None,
        outputs: Sequence[str] | None = None,
    ) -> tuple[Tensor, ...]:
        """`GraphBuilder.add`: origins of `like` are joined, the last one's output names live on."""
        made = self.builder.add(op, inputs, attrs, like=like, name=name, outputs=outputs)
        for t in made:
            if not t.is_const:
                self._order[t.name] = len(self._order)
        return made

    def emit(
        self,
        op: OpDef,
        inputs: Sequence[Tensor | None],
        attrs: Attrs | None = None,
        *,
        like: Node | Sequence[Node],
        name: str | None = None,
        output: str | None = None,
    ) -> Tensor:
        """`add` for an op with one output.  Intermediates should be given an `output` name."""
        outputs = None if output is None else [output]
        (made,) = self.add(op, inputs, attrs, like=like, name=name, outputs=outputs)
        return made

    # -- the engine's side -------------------------------------------------------------------

    def put(self, old: Tensor, new: Tensor) -> None:
        """Let `new` stand for `old`."""
        super().put(old, new)
        self._uses[new.name] = self._uses.get(new.name, 0) + self._old_uses[old.name]

    def carry(self, node: Node) -> tuple[Tensor, ...]:
        """No rule fired: take the node over (or fold it, if its inputs have become constants)."""
        made = super().carry(node)
        for t in made:
            if not t.is_const:
                self._order.setdefault(t.name, len(self._order))
        return made


def sweep(graph: Graph, rules: Iterable[Rewrite]) -> tuple[Graph, Counter[str]]:
    """Show every node to the rules once; the first rule that answers wins.

    Returns the new graph and how often each rule fired.  ModelError if a rule answers with
    tensors of other types (a fault of the rule, which is named).
    """
    table = _by_op(tuple(rules), graph)
    r = Rewriter(graph)
    fired: Counter[str] = Counter()
    for old in graph.nodes:
        node = r.present(old)
        for rule in table[old.op.name]:
            try:
                made = rule.apply(node, r)
            except UndecidedExtent:
                continue  # whether the rule fits depends on sizes
            if made is None:
                continue
            if [t.type for t in made] != [t.type for t in old.outputs]:
                raise ModelError(
                    f"rewrite {rule.name!r} turned {old!r} of {old.name!r} from "
                    f"{[t.type for t in old.outputs]} into {[t.type for t in made]}"
                )
            fired[rule.name] += 1
            r.replace(old, made)
            break
        else:
            r.replace(old, r.carry(node))
    return r.finish(), fired


def rewrite(graph: Graph, rules: Sequence[Rewrite], *, max_sweeps: int = MAX_SWEEPS) -> Graph:
    """Sweep until nothing fires.  ModelError names the rules that never come to an end."""
    for _ in range(max_sweeps):
        new, fired = sweep(graph, rules)
        if not fired:
            return new
        graph = new
    raise ModelError(f"rewrites never end after {max_sweeps} sweeps: {', '.join(fired)}")


def _by_op(rules: tuple[Rewrite, ...], graph: Graph) -> dict[str, tuple[Rewrite, ...]]:
    ops = {n.op.name: n.op for n in graph.nodes}
    return {
        name: tuple(rule for rule in rules if not rule.ops or op in rule.ops)
        for name, op in ops.items()
    }
