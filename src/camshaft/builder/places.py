"""Where every tensor lies: buffers, and views into them.

Concatenations, slices, reshapes, interleavings and most transposes cost nothing, because a tensor
is a `Place` (buffer, offset, strides) and kernels take strided operands.  Two sweeps decide:

1. Backwards: whoever *owns* memory hands pieces of it to producers.  A graph output owns the
   caller's array; a concat owns a buffer and its inputs are written straight into slices of it.
2. Forwards: what is left of the movement ops becomes a view of its input where the strides allow
   it and the readers can take them.

What neither sweep resolves is copied by a kernel.  Nothing here knows sizes of the arena
(`memory`) or kernels (`tuner`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from camshaft.builder.strides import extent, inner_is_unit, reshaped
from camshaft.ir.attrs import axis_attr, ints_attr
from camshaft.ir.graph import Graph, Node, Tensor
from camshaft.ir.types import DType, Shape, f32, row_major_strides
from camshaft.ops import BROADCAST, CONCAT, CONV, HOST, INTERLEAVE, POINTWISE, RESHAPE, SLICE
from camshaft.ops import TRANSPOSE as TRANSPOSE_OP

MAX_STRIDED_CHANNELS = 4
"""A float convolution reads its input through any strides when it has at most this many channels."""


@dataclass(frozen=True)
class Buffer:
    """A run of memory.  space: "arena", or "input" / "output" for the caller's array `name`."""

    name: str
    dtype: DType
    elements: int
    space: str = "arena"

    @property
    def nbytes(self) -> int:
        return self.elements * self.dtype.bytes


@dataclass(frozen=True)
class Place:
    """A strided view: `offset` and `strides` in elements of the buffer's type."""

    buffer: Buffer
    offset: int
    shape: Shape
    strides: tuple[int, ...]

    @property
    def first_byte(self) -> int:
        return self.offset * self.buffer.dtype.bytes

    @property
    def nbytes(self) -> int:
        """Bytes from the first to one past the last element touched."""
        return extent(self.shape, self.strides) * self.buffer.dtype.bytes


@dataclass(frozen=True)
class Copy:
    """Elements to be copied: from a tensor's place (`source`) to `target`, same shape."""

    source: Place
    target: Place
    tensor: Tensor
    origin: tuple[str, ...]


@dataclass
class Placement:
    """Result of `place`: a place for every non-constant tensor and what still has to be done.

    work: in execution order, graph nodes that compute and copies that no view could avoid.
    """

    places: dict[str, Place] = field(default_factory=dict)
    work: list[Node | Copy] = field(default_factory=list)
    buffers: dict[str, Buffer] = field(default_factory=dict)


def place(graph: Graph) -> Placement:
    """Decide places for all tensors of `graph` (channels-last, canonical)."""
    return _Placer(graph).run()


