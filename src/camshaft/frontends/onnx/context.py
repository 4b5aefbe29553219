"""What a handler sees of one ONNX node: its inputs as tensors, its attributes, its outputs' names.

A handler (the `handlers` package) reads one node through a `NodeContext`: its attributes, in the
spelling of its opset, and their defaults.  What the node means it leaves to `ops.functional`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import onnx

from camshaft.errors import ModelError
from camshaft.ir.extents.extent import Extent, symbols_of
from camshaft.ir.extents.known import is_whole
from camshaft.ir.extents.shape_values import EXTENTS, extents_of
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.graph import GraphBuilder, Tensor

Results = Tensor | Sequence[Tensor]
FOR_INFERENCE = "export the model for inference (in PyTorch, call model.eval() before exporting it)"
"""The way out where a node is in training mode.  (ONNX Runtime leaves such a Dropout out in most places
and obeys it in others; what a model means should not depend on that.)"""


class DataDependent(ModelError):
    """What a node is asked to compute hangs on data that only a run brings along: no graph can hold it as it
    is, and it becomes a step between graphs."""


class SubgraphImporter(Protocol):
    """Imports a graph in place, its inputs bound to tensors, and returns its outputs.

    opsets: those the graph is written in, where not the ones of the node it belongs to.
    """

    def __call__(
        self,
        graph: onnx.GraphProto,
        bound: Mapping[str, Tensor],
        opsets: Mapping[str, int] | None = None,
    ) -> Sequence[Tensor]: ...


V = TypeVar("V")


def domain_of(name: str) -> str:
    """A domain as operators are looked up by it: ONNX's own has two names."""
    return "" if name == "ai.onnx" else name


