"""The recurrent layer that cells are, once what enters their gates is stacked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from camshaft.ir.extents.extent import Extent
from camshaft.ir.graph import GraphBuilder, Tensor
from camshaft.ops import functional as F
from camshaft.recurrence.cells import Found, Recurrence
from camshaft.recurrence.stacking import Stacker
from camshaft.recurrence.terms import Term, Terms, rows_of


def layer(
    stacker: Stacker,
    found: Found,
    recurrence: Recurrence,
    entering: Sequence[Sequence[Sequence[Term]]],
    before: Sequence[Tensor],
    steps: Extent,
    *,
    backward: bool = False,
) -> tuple[Tensor, ...]:
    """Y [T, 1, N, H] and the last states [1, N, H].

    found, recurrence: a cell that has its products.  entering: what else its gates get, gate -> step -> addends.  before: the initial
    states; fewer where they are 0.  NotAlike if steps cannot be stacked.
    """
    b, rows, size = stacker.builder, rows_of(found.hidden), found.size
    gates = stacker.gates(entering)
    gates = F.broadcast_to(b, gates, (steps, rows, len(found.gates) * size))
    r = np.stack([p.matrix.T for p in recurrence.products])
    if found.flipped:
        signs = np.repeat(np.array([-1, 1, 1], np.float32), size)
        gates, r = F.mul(b, gates, b.constant(signs)), r * np.array([-1, 1, 1]).reshape(3, 1, 1)
    given: dict[str, Tensor | None] = {}
    for name, state in zip(("h", "c"), before, strict=False):
        given[name] = _initial(b, state, rows, size)
    if recurrence.behind:
        given["behind"] = b.constant(behind(stacker.terms, recurrence, size).astype(np.float32))
    cell = F.Cell(found.kind, found.functions, after=bool(found.inner))
    matrix = b.constant(r.reshape(1, -1, size).astype(np.float32))
    return F.recurrent_of(b, gates, matrix, cell, (backward,), given)


def behind(terms: Terms, r: Recurrence, size: int) -> np.ndarray:
    """What is added to the inner product of a GRU [1, H]."""
    constants = [c for b in r.behind if (c := terms.constant(b)) is not None]
    return np.asarray(sum(constants, np.zeros((1, size), np.float32)))


def _initial(b: GraphBuilder, state: Tensor, rows: Extent, size: int) -> Tensor | None:
    """[1, N, H]; None where it is 0."""
    if state.is_const and not state.array.any():
        return None
    whole = F.reshape(b, state, (1, rows_of(state), state.shape[-1]))
    return F.broadcast_to(b, whole, (1, rows, size))
