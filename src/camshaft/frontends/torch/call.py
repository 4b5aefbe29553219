"""One call of an ATen operator, as handlers see it: arguments by their names in the schema, results by type."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.extents.extent import Extent
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ir.types import DType, TensorType
from camshaft.ops import functional as F
from camshaft.ops.functional import NoCanonicalForm

Handler = Callable[["Call"], Any]
"""Adds what a call computes to the graph; returns a tensor, or a list where the operator has several results."""


@dataclass(frozen=True)
class Call:
    """builder: of the graph.  name: of the operator, "aten::conv2d".  args: by the schema's names; tensors of the graph, numbers,
    extents, lists, None.  results: types of the results, as the
    graph holds them; None of what is no tensor, and of places (max_pool2d_with_indices) that nothing reads.  common: of operands of different types, that in which PyTorch computes.
    """

    builder: GraphBuilder
    name: str
    args: Mapping[str, Any]
    results: Sequence[TensorType | None]
    common: DType | None

    def __getitem__(self, name: str) -> Any:
        return self.args[name]

    def get(self, name: str, otherwise: Any = None) -> Any:
        """An argument, `otherwise` where it is None or the overload has none of this name."""
        value = self.args.get(name)
        return otherwise if value is None else value

    @property
    def result(self) -> TensorType:
        """The type of the only result."""
        found = self.results[0]
        if found is None:
            raise NoCanonicalForm(f"{self.name} makes no tensor")
        return found

    @property
    def shape(self) -> tuple[Extent, ...]:
        """The shape of the only result."""
        return self.result.shape

    @property
    def dtype(self) -> DType:
        """The element type of the only result."""
        return self.result.dtype

    def tensor(self, name: str, dtype: DType | None = None) -> Tensor:
        """An argument as a tensor, of this type if one is given: also a number or an extent."""
        return self.as_tensor(self.args[name], dtype, name)

    def as_tensor(self, value: Any, dtype: DType | None = None, what: str = "value") -> Tensor:
        """A tensor, a number or an extent as a tensor."""
        if isinstance(value, Tensor):
            return value if dtype is None else F.cast(self.builder, value, dtype)
        if isinstance(value, bool | int | float):
            kind = (dtype or self.common or self.dtype).numpy
            return self.builder.constant(np.asarray(value, kind), self.builder.local(what))
        if value is None:
            raise ModelError(f"{self.name} lacks its argument {what}")
        made = self.builder.extents([value], self.builder.local(what), scalar=True)
        return made if dtype is None else F.cast(self.builder, made, dtype)

    def operand(self, name: str, dtype: DType) -> Tensor | float:
        """An argument of an elementwise function: a number stays one."""
        value = self.args[name]
        if isinstance(value, int | float) and not isinstance(value, bool):
            return value
        return self.tensor(name, dtype)

    def operands(self, dtype: DType, *names: str) -> list[Tensor | float]:
        """Several of them, of which one at least is a tensor."""
        found = [self.operand(n, dtype) for n in names]
        if not any(isinstance(x, Tensor) for x in found):
            found[0] = self.tensor(names[0], dtype)
        return found

    def axis(self, name: str = "dim", of: str = "self") -> int:
        """An axis from the front."""
        rank = max(1, self.tensor(of).type.rank)
        return int(self.args[name]) % rank

    def axes(self, name: str = "dim", of: str = "self") -> list[int] | None:
        """Axes from the front; None for all of them."""
        value = self.args.get(name)
        rank = self.tensor(of).type.rank
        if value is None or value == []:
            return None
        values = [value] if isinstance(value, int) else value
        return [int(v) % max(1, rank) for v in values]

    def refuse(self, why: str) -> NoCanonicalForm:
        """An error to be raised: the call means something that the graph's ops cannot express."""
        return NoCanonicalForm(f"{self.name}: {why}")


HANDLERS: dict[str, Handler] = {}
"""By name of the operator; all its overloads have one handler."""


def handles(*names: str) -> Callable[[Handler], Handler]:
    """Register a handler of these operators ("conv2d" for "aten::conv2d")."""

    def register(handler: Handler) -> Handler:
        for name in names:
            full = name if "::" in name else f"aten::{name}"
            if full in HANDLERS:
                raise ValueError(f"{full} has two handlers")
            HANDLERS[full] = handler
        return handler

    return register
