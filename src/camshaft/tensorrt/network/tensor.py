"""`ITensor`: what layers give and take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from camshaft.tensorrt.dims import Dims, extents
from camshaft.tensorrt.enums.data import DataType, TensorFormat, TensorLocation
from camshaft.tensorrt.network.params import flag, member, number, text, whole
from camshaft.tensorrt.objects import Closed, Result

if TYPE_CHECKING:
    from camshaft.tensorrt.network.graph import Graph
    from camshaft.tensorrt.network.record import Record

ALL_FORMATS = (1 << len(TensorFormat.__members__)) - 1
_DEVICE, _INT8 = TensorLocation.DEVICE, DataType.INT8
_type, _location = member(DataType), member(TensorLocation)


class Unranked(Dims):
    """The shape of a tensor whose layer cannot be: it has no length, a ValueError as in TensorRT."""

    __slots__ = ()

    def __len__(self) -> NoReturn:
        raise ValueError("the tensor has no rank: its layer cannot be, as the log says")

    def __iter__(self) -> Iterator[int]:
        len(self)
        return iter(())

    def __repr__(self) -> str:
        return "(unknown rank)"


class ITensor(Closed, Result):
    """A tensor of a network: an input, or what a layer gives."""

    _graph: Graph
    _producer: Record | None
    _name: str
    _dtype: DataType | None
    _declared: DataType
    _native: int | None
    """ONNX's type of an input within the network, where DataType lacks it."""
    _shape: tuple[int, ...]
    _range: tuple[float, float] | None

    @classmethod
    def _made(cls, graph: Graph, name: str, producer: Record | None) -> ITensor:
        """producer: the layer; None: an input, of which the network says type and shape."""
        made = cls.__new__(cls)
        made._graph, made._name, made._producer = graph, name, producer
        made._dtype, made._range = None, None
        made._declared, made._native, made._shape = DataType(0), None, ()
        made._formats, made._placed, made._broadcast = ALL_FORMATS, _DEVICE, False
        made._axes: dict[int, str] = {}  # type: ignore[misc]
        return made

    @property
    def name(self) -> str:
        """Name; of inputs and outputs that of the engine's."""
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._graph._rename(self, text(name, "name"))

    @property
    def shape(self) -> Dims:
        """Extents, -1 for open ones.  Only that of an input can be set."""
        found = self._graph._shape_of(self)
        return Unranked() if found is None else Dims(found)

    @shape.setter
    def shape(self, shape: Sequence[int]) -> None:
        self._graph._reshape_input(self, extents(shape, "shape"))

    @property
    def dtype(self) -> DataType:
        """Type of the elements.  Setting it casts an input or output at the network's border, and does nothing to others."""
        return self._graph._type_of(self)

    @dtype.setter
    def dtype(self, dtype: DataType) -> None:
        self._dtype = _type(dtype, "dtype")
        if self.is_network_input:
            self._graph._restart()

    @property
    def broadcast_across_batch(self) -> bool:
        """Kept; of implicit batches, which networks do not have."""
        return self._broadcast

    @broadcast_across_batch.setter
    def broadcast_across_batch(self, value: bool) -> None:
        self._broadcast = flag(value, "broadcast_across_batch")

    @property
    def location(self) -> TensorLocation:
        """Where elements lie; kept."""
        return self._placed

    @location.setter
    def location(self, location: TensorLocation) -> None:
        self._placed = _location(location, "location")

    @property
    def allowed_formats(self) -> int:
        """A bit for each TensorFormat that an input or output may have; all are set at first."""
        return self._formats

    @allowed_formats.setter
    def allowed_formats(self, formats: int) -> None:
        self._formats = whole(formats, "allowed_formats")

    @property
    def is_network_input(self) -> bool:
        """Whether it is an input of the network."""
        return self in self._graph._inputs

    @property
    def is_network_output(self) -> bool:
        """Whether it is marked as an output."""
        return self in self._graph._outputs

    @property
    def is_shape_tensor(self) -> bool:
        """Whether shapes depend on its elements."""
        return self in self._graph._shape_tensors()

    @property
    def is_execution_tensor(self) -> bool:
        """Whether it is computed for its elements: all are that no shape depends on."""
        return not self.is_shape_tensor

    @property
    def dynamic_range(self) -> tuple[float, float] | None:
        """(min, max) for INT8; None: not set."""
        return self._range

    @dynamic_range.setter
    def dynamic_range(self, range: Sequence[float] | None) -> None:
        if range is None:
            self.reset_dynamic_range()
            return
        low, high = range
        self.set_dynamic_range(low, high)

    def set_dynamic_range(self, min: float, max: float) -> bool:
        """Set the range for INT8; its scale is max(|min|, |max|) / 127.  False, and an error, unless min <= max."""
        low, high = number(min, "min"), number(max, "max")
        if not low <= high:
            self._graph._reports.error(
                f"tensor {self.name!r}: dynamic range ({low}, {high}) is empty; give min <= max"
            )
            return False
        self._ranged((low, high))
        return True

    def reset_dynamic_range(self) -> None:
        """Unset the range."""
        self._ranged(None)

    def _ranged(self, bounds: tuple[float, float] | None) -> None:
        self._range = bounds
        if self._producer is None and (self._dtype or self._declared) == _INT8:
            self._graph._restart()  # what layers read is made of it

    def set_dimension_name(self, index: int, name: str) -> None:
        """Name an extent of an input: open ones of equal names are equal."""
        self._axes[whole(index, "index")] = text(name, "name")
        self._graph._restart()

    def get_dimension_name(self, index: int) -> str | None:
        """The name of an extent; None: it has none."""
        return self._axes.get(whole(index, "index"))

    _formats: int
    _placed: TensorLocation
    _broadcast: bool
    _axes: dict[int, str]


def tensor(value: Any, name: str) -> ITensor:
    """An argument of type ITensor.  TypeError, that names it, for others."""
    if not isinstance(value, ITensor):
        raise TypeError(f"{name}={value!r} must be an ITensor")
    return value
