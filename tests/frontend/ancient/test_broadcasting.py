"""Before opset 7: equal shapes, or broadcast=1 and the second operand along axes of the first."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camshaft.errors import ModelError
from camshaft.frontends.onnx import import_onnx
from camshaft.ir.interpret import interpret
from old_models import computed, old_model, old_node, value_of

RNG = np.random.default_rng(6)
A = RNG.uniform(0.5, 2.0, (2, 3, 4, 5)).astype(np.float32)


def some(*shape: int) -> np.ndarray:
    return RNG.uniform(0.5, 2.0, shape).astype(np.float32)


FLOATS: dict[str, Any] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mul": operator.mul,
    "Div": operator.truediv,
    "Pow": np.power,
    "Greater": operator.gt,
    "Less": operator.lt,
}
BOOLS: dict[str, Any] = {"And": operator.and_, "Or": operator.or_, "Xor": operator.xor}

PLACES: list[tuple[dict[str, int], tuple[int, ...], tuple[int, ...]]] = [
    ({}, (2, 3, 4, 5), (2, 3, 4, 5)),
    ({"broadcast": 1}, (), ()),
    ({"broadcast": 1}, (1, 1), ()),
    ({"broadcast": 1}, (5,), (5,)),
    ({"broadcast": 1}, (4, 5), (4, 5)),
    ({"broadcast": 1, "axis": 1}, (3, 4), (3, 4, 1)),
    ({"broadcast": 1, "axis": 0}, (2,), (2, 1, 1, 1)),
    ({"broadcast": 1, "axis": 0}, (2, 3, 4, 5), (2, 3, 4, 5)),
    ({"broadcast": 1, "axis": 1}, (3,), (3, 1, 1)),
    ({"broadcast": 1, "axis": 2}, (4,), (4, 1)),
    ({"broadcast": 1, "axis": -1}, (4, 5), (4, 5)),
    ({"broadcast": 1, "axis": 1}, (3, 1, 1), (3, 1, 1)),
    ({"broadcast": 1}, (3, 1, 1), (3, 1, 1)),
    ({"broadcast": 1, "axis": 3}, (1,), ()),
    ({"axis": 1}, (2, 3, 4, 5), (2, 3, 4, 5)),
]
"""(attributes, shape of the second operand, the shape that NumPy has to see): the specification's
examples, and what Caffe2 allows besides."""


@pytest.mark.parametrize(("attributes", "shape", "seen"), PLACES)
@pytest.mark.parametrize("op_type", FLOATS)
@pytest.mark.parametrize("opset", [1, 6])
def test_second_operand_lies_where_the_specification_says(
    op_type: str, opset: int, attributes: dict[str, int], shape: Any, seen: Any
) -> None:
    b = some(*shape)
    got = value_of(op_type, [A, b], opset, **attributes)
    want = FLOATS[op_type](A, b.reshape(seen))
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=2e-6)


@pytest.mark.parametrize("op_type", BOOLS)
def test_logic_is_aligned_too(op_type: str) -> None:
    a, b = A > 1, some(3, 4) > 1
    got = value_of(op_type, [a, b], 6, broadcast=1, axis=1)
    np.testing.assert_array_equal(got, BOOLS[op_type](a, b[..., None]))


def test_equal_compares_integers() -> None:
    a, b = (A * 2).astype(np.int32), np.array([2, 3, 4], np.int32)
    got = value_of("Equal", [a, b], 4, broadcast=1, axis=1)
    np.testing.assert_array_equal(got, a == b[:, None, None])


@pytest.mark.parametrize("op_type", ["Add", "Pow", "Greater"])
@pytest.mark.parametrize(
    ("attributes", "shape", "says"),
    [
        ({}, (5,), "without broadcast=1"),
        ({}, (1, 3, 1, 1), "without broadcast=1"),
        ({"broadcast": 1}, (3,), "does not lie along axes"),
        ({"broadcast": 1, "axis": 1}, (4,), "does not lie along axes"),
        ({"broadcast": 1, "axis": 3}, (5, 2), "does not lie along axes"),
        ({"broadcast": 1, "axis": -2}, (4, 5), "does not lie along axes"),
        ({"broadcast": 1}, (7, 2, 3, 4, 5), "does not lie along axes"),
    ],
)
def test_what_the_specification_does_not_allow_is_refused(
    op_type: str, attributes: dict[str, int], shape: Any, says: str
) -> None:
    model, _ = old_node(op_type, [A, some(*shape)], 6, **attributes)
    with pytest.raises(ModelError, match=rf"node 'node' \({op_type}\): .*{says}.*opset 7"):
        import_onnx(model)


def test_the_first_operand_is_never_stretched() -> None:
    model, _ = old_node("Add", [some(1, 3), some(2, 3)], 6, broadcast=1)
    with pytest.raises(ModelError, match="does not lie along axes"):
        import_onnx(model)


def test_same_node_reads_one_tensor_twice() -> None:
    node = onnx.helper.make_node("Mul", ["x", "x"], ["y"])
    (got,) = computed(old_model([node], {"x": A}, ["y"], 6), {"x": A})
    np.testing.assert_array_equal(got, A * A)


def test_open_extents_are_aligned_and_learned() -> None:
    """Open batch, channels placed by axis; two open extents that must be one become one."""
    nodes = [
        onnx.helper.make_node("Add", ["x", "c"], ["s"], broadcast=1, axis=1),
        onnx.helper.make_node("Mul", ["s", "z"], ["y"]),
    ]
    model = old_model(nodes, {"x": A, "z": A}, ["y"], 6, {"c": some(3)})
    for value, names in zip(model.graph.input, (("n", "h"), ("m", "k")), strict=False):
        dims = value.type.tensor_type.shape.dim
        dims[0].dim_param, dims[2].dim_param = names
    graph = import_onnx(model)
    assert graph.inputs[0].type == graph.inputs[1].type
    c = onnx.numpy_helper.to_array(model.graph.initializer[0])
    got = interpret(graph, {"x": A, "z": A})["y"]
    np.testing.assert_allclose(got, (A + c[:, None, None]) * A, rtol=1e-6)


@pytest.mark.parametrize(
    ("x", "slope", "seen"),
    [
        ((2, 3, 4, 5), (3,), (3, 1, 1)),
        ((2, 5, 5, 5), (5,), (5, 1, 1)),
        ((2, 3, 4, 5), (1,), (1,)),
        ((2, 3), (3,), (3,)),
        ((4,), (4,), (4,)),
        ((2, 3, 4), (3, 1), (3, 1)),
    ],
)
@pytest.mark.parametrize("opset", [1, 6])
def test_prelu_slopes_belong_to_channels(opset: int, x: Any, slope: Any, seen: Any) -> None:
    data, factor = some(*x) - 1.2, some(*slope)
    want = np.where(data < 0, data * factor.reshape(seen), data)
    np.testing.assert_allclose(value_of("PRelu", [data, factor], opset), want, rtol=1e-6)


def test_prelu_slopes_of_another_number_are_refused() -> None:
    with pytest.raises(ModelError, match="one value for each channel"):
        import_onnx(old_node("PRelu", [A, some(5)], 6)[0])


@pytest.mark.parametrize("opset", [1, 6])
@pytest.mark.parametrize(
    ("c", "attributes"),
    [
        ((4, 6), {}),
        ((4, 6), {"broadcast": 1}),
        ((6,), {"broadcast": 1}),
        ((1, 6), {"broadcast": 1}),
        ((4, 1), {"broadcast": 1, "alpha": 0.5, "beta": 2.0}),
        ((1,), {"broadcast": 1}),
        ((), {"broadcast": 1}),
    ],
)
@pytest.mark.parametrize("turned", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_gemm(opset: int, c: Any, attributes: dict[str, Any], turned: tuple[int, int]) -> None:
    a, b, bias = some(4, 3), some(3, 6), some(*c)
    given = [a.T.copy() if turned[0] else a, b.T.copy() if turned[1] else b, bias]
    more = {"transA": turned[0], "transB": turned[1], **attributes}
    got = value_of("Gemm", given, opset, **more)
    want = attributes.get("alpha", 1.0) * (a @ b) + attributes.get("beta", 1.0) * bias
    np.testing.assert_allclose(got, want, rtol=2e-5)


def test_gemm_without_broadcast_wants_a_matrix() -> None:
    with pytest.raises(ModelError, match=r"without broadcast=1, C .* has not the shape \[4, 6\]"):
        import_onnx(old_node("Gemm", [some(4, 3), some(3, 6), some(6)], 6)[0])


@given(
    shape=st.lists(st.integers(2, 4), min_size=1, max_size=5),
    cut=st.tuples(st.integers(0, 4), st.integers(0, 5)),
    ones=st.lists(st.booleans(), min_size=5, max_size=5),
    says_axis=st.booleans(),
    wrong=st.integers(0, 9),
)
def test_any_run_of_axes(
    shape: list[int], cut: tuple[int, int], ones: list[bool], says_axis: bool, wrong: int
) -> None:
    """A run of A's axes, some of them 1: where it lies at an axis that is said, or ends where A ends.  One
    extent that does not fit is refused."""
    start, end = min(cut), min(max(cut), len(shape))
    if not says_axis:
        end = len(shape)
    run = [1 if one else d for d, one in zip(shape[start:end], ones, strict=False)]
    fits = wrong >= len(run)
    if not fits:
        run[wrong] = 5
    a, b = RNG.random(shape, np.float32), RNG.random(run, np.float32)
    axis = {"axis": start} if says_axis else {}
    model, feeds = old_node("Sub", [a, b], 6, broadcast=1, **axis)
    if not fits and b.size > 1:
        with pytest.raises(ModelError, match="does not lie along axes"):
            import_onnx(model)
        return
    seen = b.reshape(*run, *[1] * (len(shape) - end)) if b.size > 1 else b.reshape(())
    np.testing.assert_array_equal(computed(model, feeds)[0], a - seen)
