"""A layer that is being lowered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.network import Network
from camshaft.network.tensor import Tensor
from camshaft.tensorrt.network.element_types import onnx_type, stored_type
from camshaft.tensorrt.network.record import Record
from camshaft.tensorrt.weights import Weights

if TYPE_CHECKING:
    from camshaft.tensorrt.network.emission import Emission


@dataclass
class Call:
    """net: takes the nodes.  name: of the layer there; what it gives is renamed afterwards.  inputs: the layer's, None for those not set.
    named: constant -> name that it shall have in the model."""

    emission: Emission
    net: Network
    record: Record
    name: str
    inputs: list[Tensor | None]

    def __getitem__(self, param: str) -> Any:
        return self.record.params[param]

    def input(self, index: int) -> Tensor:
        """An input that must be set.  ModelError if it is not."""
        found = self.inputs[index] if index < len(self.inputs) else None
        if found is None:
            raise ModelError(f"input {index} is not set; call set_input({index}, tensor)")
        return found

    def given(self, index: int) -> Tensor | None:
        """An input that may be left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def weights(
        self, param: str, shape: Sequence[int], like: Tensor | None = None
    ) -> Tensor | None:
        """Weights as a constant; None if they are empty.

        shape: with at most one -1.  like: whose type floats take.  ModelError if there are more or fewer elements than the shape has.
        """
        held: Weights = self[param]
        if not held.size:
            return None
        array = array_of(held)
        try:
            array = array.reshape(tuple(shape))
        except ValueError:
            raise ModelError(
                f"{param} has {held.size} elements, and shape {tuple(shape)} not"
            ) from None
        if like is not None and array.dtype.kind == "f" and like.dtype.kind == "f":
            array = array.astype(like.dtype)
        made = self.net.constant(array, name=f"{self.name}.{param}")
        self.emission.weights_made(made, held, self.record, param)
        return made

    def same_ranks(self, *tensors: Tensor) -> None:
        """ModelError unless tensors are of one rank."""
        ranks = [t.rank for t in tensors]
        if len(set(ranks)) > 1:
            shapes = ", ".join(str(t.shape) for t in tensors)
            raise ModelError(
                f"inputs have shapes {shapes}; make their ranks equal with add_shuffle"
            )

    def one_axis(self, bits: int, rank: int) -> int:
        """The axis of a word with one bit set.  ModelError if it has more or fewer, or one beyond the rank."""
        axes = axes_of(bits)
        if len(axes) != 1 or axes[0] >= rank:
            raise ModelError(f"axes={bits:#b} must have one bit, below bit {rank}; use 1 << axis")
        return axes[0]

    def cast(self, x: Tensor, kind: Any, name: str | None = None) -> Tensor:
        """As another DataType, if it is not."""
        wanted = onnx_type(kind)
        if self.net.type_of(x).elem_type == wanted and name is None:
            return x
        return self.net.cast(x, wanted, name=name)

    def scalar(self, x: Tensor) -> Tensor:
        """A tensor of one element as an int64 scalar."""
        return self.net.reshape(self.net.cast(x, "int64"), np.zeros(0, np.int64))


def array_of(weights: Weights) -> np.ndarray[Any, Any]:
    """The elements as an array, of types that NumPy lacks too.  ModelError of those of which two share a byte."""
    if weights.dtype.itemsize < 1:
        raise ModelError(f"weights of {weights.dtype} cannot be read here; pass INT8 or FLOAT")
    return weights._elements.view(stored_type(weights.dtype))


def axes_of(bits: int) -> list[int]:
    """The axes of a bit word."""
    return [axis for axis in range(bits.bit_length()) if bits >> axis & 1]
