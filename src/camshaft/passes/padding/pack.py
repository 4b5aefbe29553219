"""Rows that a mask or lengths keep are computed, packed one behind the other; padding is not.

Tensors [B, S, ...] whose padding nobody reads become [1, n, ...], n being how many of the B * S rows are kept.
Attention works within each sequence of the packed rows (`ragged_attention`), or, where its score depends on
places, on all rows, with packed ones brought to their places.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from camshaft.ir import expr as E
from camshaft.ir.attrs import expr_attr, int_attr
from camshaft.ir.extents.extent import Extent, extent_of
from camshaft.ir.extents.kept import Kept
from camshaft.ir.graph import Graph, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.rebuild import Rebuild
from camshaft.ir.types import boolean, i64
from camshaft.ops import (
    ATTENTION,
    BROADCAST,
    CONV,
    GATHER,
    KEPT_ROWS,
    MATMUL,
    MATMUL_NBITS,
    POINTWISE,
    RAGGED_ATTENTION,
    RESHAPE,
    SLICE,
    TRANSPOSE,
)
from camshaft.passes.bodies import Body, compact
from camshaft.passes.padding.lengths import (
    NAME,
    Mask,
    add_mask,
    kept_symbol,
    lengths_in,
    mask_of,
    may_be_mask,
    opposite_of,
)
from camshaft.passes.padding.needs import Plan, plan_for
from camshaft.passes.padding.refusal import refusal
from camshaft.passes.padding.rows import Rows, own_inputs, place_read

HEAVY = (CONV, MATMUL, MATMUL_NBITS)


def skip_padding(graph: Graph, wanted: bool | None, *, level: int = 1) -> Graph:
    """An optimized graph with padding left out: where that is certain to change no output (None), or with the rows of
    outputs that are padding set to 0 where it is not (True).

    level: the optimization level, from 1 on.
    ConfigError where it is wanted, and no input is a mask, or lengths, by which attention hides rows, or all of them are read.
    """
    if wanted is False or (wanted is None and level < 1):
        return graph
    inputs = [t for t in graph.inputs if may_be_mask(t)]
    masks = [
        *(Mask(t) for t in inputs),
        *(opposite_of(graph, t) for t in inputs if t.type.dtype == boolean),
        *(mask_of(graph, found) for found in lengths_in(graph)),
    ]
    plans: list[Plan] = []
    for mask in masks:
        plan = plan_for(graph, mask, permitted=bool(wanted))
        if plan is not None and _is_worth_it(graph, plan):
            return _Packing(graph, plan).run()
        plans += [] if plan is None else [plan]
    if wanted:
        raise refusal(graph, masks, plans, level=level)
    return graph


def _is_worth_it(graph: Graph, plan: Plan) -> bool:
    """Whether products with weights have fewer rows then."""
    return any(n.op in HEAVY and plan.packs(n.output) for n in graph.nodes)


class _Packing(Rebuild):
    """Rebuilds a graph; of each tensor with free padding there are the packed rows, all rows, or both."""

    def __init__(self, graph: Graph, plan: Plan) -> None:
        self.plan = plan
        symbol, lengths = kept_symbol(graph, plan.batch * plan.places), plan.mask.lengths
        said = None if lengths is None else lengths.said
        hidden = plan.mask.hidden is not None
        self.kept = Kept(symbol, plan.reads, plan.ones, said, hidden)
        self.count = extent_of(self.kept.symbol)
        self.packed: dict[str, Tensor] = {}
        self._steps: tuple[Tensor, Tensor, Tensor] | None = None
        self._indices: dict[str, Tensor] = {}
        super().__init__(graph)
        if plan.mask.source is not plan.mask.tensor:
            made = add_mask(self.builder, plan.mask, self.get(plan.mask.source))
            self.put(plan.mask.tensor, made)

    def declared(self, t: Tensor) -> Tensor:
        kept = self.kept if t.name == self.plan.mask.source.name else t.kept
        return self.builder.input(t.name, t.type, t.values, kept)

    def run(self) -> Graph:
        """The new graph."""
        for node in self.old.nodes:
            if not self._packs(node):
                self._carry_dense(node)
        return self.finish(self._output)

    # -- which rows there are ------------------------------------------------------------------

    @property
    def steps(self) -> tuple[Tensor, Tensor, Tensor]:
        """Numbers of the rows that are kept, where sequences begin among them, and places among them."""
        if self._steps is None:
            attrs: dict[str, Attr] = {
                "count": self.count,
                "places": self.kept.places,
                "ones": self.kept.ones,
            }
            names = [f"{NAME}:rows", f"{NAME}:starts", f"{NAME}:places"]
            mask = self.get(self.plan.mask.tensor)
            made = self.builder.add(KEPT_ROWS, [mask], attrs, name=NAME, outputs=names)
            self._steps = (made[0], made[1], made[2])
        return self._steps

    def _index(self, kind: str) -> Tensor:
        """Of each packed row the number of its "sequence", its "place" in it, or its number where rows lie "by place":
        i64 [n]."""
        if kind not in self._indices:
            batch, places = (E.extent(d, i64) for d in (self.plan.batch, self.plan.places))
            sequence, place = (E.binary(op, E.inp(0), places) for op in ("div", "mod"))
            number = E.add(E.mul(place, batch), sequence)
            expr = {"sequence": sequence, "place": place, "by place": number}[kind]
            name = f"{NAME}:{kind}"
            self._indices[kind] = self.builder.emit(
                POINTWISE, [self.steps[0]], {"expr": expr}, name=name, output=name
            )
        return self._indices[kind]

    def _grid(self) -> Tensor:
        """Which packed row is at each place of each sequence: i64 [B, S]."""
        shape = (self.plan.batch, self.plan.places)
        return self._reshaped(self.steps[2], shape, self.plan.mask.tensor, "places")

    def _ordered(self, x: Tensor, rows: Rows, t: Tensor) -> Tensor:
        """What lies [B, S, ...], for rows in their order."""
        if not rows.place_first:
            return x
        perm = (1, 0, *range(2, x.type.rank))
        return self._emit(TRANSPOSE, [x], {"perm": perm}, t, "by place")

    # -- tensors with all rows, and with those that are kept -----------------------------------

    def get(self, old: Tensor) -> Tensor:
        if old.name in self.packed and old.name not in self._new:
            dense = self._unpacked(old)
            if old.name in self.plan.filled:
                dense = self._filled(old, dense, self.plan.filled[old.name])
            self.put(old, dense)
        return super().get(old)

    def _emit(
        self, op: object, x: Sequence[Tensor], attrs: dict[str, Attr], t: Tensor, how: str
    ) -> Tensor:
        name = f"{t.name}:{how}"
        return self.builder.emit(op, x, attrs, name=f"{how} {t.name}", output=name)  # type: ignore[arg-type]

    def _reshaped(self, x: Tensor, shape: Sequence[Extent], t: Tensor, how: str) -> Tensor:
        shape = tuple(shape)
        return x if x.shape == shape else self._emit(RESHAPE, [x], {"shape": shape}, t, how)

    def _unpacked(self, t: Tensor) -> Tensor:
        """All rows of a packed tensor; those that are not kept hold a neighbour."""
        rows, x = self.plan.rows[t.name], self.packed[t.name]
        axis, grid = rows.place, self._ordered(self._grid(), rows, t)
        if rows.between(t.shape) == 1:
            index = self._reshaped(grid, (prod(grid.shape),), t, "numbers")
            flat = self._emit(GATHER, [x, index], {"axis": axis}, t, "all rows")
            return self._reshaped(flat, t.shape, t, "in place")
        assert rows.batch is not None
        apart = self._emit(GATHER, [x, grid], {"axis": axis}, t, "all rows")
        perm = list(range(apart.type.rank))
        one, far = (rows.batch + 1, axis + 1) if rows.place_first else (rows.batch, axis)
        perm[one], perm[far] = far, one
        turned = self._emit(TRANSPOSE, [apart], {"perm": tuple(perm)}, t, "turned")
        return self._reshaped(turned, t.shape, t, "in place")

    def _row_by_row(self, t: Tensor) -> Tensor | None:
        """The kept rows of a tensor, packed; None where its sequences do not lie side by side."""
        if t.name not in self.packed:
            rows = self.plan.rows[t.name]
            made = self._picked(self.get(t), rows, t)
            if made is None:
                return None
            self.packed[t.name] = made
        return self.packed[t.name]

    def _picked(self, x: Tensor, rows: Rows, t: Tensor) -> Tensor | None:
        shape, axis = list(x.shape), min(rows.axes)
        if rows.batch is not None:
            if rows.between(x.shape) != 1:
                return None
            last = max(rows.axes) + 1
            flat = [*shape[:axis], prod(shape[axis:last]), *shape[last:]]
            x = self._reshaped(x, flat, t, "rows")
        index = self._index("by place") if rows.place_first else self.steps[0]
        picked = self._emit(GATHER, [x, index], {"axis": axis}, t, "kept")
        return self._reshaped(picked, rows.resized(tuple(shape), 1, self.count), t, "packed")

    def _operand(self, t: Tensor, rows: Rows, rank: int) -> Tensor | None:
        """An operand that broadcasts to a tensor of `rank` axes with such rows, for the kept ones."""
        shift = rank - t.type.rank
        own = {
            axis - shift: d for axis, d in rows.extents(self.plan.batch, self.plan.places).items()
        }
        there = {axis: d for axis, d in own.items() if axis >= 0 and t.shape[axis] != 1}
        if not there:
            return self.get(t)
        if len(there) == len([d for d in own.values() if d != 1]):
            mine = rows.shifted(-shift)
            if self.plan.rows.get(t.name) == mine:
                return self._row_by_row(t)
            return (
                self._picked(self.get(t), mine, t)
                if min(mine.axes) >= 0
                else self._of_places(t, rows, shift)
            )
        return self._of_places(t, rows, shift)

    def _of_places(self, t: Tensor, rows: Rows, shift: int) -> Tensor | None:
        """Of an operand with the same values in all sequences, or at all places."""
        assert rows.batch is not None
        batch, place = rows.batch - shift, rows.place - shift
        of_places = t.shape[place] != 1
        x = self._emit(
            GATHER,
            [self.get(t), self._index("place" if of_places else "sequence")],
            {"axis": place if of_places else batch},
            t,
            "kept",
        )
        if of_places:
            return x
        shape = [*t.shape]
        shape[batch], shape[place] = 1, self.count
        if Rows(batch, place).between(t.shape) != 1:
            return None
        return self._reshaped(x, shape, t, "packed")

    # -- nodes ---------------------------------------------------------------------------------

    def _carry_dense(self, node: Node) -> None:
        self.replace(node, self.carry(self.present(node)))

    def _packs(self, node: Node) -> bool:
        """Compute a node for the kept rows, where that can be; whether it is done."""
        if len(node.outputs) != 1:
            return False
        if node.op is ATTENTION:
            return self._packs_attention(node)
        if self.plan.packs(node.output):
            return self._packs_rows(node)
        return self._reads_place(node)

    def _packs_rows(self, node: Node) -> bool:
        out, rows = node.output, self.plan.rows[node.output.name]
        mark = self.builder
        args: list[Tensor | None] = []
        for n, t in enumerate(node.args):
            if n >= own_inputs(node):
                args.append(self._operand(t, rows, out.type.rank))
            else:
                args.append(self._row_by_row(t) if t.name in self.plan.rows else self.get(t))
        if None in args:
            return False
        shape = rows.resized(out.shape, 1, self.count)
        attrs = dict(node.attrs)
        if node.op in (RESHAPE, BROADCAST):
            attrs["shape"] = shape
        elif node.op is SLICE:
            attrs["sizes"] = shape
        made = mark.emit(node.op, args, attrs, like=node, name=node.name)
        assert made.shape == shape, (node, made.shape, shape)
        self.packed[out.name] = made
        return True

    def _packs_attention(self, node: Node) -> bool:
        """Attention within the sequences of packed rows, where its score does not depend on places."""
        out = node.output
        hides = self.plan.hidings.get(out.name)
        if hides is None or not self.plan.packs(out):
            return False
        rows, count = self.plan.rows[out.name], 3 + int_attr(node, "operands")
        others = self.kept.ones or self.kept.places  # kept, though the mask is 0
        constants = {} if others else hides.constants
        operands: list[Tensor | None] = []
        for n, t in enumerate(node.args[3:count], 3):
            constant = n in constants
            operands.append(None if constant else self._of_score(t, rows, out.type.rank))
            if not constant and operands[-1] is None:
                return False
        whole = [self._row_by_row(t) for t in node.args[:3]]
        behind = [self._operand(t, rows, out.type.rank) for t in node.args[count:]]
        if None in whole or None in behind:
            return False
        parts = [E.const(constants[n]) if n in constants else E.inp(n - 2) for n in range(3, count)]
        score = E.substitute(expr_attr(node, "score"), [E.inp(0), *parts])
        body = compact(Body(score, (None, *(o or node.args[0] for o in operands))))
        own = [t for t in body.operands if t is not None]
        attrs: dict[str, Attr] = {
            "score": body.expr,
            "operands": len(own),
            "longest": self.plan.places,
            **{name: node.attrs[name] for name in ("causal", "hidden", "epilogue")},
        }
        inputs = [*whole, self.steps[1], *own, *behind]
        self.packed[out.name] = self.builder.emit(
            RAGGED_ATTENTION, inputs, attrs, like=node, name=node.name
        )
        return True

    def _of_score(self, t: Tensor, rows: Rows, rank: int) -> Tensor | None:
        """An operand of scores for packed keys: one that does not depend on the query."""
        shift = rank - t.type.rank
        shape = (*(1,) * shift, *t.shape)
        assert rows.batch is not None
        if shape[-2] != 1:
            return None
        if shape[-1] == 1:
            return self.get(t) if shape[rows.batch] == 1 else None
        return self._of_keys(t, rows, shape)

    def _of_keys(self, t: Tensor, rows: Rows, shape: tuple[Extent, ...]) -> Tensor | None:
        x = self._reshaped(self.get(t), shape, t, "of keys")
        rank = len(shape)
        if shape[rows.batch or 0] == 1 and self.plan.batch != 1:
            index = self._index("place")
            return self._emit(GATHER, [x, index], {"axis": rank - 1}, t, "of kept keys")
        assert rows.batch is not None
        if prod(shape[rows.batch + 1 : rank - 1]) != 1:
            return None
        return self._picked(x, Rows(rows.batch, rank - 1), t)

    def _reads_place(self, node: Node) -> bool:
        """Read one place of every sequence from packed rows."""
        t = node.args[0] if node.args else None
        if t is None or t.name not in self.packed or node.op not in (SLICE, GATHER):
            return False
        rows = self.plan.rows[t.name]
        place = place_read(node, rows)
        if place is None or rows.batch is None or abs(rows.place - rows.batch) != 1:
            return False
        whole = all(
            d == e
            for n, (d, e) in enumerate(zip(t.shape, node.output.shape, strict=False))
            if n not in rows.axes
        )
        if node.op is SLICE and not whole:
            return False
        batch = self.plan.batch
        attrs: dict[str, Attr] = {"starts": (0, place), "sizes": (batch, 1), "steps": (1, 1)}
        column = self._emit(SLICE, [self._grid()], attrs, self.plan.mask.tensor, f"place {place}")
        index = self._reshaped(column, (batch,), self.plan.mask.tensor, f"rows of place {place}")
        picked = self._emit(
            GATHER, [self.packed[t.name], index], {"axis": rows.place}, node.output, "read"
        )
        self.put(node.output, self._reshaped(picked, node.output.shape, node.output, "shaped"))
        return True

    # -- the end -------------------------------------------------------------------------------

    def _output(self, old: Tensor) -> Tensor:
        if old.name not in self.plan.zeroed or old.name not in self.packed:
            return self.get(old)
        return self._filled(old, self.get(old), 0.0)

    def _filled(self, old: Tensor, dense: Tensor, value: float) -> Tensor:
        """All rows of a tensor, with one number in those whose mask is 0."""
        rows, mask = self.plan.rows[old.name], self.get(self.plan.mask.tensor)
        ones: list[Extent] = [1] * old.type.rank
        for axis, extent in rows.extents(self.plan.batch, self.plan.places).items():
            ones[axis] = extent
        flat = self._reshaped(mask, (self.plan.batch, self.plan.places), mask, "rows")
        beside = self._reshaped(self._ordered(flat, rows, mask), ones, mask, "of rows")
        is_kept = E.unary("not", E.binary("eq", E.inp(0), E.const(0, mask.type.dtype)))
        if mask.type.dtype == boolean:
            is_kept = E.inp(0)
        dtype = old.type.dtype
        wide = dtype.accumulator if dtype.is_float else dtype  # halves are only converted
        x = E.inp(1) if wide == dtype else E.cast(E.inp(1), wide)
        expr = E.select(is_kept, x, E.const(value, wide))
        expr = expr if wide == dtype else E.cast(expr, dtype)
        return self._emit(POINTWISE, [beside, dense], {"expr": expr}, old, "without padding")
