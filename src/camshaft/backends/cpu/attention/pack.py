"""Keys and values of one head brought into panels that the register tile reads.

Keys [T, H] become [H][panel] (transposed, a panel of keys at a time), values [T, G] become
[panel][T][columns of a panel].  A work item packs what it reads, or a first phase packs all of it, which pays
where many blocks of queries read the same.
"""

from __future__ import annotations

from camshaft.backends.cpu.attention.problem import Strided
from camshaft.backends.cpu.lang import FunctionBuilder, Index, Pointer, Value
from camshaft.backends.cpu.pointwise.lanes import transposed
from camshaft.ir.extents.extent import Extent
from camshaft.ir.types import f32


def pack_keys(
    k: FunctionBuilder,
    source: Pointer,
    lie: Strided,
    size: int,
    last: Value,
    target: Pointer,
    width: int,
) -> None:
    """`width` keys from `source` on, transposed; behind key number `last` that one again.

    size: elements of a key.  target: [size][width].
    """
    lanes = k.target.lanes(f32)
    for group in range(0, width, lanes):
        lines = [
            source.at(k.mul(k.min(last, group + n), lie.row) if group + n else 0)
            for n in range(lanes)
        ]
        place = target.at(group)

        def some(
            at: Index, count: int, lines: list[Pointer] = lines, place: Pointer = place
        ) -> None:
            rows = [
                k.load_strided(line.at(k.mul(k.index(at), lie.column)), lie.column, lanes, count)
                for line in lines
            ]
            for n, column in enumerate(transposed(k, rows)[:count]):
                k.store(column, place.at(k.mul(k.index(at), width)).at(n * width))

        for tile in k.tiles(size, lanes):
            assert isinstance(tile.count, int)
            some(tile.start, tile.count)


def pack_values(
    k: FunctionBuilder,
    source: Pointer,
    lie: Strided,
    size: int,
    count: Index,
    target: Pointer,
    pitch: Extent,
    width: int,
) -> None:
    """The first `count` values from `source` on, `size` elements each, in panels of `width` columns.

    target: [panels][pitch][width].
    """
    lanes = k.target.lanes(f32)
    with k.loop(0, count) as row:
        line, there = source.at(k.mul(row, lie.row)), target.at(k.mul(row, width))
        for at in range(0, -(-size // width) * width, lanes):
            panel, column = at // width, at % width
            if at < size:
                place = line.at(k.mul(k.index(at), lie.column))
                value = k.load_strided(place, lie.column, lanes, min(lanes, size - at))
            else:
                value = k.const(0.0, f32, lanes)
            k.store(value, there.at(panel * width * pitch).at(column))
