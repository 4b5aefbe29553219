"""Conditionals: both sides are computed, and the condition chooses."""

from __future__ import annotations

from collections.abc import Sequence

from camshaft.errors import ModelError
from camshaft.network.tensor import Tensor
from camshaft.tensorrt.enums.layer_types import LayerType
from camshaft.tensorrt.errors import Reporting, reported
from camshaft.tensorrt.network.call import Call
from camshaft.tensorrt.network.graph import Graph
from camshaft.tensorrt.network.layer import ILayer
from camshaft.tensorrt.network.params import text
from camshaft.tensorrt.network.record import Record
from camshaft.tensorrt.network.tensor import ITensor
from camshaft.tensorrt.objects import Result


class IIfConditional(Result, Reporting):
    """A conditional: its condition, what goes into its sides, and what they give."""

    _graph: Graph
    _name: str
    _condition: ITensor | None

    @classmethod
    def _made(cls, graph: Graph) -> IIfConditional:
        made = cls.__new__(cls)
        made._graph, made._reports = graph, graph._reports
        made._name, made._condition = "", None
        return made

    @property
    def name(self) -> str:
        """Name."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._name = text(name, "name")

    @reported(None)
    def set_condition(self, condition: ITensor) -> IConditionLayer:
        """condition: a BOOL scalar."""
        made = self._graph._add(IConditionLayer, [condition], 0, self)
        self._condition = condition
        return made

    @reported(None)
    def add_input(self, input: ITensor) -> IIfConditionalInputLayer:
        """A tensor that the sides read."""
        return self._graph._add(IIfConditionalInputLayer, [input], 1, self)

    @reported(None)
    def add_output(
        self, true_subgraph_output: ITensor, false_subgraph_output: ITensor
    ) -> IIfConditionalOutputLayer:
        """The first if the condition holds, else the second; of one type and shape."""
        given = [true_subgraph_output, false_subgraph_output]
        return self._graph._add(IIfConditionalOutputLayer, given, 1, self)


class IIfConditionalBoundaryLayer(ILayer):
    """A layer that belongs to a conditional."""

    @property
    def conditional(self) -> IIfConditional:
        """The conditional."""
        owner: IIfConditional = self._record.owner
        return owner


class IConditionLayer(IIfConditionalBoundaryLayer):
    """The condition of a conditional."""

    _kind = LayerType.CONDITION


class IIfConditionalInputLayer(IIfConditionalBoundaryLayer):
    """What goes into the sides."""

    _kind = LayerType.CONDITIONAL_INPUT

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        return [call.net.op("Identity", call.input(0), name=call.name)]


class IIfConditionalOutputLayer(IIfConditionalBoundaryLayer):
    """What comes of the side that the condition says."""

    _kind = LayerType.CONDITIONAL_OUTPUT
    _most = 2

    @classmethod
    def _before(cls, record: Record, draft: bool) -> list[ITensor]:
        condition = record.owner._condition
        return [*record.needed(), *([] if condition is None else [condition])]

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        condition = call.record.owner._condition
        if condition is None:
            raise ModelError("the conditional has no condition; call set_condition(tensor)")
        then, other = call.input(0), call.input(1)
        call.same_ranks(then, other)
        chosen = call.net.reshape(call.emission.value(condition), [1] * then.rank)
        return [call.net.where(chosen, then, other, name=call.name)]


@reported(None)
def add_if_conditional(self: Graph) -> IIfConditional:
    """A conditional, without condition at first."""
    return IIfConditional._made(self)
