"""Slices and concatenations: merged, cancelled, cut down to the parts that are read."""

from __future__ import annotations

from collections.abc import Sequence

from camshaft.ir.attrs import extents_attr, ints_attr
from camshaft.ir.extents.extent import Extent, largest, smallest
from camshaft.ir.graph import Graph, GraphBuilder, Node, Tensor
from camshaft.ir.op import Attr
from camshaft.ir.types import TensorType, f32
from camshaft.ops import CONCAT, SLICE
from camshaft.passes.canonical.shapes import axis_of
from camshaft.passes.rewrite import Rewrite, Rewriter


def slice_attrs(
    shape: Sequence[Extent], axis: int, start: Extent, size: Extent, step: int = 1
) -> dict[str, Attr]:
    """Attributes of a slice along one axis of a tensor of this shape."""
    starts = tuple(start if a == axis else 0 for a in range(len(shape)))
    sizes = tuple(size if a == axis else d for a, d in enumerate(shape))
    steps = tuple(step if a == axis else 1 for a in range(len(shape)))
    return {"starts": starts, "sizes": sizes, "steps": steps}


class MergeSlices(Rewrite):
    """slice > slice: one slice."""

    name = "merge-slices"
    ops = (SLICE,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        first = r.producer(node.args[0], SLICE)
        if first is None:
            return None
        inner = list(zip(extents_attr(first, "starts"), ints_attr(first, "steps"), strict=True))
        starts = tuple(
            a + s * b for (a, s), b in zip(inner, extents_attr(node, "starts"), strict=True)
        )
        steps = tuple(s * t for (_, s), t in zip(inner, ints_attr(node, "steps"), strict=True))
        attrs = {"starts": starts, "sizes": node.attrs["sizes"], "steps": steps}
        return [r.emit(SLICE, first.inputs, attrs, like=[first, node])]

    def example(self) -> Graph:
        b = GraphBuilder("slice-twice")
        x = b.input("x", TensorType(f32, (2, 9)))
        y = b.emit(SLICE, [x], slice_attrs((2, 9), 1, 1, 4, 2), name="first")
        return b.graph({"y": b.emit(SLICE, [y], slice_attrs((2, 4), 1, 1, 2), name="second")})


class SliceOfConcat(Rewrite):
    """slice(concat): only the parts that the slice touches are read."""

    name = "slice-of-concat"
    ops = (SLICE,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        joined = r.producer(node.args[0], CONCAT)
        if joined is None:
            return None
        axis = axis_of(joined)
        start, size = extents_attr(node, "starts")[axis], extents_attr(node, "sizes")[axis]
        if ints_attr(node, "steps")[axis] != 1 or size == 0:
            return None
        touched: list[tuple[Tensor, Extent, Extent]] = []
        at: Extent = 0
        for part in joined.args:
            low, high = largest(start, at), smallest(start + size, at + part.shape[axis])
            if low < high:
                touched.append((part, low - at, high - low))
            at += part.shape[axis]
        if len(touched) == len(joined.args):
            return None
        pieces = [self._piece(node, axis, t, i, r) for i, t in enumerate(touched)]
        if len(pieces) == 1:
            return [pieces[0]]
        return [r.emit(CONCAT, pieces, {"axis": axis}, like=[joined, node])]

    @staticmethod
    def _piece(
        node: Node, axis: int, touched: tuple[Tensor, Extent, Extent], index: int, r: Rewriter
    ) -> Tensor:
        part, start, size = touched
        attrs: dict[str, Attr] = {"steps": node.attrs["steps"]}
        for name, value in (("starts", start), ("sizes", size)):
            old = extents_attr(node, name)
            attrs[name] = (*old[:axis], value, *old[axis + 1 :])
        if attrs["sizes"] == part.shape and set(ints_attr(node, "steps")) == {1}:
            return part
        return r.emit(SLICE, [part], attrs, like=node, output=f"{node.output.name}:{index}")

    def example(self) -> Graph:
        b = GraphBuilder("slice-of-concat")
        x, y, z = (b.input(n, TensorType(f32, (2, 3))) for n in "xyz")
        joined = b.emit(CONCAT, [x, y, z], {"axis": 1}, name="concat")
        return b.graph({"w": b.emit(SLICE, [joined], slice_attrs((2, 9), 1, 4, 4), name="slice")})


class MergeConcats(Rewrite):
    """concat(concat(a, b), c) -> concat(a, b, c), and a concat of one part is that part."""

    name = "merge-concats"
    ops = (CONCAT,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        if len(node.args) == 1:
            return [node.args[0]]
        axis = axis_of(node)
        parts: list[Tensor] = []
        merged: list[Node] = []
        for t in node.args:
            inner = r.producer(t, CONCAT)
            if inner is not None and axis_of(inner) == axis and r.single_use(t):
                parts += inner.args
                merged.append(inner)
            else:
                parts.append(t)
        if not merged:
            return None
        return [r.emit(CONCAT, parts, {"axis": axis}, like=[*merged, node])]

    def example(self) -> Graph:
        b = GraphBuilder("concat-of-concat")
        x, y, z = (b.input(n, TensorType(f32, (2, 3))) for n in "xyz")
        inner = b.emit(CONCAT, [x, y], {"axis": 1}, name="inner")
        return b.graph({"w": b.emit(CONCAT, [inner, z], {"axis": -1}, name="outer")})


class ConcatOfSlices(Rewrite):
    """Neighbouring slices of one tensor that are joined again are one slice."""

    name = "concat-of-slices"
    ops = (CONCAT,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        axis = axis_of(node)
        for i in range(len(node.args) - 1):
            left = r.producer(node.args[i], SLICE)
            right = r.producer(node.args[i + 1], SLICE)
            if left is None or right is None or not self._adjacent(left, right, axis):
                continue
            size = extents_attr(left, "sizes")[axis] + extents_attr(right, "sizes")[axis]
            sizes = tuple(
                size if a == axis else d for a, d in enumerate(extents_attr(left, "sizes"))
            )
            attrs = {**left.attrs, "sizes": sizes}
            like = [left, right, node] if len(node.args) == 2 else [left, right]
            name = node.output.name if len(node.args) == 2 else f"{node.output.name}:{i}"
            whole = r.emit(SLICE, left.inputs, attrs, like=like, output=name)
            parts = [*node.args[:i], whole, *node.args[i + 2 :]]
            return [r.emit(CONCAT, parts, node.attrs, like=node)] if len(parts) > 1 else [whole]
        return None

    @staticmethod
    def _adjacent(left: Node, right: Node, axis: int) -> bool:
        if left.args[0] is not right.args[0] or left.attrs["steps"] != right.attrs["steps"]:
            return False
        step = ints_attr(left, "steps")[axis]
        starts = list(extents_attr(left, "starts"))
        starts[axis] += step * extents_attr(left, "sizes")[axis]
        return tuple(starts) == extents_attr(right, "starts")

    def example(self) -> Graph:
        b = GraphBuilder("split-and-join")
        x = b.input("x", TensorType(f32, (2, 8)))
        parts = [
            b.emit(SLICE, [x], slice_attrs((2, 8), 1, at, size), name=f"slice{at}")
            for at, size in ((1, 3), (4, 2))
        ]
        return b.graph({"y": b.emit(CONCAT, parts, {"axis": 1}, name="concat")})


class ShareConcatPrefix(Rewrite):
    """concat(a, b, c) where concat(a, b) exists -> concat(concat(a, b), c).

    In a densely connected net every layer joins all features so far.  Written as a chain, the
    memory plan puts each feature into one buffer once, and the shorter concats are views of it.
    """

    name = "share-concat-prefix"
    ops = (CONCAT,)

    def apply(self, node: Node, r: Rewriter) -> Sequence[Tensor] | None:
        # Concats seen in this sweep by axis and parts, and whether this rule made them.
        concats: dict[tuple[object, ...], tuple[Tensor, bool]] = r.notes(self.name, dict)
        axis = axis_of(node)
        names = tuple(t.name for t in node.args)
        for length in range(len(names) - 1, 1, -1):
            prefix = self._existing(concats.get((axis, *names[:length])), node.args[:length], r)
            if prefix is None:
                continue
            parts = [prefix, *node.args[length:]]
            whole = r.emit(CONCAT, parts, {"axis": axis}, like=node)
            concats[(axis, *names)] = (whole, True)
            return [whole]
        concats[(axis, *names)] = (node.output, False)
        return None

    @staticmethod
    def _existing(
        seen: tuple[Tensor, bool] | None, parts: Sequence[Tensor], r: Rewriter
    ) -> Tensor | None:
        """The concat that was seen, if this rule made it or if it was kept as it was."""
        if seen is None or seen[1]:
            return seen[0] if seen else None
        kept = r.producer(seen[0], CONCAT)
        return kept.output if kept and kept.args == tuple(parts) else None

    def example(self) -> Graph:
        b = GraphBuilder("dense")
        x, y, z = (b.input(n, TensorType(f32, (2, 3))) for n in "xyz")
        two = b.emit(CONCAT, [x, y], {"axis": 1}, name="two")
        three = b.emit(CONCAT, [x, y, z], {"axis": 1}, name="three")
        return b.graph({"two": two, "three": three})


SLICE_RULES: tuple[Rewrite, ...] = (
    MergeSlices(),
    SliceOfConcat(),
    MergeConcats(),
    ConcatOfSlices(),
    ShareConcatPrefix(),
)
