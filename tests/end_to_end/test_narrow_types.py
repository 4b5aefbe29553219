"""Floats of 8, 6 and 4 bits and integers of 4 and 2 at the ends of engines, and casts between them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto as P
from onnx import helper

import camshaft
from camshaft.errors import BindingError, ModelError
from camshaft.frontends.onnx.dtypes import boundary_dtype

FLOATS = (
    P.FLOAT8E4M3FN,
    P.FLOAT8E4M3FNUZ,
    P.FLOAT8E5M2,
    P.FLOAT8E5M2FNUZ,
    P.FLOAT8E8M0,
    P.FLOAT6E2M3,
    P.FLOAT6E3M2,
    P.FLOAT4E2M1,
)
INTS = (P.INT4, P.UINT4, P.INT2, P.UINT2)
each_narrow = pytest.mark.parametrize("elem", [*FLOATS, *INTS], ids=P.DataType.Name)
each_float = pytest.mark.parametrize("elem", FLOATS, ids=P.DataType.Name)


def codes(elem: int) -> np.ndarray:
    """Every value of an element type."""
    dtype = boundary_dtype(elem)
    return np.arange(1 << dtype.bits, dtype=np.uint8).view(dtype.numpy)


def engine_of(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, int],
    outputs: dict[str, int],
    *,
    constants: tuple[onnx.TensorProto, ...] = (),
    shape: list[str] | tuple[()] = ("n",),
    **options: Any,
) -> camshaft.Engine:
    def ends(types: dict[str, int]) -> list[onnx.ValueInfoProto]:
        return [helper.make_tensor_value_info(n, t, shape) for n, t in types.items()]

    graph = helper.make_graph(nodes, "narrow", ends(inputs), ends(outputs), list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 28)])
    return camshaft.build(model, optimization_level=1, threads=1, **options)


def cast_engine(source: int, target: int, **attributes: Any) -> camshaft.Engine:
    node = helper.make_node("Cast", ["x"], ["y"], to=target, **attributes)
    return engine_of([node], {"x": source}, {"y": target})


def same(a: np.ndarray, b: np.ndarray) -> None:
    """The same values of the same type, NaN included."""
    assert a.dtype == b.dtype
    np.testing.assert_array_equal(a.astype(np.float32), b.astype(np.float32))
    number = ~np.isnan(b.astype(np.float32))
    np.testing.assert_array_equal(a[number].view(np.uint8), b[number].view(np.uint8))


@each_narrow
def test_every_value_goes_through(elem: int, tmp_path: Path) -> None:
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    engine = engine_of(nodes, {"x": elem}, {"y": elem})
    assert engine.inputs["x"].dtype == engine.outputs["y"].dtype == boundary_dtype(elem)
    engine.save(tmp_path / "narrow.engine")
    x = codes(elem)
    for either in (engine, camshaft.load(tmp_path / "narrow.engine")):
        same(either(x)["y"], x)
        with pytest.raises(BindingError, match=f"dtype float32, expected {x.dtype.name}"):
            either(x.astype(np.float32))


@each_narrow
def test_casts_to_wider_types_are_exact(elem: int) -> None:
    x = codes(elem)
    for target in (P.FLOAT, P.DOUBLE):
        wide = boundary_dtype(target).numpy
        np.testing.assert_array_equal(cast_engine(elem, target)(x)["y"], x.astype(wide))


@pytest.mark.parametrize(
    "elem", [t for t in (*FLOATS, *INTS) if t != P.FLOAT8E8M0], ids=P.DataType.Name
)
@pytest.mark.parametrize("source", [P.FLOAT, P.DOUBLE, P.INT32, P.UINT8], ids=P.DataType.Name)
def test_casts_from_wider_types_round_to_what_ml_dtypes_has(elem: int, source: int) -> None:
    """Within the type's range ml_dtypes is the judge; of powers of two an attribute is."""
    dtype = boundary_dtype(elem)
    numbers = np.unique(codes(elem).astype(np.float64))
    numbers = numbers[np.isfinite(numbers)]
    x = np.concatenate([numbers, (numbers[1:] + numbers[:-1]) / 2, numbers * 0.99, numbers * 0.7])
    given = x.astype(boundary_dtype(source).numpy) if source != P.UINT8 else np.uint8(np.abs(x) % 8)
    if dtype.is_int and source != P.UINT8:
        given = np.trunc(given).astype(given.dtype)  # ml_dtypes refuses fractions of f64
    wanted = given.astype(np.float32).astype(dtype.numpy)
    same(cast_engine(source, elem)(given)["y"], wanted)


