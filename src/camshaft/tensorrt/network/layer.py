"""`ILayer`, the base of layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from camshaft.errors import ModelError
from camshaft.network.tensor import Tensor
from camshaft.tensorrt.enums.data import DataType
from camshaft.tensorrt.enums.layer_types import LayerType
from camshaft.tensorrt.network.element_types import FLOAT
from camshaft.tensorrt.network.params import member, text, whole
from camshaft.tensorrt.network.tensor import ITensor
from camshaft.tensorrt.objects import Closed, Result

if TYPE_CHECKING:
    from camshaft.tensorrt.network.call import Call
    from camshaft.tensorrt.network.record import Record

_type = member(DataType)


class ILayer(Closed, Result):
    """A layer of a network.  Objects for the same layer are equal; `get_layer` returns one of this class, whose `__class__` a script may
    assign."""

    # Tools take for parameters of a layer what its class has and this one lacks: what is ours must be found here.
    __slots__ = ("__dict__", "__weakref__", "_record")

    _record: Record
    _kind: ClassVar[LayerType] = LayerType(-1)
    _most: ClassVar[int | None] = 1
    """Most inputs; None: any number."""
    _shapes: ClassVar[tuple[int, ...]] = ()
    """Inputs on whose elements a shape depends."""
    _casts: ClassVar[bool] = False
    """Whether `set_output_type` casts what it computes, wherever it goes."""
    _any_opset: ClassVar[bool] = False
    """Whether its nodes mean the same in all versions of ONNX's operators."""

    @classmethod
    def _made(cls, record: Record) -> ILayer:
        made = cls.__new__(cls)
        made._record = record
        return made

    @classmethod
    def _lower(cls, call: Call) -> Sequence[Tensor]:
        """Add nodes to a network; returns what stands for the outputs.  ModelError says what cannot be."""
        raise ModelError(f"layers of {cls.__name__} cannot be computed here")

    @classmethod
    def _before(cls, record: Record, draft: bool) -> list[ITensor]:
        """Tensors that must be there before `_lower`."""
        return record.needed()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ILayer) and other._record is self._record

    def __hash__(self) -> int:
        return id(self._record)

    @property
    def name(self) -> str:
        """Name; those of a network's layers must differ."""
        return self._record.name

    @name.setter
    def name(self, name: str) -> None:
        self._record.name = text(name, "name")

    @property
    def metadata(self) -> str:
        """Text that inspectors show; the parser writes the name of the node."""
        return self._record.metadata

    @metadata.setter
    def metadata(self, metadata: str) -> None:
        self._record.metadata = text(metadata, "metadata")

    @property
    def type(self) -> Any:
        """What kind of layer it is."""
        return self._record.cls._kind

    @property
    def num_inputs(self) -> int:
        """How many inputs there are, optional ones before the last that is set included."""
        return len(self._record.inputs)

    @property
    def num_outputs(self) -> int:
        """How many outputs there are."""
        return len(self._record.outputs)

    @property
    def num_ranks(self) -> int:
        """Devices of the layer: 1."""
        return 1

    @num_ranks.setter
    def num_ranks(self, ranks: int) -> None:
        if whole(ranks, "num_ranks") != 1:
            self._record.graph._reports.error(
                f"layer {self.name!r}: num_ranks={ranks}; there is one device, leave it at 1"
            )

    def get_input(self, index: int) -> ITensor | None:
        """An input; None: not set, or there is none of this index."""
        inputs = self._record.inputs
        return inputs[index] if 0 <= whole(index, "index") < len(inputs) else None

    def get_output(self, index: int) -> ITensor | None:
        """An output; None: there is none of this index."""
        outputs = self._record.outputs
        return outputs[index] if 0 <= whole(index, "index") < len(outputs) else None

    def set_input(self, index: int, tensor: ITensor) -> None:
        """Read another tensor, or an optional input that was not set.  An error is logged if the layer has no such input."""
        self._record.graph._rewire(self._record, whole(index, "index"), tensor)

    @property
    def precision(self) -> DataType:
        """Type that the layer computes in; FLOAT if none is set."""
        return self._record.precision or FLOAT

    @precision.setter
    def precision(self, precision: DataType) -> None:
        kind = _type(precision, "precision")
        if self._record.graph._may_set_types(self._record, "precision"):
            self._record.precision = kind

    @property
    def precision_is_set(self) -> bool:
        """Whether `precision` was set."""
        return self._record.precision is not None

    def reset_precision(self) -> None:
        """Unset `precision`."""
        self._record.precision = None

    def set_output_type(self, index: int, dtype: DataType) -> None:
        """Set the type of an output: INT8 asks for a quantized one; others are cast to where the output is one of the network."""
        kind = _type(dtype, "dtype")
        if self._record.graph._may_set_types(self._record, "an output type"):
            self._record.output_types[whole(index, "index")] = kind
            self._record.graph._changed(self._record)

    def get_output_type(self, index: int) -> DataType:
        """The type of an output: the one set, or else the one computed.  FLOAT if there is no such output."""
        output = self.get_output(index)
        return FLOAT if output is None else output.dtype

    def output_type_is_set(self, index: int) -> bool:
        """Whether the type of an output was set."""
        return whole(index, "index") in self._record.output_types

    def reset_output_type(self, index: int) -> None:
        """Unset the type of an output."""
        if self._record.output_types.pop(whole(index, "index"), None) is not None:
            self._record.graph._changed(self._record)
