"""Views: concatenations, slices and reshapes cost nothing; what must be copied is copied once."""

from __future__ import annotations

import numpy as np

from camshaft.backends.cpu.tactics import PREFERENCES
from camshaft.builder.bufferize import Copy, bufferize
from camshaft.ir import expr as E
from camshaft.ir.graph import Graph, GraphBuilder, Tensor
from camshaft.ir.types import TensorType, f32
from camshaft.ops import CONCAT, INTERLEAVE, POINTWISE, RESHAPE, SLICE, SOFTMAX, TRANSPOSE

RELU = {"expr": E.maximum(E.inp(0), E.const(0.0))}


def relu(b: GraphBuilder, x: Tensor, name: str) -> Tensor:
    return b.emit(POINTWISE, [x], RELU, name=name, output=name)


def start(*shape: int) -> tuple[GraphBuilder, Tensor]:
    b = GraphBuilder("g")
    return b, b.input("x", TensorType(f32, shape))


def copies(graph: Graph) -> list[Copy]:
    return [w for w in bufferize(graph, PREFERENCES).work if isinstance(w, Copy)]


def test_producers_write_into_slices_of_the_concat() -> None:
    b, x = start(1, 4, 4, 8)
    parts = [relu(b, x, "a"), relu(b, x, "b")]
    c = b.emit(CONCAT, parts, {"axis": 3}, output="c")
    g = b.graph({"y": relu(b, c, "y")})
    found = bufferize(g, PREFERENCES)
    assert not copies(g)
    first, second, whole = (found.views[n] for n in ("a", "b", "c"))
    assert first.buffer is second.buffer is whole.buffer
    assert (first.offset, second.offset) == (0, 8)
    assert first.strides == second.strides == (256, 64, 16, 1)


def test_nested_concats_share_one_buffer() -> None:
    b, x = start(1, 2, 2, 4)
    inner = b.emit(CONCAT, [relu(b, x, "a"), relu(b, x, "b")], {"axis": 3}, output="inner")
    outer = b.emit(CONCAT, [inner, relu(b, x, "c")], {"axis": 3}, output="outer")
    g = b.graph({"y": relu(b, outer, "y"), "z": relu(b, inner, "z")})
    found = bufferize(g, PREFERENCES)
    assert not copies(g)
    assert found.views["b"].buffer is found.views["outer"].buffer
    assert found.views["inner"].strides == found.views["outer"].strides


def test_a_tensor_in_two_concats_is_copied_once() -> None:
    b, x = start(1, 2, 2, 4)
    a, other = relu(b, x, "a"), relu(b, x, "b")
    one = b.emit(CONCAT, [a, other], {"axis": 3}, output="one")
    two = b.emit(CONCAT, [other, a], {"axis": 3}, output="two")
    g = b.graph({"y": relu(b, one, "y"), "z": relu(b, two, "z")})
    assert len(copies(g)) == 2  # both parts of one of the two concats


def test_an_input_joins_a_concat_by_copy_and_output_is_written_directly() -> None:
    b, x = start(1, 2, 2, 4)
    c = b.emit(CONCAT, [x, relu(b, x, "a")], {"axis": 3}, output="c")
    g = b.graph({"y": c})
    found = bufferize(g, PREFERENCES)
    assert [w.tensor.name for w in copies(g)] == ["x"]
    assert found.views["a"].buffer.space == "output"
    assert found.views["a"].buffer.name == "y"


def test_slices_and_reshapes_are_views() -> None:
    b, x = start(1, 4, 4, 8)
    a = relu(b, x, "a")
    s = b.emit(
        SLICE,
        [a],
        {"starts": (0, 0, 0, 4), "sizes": (1, 4, 4, 4), "steps": (1, 1, 1, 1)},
        output="s",
    )
    flat = b.emit(RESHAPE, [s], {"shape": (16, 4)}, output="flat")
    g = b.graph({"y": b.emit(SOFTMAX, [flat], output="y")})
    found = bufferize(g, PREFERENCES)
    assert not copies(g)
    assert found.views["flat"].offset == 4
    assert found.views["flat"].strides == (8, 1)


def test_reshape_across_a_gap_is_copied() -> None:
    b, x = start(1, 4, 4, 8)
    attrs = {"starts": (0, 0, 0, 4), "sizes": (1, 4, 4, 4), "steps": (1, 1, 1, 1)}
    s = b.emit(SLICE, [relu(b, x, "a")], attrs, output="s")
    flat = b.emit(RESHAPE, [s], {"shape": (1, 64)}, output="flat")
    g = b.graph({"y": b.emit(SOFTMAX, [flat], output="y")})
    (copy,) = copies(g)
    assert copy.source.shape == copy.target.shape == (1, 4, 4, 4)


def test_transpose_is_a_view_for_pointwise_and_a_copy_for_others() -> None:
    b, x = start(1, 3, 4, 5)
    t = b.emit(TRANSPOSE, [x], {"perm": (0, 2, 3, 1)}, output="t")
    g = b.graph({"y": relu(b, t, "y")})
    assert not copies(g)
    assert bufferize(g, PREFERENCES).views["t"].strides == (60, 5, 1, 20)
    b, x = start(1, 3, 4, 5)
    t = b.emit(TRANSPOSE, [x], {"perm": (0, 2, 3, 1)}, output="t")
    g = b.graph({"y": b.emit(SOFTMAX, [t], output="y")})
    assert len(copies(g)) == 1


def test_interleaved_parts_are_written_in_place() -> None:
    b, x = start(1, 2, 3, 4)
    parts = [relu(b, x, f"p{i}") for i in range(4)]
    g = b.graph({"y": b.emit(INTERLEAVE, parts, {"blocks": (2, 2)}, output="y")})
    found = bufferize(g, PREFERENCES)
    assert not copies(g)
    last = found.views["p3"]
    memory = np.arange(2 * 4 * 6 * 4)[: 4 * 6 * 4]
    byte_strides = [s * memory.itemsize for s in last.strides]
    read = np.lib.stride_tricks.as_strided(memory[last.offset :], last.shape, byte_strides)
    np.testing.assert_array_equal(read, memory.reshape(1, 4, 6, 4)[:, 1::2, 1::2])


def test_outputs_that_repeat_or_pass_through_get_copies() -> None:
    b, x = start(2, 3)
    y = relu(b, x, "y")
    g = b.graph({"one": y, "two": y, "same": x})
    targets = sorted(c.target.buffer.name for c in copies(g))
    assert targets == ["same", "two"]