def test_integers_wrap_and_floats_lose_their_fraction() -> None:
    x = np.arange(-20, 20, dtype=np.int32)
    same(cast_engine(P.INT32, P.INT4)(x)["y"], x.astype(ml_dtypes.int4))
    same(cast_engine(P.INT32, P.UINT2)(x)["y"], x.astype(ml_dtypes.uint2))
    fractions = np.float32([-7.9, -0.5, 0.5, 6.9])
    same(cast_engine(P.FLOAT, P.INT4)(fractions)["y"], np.array([-7, 0, 0, 6], ml_dtypes.int4))
    four = np.arange(-8, 8).astype(ml_dtypes.int4)
    same(cast_engine(P.INT4, P.INT2)(four)["y"], four.astype(np.int8).astype(ml_dtypes.int2))


SPECIAL = np.float32([0, -0.0, np.nan, np.inf, -np.inf, 1e6, -1e6])
"""The lines of the tables in the specification of Cast."""
INF, NAN = np.inf, np.nan
TABLE = {
    P.FLOAT8E4M3FN: (448, [0, -0.0, NAN, NAN, NAN, NAN, NAN]),
    P.FLOAT8E4M3FNUZ: (240, [0, 0, NAN, NAN, NAN, NAN, NAN]),
    P.FLOAT8E5M2: (57344, [0, -0.0, NAN, INF, -INF, INF, -INF]),
    P.FLOAT8E5M2FNUZ: (57344, [0, 0, NAN, NAN, NAN, NAN, NAN]),
}
"""Type -> its largest number, and what the lines come to without saturation."""


@pytest.mark.parametrize("elem", TABLE, ids=P.DataType.Name)
@pytest.mark.parametrize("source", [P.FLOAT, P.DOUBLE], ids=P.DataType.Name)
def test_the_tables_of_cast(elem: int, source: int) -> None:
    most, lines = TABLE[elem]
    x, dtype = SPECIAL.astype(boundary_dtype(source).numpy), boundary_dtype(elem).numpy
    saturated = [*lines[:3], most, -most, most, -most]
    same(cast_engine(source, elem)(x)["y"], np.array(saturated, np.float32).astype(dtype))
    got = cast_engine(source, elem, saturate=0)(x)["y"]
    same(got, np.array(lines, np.float32).astype(dtype))
    like = helper.make_node("CastLike", ["x", "z"], ["y"], saturate=0)
    again = engine_of([like], {"x": source, "z": elem}, {"y": elem})
    same(again({"x": x, "z": codes(elem)[: x.size]})["y"], got)


def test_the_largest_number_is_kept_as_long_as_it_is_nearest() -> None:
    x = np.float32([448, 463.9, 464, 464.1, 480])
    got = cast_engine(P.FLOAT, P.FLOAT8E4M3FN, saturate=0)(x)["y"].astype(np.float32)
    np.testing.assert_array_equal(got, np.float32([448, 448, 448, NAN, NAN]))


@pytest.mark.parametrize(
    ("rounding", "wanted"),
    [
        ("up", [1, 1, 2, 2, 2, 2]),
        ("down", [0.5, 1, 1, 1, 1, 2]),
        ("nearest", [0.5, 1, 1, 2, 2, 2]),
    ],
)
def test_powers_of_two(rounding: str, wanted: list[float]) -> None:
    x = np.float32([0.6, 1, 1.4999, 1.5, 1.9999, 2])
    engine = cast_engine(P.FLOAT, P.FLOAT8E8M0, round_mode=rounding)
    same(engine(x)["y"], np.array(wanted, np.float32).astype(ml_dtypes.float8_e8m0fnu))


def test_powers_of_two_at_the_ends_of_their_range() -> None:
    x = np.float32([0, 1e-45, 2.0**-127, 2.0**127, 3e38, INF, NAN])
    least, most = 2.0**-127, 2.0**127
    up = cast_engine(P.FLOAT, P.FLOAT8E8M0)(x)["y"].astype(np.float32)
    np.testing.assert_array_equal(up, np.float32([least] * 3 + [most] * 3 + [NAN]))
    strict = cast_engine(P.FLOAT, P.FLOAT8E8M0, saturate=0, round_mode="nearest")
    nearest = strict(x)["y"].astype(np.float32)
    np.testing.assert_array_equal(nearest, np.float32([NAN, NAN, least, most, NAN, NAN, NAN]))


def test_an_unknown_rounding_is_refused() -> None:
    with pytest.raises(ModelError, match="rounding mode 'odd' is unknown"):
        cast_engine(P.FLOAT, P.FLOAT8E8M0, round_mode="odd")


def test_a_chain_of_casts_rounds_at_each() -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["a"], to=P.FLOAT8E4M3FN),
        helper.make_node("Cast", ["a"], ["b"], to=P.FLOAT),
        helper.make_node("Cast", ["b"], ["c"], to=P.FLOAT4E2M1),
        helper.make_node("Cast", ["c"], ["y"], to=P.FLOAT),
    ]
    x = np.linspace(-9, 9, 999, dtype=np.float32)
    wanted = x.astype(ml_dtypes.float8_e4m3fn).astype(ml_dtypes.float4_e2m1fn).astype(np.float32)
    np.testing.assert_array_equal(engine_of(nodes, {"x": P.FLOAT}, {"y": P.FLOAT})(x)["y"], wanted)


