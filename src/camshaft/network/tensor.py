"""Values of a network that is written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import helper

from camshaft.errors import ModelError

if TYPE_CHECKING:
    from camshaft.network.network import Network

Like = Any
"""A tensor of the network, or what becomes a constant of it: an array, a number, a list of numbers."""


class Tensor:
    """A value: an input, a constant, or what a layer gives.  Made by a `Network`.

    name: in the model.  Arithmetic (`+ - * / ** @`, `-x`, `abs(x)`), ordering (`< <= > >=`) and indexing (numbers, slices, `...`,
    None) add layers; `==` compares identity, so that tensors can be keys.
    """

    __array_ufunc__ = None  # arrays leave arithmetic with tensors to them

    def __init__(self, network: Network, name: str) -> None:
        self.network, self.name = network, name

    @property
    def shape(self) -> tuple[int | str, ...]:
        """Extents, open ones as text ("batch", "batch + 1").  ModelError where not even the rank is known."""
        shape = self.network.type_of(self).shape
        if shape is None:
            raise ModelError(f"tensor {self.name!r} has no known rank; it is {self.kind}")
        return shape

    @property
    def rank(self) -> int:
        """How many axes there are.  ModelError where that is not known."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Element type; of types that NumPy lacks (bfloat16, float8, int4) that of the package ml_dtypes."""
        elem_type = self.network.type_of(self).elem_type
        if not elem_type:
            raise ModelError(f"tensor {self.name!r} has no element type; it is {self.kind}")
        return np.dtype(helper.tensor_dtype_to_np_dtype(elem_type))

    @property
    def kind(self) -> str:
        """ "tensor", "sequence" or "optional"."""
        kind = str(self.network.type_of(self).proto.WhichOneof("value"))
        return kind.removesuffix("_type")

    def __repr__(self) -> str:
        seen = self.network.type_of(self)
        if seen.shape is None:
            return f"<{self.kind} {self.name!r}>"
        return f"<tensor {self.name!r} {self.dtype} [{', '.join(map(str, seen.shape))}]>"

    def _with(self, other: Like) -> Network:
        """The network that computes with both: of a body, if one is of it."""
        if isinstance(other, Tensor) and other.network.is_within(self.network):
            return other.network
        return self.network

    def __add__(self, other: Like) -> Tensor:
        return self._with(other).add(self, other)

    def __radd__(self, other: Like) -> Tensor:
        return self._with(other).add(other, self)

    def __sub__(self, other: Like) -> Tensor:
        return self._with(other).sub(self, other)

    def __rsub__(self, other: Like) -> Tensor:
        return self._with(other).sub(other, self)

    def __mul__(self, other: Like) -> Tensor:
        return self._with(other).mul(self, other)

    def __rmul__(self, other: Like) -> Tensor:
        return self._with(other).mul(other, self)

    def __truediv__(self, other: Like) -> Tensor:
        return self._with(other).div(self, other)

    def __rtruediv__(self, other: Like) -> Tensor:
        return self._with(other).div(other, self)

    def __pow__(self, other: Like) -> Tensor:
        return self._with(other).pow(self, other)

    def __matmul__(self, other: Like) -> Tensor:
        return self._with(other).matmul(self, other)

    def __rmatmul__(self, other: Like) -> Tensor:
        return self._with(other).matmul(other, self)

    def __neg__(self) -> Tensor:
        return self.network.neg(self)

    def __abs__(self) -> Tensor:
        return self.network.abs(self)

    def __lt__(self, other: Like) -> Tensor:
        return self._with(other).less(self, other)

    def __le__(self, other: Like) -> Tensor:
        return self._with(other).less_or_equal(self, other)

    def __gt__(self, other: Like) -> Tensor:
        return self._with(other).greater(self, other)

    def __ge__(self, other: Like) -> Tensor:
        return self._with(other).greater_or_equal(self, other)

    def __getitem__(self, index: Any) -> Tensor:
        return self.network.index(self, index if isinstance(index, tuple) else (index,))

    def __iter__(self) -> Any:
        raise TypeError(f"tensor {self.name!r} is not iterable; use network.split or unstack")

    def __bool__(self) -> bool:
        raise TypeError(
            f"tensor {self.name!r} has no truth value while the network is written; use network.where or network.cond"
        )

    def reshape(self, *shape: int | Sequence[int]) -> Tensor:
        """As `Network.reshape`."""
        given = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
        return self.network.reshape(self, given)

    def transpose(self, *axes: int) -> Tensor:
        """As `Network.transpose`; without axes they are reversed."""
        return self.network.transpose(self, axes or None)

    def astype(self, dtype: Any) -> Tensor:
        """As `Network.cast`."""
        return self.network.cast(self, dtype)
