"""The import of a network while it is written: what says types and errors at each line.

The same walk that imports ONNX files takes one node after the other, so that a network means, at its line, what its build makes
of it.  What arithmetic teaches of open extents (`[n] + [m]` makes n and m one) starts the walk again with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto, helper

from camshaft.errors import ModelError
from camshaft.frontends.onnx.dtypes import onnx_dtype, tensor_proto
from camshaft.frontends.onnx.importer import MOST_ROUNDS
from camshaft.frontends.onnx.scripts.scope import HostValue
from camshaft.frontends.onnx.sizes.declared import declared_of
from camshaft.frontends.onnx.sizes.input_values import InputValues
from camshaft.frontends.onnx.sizes.open_extents import OpenExtents
from camshaft.frontends.onnx.walk.ends import declare_input
from camshaft.frontends.onnx.walk.here import Place
from camshaft.frontends.onnx.walk.nodes import Nodes
from camshaft.frontends.onnx.walk.state import State
from camshaft.ir.types import TensorType


@dataclass(frozen=True)
class Seen:
    """The type of a value: as ONNX writes it; elem_type, shape: of a tensor of known rank, else 0 and None."""

    proto: TypeProto
    elem_type: int
    shape: tuple[int | str, ...] | None


class Live:
    """The values of a network so far.  opsets: domain -> version."""

    def __init__(self, opsets: dict[str, int]) -> None:
        self._proto = ModelProto(
            opset_import=[helper.make_opsetid(d, v) for d, v in opsets.items()]
        )
        self._proto.graph.name = "network"
        self._declared: dict[str, Sequence[int | str | None]] = {}
        self._extents = OpenExtents(declared=self._declared)
        self._given = InputValues()
        self._steps: list[ValueInfoProto | TensorProto | NodeProto] = []
        self._state = State(self._proto, self._extents, self._given)

    def add(self, step: ValueInfoProto | TensorProto | NodeProto) -> None:
        """Take an input, a constant or a node.  ModelError says what is wrong with it; then it is not taken."""
        if isinstance(step, ValueInfoProto):
            shape = declared_of(step)
            if shape is not None:
                self._declared[step.name] = shape
        self._steps.append(step)
        try:
            self._settle(step)
        except ModelError:
            self._steps.pop()
            raise

    def _settle(self, step: ValueInfoProto | TensorProto | NodeProto) -> None:
        """Walk the step, and all again as long as that teaches something of the extents."""
        pending = [step]
        for _ in range(MOST_ROUNDS):
            fault: ModelError | None = None
            try:
                for one in pending:
                    self._walk(one)
            except ModelError as error:
                fault = error
            learned = self._extents.learn(self._state.builder.constraints) | self._given.learn()
            if not learned:
                if fault is not None:
                    raise fault
                return
            self._state = State(self._proto, self._extents, self._given)
            pending = list(self._steps)
        raise ModelError("what is known of the open extents changes without end; give sizes")

    def _walk(self, step: ValueInfoProto | TensorProto | NodeProto) -> None:
        state = self._state
        if isinstance(step, ValueInfoProto):
            declare_input(state, step)
        elif isinstance(step, TensorProto):
            self._proto.graph.initializer.append(step)
            try:
                state.constants(self._proto.graph, {step.name})
            finally:
                del self._proto.graph.initializer[-1]
        else:
            Nodes(state).walk([step], Place(state.opsets, frozenset(step.output)))

    def domain(self, name: str, version: int) -> None:
        """Take operators of another domain."""
        if name not in self._state.opsets:
            self._proto.opset_import.append(helper.make_opsetid(name, version))
            self._state.opsets[name] = version

    def held(self, name: str) -> TensorType:
        """The type in which the graph holds a tensor.  ModelError where it is none of known rank."""
        found = self._state.known(name).type
        if not isinstance(found, TensorType):
            raise ModelError(f"{name!r} is no tensor of known rank")
        return found

    def seen(self, name: str) -> Seen:
        """The type of a value."""
        value = self._state.known(name)
        if not isinstance(value.type, TensorType):
            assert isinstance(value, HostValue)
            return Seen(value.proto, 0, None)
        elem_type = self._state.narrow.get(name) or onnx_dtype(value.type.dtype)
        proto = tensor_proto(value.type)
        proto.tensor_type.elem_type = elem_type
        shape = tuple(d if isinstance(d, int) else str(d) for d in value.type.shape)
        return Seen(proto, elem_type, shape)
