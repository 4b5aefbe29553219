"""Inputs and outputs that are states: what one call brings along must not be more than a state may hold."""

from __future__ import annotations

from collections.abc import Mapping

from camshaft.frontends.onnx.scripts.scope import Value
from camshaft.frontends.onnx.walk.state import State
from camshaft.ir.extents.bounds import bounds
from camshaft.ir.extents.constraints import require_at_least
from camshaft.ir.extents.extent import Extent, sole_symbol
from camshaft.ir.extents.sizes import substitute
from camshaft.ir.graph import Tensor
from camshaft.ir.types import TensorType


def require_room(state: State, pairs: Mapping[str, str], results: Mapping[str, Value]) -> None:
    """Write down, for each state that grows within a range, that a first call leaves it within that range.

    pairs: input name -> output name.  results: the outputs by name.
    """
    inputs = {e.name: e.type for e in state.inputs}
    for name, output in pairs.items():
        past, present = inputs[name], results[output]
        if not isinstance(past, TensorType) or not isinstance(present, Tensor):
            continue  # refused elsewhere
        for found, left in zip(past.shape, present.shape, strict=False):
            if found != left:
                with state.builder.constraints.learning(f"state {name!r}"):
                    _require_within(found, left, f"state {name!r} has no room for one call")


def _require_within(found: Extent, left: Extent, otherwise: str) -> None:
    """An empty state bounds what one call may bring along."""
    most, symbol = bounds(found)[1], sole_symbol(found)
    if symbol is not None and isinstance(most, int):
        require_at_least(most, substitute(left, {symbol: symbol.low}), otherwise)
