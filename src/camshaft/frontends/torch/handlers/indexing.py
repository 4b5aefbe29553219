"""ATen operators that take elements by numbers."""

from __future__ import annotations

from camshaft.frontends.torch.call import Call, handles
from camshaft.ir.graph import Tensor
from camshaft.ir.types import boolean, i64
from camshaft.ops import functional as F


@handles("embedding")
def embedding(c: Call) -> Tensor:
    return F.take(c.builder, c.tensor("weight"), c.tensor("indices"), 0)


@handles("index_select")
def index_select(c: Call) -> Tensor:
    return F.take(c.builder, c.tensor("self"), c.tensor("index"), c.axis())


@handles("gather")
def gather(c: Call) -> Tensor:
    return F.take_along_axis(c.builder, c.tensor("self"), c.tensor("index"), c.axis())


@handles("index", "_unsafe_index")
def index(c: Call) -> Tensor:
    b, x = c.builder, c.tensor("self")
    given = {n: t for n, t in enumerate(c["indices"]) if t is not None}
    if any(t.type.dtype == boolean for t in given.values()):
        raise c.refuse("how many elements a mask chooses hangs on data")
    if len(given) == 1:
        ((axis, places),) = given.items()
        return F.take(b, x, places, axis)
    axes = list(given)
    rank = max(t.type.rank for t in given.values())
    beside = axes == list(range(axes[0], axes[0] + len(axes)))
    made = c.shape
    lead = made[axes[0] : axes[0] + rank] if beside else made[:rank]
    columns = [
        F.unsqueeze(b, F.broadcast_to(b, F.cast(b, t, i64), lead), rank) for t in given.values()
    ]
    others = [a for a in range(x.type.rank) if a not in given]
    front = F.transpose(b, x, [*axes, *others])
    y = F.gather_nd(b, front, F.concat(b, columns, rank))
    if not beside or axes[0] == 0:
        return y
    before = axes[0]
    order = [rank + n for n in range(before)] + list(range(rank))
    order += [rank + n for n in range(before, len(others))]
    return F.transpose(b, y, order)
