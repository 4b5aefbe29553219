"""States: which are written where they lie, and what is copied behind all that reads them."""

from __future__ import annotations

from collections.abc import Mapping

from camshaft.backends.cpu.tactics import PREFERENCES
from camshaft.builder.bufferize import Bufferized, Copy, bufferize
from camshaft.builder.states import states_of
from camshaft.ir import expr as E
from camshaft.ir.extents.extent import extent_of
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.graph import Graph, GraphBuilder, Tensor
from camshaft.ir.types import Shape, TensorType, f32
from camshaft.ops import CONCAT, POINTWISE, SLICE, TRANSPOSE

P, S = (extent_of(Symbol(n, low, 4, 64)) for n, low in (("p", 0), ("s", 1)))
RELU = {"expr": E.maximum(E.inp(0), E.const(0.0))}
ROWS = (0, 2, 1, 3)


def relu(b: GraphBuilder, x: Tensor, name: str) -> Tensor:
    return b.emit(POINTWISE, [x], RELU, name=name, output=name)


def add(b: GraphBuilder, x: Tensor, y: Tensor, name: str) -> Tensor:
    return b.emit(POINTWISE, [x, y], {"expr": E.add(E.inp(0), E.inp(1))}, output=name)


def placed(graph: Graph, said: Mapping[str, str]) -> Bufferized:
    return bufferize(graph, PREFERENCES, states_of(graph, said))


def copies(found: Bufferized) -> list[Copy]:
    return [w for w in found.work if isinstance(w, Copy)]


def past_and_new(*new: int, turned: bool = False) -> tuple[GraphBuilder, Tensor, Tensor]:
    b = GraphBuilder("g")
    past = b.input("past", TensorType(f32, (1, 2, P, 8)))
    shape: Shape = (1, S, 2, 8) if turned else (1, 2, S, 8)
    return b, past, b.input("x", TensorType(f32, shape))


def test_new_rows_are_written_behind_those_of_the_state() -> None:
    b, past, x = past_and_new()
    whole = b.emit(CONCAT, [past, relu(b, x, "new")], {"axis": 2}, output="present")
    found = placed(b.graph({"present": whole, "y": relu(b, whole, "y")}), {"past": "present"})
    assert not copies(found)
    (state,) = found.states
    assert state.in_place and state.capacity == 64 and state.buffer.elements == 2 * 64 * 8
    new, present = found.views["new"], found.views["present"]
    assert new.buffer == present.buffer == found.views["past"].buffer == state.buffer
    assert new.offset == 8 * P and present.offset == 0
    assert new.strides == present.strides == (1024, 512, 8, 1)


def test_rows_in_another_order_are_copied_to_their_place() -> None:
    """As passes write [B, T, M, D]: transposes around the concatenation are views of the state."""
    b, past, x = past_and_new(turned=True)
    turned = b.emit(TRANSPOSE, [past], {"perm": ROWS})
    whole = b.emit(CONCAT, [turned, relu(b, x, "new")], {"axis": 1}, output="whole")
    present = b.emit(TRANSPOSE, [whole], {"perm": ROWS}, output="present")
    found = placed(b.graph({"present": present}), {"past": "present"})
    assert found.states[0].in_place
    (copy,) = copies(found)
    assert copy.tensor.name == "new" and copy.target.offset == 8 * P
    assert copy.target.strides == (1024, 512, 8, 1), "in the order of memory"


def test_what_does_not_append_is_copied_at_the_end() -> None:
    """A window that slides: the first row falls out."""
    b = GraphBuilder("g")
    past = b.input("past", TensorType(f32, (3, 8)))
    x = b.input("x", TensorType(f32, (1, 8)))
    whole = b.emit(CONCAT, [past, x], {"axis": 0}, output="whole")
    cut = {"starts": (1, 0), "sizes": (3, 8), "steps": (1, 1)}
    graph = b.graph({"y": relu(b, whole, "y"), "present": b.emit(SLICE, [whole], cut)})
    found = placed(graph, {"past": "present"})
    assert not found.states[0].in_place
    last = found.work[-1]
    assert isinstance(last, Copy) and last.target.buffer.space == "state"
    assert found.views["whole"].buffer.space == "arena"


def test_a_concatenation_with_the_state_behind_is_none_that_appends() -> None:
    b, past, x = past_and_new()
    whole = b.emit(CONCAT, [relu(b, x, "new"), past], {"axis": 2}, output="present")
    found = placed(b.graph({"present": whole}), {"past": "present"})
    assert not found.states[0].in_place
    assert [c.target.buffer.space for c in copies(found)] == ["arena", "state"]


def test_a_state_of_fixed_shape_is_written_once_nothing_reads_it() -> None:
    for reads_later in (False, True):
        b = GraphBuilder("g")
        h = b.input("h", TensorType(f32, (4, 8)))
        x = b.input("x", TensorType(f32, (4, 8)))
        gate = add(b, h, x, "gate")
        after = relu(b, gate, "after")
        y = add(b, after, h if reads_later else x, "y")
        found = placed(b.graph({"after": after, "y": y}), {"h": "after"})
        assert found.states[0].in_place != reads_later
        assert (found.views["after"].buffer.space == "state") != reads_later
        assert len(copies(found)) == reads_later


def test_a_state_that_is_also_given_out_is_not_overwritten_before_it_is_copied() -> None:
    b = GraphBuilder("g")
    h = b.input("h", TensorType(f32, (4, 8)))
    x = b.input("x", TensorType(f32, (4, 8)))
    after = relu(b, x, "after")
    found = placed(b.graph({"after": after, "old": h, "also": after}), {"h": "after"})
    assert not found.states[0].in_place
    order = [c.target.buffer.name for c in copies(found)]
    assert order.index("old") < order.index("h")


def test_states_that_change_places_go_through_other_memory() -> None:
    b = GraphBuilder("g")
    first, second = (b.input(n, TensorType(f32, (4, 8))) for n in "ab")
    found = placed(
        b.graph({"a_next": second, "b_next": first, "y": relu(b, first, "y")}),
        {"a": "a_next", "b": "b_next"},
    )
    spaces = [(c.source.buffer.space, c.target.buffer.space) for c in copies(found)]
    assert spaces == [("state", "arena")] * 2 + [("arena", "state")] * 2


def test_a_state_that_stays_costs_nothing() -> None:
    b = GraphBuilder("g")
    h = b.input("h", TensorType(f32, (4, 8)))
    found = placed(b.graph({"same": h, "y": relu(b, h, "y")}), {"h": "same"})
    assert not copies(found)
