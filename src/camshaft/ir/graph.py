"""The graph: tensors, nodes, and the builder that is the only way to make them.

Everything is immutable.  A pass builds a new graph through a `GraphBuilder`, which infers each
node's output types as the node is added, so that a type is never stale and inference exists once.
Tensors keep the names the model gave them through every pass; nodes keep `origin`, the source
nodes they came from, through every fusion.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

import numpy as np

from camshaft.errors import CamshaftError, ModelError
from camshaft.ir.attrs import is_open
from camshaft.ir.constants import Constants
from camshaft.ir.extents import known
from camshaft.ir.extents.constraints import Constraints, require_possible
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.kept import Kept
from camshaft.ir.extents.shape_values import EXTENTS, extents_attrs
from camshaft.ir.names import Names
from camshaft.ir.op import Attr, Attrs, OpDef
from camshaft.ir.tensor import FixedInput as FixedInput
from camshaft.ir.tensor import Tensor as Tensor
from camshaft.ir.types import TensorType, i64


@dataclass(frozen=True, eq=False)
class Node:
    """One application of an op.

    name: shown to people ("conv1 + relu1").  origin: names of the source nodes, in order.
    An input may be None where an ONNX host op leaves an optional input out.
    """

    op: OpDef
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    attrs: Mapping[str, Attr]
    name: str
    origin: tuple[str, ...]

    @property
    def args(self) -> tuple[Tensor, ...]:
        """The inputs that are present."""
        return tuple(t for t in self.inputs if t is not None)

    @property
    def output(self) -> Tensor:
        """The only output; ModelError if there are several."""
        if len(self.outputs) != 1:
            raise ModelError(f"node {self.name!r} has {len(self.outputs)} outputs, not one")
        return self.outputs[0]

    def __repr__(self) -> str:
        ins = ", ".join("-" if t is None else t.name for t in self.inputs)
        return f"{', '.join(t.name for t in self.outputs)} = {self.op.name}({ins})"


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in topological order between inputs and outputs.

    `output_names[i]` is the name under which users see `outputs[i]`; it need not be the tensor's
    own name, since an output may be an input, a constant, or the same tensor as another output.
    `constraints` say what must hold between the extents of its types.
    `fixed`: inputs of the model that are constants here, because the build was given their values.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    output_names: tuple[str, ...]
    nodes: tuple[Node, ...]
    constraints: Constraints = field(default_factory=Constraints)
    fixed: tuple[FixedInput, ...] = ()

    @cached_property
    def producers(self) -> Mapping[str, Node]:
        """Tensor name -> the node that makes it (inputs and constants have none)."""
        return {t.name: n for n in self.nodes for t in n.outputs}

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Node, ...]]:
        """Tensor name -> nodes that read it, once per reading input, in order."""
        found: dict[str, list[Node]] = {}
        for n in self.nodes:
            for t in n.args:
                found.setdefault(t.name, []).append(n)
        return {k: tuple(v) for k, v in found.items()}

    @cached_property
    def tensors(self) -> Mapping[str, Tensor]:
        """Every tensor by name."""
        found = {t.name: t for t in self.inputs}
        for n in self.nodes:
            found.update((t.name, t) for t in (*n.args, *n.outputs))
        found.update((t.name, t) for t in self.outputs)
        return found


class GraphBuilder(Constants):
    """Builds one graph.  Not thread-safe; used once."""

    def __init__(
        self,
        name: str,
        *,
        reserved: Iterable[str] = (),
        constraints: Constraints | None = None,
        fixed: Sequence[FixedInput] = (),
        beside: GraphBuilder | None = None,
    ) -> None:
        """reserved: tensor names that fresh names must avoid (those still to come in a rebuild).

        constraints, fixed: those of the graph that is rebuilt; what is learned is added to them.
        beside: a builder of another graph of the same model, so that no two tensors of the two get one
        name, and both write down in one place what they learn.
        """
        self.name = name
        self.fixed = list(fixed)
        self.constraints = Constraints() if constraints is None else constraints
        self._known: dict[str, np.ndarray] = {}
        self._inputs: list[Tensor] = []
        self._nodes: list[Node] = []
        self._producer: dict[str, Node] = {}
        self._names = Names(reserved)
        if beside is not None:
            self.constraints, self._names = beside.constraints, beside._names
        self._scope: str | None = None

    # -- naming ------------------------------------------------------------------------------

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Within it, nodes that are added without `name` and `like` are called `name`.

        A frontend opens one for each layer of its source.  The innermost scope counts.
        """
        outer, self._scope = self._scope, name
        try:
            yield
        finally:
            self._scope = outer

    @property
    def layer(self) -> str | None:
        """The innermost scope's name, None outside of all."""
        return self._scope

    def local(self, what: str) -> str:
        """A name for a tensor that a layer makes on its way: `what`, behind the scope's name.

        Apostrophes are added while the name is among the reserved ones.
        """
        return self._names.unreserved(what if self._scope is None else f"{self._scope}:{what}")

    # -- making things -----------------------------------------------------------------------

    def input(
        self, name: str, type: TensorType, values: Sequence[Extent] = (), kept: Kept | None = None
    ) -> Tensor:
        """Declare a graph input.  values, kept: see `Tensor`."""
        tensor = self._register(Tensor(name, type, None, tuple(values), kept))
        self._inputs.append(tensor)
        if values:
            self._known[name] = known.of_extents(values, type.static)
        return tensor

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Those declared so far."""
        return tuple(self._inputs)

    def fixed_input(self, name: str, array: np.ndarray) -> Tensor:
        """Declare an input of the model whose values are known: a constant."""
        tensor, at = self.constant(array, name), len(self._inputs) + len(self.fixed)
        self.fixed.append(FixedInput(tensor.name, tensor.type, tensor.stored, position=at))
        return tensor

    def add(
        self,
        op: OpDef,
        inputs: Sequence[Tensor | None],
        attrs: Attrs | None = None,
        *,
        like: Node | Sequence[Node] = (),
        name: str | None = None,
        outputs: Sequence[str] | None = None,
    ) -> tuple[Tensor, ...]:
        """Add a node and return its outputs.

        like: source node(s): their origins are joined, and the *last* one's output names and
            (where `name` is not given) the joined names are used.
        name: without it and `like` the node is called like the scope, or else like the op.
        Nodes whose inputs are all constant are evaluated at once if the op allows folding.
        Raises ModelError, naming the node, when the types do not fit.
        """
        sources = (like,) if isinstance(like, Node) else tuple(like)
        origin = tuple(dict.fromkeys(o for s in sources for o in s.origin))
        name = name or " + ".join(origin) or self._scope or op.name
        try:
            filled = op.complete(attrs or {})
            with self.constraints.learning(f"node {name!r}"):
                types = op.infer([t.type for t in inputs if t is not None], filled)
                for type in types:
                    require_possible(type.shape, type)
        except CamshaftError as error:
            raise ModelError(f"node {name!r} ({op.name}): {error}") from error
        if outputs is None:
            same = bool(sources) and len(sources[-1].outputs) == len(types)
            outputs = (
                [t.name for t in sources[-1].outputs]
                if same
                else [name.rsplit(" + ", 1)[-1] + ":out"] * len(types)
            )
        constant = all(t is not None and t.is_const for t in inputs) and not is_open(filled)
        if op.folds and inputs and constant:
            return self._folded(op, [t for t in inputs if t is not None], filled, outputs)
        values = self._symbolic(op, inputs, filled)
        if values is not None and all(known.is_whole(v) for v in values):
            return tuple(
                self._extents(v, t, n, name, origin)
                for v, t, n in zip(values, types, outputs, strict=True)
            )
        outs = tuple(
            self._register(Tensor(self.fresh(n), t)) for n, t in zip(outputs, types, strict=True)
        )
        if values is not None:
            self._known.update((t.name, v) for t, v in zip(outs, values, strict=True))
        node = Node(op, tuple(inputs), outs, MappingProxyType(filled), name, origin or (name,))
        self._nodes.append(node)
        self._producer.update((t.name, node) for t in outs)
        return outs

    def emit(
        self,
        op: OpDef,
        inputs: Sequence[Tensor | None],
        attrs: Attrs | None = None,
        *,
        like: Node | Sequence[Node] = (),
        name: str | None = None,
        output: str | None = None,
    ) -> Tensor:
        """`add` for an op with one output."""
        outputs = None if output is None else [output]
        (result,) = self.add(op, inputs, attrs, like=like, name=name, outputs=outputs)
        return result

    # -- values that are known as extents ------------------------------------------------------

    def extents(self, values: Sequence[Extent], name: str, *, scalar: bool = False) -> Tensor:
        """The i64 tensor [len(values)], or [] if `scalar`, of these extents; a constant if it can be."""
        shape = () if scalar else (len(values),)
        return self.again(known.of_extents(values, shape), TensorType(i64, shape), name)

    def again(self, values: np.ndarray, type: TensorType, name: str) -> Tensor:
        """A tensor of another graph whose elements are known as extents, made anew in this one."""
        return self._extents(values, type, name, name, (name,))

    def stand_in(self, name: str, type: TensorType, values: np.ndarray | None = None) -> Tensor:
        """A graph input for a tensor of another graph; values: its elements as far as they are known."""
        tensor = self.input(self.fresh(name), type)
        if values is not None:
            self._known[tensor.name] = values
        return tensor

    def known(self, tensor: Tensor) -> np.ndarray | None:
        """The tensor's elements as objects (see `ir.extents.known`), None if they are not known."""
        if tensor.changes:
            return None
        if tensor.stored is not None:
            return known.as_known(tensor.stored)
        return self._known.get(tensor.name)

    def _extents(
        self,
        values: np.ndarray,
        type: TensorType,
        output: str,
        name: str,
        origin: tuple[str, ...],
    ) -> Tensor:
        if not known.is_symbolic(values):
            return self.constant(np.asarray(values, type.dtype.numpy), output)
        attrs = EXTENTS.complete(extents_attrs(values, type))
        tensor = self._register(Tensor(self.fresh(output), type))
        node = Node(EXTENTS, (), (tensor,), MappingProxyType(attrs), name, origin or (name,))
        self._nodes.append(node)
        self._producer[tensor.name], self._known[tensor.name] = node, values
        return tensor

    def _symbolic(
        self, op: OpDef, inputs: Sequence[Tensor | None], attrs: Attrs
    ) -> Sequence[np.ndarray] | None:
        """The op's results as extents, if it is shape arithmetic."""
        if inputs and not any(t is not None and t.name in self._known for t in inputs):
            return None
        values = [  # what only moves elements takes constants as they are
            None if t is None else t.content if op.moves and t.is_const else self.known(t)
            for t in inputs
        ]
        return op.results_as_extents(values, attrs)

    def fresh(self, base: str) -> str:
        """`base` if no tensor has that name yet, else `base` with a number."""
        return self._names.fresh(base)

    def claim(self, base: str) -> str:
        """A fresh name for what is no tensor of a graph."""
        name = self._names.fresh(base)
        self._names.take(name)
        return name

    def _register(self, tensor: Tensor) -> Tensor:
        self._names.take(tensor.name, tensor)
        return tensor

    # -- looking back ------------------------------------------------------------------------

    def producer(self, tensor: Tensor | None) -> Node | None:
        """The node that made `tensor` in this builder, or None."""
        return None if tensor is None else self._producer.get(tensor.name)

    def adopt(self, tensor: Tensor) -> Tensor:
        """Take over an input or constant of another graph under its own name."""
        known = self._names.taken.get(tensor.name)
        if known is tensor:
            return tensor
        if known is not None:
            tensor = Tensor(
                self.fresh(tensor.name), tensor.type, tensor.stored, recipe=tensor.recipe
            )
        return self._register(tensor)

    def keep(self, node: Node) -> bool:
        """Take over a node of another graph as it is; its inputs must already be in this one.

        False, and nothing is added, if one of its output names is taken by now.
        """
        if any(t.name in self._names.taken for t in node.outputs):
            return False
        self._nodes.append(node)
        for t in node.outputs:
            self._register(t)
            self._producer[t.name] = node
        if not node.inputs and (values := self._symbolic(node.op, (), node.attrs)) is not None:
            self._known.update((t.name, v) for t, v in zip(node.outputs, values, strict=True))
        return True

    # -- finishing ---------------------------------------------------------------------------

    def graph(self, outputs: Mapping[str, Tensor]) -> Graph:
        """The finished graph with only the nodes that `outputs` need (inputs are all kept)."""
        needed = {t.name for t in outputs.values()}
        kept: list[Node] = []
        for node in reversed(self._nodes):
            if any(t.name in needed for t in node.outputs):
                kept.append(node)
                needed.update(t.name for t in node.args)
        return Graph(
            self.name,
            tuple(self._inputs),
            tuple(outputs.values()),
            tuple(outputs),
            tuple(reversed(kept)),
            self.constraints,
            tuple(self.fixed),
        )
