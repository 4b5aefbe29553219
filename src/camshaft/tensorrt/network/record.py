"""What the objects that stand for one layer share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from onnx import NodeProto

from camshaft.errors import ModelError
from camshaft.tensorrt.enums.data import WeightsRole
from camshaft.tensorrt.enums.layer_types import LayerType
from camshaft.tensorrt.network.files.shape_inputs import reads_shapes_only, shape_inputs
from camshaft.tensorrt.weights import Weights

if TYPE_CHECKING:
    from camshaft.tensorrt.enums.data import DataType
    from camshaft.tensorrt.network.graph import Graph
    from camshaft.tensorrt.network.layer import ILayer
    from camshaft.tensorrt.network.tensor import ITensor


@dataclass(frozen=True)
class Parsed:
    """A node of a parsed model.  captured: name in the file -> tensor, of what its graphs read from around it."""

    node: NodeProto
    captured: Mapping[str, ITensor]


@dataclass(frozen=True)
class Late:
    """A parameter of a parsed layer that hangs on its inputs' shapes: made when it is read.  AttributeError where these are not known."""

    made: Callable[[Record], Any]


@dataclass(eq=False)
class Record:
    """A layer.

    cls: its class.  params: by property.  output_types: index -> type that was set.  owner: the loop, conditional or attention it belongs to.
    parsed: the node it stands for; None: `cls` says what it computes.
    """

    graph: Graph
    cls: type[ILayer]
    name: str
    inputs: list[ITensor | None]
    params: dict[str, Any]
    outputs: list[ITensor] = field(default_factory=list)
    metadata: str = ""
    precision: DataType | None = None
    output_types: dict[int, DataType] = field(default_factory=dict)
    owner: Any = None
    parsed: Parsed | None = None

    def param(self, name: str) -> Any:
        """A parameter.  AttributeError if the layer has none of this name, since its `__class__` is of another kind of layer."""
        if name not in self.params:
            raise AttributeError(f"layer {self.name!r}, {self.cls.__name__}, has no known {name}")
        value = self.params[name]
        return value.made(self) if isinstance(value, Late) else value

    def assign(self, name: str, value: Any) -> None:
        """Set a parameter; of a parsed layer an error is logged instead, unless `cls` computes the same from its parameters."""
        held = self.param(name)
        if self.parsed is not None and not self.params.get(WHOLE):
            self.graph._reports.failure(
                ModelError(
                    f"layer {self.name!r} comes from an ONNX file, whose {self.parsed.node.op_type} keeps its {name}; "
                    "change the file"
                )
            )
            return
        self.parsed = None
        if name in OPERANDS and (value.size or held.size):
            self._unset(OPERANDS[name])
        self.params[name] = value
        self.graph._changed(self)

    def rewire(self, index: int, given: ITensor) -> None:
        """Read another tensor, which takes the place of weights that the layer held for this input."""
        self.inputs += [None] * (index + 1 - len(self.inputs))
        self.inputs[index] = given
        for param in self.params.keys() & OPERANDS.keys():
            if OPERANDS[param] == index:
                self.params[param] = Weights()
        self.graph._changed(self)

    def _unset(self, index: int) -> None:
        """Read no tensor where weights are given instead."""
        if index < len(self.inputs):
            self.inputs[index] = None
        while self.inputs and self.inputs[-1] is None:
            self.inputs.pop()

    def held(self) -> dict[str, Weights]:
        """Its weights by parameter, but for those that it has none of."""
        found = {p: self.params[p] for p in ROLES if isinstance(self.params.get(p), Weights)}
        return {param: weights for param, weights in found.items() if weights.size}

    def before(self, draft: bool) -> list[ITensor]:
        """Tensors that must be there before it is lowered."""
        return self.needed() if self.parsed is not None else self.cls._before(self, draft)

    def needed(self) -> list[ITensor]:
        """Tensors that it reads, those that graphs of a parsed node capture included."""
        found = [t for t in self.inputs if t is not None]
        if self.parsed is not None:
            found += [t for t in self.parsed.captured.values() if t not in found]
        return found

    def shape_inputs(self) -> list[ITensor | None]:
        """Inputs on whose elements the shapes of its results depend."""
        known = self.cls._shapes if self.parsed is None else shape_inputs(self.parsed.node)
        return [self.inputs[i] for i in known if i < len(self.inputs)]

    def reads_shapes_only(self) -> bool:
        """Whether its results do not depend on the elements of what it reads."""
        if self.parsed is None:
            return self.cls._kind == LayerType.SHAPE
        return reads_shapes_only(self.parsed.node)


WHOLE = ""
"""Key among the parameters of a parsed layer that says that they hold all that the node says."""

ROLES = {
    "kernel": WeightsRole.KERNEL,
    "bias": WeightsRole.BIAS,
    "shift": WeightsRole.SHIFT,
    "scale": WeightsRole.SCALE,
    "power": WeightsRole.ANY,
    "weights": WeightsRole.CONSTANT,
}
"""What a layer uses weights for, by the parameter that holds them."""

OPERANDS = {"kernel": 1, "bias": 2}
"""Inputs that can hold a layer's weights instead.  What is said last counts."""


def default_name(layer: str, param: str) -> str:
    """What weights are called for refits until `set_weights_name` says otherwise."""
    return f"{layer} {'CONSTANT' if param == 'weights' else param.upper()}"
