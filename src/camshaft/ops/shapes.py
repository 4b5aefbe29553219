"""Integers that follow from shapes: extents as data, and numbers in a row for index arithmetic.

`extents` itself is defined beside the graph builder, which makes it of what shape arithmetic leaves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from camshaft.errors import ModelError
from camshaft.ir.extents.constraints import require_at_least
from camshaft.ir.extents.extent import Extent
from camshaft.ir.extents.kept import has_others, kept_rows
from camshaft.ir.extents.shape_values import EXTENTS
from camshaft.ir.op import Attribute, OpDef, Rounding
from camshaft.ir.types import TensorType, i64

Attrs = Mapping[str, Any]


def _infer(types: Sequence[TensorType], attrs: Attrs) -> list[TensorType]:
    count = attrs["count"]
    require_at_least(count, 0, f"there cannot be {count} numbers")
    return [TensorType(i64, (count,))]


IOTA = OpDef(
    "iota",
    "The i64 numbers 0, 1, ..., count - 1.",
    _infer,
    lambda arrays, attrs: [np.arange(attrs["count"], dtype=np.int64)],
    {"count": Attribute("how many there are")},
    "shapes",
    rounding=lambda types, attrs: Rounding.EXACT,
)


def _kept_infer(types: Sequence[TensorType], attrs: Attrs) -> list[TensorType]:
    mask, count = types[0], attrs["count"]
    if mask.rank < 2:
        raise ModelError(f"{mask} is no mask of rows: it has no axis of places")
    require_at_least(count, 1, f"there cannot be {count} kept rows")
    shapes: tuple[Extent, ...] = (count, mask.shape[0] + 1, mask.size)
    return [TensorType(i64, (d,)) for d in shapes]


def _kept_reference(arrays: Sequence[np.ndarray], attrs: Attrs) -> list[np.ndarray]:
    mask, count = arrays[0], attrs["count"]
    found = kept_rows(mask, attrs["places"], attrs["ones"])[:count]
    rows = np.concatenate([found, np.repeat(found[-1:], count - len(found))]).astype(np.int64)
    is_kept = np.zeros(mask.size, np.int64)
    if len(found) > 1 or found[0] or _keeps_first(mask, attrs):
        is_kept[found] = 1
    before = np.concatenate([[0], np.cumsum(is_kept)])
    starts = before[:: mask.size // mask.shape[0]].copy()
    starts[-1] = count
    first = np.repeat(starts[:-1], mask.size // mask.shape[0])
    places = np.minimum(np.maximum(before[1:] - 1, first), count - 1)
    return [rows, starts, places]


def _keeps_first(mask: np.ndarray, attrs: Attrs) -> bool:
    others = attrs["ones"] and has_others(mask)
    return bool(mask.reshape(-1)[0] != 0 or attrs["places"] or others)


KEPT_ROWS = OpDef(
    "kept_rows",
    "Which of the B * S rows of a mask [B, ..., S] are kept (not 0), in three outputs: their numbers, ascending "
    "[count], of which the last is repeated where fewer are kept; where those of each sequence begin among them, and "
    "`count` [B + 1]; for each row its place among them [B * S], of one that is not kept that of a neighbour in its "
    "sequence.",
    _kept_infer,
    _kept_reference,
    {
        "count": Attribute("how many rows are kept"),
        "places": Attribute(
            "places that are read: a sequence in which the mask hides one is kept whole", ()
        ),
        "ones": Attribute("whether a mask that holds anything but 0 and 1 keeps all rows", False),
    },
    "shapes",
    folds=False,
    rounding=lambda types, attrs: Rounding.EXACT,
)

OPS = (EXTENTS, IOTA, KEPT_ROWS)