@dataclass
class NodeContext:
    """An ONNX node that is being imported; the builder's scope has its name.

    proto: the node.  name: its name, or its first output's.  opset: version of its domain.
    inputs: its inputs as tensors, None where an optional input is left out.
    kept: names of tensors of the model that may name a result; others (of inner graphs) get the node's name before.
    narrow: ONNX names of tensors of types of at most 16 bits that are held in others (`dtypes.is_held`), and
        these types.
    subgraph: imports a branch or loop body in place.
    ask: reports inputs of the model whose values must be known as sizes.
    unasked: whether a size is computed from elements of inputs of which the user has said nothing.
    states: names of inputs of the model at which a call finds what the one before left: all of it, and no more.
    """

    builder: GraphBuilder
    proto: onnx.NodeProto
    name: str
    opset: int
    inputs: tuple[Tensor | None, ...]
    kept: frozenset[str]
    narrow: dict[str, int]
    subgraph: SubgraphImporter
    ask: Callable[[Sequence[Tensor]], None]
    unasked: Callable[[Extent], bool]
    states: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for output in self.proto.output:
            self.narrow.pop(output, None)  # the name may stand for something else in another graph

    @property
    def domain(self) -> str:
        """Of the node's operator; "" is ONNX's own."""
        return domain_of(self.proto.domain)

    # -- inputs ------------------------------------------------------------------------------

    def has(self, index: int) -> bool:
        """Whether input `index` is given."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def arg(self, index: int) -> Tensor:
        """Input `index`; ModelError when it is missing."""
        tensor = self.inputs[index] if index < len(self.inputs) else None
        if tensor is None:
            raise ModelError(f"input number {index} is missing")
        return tensor

    def const(self, index: int, what: str) -> np.ndarray | None:
        """The array of constant input `index`, None when the input is left out.

        DataDependent, saying that `what` must be constant, when it is computed from the model's inputs.
        """
        if not self.has(index):
            return None
        tensor = self.arg(index)
        if tensor.data is None:
            raise DataDependent(
                f"its {what} ({tensor.name!r}) depends on the model's input data; "
                f"only a constant is supported{self.way_out(tensor)}"
            )
        return tensor.data

    def flag(self, index: int) -> bool | None:
        """Input `index`, a tensor of one bool, where its value is known; else None."""
        known = self.builder.known(self.arg(index))
        return None if known is None else bool(known.reshape(-1)[0])

    def sources(self, tensor: Tensor) -> list[Tensor]:
        """The model's inputs whose elements `tensor` is computed from, as data or as extents."""
        seen = {tensor.name: tensor}
        said: set[Symbol] = set()
        open_ = [tensor]
        while open_:
            node = self.builder.producer(open_.pop())
            if node is None:
                continue
            if node.op is EXTENTS:
                said.update(symbols_of(*extents_of(node.attrs).flat))
            fresh = [t for t in node.args if t.name not in seen]
            seen.update((t.name, t) for t in fresh)
            open_ += fresh
        return [
            t
            for t in self.builder.inputs
            if t.name in seen or not said.isdisjoint(symbols_of(*t.values))
        ]

    def way_out(self, tensor: Tensor) -> str:
        """What a message says of a tensor whose value must be known: which inputs of the model to
        give values of; "" where that would not help."""
        names = [t.name for t in self.sources(tensor) if not t.type.dtype.is_float]
        if not names:
            return ""
        return "; give " + " and ".join(f"{n!r} a value with values={{{n!r}: ...}}" for n in names)

    def const_ints(
        self, index: int, what: str, *, are_sizes: bool = False
    ) -> tuple[int, ...] | None:
        """Input `index` as ints, None when it is left out.

        Elements that the model computes from open extents are symbolic extents.  are_sizes: each element can
        only be a size of 1 or more, so that an input of the model that they are computed from may as
        well say sizes.  DataDependent as in `const`.
        """
        if self.has(index):
            known = self.builder.known(self.arg(index))
            if known is not None and is_whole(known) and self.arg(index).data is None:
                return tuple(known.flat)
            if known is None and are_sizes:
                self.ask(self.sources(self.arg(index)))
        array = self.const(index, what)
        return None if array is None else tuple(int(v) for v in array.reshape(-1))

    def narrow_type(self, index: int) -> int:
        """The ONNX element type of input `index` if it is one that is held in another, else 0."""
        return self.narrow.get(self.proto.input[index], 0) if self.has(index) else 0

    def makes_narrow(self, elem_type: int) -> None:
        """Note that the first output has this ONNX element type, which is held in another."""
        self.narrow[self.proto.output[0]] = elem_type

    def wants(self, index: int) -> bool:
        """Whether output `index` is named, so that somebody may read it."""
        return index < len(self.proto.output) and bool(self.proto.output[index])

    # -- attributes --------------------------------------------------------------------------

    def _attr(self, name: str, kind: type[V] | tuple[type, ...], default: V | None) -> V | None:
        for attribute in self.proto.attribute:
            if attribute.name == name:
                value = onnx.helper.get_attribute_value(attribute)
                if isinstance(value, bytes):
                    value = value.decode("utf-8", "replace")
                if not isinstance(value, kind):
                    raise ModelError(f"attribute {name!r} has the wrong type: {value!r}")
                return value  # type: ignore[return-value]
        return default

    def attr_int(self, name: str, default: int = 0) -> int:
        """An integer attribute."""
        return self._attr(name, int, default)  # type: ignore[return-value]

    def attr_float(self, name: str, default: float = 0.0) -> float:
        """A float attribute."""
        return self._attr(name, float, default)  # type: ignore[return-value]

    def attr_str(self, name: str, default: str = "") -> str:
        """A string attribute."""
        return self._attr(name, str, default)  # type: ignore[return-value]

    def attr_ints(self, name: str) -> tuple[int, ...] | None:
        """A list of ints, None when absent."""
        value = self._sequence(name)
        return None if value is None else tuple(int(v) for v in value)

    def attr_floats(self, name: str) -> tuple[float, ...] | None:
        """A list of floats, None when absent."""
        value = self._sequence(name)
        return None if value is None else tuple(float(v) for v in value)

    def attr_strings(self, name: str) -> tuple[str, ...] | None:
        """A list of strings, None when absent."""
        for attribute in self.proto.attribute:
            if attribute.name == name:
                return tuple(s.decode("utf-8", "replace") for s in attribute.strings)
        return None

    def _sequence(self, name: str) -> Sequence[float] | None:
        for attribute in self.proto.attribute:
            if attribute.name == name:
                return list(attribute.ints) or list(attribute.floats)
        return None

    def ints_or_input(self, name: str, index: int) -> tuple[int, ...] | None:
        """Ints that older opsets give as attribute `name` and newer ones as input `index`."""
        given = self.attr_ints(name)
        return given if given is not None else self.const_ints(index, name)

    # -- results -----------------------------------------------------------------------------

    def output_name(self, out: int = 0) -> str:
        """The name in the graph of output number `out`."""
        name = self.proto.output[out]
        return name if name in self.kept else self.builder.local(name)

    @property
    def output(self) -> str:
        """The name in the graph of the first output."""
        return self.output_name()


Handler = Callable[[NodeContext], Results]
