"""Layers of TensorRT's API beside NumPy and torch: element by element, products, shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import camshaft.tensorrt as trt
from trt_networks import Bench

torch = pytest.importorskip("torch", reason="compared with torch (extra torch)")
functional = torch.nn.functional

Act, Two, One = trt.ActivationType, trt.ElementWiseOperation, trt.UnaryOperation


def close(got: Any, want: Any) -> None:
    np.testing.assert_allclose(got, np.asarray(want), rtol=1e-5, atol=1e-5)


ACTIVATIONS: dict[str, tuple[dict[str, float], Any]] = {
    "RELU": ({}, torch.relu),
    "SIGMOID": ({}, torch.sigmoid),
    "TANH": ({}, torch.tanh),
    "LEAKY_RELU": ({"alpha": 0.3}, lambda x: functional.leaky_relu(x, 0.3)),
    "ELU": ({"alpha": 0.7}, lambda x: functional.elu(x, 0.7)),
    "SELU": ({}, torch.selu),
    "SOFTSIGN": ({}, functional.softsign),
    "SOFTPLUS": ({"alpha": 2, "beta": 0.5}, lambda x: 2 * torch.log(1 + torch.exp(0.5 * x))),
    "CLIP": ({"alpha": -0.5, "beta": 0.25}, lambda x: torch.clip(x, -0.5, 0.25)),
    "HARD_SIGMOID": ({"alpha": 0.3, "beta": 0.4}, lambda x: torch.clip(0.3 * x + 0.4, 0, 1)),
    "SCALED_TANH": ({"alpha": 2, "beta": 0.5}, lambda x: 2 * torch.tanh(0.5 * x)),
    "THRESHOLDED_RELU": ({"alpha": 0.5}, lambda x: torch.where(x > 0.5, x, 0)),
    "GELU_ERF": ({}, functional.gelu),
    "GELU_TANH": ({}, lambda x: functional.gelu(x, approximate="tanh")),
}


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activation(kind: str) -> None:
    params, want = ACTIVATIONS[kind]
    b = Bench((2, 3, 4))
    layer: Any = b.net.add_activation(b.tensors[0], getattr(Act, kind))
    for name, value in params.items():
        setattr(layer, name, value)
    assert layer.type == getattr(Act, kind)
    close(b.output(layer), want(torch.from_numpy(b.arrays[0])))


BINARY = {
    "SUM": np.add,
    "PROD": np.multiply,
    "MAX": np.maximum,
    "MIN": np.minimum,
    "SUB": np.subtract,
    "DIV": np.divide,
    "FLOOR_DIV": np.floor_divide,
    "EQUAL": np.equal,
    "GREATER": np.greater,
    "LESS": np.less,
}


@pytest.mark.parametrize("op", BINARY)
def test_elementwise_broadcasts_extents_of_1(op: str) -> None:
    b = Bench((2, 3, 4), (2, 1, 4))
    layer = b.net.add_elementwise(*b.tensors, getattr(Two, op))
    close(b.output(layer), BINARY[op](*b.arrays))


@pytest.mark.parametrize(("op", "want"), [("DIV", [-3, 3, 0]), ("FLOOR_DIV", [-4, 3, -1])])
def test_integers_divide_as_in_c_or_down(op: str, want: list[int]) -> None:
    b = Bench()
    left, right = (b.constant(np.array(v, np.int32)) for v in ([-7, 7, -1], [2, 2, 2]))
    assert b.output(b.net.add_elementwise(left, right, getattr(Two, op))).tolist() == want


@pytest.mark.parametrize("op", ["AND", "OR", "XOR"])
def test_elementwise_of_bools(op: str) -> None:
    b = Bench((6,), (6,))
    zero = b.constant(np.zeros(6, np.float32))
    signs = [b.net.add_elementwise(t, zero, Two.GREATER).get_output(0) for t in b.tensors]
    want = getattr(np, f"logical_{op.lower()}")(*(a > 0 for a in b.arrays))
    assert np.array_equal(b.output(b.net.add_elementwise(*signs, getattr(Two, op))), want)


UNARY = {
    "EXP": np.exp,
    "LOG": np.log,
    "SQRT": np.sqrt,
    "RECIP": np.reciprocal,
    "ABS": np.abs,
    "NEG": np.negative,
    "SIN": np.sin,
    "COS": np.cos,
    "TAN": np.tan,
    "SINH": np.sinh,
    "COSH": np.cosh,
    "ASIN": np.arcsin,
    "ACOS": np.arccos,
    "ATAN": np.arctan,
    "ASINH": np.arcsinh,
    "ATANH": np.arctanh,
    "CEIL": np.ceil,
    "FLOOR": np.floor,
    "ERF": lambda x: torch.erf(torch.from_numpy(x)).numpy(),
    "SIGN": np.sign,
    "ROUND": np.rint,
    "ISINF": np.isinf,
    "ISNAN": np.isnan,
}


@pytest.mark.parametrize("op", UNARY)
def test_unary(op: str) -> None:
    b = Bench((40,))
    b.arrays[0] = np.linspace(0.02, 0.98, 40, dtype=np.float32)
    layer = b.net.add_unary(b.tensors[0], getattr(One, op))
    close(b.output(layer), UNARY[op](b.arrays[0]))


def test_round_takes_halves_to_even() -> None:
    b = Bench((4,))
    b.arrays[0] = np.array([0.5, 1.5, 2.5, -0.5], np.float32)
    assert b.output(b.net.add_unary(b.tensors[0], One.ROUND)).tolist() == [0, 2, 2, 0]


@pytest.mark.parametrize(
    ("mode", "shape"), [("UNIFORM", ()), ("CHANNEL", (3, 1, 1)), ("ELEMENTWISE", (3, 4, 5))]
)
def test_scale(mode: str, shape: tuple[int, ...]) -> None:
    b = Bench((2, 3, 4, 5))
    b.arrays[0] = np.abs(b.arrays[0])
    rng = np.random.default_rng(0)
    scale, shift = (np.asarray(rng.random(shape), np.float32) for _ in range(2))
    power = np.full(shape, 2, np.float32)
    layer = b.net.add_scale(b.tensors[0], getattr(trt.ScaleMode, mode), shift, scale, power)
    close(b.output(layer), (b.arrays[0] * scale + shift) ** power)


def test_scale_without_weights_is_the_input() -> None:
    b = Bench((1, 3, 2))
    layer = b.net.add_scale_nd(b.tensors[0], trt.ScaleMode.CHANNEL, channel_axis=1)
    close(b.output(layer), b.arrays[0])


def test_select_and_parametric_relu() -> None:
    b = Bench((2, 3), (1, 3))
    low: Any = b.net.add_elementwise(*b.tensors, Two.LESS)
    slopes = b.net.add_parametric_relu(*b.tensors)
    chosen = b.net.add_select(low.get_output(0), b.tensors[0], slopes.get_output(0))
    x, s = b.arrays
    prelu = np.where(x < 0, x * s, x)
    close(b.output(chosen), np.where(x < s, x, prelu))


def test_cast_and_identity_with_an_output_type() -> None:
    b = Bench((5,))
    b.arrays[0] *= 9
    cast = b.net.add_cast(b.tensors[0], trt.int32)
    same: Any = b.net.add_identity(b.tensors[0])
    same.set_output_type(0, trt.int32)
    assert same.get_output(0).dtype == trt.int32
    both = b.net.add_elementwise(cast.get_output(0), same.get_output(0), Two.EQUAL)
    assert b.output(both).all()


@pytest.mark.parametrize(
    ("shapes", "ops", "want"),
    [
        (((2, 3, 4), (2, 4, 5)), ("NONE", "NONE"), "bik,bkj->bij"),
        (((2, 4, 3), (1, 5, 4)), ("TRANSPOSE", "TRANSPOSE"), "bki,bjk->bij"),
        (((2, 4), (2, 4, 5)), ("VECTOR", "NONE"), "bk,bkj->bj"),
        (((2, 3, 4), (2, 4)), ("NONE", "VECTOR"), "bik,bk->bi"),
        (((4,), (4,)), ("VECTOR", "VECTOR"), "k,k->"),
    ],
)
def test_matrix_multiply(shapes: Any, ops: tuple[str, str], want: str) -> None:
    b = Bench(*shapes)
    first, second = (getattr(trt.MatrixOperation, op) for op in ops)
    layer = b.net.add_matrix_multiply(b.tensors[0], first, b.tensors[1], second)
    left, right = b.arrays
    if right.ndim == 3 and right.shape[0] == 1:
        right = np.repeat(right, left.shape[0], 0)
    close(b.output(layer), np.einsum(want, left, right))


def test_einsum_takes_any_number_of_tensors() -> None:
    b = Bench((2, 3), (3, 4), (4, 5))
    layer = b.net.add_einsum(b.tensors, "ij,jk,kl->il")
    close(b.output(layer), np.linalg.multi_dot(b.arrays))


@pytest.mark.parametrize("lead", [(2,), (2, 3)])
def test_fully_connected_flattens_three_axes(lead: tuple[int, ...]) -> None:
    b = Bench((*lead, 2, 3, 4))
    kernel, bias = np.random.default_rng(1).random((7, 24)).astype(np.float32), np.ones(7, np.float32)  # fmt: skip
    layer: Any = b.net.add_fully_connected(b.tensors[0], 7, kernel, bias)
    assert layer.kernel.shape == (7 * 24,)
    close(b.output(layer), (b.arrays[0].reshape(*lead, 24) @ kernel.T + bias)[..., None, None])


def test_shuffle_transposes_reshapes_and_transposes() -> None:
    b = Bench((2, 3, 4))
    layer: Any = b.net.add_shuffle(b.tensors[0])
    layer.first_transpose = (2, 0, 1)
    layer.reshape_dims = (0, -1)
    layer.second_transpose = trt.Permutation([1, 0])
    assert layer.reshape_dims == (0, -1)
    assert tuple(layer.first_transpose)[:3] == (2, 0, 1)
    close(b.output(layer), b.arrays[0].transpose(2, 0, 1).reshape(4, 6).T)


def test_shuffle_takes_its_shape_from_a_tensor() -> None:
    b = Bench((2, 3, 4), (6, 4))
    layer: Any = b.net.add_shuffle(b.tensors[0])
    shape: Any = b.net.add_shape(b.tensors[1])
    layer.set_input(1, shape.get_output(0))
    assert shape.get_output(0).dtype == trt.int64
    assert shape.get_output(0).is_shape_tensor
    assert not b.tensors[1].is_shape_tensor
    close(b.output(layer), b.arrays[0].reshape(6, 4))


@pytest.mark.parametrize("axis", [None, 0, 2])
def test_concatenation_takes_the_third_last_axis_at_first(axis: int | None) -> None:
    b = Bench((2, 3, 4, 5), (2, 3, 4, 5))
    layer: Any = b.net.add_concatenation(b.tensors)
    if axis is not None:
        layer.axis = axis
    assert layer.axis == (1 if axis is None else axis)
    close(b.output(layer), np.concatenate(b.arrays, 1 if axis is None else axis))


def test_slice_steps_forwards_and_backwards() -> None:
    b = Bench((6, 8))
    layer = b.net.add_slice(b.tensors[0], (1, 7), (2, 8), (3, -1))
    close(b.output(layer), b.arrays[0][1:7:3, ::-1])


OUTSIDE = {"CLAMP": "edge", "WRAP": "wrap", "REFLECT": "reflect", "FILL": "constant"}


@pytest.mark.parametrize("mode", OUTSIDE)
def test_slice_beyond_bounds(mode: str) -> None:
    b = Bench((3, 4))
    layer: Any = b.net.add_slice(b.tensors[0], (-2, -1), (7, 6), (1, 1))
    layer.mode = getattr(trt.SampleMode, mode)
    close(b.output(layer), np.pad(b.arrays[0], ((2, 2), (1, 1)), OUTSIDE[mode]))  # type: ignore[call-overload]


def test_slice_takes_its_size_from_a_tensor() -> None:
    b = Bench((5, 5), (2, 3))
    shape: Any = b.net.add_shape(b.tensors[1])
    layer: Any = b.net.add_slice(b.tensors[0], (1, 1), (0, 0), (1, 1))
    layer.set_input(2, shape.get_output(0))
    close(b.output(layer), b.arrays[0][1:3, 1:4])


def test_squeeze_and_unsqueeze() -> None:
    b = Bench((2, 1, 3))
    gone: Any = b.net.add_squeeze(b.tensors[0], b.constant(np.array([1], np.int32)))
    back = b.net.add_unsqueeze(gone.get_output(0), b.constant(np.array([0, 3], np.int64)))
    assert gone.get_output(0).shape == (2, 3)
    close(b.output(back), b.arrays[0].reshape(1, 2, 3, 1))