@pytest.mark.parametrize("elem", [*TABLE, *INTS, P.FLOAT4E2M1, P.FLOAT6E3M2], ids=P.DataType.Name)
def test_quantize_and_dequantize(elem: int) -> None:
    """The type comes from a constant zero point, from an input behind a Reshape, or from the attribute."""
    dtype = boundary_dtype(elem)
    scale = helper.make_tensor("scale", P.FLOAT, [], [0.5])
    shape = helper.make_tensor("shape", P.INT64, [0], [])
    zero = helper.make_tensor("zero", elem, [], [1])
    x = np.concatenate([np.linspace(-6, 6, 97), [2e5, -2e5]]).astype(np.float32)
    exact = x / np.float32(0.5)
    if dtype.is_int:
        wanted = np.clip(np.rint(exact) + 1, *dtype.range).astype(dtype.numpy)
        plain = np.clip(np.rint(exact), *dtype.range).astype(dtype.numpy)
    else:
        most = dtype.largest
        wanted = np.clip(exact + 1, -most, most).astype(dtype.numpy)
        plain = np.clip(exact, -most, most).astype(dtype.numpy)
    q = helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["y"])
    ends = {"x": P.FLOAT}, {"y": elem}
    same(engine_of([q], *ends, constants=(scale, zero))(x)["y"], wanted)

    named = helper.make_node("QuantizeLinear", ["x", "scale"], ["y"], output_dtype=elem)
    same(engine_of([named], *ends, constants=(scale,))(x)["y"], plain)

    first = helper.make_tensor("first", P.INT64, [1], [0])
    picked = helper.make_node("Gather", ["z", "first"], ["one"])
    whole = helper.make_node("Reshape", ["one", "shape"], ["zero"])
    engine = engine_of([picked, whole, q], {"x": P.FLOAT, "z": elem}, {"y": elem},
                       constants=(scale, shape, first))  # fmt: skip
    same(engine({"x": x, "z": np.ones(x.size, dtype.numpy)})["y"], wanted)

    back = helper.make_node("DequantizeLinear", ["x", "scale", "zero"], ["y"])
    engine = engine_of([back], {"x": elem}, {"y": P.FLOAT}, constants=(scale, zero))
    every = codes(elem)
    np.testing.assert_array_equal(engine(every)["y"], (every.astype(np.float32) - 1) * 0.5)


def test_scales_may_be_powers_of_two() -> None:
    scale = helper.make_tensor("scale", P.FLOAT8E8M0, [], [0.25])
    node = helper.make_node("DequantizeLinear", ["x", "scale"], ["y"], output_dtype=P.FLOAT)
    engine = engine_of([node], {"x": P.FLOAT4E2M1}, {"y": P.FLOAT}, constants=(scale,))
    every = codes(P.FLOAT4E2M1)
    np.testing.assert_array_equal(engine(every)["y"], every.astype(np.float32) * 0.25)


@each_narrow
def test_scalars(elem: int) -> None:
    node = helper.make_node("Cast", ["x"], ["y"], to=P.FLOAT)
    engine = engine_of([node], {"x": elem}, {"y": P.FLOAT}, shape=())
    assert engine(1 if boundary_dtype(elem).is_int else 1.0)["y"] == 1
    with pytest.raises(BindingError, match="which is no"):
        engine(1e39 if boundary_dtype(elem).is_float else 99)


@each_narrow
def test_values_may_be_fixed(elem: int, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["z"], ["wide"], to=P.FLOAT),
        helper.make_node("Mul", ["x", "wide"], ["y"]),
    ]
    engine = engine_of(
        nodes, {"x": P.FLOAT, "z": elem}, {"y": P.FLOAT}, values={"z": (1, 0.5)}
    ) if boundary_dtype(elem).is_float else engine_of(
        nodes, {"x": P.FLOAT, "z": elem}, {"y": P.FLOAT}, values={"z": (1, 0)}
    )  # fmt: skip
    engine.save(tmp_path / "fixed.engine")
    engine = camshaft.load(tmp_path / "fixed.engine")
    fixed = engine.fixed_inputs["z"]
    assert fixed.dtype == boundary_dtype(elem).numpy
    x = np.float32([3, 4])
    np.testing.assert_array_equal(engine({"x": x})["y"], x * fixed.astype(np.float32))


@each_float
def test_check_finite_finds_what_the_type_has(elem: int) -> None:
    engine = engine_of([helper.make_node("Identity", ["x"], ["y"])], {"x": elem}, {"y": elem})
    every = codes(elem)
    finite = every[np.isfinite(every.astype(np.float32))]
    with engine.create_context(check_finite=True) as context:
        same(context.run({"x": finite})["y"], finite)
        if finite.size < every.size:
            with pytest.raises(BindingError, match="NaN or infinite"):
                context.run({"x": every})