class _Placer:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.result = Placement()
        self.places = self.result.places
        self.settled: set[int] = set()  # id() of movement nodes that need no work
        self.parts: dict[int, list[Place]] = {}  # id(concat node) -> slice for each input

    def run(self) -> Placement:
        for t in self.graph.inputs:
            buffer = self._buffer(t.name, t, "input")
            self.places[t.name] = Place(buffer, 0, t.shape, row_major_strides(t.shape))
        self._claim_outputs()
        for node in reversed(self.graph.nodes):
            self._hand_down(node)
        for node in self.graph.nodes:
            self._settle(node)
        self._copy_outputs()
        return self.result

    # -- backwards: owners hand out memory ----------------------------------------------------

    def _buffer(self, name: str, like: Tensor, space: str = "arena") -> Buffer:
        buffer = Buffer(name, like.type.dtype, like.type.size, space)
        self.result.buffers[f"{space}:{name}"] = buffer
        return buffer

    def _dense(self, t: Tensor, name: str, space: str = "arena") -> Place:
        return Place(self._buffer(name, t, space), 0, t.shape, row_major_strides(t.shape))

    def _ownable(self, t: Tensor) -> bool:
        return not t.is_const and t.name not in self.places

    def _claim_outputs(self) -> None:
        for name, t in zip(self.graph.output_names, self.graph.outputs, strict=True):
            if self._ownable(t):
                self.places[t.name] = self._dense(t, name, "output")

    def _hand_down(self, node: Node) -> None:
        if node.op is CONCAT or node.op is INTERLEAVE:
            self._hand_down_parts(node)
        elif node.op is RESHAPE and node.output.name in self.places:
            source, out = node.args[0], self.places[node.output.name]
            strides = reshaped(out.shape, out.strides, source.shape)
            if strides is None or not inner_is_unit(source.shape, strides):
                return
            if self._ownable(source):
                self.places[source.name] = Place(out.buffer, out.offset, source.shape, strides)
                self.settled.add(id(node))

    def _hand_down_parts(self, node: Node) -> None:
        out = node.output
        if out.name not in self.places:
            self.places[out.name] = self._dense(out, out.name)
        whole = self.places[out.name]
        slots = _concat_slots if node.op is CONCAT else _interleave_slots
        self.parts[id(node)] = slots(node, whole)
        for t, slot in zip(node.args, self.parts[id(node)], strict=True):
            if self._ownable(t):
                self.places[t.name] = slot

    # -- forwards: the rest becomes views, work or copies -------------------------------------

    def _settle(self, node: Node) -> None:
        if id(node) in self.settled:
            return
        if id(node) in self.parts:
            for t, slot in zip(node.args, self.parts[id(node)], strict=True):
                if self.places.get(t.name) != slot:
                    self._copy(t, slot, node)
            return
        if node.op in (RESHAPE, SLICE, TRANSPOSE_OP, BROADCAST) and not node.args[0].is_const:
            self._settle_movement(node)
            return
        self.result.work.append(node)
        for t in node.outputs:
            if t.name not in self.places:
                self.places[t.name] = self._dense(t, t.name)

    def _settle_movement(self, node: Node) -> None:
        source = self.places[node.args[0].name]
        out = node.output
        view = _view(node, source)
        if out.name not in self.places and view is not None and self._readable(out, view):
            self.places[out.name] = view
            return
        if out.name not in self.places:
            self.places[out.name] = self._dense(out, out.name)
        target = self.places[out.name]
        if view is None:  # a reshape of gappy memory: copy in the source's shape
            strides = reshaped(target.shape, target.strides, source.shape)
            if strides is None:  # gappy on both sides: go through a dense buffer
                middle = self._dense(node.args[0], f"{out.name}:dense")
                self._emit_copy(source, middle, node.args[0], node.origin)
                view = Place(middle.buffer, 0, out.shape, row_major_strides(out.shape))
            else:
                target = Place(target.buffer, target.offset, source.shape, strides)
                view = source
        self._emit_copy(view, target, out, node.origin)

    def _readable(self, t: Tensor, view: Place) -> bool:
        """Whether everyone who reads `t` can take it as `view`."""
        if inner_is_unit(view.shape, view.strides) and 0 not in view.strides:
            return True
        readers = self.graph.consumers.get(t.name, ())
        if any(t.name == o.name for o in self.graph.outputs):
            return False
        return all(_takes_any_strides(n, t) for n in readers)

    def _copy(self, t: Tensor, target: Place, node: Node) -> None:
        self._emit_copy(self._place_of(t), target, t, node.origin)

    def _place_of(self, t: Tensor) -> Place:
        """The tensor's place; a constant is read where the engine keeps it."""
        if t.name in self.places:
            return self.places[t.name]
        buffer = Buffer(t.name, t.type.dtype, t.type.size, "constant")
        return Place(buffer, 0, t.shape, row_major_strides(t.shape))

    def _emit_copy(self, source: Place, target: Place, t: Tensor, origin: tuple[str, ...]) -> None:
        self.result.work.append(Copy(source, target, t, origin))

    def _copy_outputs(self) -> None:
        """Outputs that are inputs, constants, views or repeated tensors get their own copy."""
        for name, t in zip(self.graph.output_names, self.graph.outputs, strict=True):
            place = self._place_of(t)
            buffer = place.buffer
            if (buffer.space, buffer.name, place.offset) != ("output", name, 0):
                self._emit_copy(place, self._dense(t, name, "output"), t, (name,))


def _takes_any_strides(node: Node, t: Tensor) -> bool:
    if node.op in (POINTWISE, HOST, CONCAT, INTERLEAVE):
        return True
    if node.op is CONV and node.args[0] is t and all(a is not t for a in node.args[1:]):
        return t.type.dtype == f32 and t.shape[-1] <= MAX_STRIDED_CHANNELS
    return False


def _view(node: Node, source: Place) -> Place | None:
    """The output of a movement node as a view of its input's place, or None."""
    shape = node.output.shape
    strides: tuple[int, ...] | None
    offset = source.offset
    if node.op is RESHAPE:
        strides = reshaped(source.shape, source.strides, shape)
        if strides is None:
            return None
    elif node.op is TRANSPOSE_OP:
        strides = tuple(source.strides[p] for p in ints_attr(node, "perm"))
    elif node.op is SLICE:
        starts, steps = ints_attr(node, "starts"), ints_attr(node, "steps")
        strides = tuple(s * t for s, t in zip(source.strides, steps, strict=True))
        offset += sum(a * s for a, s in zip(starts, source.strides, strict=True))
    else:
        lead = len(shape) - len(source.shape)
        kept = zip(source.shape, source.strides, shape[lead:], strict=True)
        strides = (0,) * lead + tuple(0 if d == 1 and d != e else s for d, s, e in kept)
    return Place(source.buffer, offset, shape, strides)


def _concat_slots(node: Node, whole: Place) -> list[Place]:
    axis = axis_attr(node, len(whole.shape))
    slots, at = [], 0
    for t in node.args:
        offset = whole.offset + at * whole.strides[axis]
        slots.append(Place(whole.buffer, offset, t.shape, whole.strides))
        at += t.shape[axis]
    return slots


def _interleave_slots(node: Node, whole: Place) -> list[Place]:
    by_h, by_w = ints_attr(node, "blocks")
    n, h, w, c = whole.strides
    return [
        Place(
            whole.buffer,
            whole.offset + (i // by_w) * h + (i % by_w) * w,
            t.shape,
            (n, h * by_h, w * by_w, c),
        )
        for i, t in enumerate(node.args)
    ]
