"""Which token is which: rows, and places in their rows, of padded and of packed ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from camshaft.network import Network
from camshaft.network.tensor import Tensor


def counted(net: Network, x: Tensor, axis: int) -> Tensor:
    """0, 1, ... along an axis: int64 [extent]."""
    extent = x.shape[axis]
    if isinstance(extent, int):
        return net.constant(np.arange(extent))
    made: Tensor = net.op("Range", np.int64(0), extent_of(net, x, axis), np.int64(1))
    return made


def extent_of(net: Network, x: Tensor, axis: int) -> Tensor:
    """An extent as an int64 scalar."""
    return net.gather(net.shape(x), np.int64(axis))


@dataclass(frozen=True)
class Tokens:
    """Tokens in one line.  rows: which row each is of.  places: where in it.  counts: how many tokens its row has.  All int64 [tokens].

    real: whether a token is one, bool [tokens]; None: all are.
    """

    rows: Tensor
    places: Tensor
    counts: Tensor
    real: Tensor | None = None


def packed(net: Network, x: Tensor, bounds: Tensor) -> Tokens:
    """Tokens of [tokens, heads, size].  bounds: [rows + 1], where rows begin and end; tokens behind the last are of a row more."""
    edges = net.cast(bounds, "int64")
    at = counted(net, x, 0)
    begun = net.less_or_equal(net.unsqueeze(edges[1:], 0), net.unsqueeze(at, 1))
    rows = net.sum(net.cast(begun, "int64"), [1])
    sizes = net.concat([net.sub(edges[1:], edges[:-1]), net.constant(np.zeros(1, np.int64))], 0)
    return Tokens(rows, net.sub(at, net.gather(edges, rows)), net.gather(sizes, rows))


def padded(net: Network, x: Tensor, lengths: Tensor | None) -> Tokens:
    """Tokens of [rows, heads, steps, size], one row behind the other.  lengths: [rows], how many are real; None: all."""
    row, place = net.unsqueeze(counted(net, x, 0), 1), net.unsqueeze(counted(net, x, 2), 0)
    nothing = net.mul(net.add(row, place), np.int64(0))
    steps = (
        extent_of(net, x, 2) if lengths is None else net.unsqueeze(net.cast(lengths, "int64"), 1)
    )
    rows, places, counts = (net.reshape(net.add(nothing, t), [-1]) for t in (row, place, steps))
    return Tokens(rows, places, counts, None if lengths is None else net.less(places, counts))
