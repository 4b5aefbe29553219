"""The values of a graph."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.kept import Kept
from camshaft.ir.recipe import Known, note_read
from camshaft.ir.types import Shape, TensorType


@dataclass(frozen=True, eq=False)
class Tensor:
    """A value of the graph.  `stored` holds the array of a constant (read-only), else None.

    Of inputs that say sizes: values: the elements as extents in row-major order, kept: the rows that a mask keeps.
    recipe: how the constant comes of weights that may change later; whoever decides something by its values, or makes
    another constant of them without `GraphBuilder.derived`, reads `data` or `array`, which is written down.
    """

    name: str
    type: TensorType
    stored: np.ndarray | None = field(default=None, repr=False)
    values: tuple[Extent, ...] = ()
    kept: Kept | None = None
    recipe: Known | None = field(default=None, repr=False)

    @property
    def data(self) -> np.ndarray | None:
        """The array of a constant, else None."""
        if self.recipe is not None:
            note_read(self.recipe)
        return self.stored

    @property
    def is_const(self) -> bool:
        """Whether it is a constant, whose array is known."""
        return self.stored is not None

    @property
    def changes(self) -> bool:
        """Whether it is a constant that comes of weights that may change later."""
        return self.recipe is not None

    @property
    def array(self) -> np.ndarray:
        """The constant's array; ModelError for a tensor that is not constant."""
        if self.stored is None:
            raise ModelError(f"tensor {self.name!r} is not a constant")
        if self.recipe is not None:
            note_read(self.recipe)
        return self.stored

    @property
    def content(self) -> np.ndarray:
        """As `array`, for who decides nothing by it and makes nothing else of it than a run would."""
        if self.stored is None:
            raise ModelError(f"tensor {self.name!r} is not a constant")
        return self.stored

    @property
    def known(self) -> Known | np.ndarray:
        """How the constant comes of weights that may change later, or its array where it does not."""
        return self.content if self.recipe is None else self.recipe

    @property
    def shape(self) -> Shape:
        """The logical shape."""
        return self.type.shape


@dataclass(frozen=True, eq=False)
class FixedInput(Tensor):
    """A constant that the model declares as an input.  position: among all inputs that it declares."""

    position: int = 0
