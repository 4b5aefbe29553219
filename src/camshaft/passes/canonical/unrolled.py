"""Recurrent layers step by step, one node for each operation of each step: the unfused graph, for comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from camshaft.ir import expr as E
from camshaft.ir.attrs import expr_attr, ints_attr
from camshaft.ir.expr import Expr
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.rebuild import Rebuild
from camshaft.ir.types import f32
from camshaft.ops import POINTWISE, RECURRENT
from camshaft.ops import functional as F
from camshaft.ops.recurrent import given_of

MOST_STEPS = 1024
"""Layers of more steps stay whole: the graph would be larger than anything that is read of it."""
_X, _Y, _Z = E.inp(0), E.inp(1), E.inp(2)


def unrolled(graph: Graph) -> Graph:
    """The graph with layers of known numbers of steps and sequences unrolled; those with lengths, or weights that are no
    floats, stay whole."""
    if not any(n.op is RECURRENT and _can_be_unrolled(n) for n in graph.nodes):
        return graph
    rebuild = Rebuild(graph)
    for old in graph.nodes:
        node = rebuild.present(old)
        if old.op is RECURRENT and _can_be_unrolled(old):
            rebuild.replace(old, _Unrolled(rebuild.builder, node).results())
        else:
            rebuild.replace(old, rebuild.carry(node))
    return rebuild.finish()


def _can_be_unrolled(node: Node) -> bool:
    gates, r = node.args[:2]
    steps, batch = gates.shape[:2]
    known = isinstance(steps, int) and isinstance(batch, int) and 0 < steps <= MOST_STEPS
    return known and r.is_const and r.type.dtype == f32 and "lengths" not in given_of(node)


class _Unrolled:
    """One layer.  Its equations are those of `ops.cells`."""

    def __init__(self, b: GraphBuilder, node: Node) -> None:
        self.b, self.node = b, node
        self.gates, self.r, *others = node.args
        self.given = dict(zip(given_of(node), others, strict=True))
        self.hidden = self.r.array.shape[2]
        self.functions = {name: expr_attr(node, name) for name in "fgh" if name in node.attrs}
        clip = float(node.attrs.get("clip", 0.0))  # type: ignore[arg-type]
        self.clip = clip if clip > 0 else float("inf")
        self.cells: Mapping[str, Callable[..., list[Tensor]]] = {
            "lstm": self._lstm,
            "gru": self._gru,
            "rnn": self._rnn,
        }

    def results(self) -> list[Tensor]:
        """Y [T, D, N, H] and the last states [D, N, H]."""
        backward = ints_attr(self.node, "backward")
        each = [self._direction(d, bool(back)) for d, back in enumerate(backward)]
        axes = (1, *[0] * (len(each[0]) - 1))
        return [
            parts[0] if len(parts) == 1 else F.concat(self.b, list(parts), axis)
            for parts, axis in zip(zip(*each, strict=True), axes, strict=True)
        ]

    def _direction(self, d: int, backward: bool) -> list[Tensor]:
        b, steps = self.b, self.gates.shape[0]
        assert isinstance(steps, int)
        batch, width = self.gates.shape[1], self.r.array.shape[1]
        weights = np.ascontiguousarray(self.r.array[d].T)
        states = [self._initial(name, d) for name in ("h", "c")[: len(self.node.outputs) - 1]]
        own = F.narrow(b, self.gates, 2, d * width, width)
        made: dict[int, Tensor] = {}
        for step in reversed(range(steps)) if backward else range(steps):
            x = F.reshape(b, F.narrow(b, own, 0, step, 1), (batch, width))
            states = self.cells[str(self.node.attrs["cell"])](d, x, states, weights)
            made[step] = F.reshape(b, states[0], (1, 1, batch, self.hidden))
        y = F.concat(b, [made[step] for step in range(steps)], 0)
        return [y, *(F.reshape(b, s, (1, batch, self.hidden)) for s in states)]

    def _initial(self, name: str, d: int) -> Tensor:
        batch = self.gates.shape[1]
        if name not in self.given:
            return self.b.constant(np.zeros((batch, self.hidden), np.float32))  # type: ignore[arg-type]
        return F.reshape(self.b, F.narrow(self.b, self.given[name], 0, d, 1), (batch, self.hidden))

    # -- cells: what the input adds [N, G*H], states [N, H], weights [H, G*H] -> new states --------

    def _lstm(
        self, d: int, x: Tensor, states: Sequence[Tensor], weights: np.ndarray
    ) -> list[Tensor]:
        h, c = states
        i, o, f, g = self._parts(self._sum(x, self._product(h, weights)), 4)
        pi, po, pf = self._peepholes(d)
        i = self._activated("f", self._peeped(i, pi, c))
        if self.node.attrs.get("coupled"):
            kept = self._made(E.sub(E.const(1.0), _X), i)
        else:
            kept = self._activated("f", self._peeped(f, pf, c))
        added = self._made(E.mul(_X, _Y), i, self._activated("g", g))
        cell = self._made(E.add(E.mul(_X, _Y), _Z), kept, c, added)
        o = self._activated("f", self._peeped(o, po, cell))
        last = self._made(self.functions["h"], cell)
        return [self._made(E.mul(_X, _Y), o, last), cell]

    def _gru(
        self, d: int, x: Tensor, states: Sequence[Tensor], weights: np.ndarray
    ) -> list[Tensor]:
        (h,), size = states, self.hidden
        first, own = weights[:, : 2 * size].copy(), weights[:, 2 * size :].copy()
        sums = self._sum(F.narrow(self.b, x, 1, 0, 2 * size), self._product(h, first))
        z, reset = (self._activated("f", part) for part in self._parts(sums, 2))
        entering = F.narrow(self.b, x, 1, 2 * size, size)
        if self.node.attrs.get("after"):
            product = self._behind(d, self._product(h, own))
            recurrent = self._made(E.mul(_X, _Y), reset, product)
        else:
            product = self._product(self._made(E.mul(_X, _Y), reset, h), own)
            recurrent = self._behind(d, product)
        new = self._activated("g", self._sum(entering, recurrent))
        mixed = E.add(E.mul(E.sub(E.const(1.0), _X), _Y), E.mul(_X, _Z))
        return [self._made(mixed, z, new, h)]

    def _rnn(
        self, d: int, x: Tensor, states: Sequence[Tensor], weights: np.ndarray
    ) -> list[Tensor]:
        return [self._activated("f", self._sum(x, self._product(states[0], weights)))]

    # -- their parts -------------------------------------------------------------------------------

    def _made(self, expr: Expr, *operands: Tensor) -> Tensor:
        return self.b.emit(POINTWISE, operands, {"expr": expr}, like=self.node)

    def _product(self, h: Tensor, weights: np.ndarray) -> Tensor:
        return F.matmul(self.b, h, self.b.constant(weights))

    def _sum(self, x: Tensor, y: Tensor) -> Tensor:
        return self._made(E.add(_X, _Y), x, y)

    def _parts(self, x: Tensor, count: int) -> list[Tensor]:
        return [F.narrow(self.b, x, 1, n * self.hidden, self.hidden) for n in range(count)]

    def _activated(self, name: str, x: Tensor) -> Tensor:
        if self.clip < float("inf"):
            limit = E.const(self.clip)
            x = self._made(E.minimum(E.maximum(_X, E.const(-self.clip)), limit), x)
        return self._made(self.functions[name], x)

    def _behind(self, d: int, product: Tensor) -> Tensor:
        if "behind" not in self.given:
            return product
        return self._sum(product, F.narrow(self.b, self.given["behind"], 0, d, 1))

    def _peepholes(self, d: int) -> list[Tensor | None]:
        if "peepholes" not in self.given:
            return [None] * 3
        own = F.narrow(self.b, self.given["peepholes"], 0, d, 1)
        return list(self._parts(own, 3))

    def _peeped(self, x: Tensor, weights: Tensor | None, cell: Tensor) -> Tensor:
        return x if weights is None else self._made(E.add(_X, E.mul(_Y, _Z)), x, weights, cell)
