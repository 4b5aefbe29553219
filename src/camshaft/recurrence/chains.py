"""Cells of which each goes on where another one ended, as one recurrent layer.

Exporters unroll loops over cells (torch.nn.LSTMCell in a loop, torch.nn.RNN by the newer exporter), and so does the
importer with short loops.  What the steps read of inputs is computed for all steps at once, so none of it may hang on the states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.rebuild import Rebuild
from camshaft.ir.types import f32
from camshaft.ops import CONCAT, MATMUL, POINTWISE
from camshaft.ops import functional as F
from camshaft.recurrence.cells import (
    Found,
    Recurrence,
    cells_of,
    first_step,
    recurrences,
)
from camshaft.recurrence.layers import behind, layer
from camshaft.recurrence.stacking import NotAlike, Stacker, stacked_along, turned
from camshaft.recurrence.terms import Terms, rows_of, tensors_of

FEWEST = 3
"""Steps of a chain: two alike may be chance, and gain little."""


@dataclass(frozen=True, eq=False)
class Step:
    """A cell with one of the states that it may read.  weights: what is equal in all steps of a chain."""

    found: Found
    recurrence: Recurrence
    weights: object

    @property
    def before(self) -> tuple[Tensor, ...]:
        """Roots of the states that it reads."""
        own = (self.recurrence.state, self.found.before if self.found.kind == "lstm" else None)
        return tuple(t for t in own if t is not None)


def fuse_cells(graph: Graph) -> Graph:
    """The graph with chains of cells as recurrent layers."""
    if sum(n.op is MATMUL for n in graph.nodes) < FEWEST:
        return graph
    while (found := _next(graph)) is not None:
        graph = found
    return graph


def _next(graph: Graph) -> Graph | None:
    """The graph with one more layer."""
    terms = Terms(maker_in(graph))
    for chain in chains(graph, terms):
        tries = [chain, chain[1:]] if not chain[0].recurrence.products else [chain]
        for steps in tries:  # what looked like a first step from 0 may be something else
            if len(steps) >= FEWEST and (made := _fused(graph, terms, steps)) is not None:
                return made
    return None


def maker_in(graph: Graph) -> Callable[[Tensor], Node | None]:
    """Tensor -> the node that makes it."""
    return lambda t: graph.producers.get(t.name)


def chains(graph: Graph, terms: Terms) -> Iterator[list[Step]]:
    """Steps in their order, longest chains first."""
    read = _often_read(graph, terms)
    if not read:
        return
    steps = [
        Step(found, r, _weights(terms, found, r))
        for node in graph.nodes
        if node.op is POINTWISE and node.output.type.dtype == f32
        for found in cells_of(terms, node.output)
        for r in recurrences(terms, found)
        if all(terms.content(p.weights) in read for p in r.products)
    ]
    made = {(*_states(terms, s.found), s.weights): s for s in steps}
    followers = {id(p): s for s in steps if (p := made.get((*s.before, s.weights))) is not None}
    found_chains = []
    for first in [s for s in steps if (*s.before, s.weights) not in made]:
        chain = [*_beginning(graph, terms, first), first]
        while (after := followers.get(id(chain[-1]))) is not None:
            chain.append(after)
        if len(chain) >= FEWEST:
            found_chains.append(chain)
    yield from sorted(found_chains, key=len, reverse=True)


def _beginning(graph: Graph, terms: Terms, second: Step) -> list[Step]:
    """The step before one, if its states are 0, so that no recurrent product was left of it."""
    maker = terms.maker(second.before[0])
    for found in () if maker is None else cells_of(terms, second.before[0]):
        alike = _kind(found) == _kind(second.found) and _states(terms, found) == second.before
        for r in first_step(terms, found) if alike else ():
            if np.array_equal(
                behind(terms, r, found.size), behind(terms, second.recurrence, found.size)
            ):
                return [Step(found, r, second.weights)]
    return []


def _often_read(graph: Graph, terms: Terms) -> set[bytes]:
    """Constant matrices that several products read, by their contents."""
    sizes: dict[object, list[Tensor]] = {}
    for node in graph.nodes:
        weights = node.args[1] if node.op is MATMUL else None
        if (
            weights is not None
            and weights.type.dtype == f32
            and weights.is_const
            and not weights.changes  # equal ones may differ later
            and weights.content.size
        ):
            sizes.setdefault((weights.shape, weights.content.flat[0]), []).append(weights)
    counts: dict[bytes, int] = {}
    for alike in sizes.values():
        for w in alike if len(alike) >= FEWEST - 1 else ():
            counts[terms.content(w)] = counts.get(terms.content(w), 0) + 1
    return {content for content, count in counts.items() if count >= FEWEST - 1}


def _states(terms: Terms, found: Found) -> tuple[Tensor, ...]:
    cell = () if found.cell is None else (found.cell,)
    return tuple(terms.root(s) for s in (found.hidden, *cell))


def _kind(found: Found) -> object:
    inner = bool(found.inner)
    return found.kind, found.functions, inner, found.flipped, found.size, rows_of(found.hidden)


def _weights(terms: Terms, found: Found, r: Recurrence) -> object:
    """What tells cells of other weights apart."""
    products = tuple((terms.content(p.weights), p.start, p.above) for p in r.products)
    return _kind(found), products, behind(terms, r, found.size).tobytes()


def _fused(graph: Graph, terms: Terms, chain: Sequence[Step]) -> Graph | None:
    """The graph with a layer in place of the chain; None where what enters hangs on the states, or states between the steps
    are read by others."""
    entering = {t.name for s in chain for sums in s.recurrence.entering for t in tensors_of(sums)}
    entering |= {t.name for t in chain[0].before}
    if entering & _descendants(graph, [h for s in chain for h in _states(terms, s.found)]):
        return None
    first = _ancestors(graph, entering)
    rebuild = Rebuild(graph)
    for node in graph.nodes:
        if any(t.name in first for t in node.outputs):
            rebuild.replace(node, rebuild.carry(rebuild.present(node)))
    last, b = chain[-1].found, rebuild.builder
    try:
        with b.scope(terms.maker(last.hidden).name):  # type: ignore[union-attr]
            y, *states = _layer(terms, rebuild, chain)
    except NotAlike:
        return None
    hidden = [s.found.hidden for s in chain]
    places = {t.name: n for n, t in enumerate(hidden)}
    for node in graph.nodes:
        if any(t.name in first for t in node.outputs):
            continue
        joined = _joined(terms, b, node, hidden, y)
        made = rebuild.carry(rebuild.present(node)) if joined is None else (joined,)
        rebuild.replace(node, made)
        for t in node.outputs:
            if t.name in places:
                one = F.narrow(b, y, 0, places[t.name], 1)
                rebuild.put(t, F.reshape(b, one, t.shape))
            elif last.cell is not None and t is last.cell:
                rebuild.put(t, F.reshape(b, states[1], t.shape))
    whole = rebuild.finish()
    between = [s.found.cell for s in chain[:-1] if s.found.cell is not None]
    return None if any(t.name in whole.producers for t in between) else whole


def _joined(
    terms: Terms, b: GraphBuilder, node: Node, hidden: Sequence[Tensor], y: Tensor
) -> Tensor | None:
    """What a concatenation of all states is, in their order or from the last one on; None: the node is none."""
    if node.op is not CONCAT or len(node.args) != len(hidden):
        return None
    read, states = [terms.root(t) for t in node.args], [terms.root(t) for t in hidden]
    part, axis = node.args[0].shape, node.attrs["axis"]
    alike = all(t.shape == part for t in node.args)
    if not alike or read not in (states, states[::-1]) or not isinstance(axis, int):
        return None
    y = F.reshape(b, y, (len(hidden), *part))
    y = y if read == states else turned(b, y)
    return F.reshape(b, stacked_along(b, y, axis), node.output.shape)


def _descendants(graph: Graph, states: Sequence[Tensor]) -> set[str]:
    found = {t.name for t in states}
    for node in graph.nodes:
        if any(t.name in found for t in node.args):
            found.update(t.name for t in node.outputs)
    return found


def _ancestors(graph: Graph, names: set[str]) -> set[str]:
    found = set(names)
    for node in reversed(graph.nodes):
        if any(t.name in found for t in node.outputs):
            found.update(t.name for t in node.args)
    return found


def _layer(terms: Terms, rebuild: Rebuild, chain: Sequence[Step]) -> tuple[Tensor, ...]:
    """Y [T, 1, N, H] and the last states [1, N, H]."""
    first, last = chain[0], chain[-1]
    stacker = Stacker(terms, rebuild.builder, rebuild.get, last.found.size)
    gates = [[s.recurrence.entering[g] for s in chain] for g in range(len(last.found.gates))]
    before = [rebuild.get(t) for t in first.before]
    return layer(stacker, last.found, last.recurrence, gates, before, len(chain))
