"""Integer inputs whose elements say sizes: what is built, what a call says, what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto

import camshaft
from camshaft import BindingError, CalibrationError, ConfigError, Engine, ModelError, ShapeError
from camshaft.frontends.onnx import import_onnx
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.interpret import interpret
from camshaft.report.assumptions import advice
from camshaft.runtime.sizes import MOST
from camshaft.session import BuildSession
from value_models import small_model

onnxruntime = pytest.importorskip("onnxruntime", reason="results are compared with it")
QUICK: dict[str, Any] = {"optimization_level": 1, "threads": 1}
RNG = np.random.default_rng(0)
Feeds = Mapping[str, np.ndarray]


def f(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def whole(*values: int, dtype: Any = np.int64) -> np.ndarray:
    return np.array(values, dtype)


def theirs(model: ModelProto, feeds: Feeds) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, dict(feeds)))


def reshaped() -> ModelProto:
    """y = exp of relu(x) as a tensor of shape `to`."""
    return small_model(
        "r = Relu(x) t = Reshape(r, to) y = Exp(t)",
        "float[n,8] x, int64[3] to",
        "float[a,b,c] y",
    )


def feeds(n: int, *to: int) -> dict[str, np.ndarray]:
    return {"x": f(n, 8), "to": whole(*to)}


CASES: dict[str, tuple[ModelProto, list[Feeds]]] = {
    "expand": (
        small_model("y = Expand(x, to)", "float[n,1] x, int64[2] to", "float[a,b] y"),
        [{"x": f(3, 1), "to": whole(3, 4)}, {"x": f(2, 1), "to": whole(2, 7)}],
    ),
    "tile": (
        small_model("y = Tile(x, to)", "float[n,2] x, int64[2] to", "float[a,b] y"),
        [{"x": f(3, 2), "to": whole(3, 4)}, {"x": f(2, 2), "to": whole(1, 7)}],
    ),
    "range": (
        small_model(
            "z = Constant<value = int64 {0}>() one = Constant<value = int64 {1}>() "
            "r = Range(z, k, one) c = Cast<to = 1>(r) y = Add(c, x)",
            "float[1] x, int64 k",
            "float[a] y",
        ),
        [{"x": f(1), "k": np.array(k)} for k in (5, 1, 700)],
    ),
    "slice": (
        small_model("y = Slice(x, s, e)", "float[n,6] x, int64[2] s, int64[2] e", "float[a,b] y"),
        [
            {"x": f(5, 6), "s": whole(1, 2), "e": whole(3, 4)},
            {"x": f(5, 6), "s": whole(1, 1), "e": whole(9, 4)},
            {"x": f(5, 6), "s": whole(4, 5), "e": whole(2, 3)},
        ],
    ),
    "resize": (
        small_model(
            'y = Resize<mode = "linear">(x, , , to)',
            "float[n,2,5,6] x, int64[4] to",
            "float[a,b,c,d] y",
        ),
        [
            {"x": f(2, 2, 5, 6), "to": whole(2, 2, 10, 12)},
            {"x": f(1, 2, 5, 6), "to": whole(1, 2, 7, 3)},
        ],
    ),
    "constant of shape": (
        small_model("y = ConstantOfShape(to)", "int64[2] to", "float[a,b] y"),
        [{"to": whole(2, 3)}, {"to": whole(4, 1)}],
    ),
    "top k": (
        small_model("y, i = TopK(x, k)", "float[n,9] x, int64[1] k", "float[a,b] y, int64[a,b] i"),
        [{"x": f(5, 9), "k": whole(k)} for k in (3, 9, 1)],
    ),
    "pad": (
        small_model("y = Pad(x, p)", "float[n,9] x, int64[4] p", "float[a,b] y"),
        [{"x": f(5, 9), "p": whole(1, 2, 3, 1)}, {"x": f(1, 9), "p": whole(1, 1, 1, 1)}],
    ),
    "int32": (
        small_model(
            "wide = Cast<to = 7>(to) y = Reshape(x, wide)",
            "float[n,4] x, int32[2] to",
            "float[a,b] y",
        ),
        [{"x": f(5, 4), "to": whole(*to, dtype=np.int32)} for to in ((10, 2), (2, 10))],
    ),
    "computed, and read as data": (
        small_model(
            "two = Constant<value = int64[1] {2}>() rest = Constant<value = int64[1] {-1}>() "
            "half = Div(k, two) to = Concat<axis = 0>(half, rest) r = Reshape(x, to) "
            "factor = Cast<to = 1>(k) y = Mul(r, factor)",
            "float[n,4] x, int64[1] k",
            "float[a,b] y",
        ),
        [{"x": f(6, 4), "k": whole(k)} for k in (4, 7, 5)],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_nothing_said_equals_onnxruntime(case: str, tmp_path: Path) -> None:
    model, calls = CASES[case]
    engine = camshaft.build(model, **QUICK)
    engine.save(tmp_path / "e.engine")
    loaded = camshaft.load(tmp_path / "e.engine")
    for given in (*calls, calls[0]):
        for each in (engine, loaded):
            for got, wanted in zip(each(given).values(), theirs(model, given), strict=True):
                np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def sizes_at(model: ModelProto) -> dict[str, Any]:
    """`values=` that says of all integer inputs that their elements are sizes, and not which."""
    found: dict[str, Any] = {}
    for value in model.graph.input:
        tensor = value.type.tensor_type
        if tensor.elem_type != TensorProto.FLOAT:
            found[value.name] = (None,) * prod(d.dim_value for d in tensor.shape.dim)
    return found


@pytest.mark.parametrize("case", CASES)
def test_elements_that_are_sizes_equal_onnxruntime(case: str, tmp_path: Path) -> None:
    model, calls = CASES[case]
    values = sizes_at(model) if case != "computed, and read as data" else {"k": ("2..",)}
    engine = camshaft.build(model, values=values, **QUICK)
    engine.save(tmp_path / "e.engine")
    loaded = camshaft.load(tmp_path / "e.engine")
    graph = import_onnx(model, values=values)
    for given in (*calls, calls[0]):
        want = theirs(model, given)
        shapes = engine.output_shapes(given)
        assert list(shapes.values()) == [w.shape for w in want]
        for each in (engine(given), loaded(given), interpret(graph, given)):
            for got, wanted in zip(each.values(), want, strict=True):
                np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("value", "symbols"),
    [
        (("batch", "1..8", 4), {"n": None, "batch": None, "to_1": 8}),
        (("batch=1..2..9", "rows=2..8", None), {"n": None, "batch": 9, "rows": 8, "to_2": None}),
        (((1, 1, 4), (2, 4, 4), (9, 8, 4)), {"n": None, "to_0": 9, "to_1": 8}),
        (("n", 2, 4), {"n": None}),
    ],
)
def test_what_may_be_said(value: Any, symbols: dict[str, int | None]) -> None:
    engine = camshaft.build(reshaped(), values={"to": value}, **QUICK)
    assert {s.name: s.high for s in engine.symbols.values()} == symbols
    assert repr(engine.inputs["to"]) == "i64[3]"
    for given in (feeds(2, 2, 2, 4), feeds(3, 3, 2, 4), feeds(2, 2, 2, 4)):
        np.testing.assert_allclose(engine(given)["y"], theirs(reshaped(), given)[0], rtol=1e-6)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return camshaft.build(reshaped(), values={"to": ("batch", "1..2..8", 4)}, **QUICK)


@pytest.mark.parametrize(
    ("to", "words"),
    [
        (
            (1, 9, 4),
            r"input 'to', element 1 is 9, and the engine was built for to_1 = 1\.\.8; .*values=",
        ),
        ((-1, 2, 4), r"input 'to', element 0 is -1, and the engine was built for batch = 1\.\."),
        ((2, 4, 5), r"input 'to', element 2 is 5, and the engine was built for 4 there"),
        ((MOST + 1, 2, 4), rf"element 0 is {MOST + 1}.*{MOST} at most"),
        ((2, 2, 4), r"node 't' needs 4\*batch\*to_1 == 8\*n, which batch=2, to_1=2, n=4 breaks"),
    ],
)
def test_values_outside_the_range_are_named(engine: Engine, to: Any, words: str) -> None:
    context = engine.create_context()
    good, bad = feeds(4, 4, 2, 4), feeds(4, *to)
    first = context.run(good)
    for _ in range(2):
        for call in (context.run, engine, context.output_shapes, engine.output_shapes):
            with pytest.raises(ShapeError, match=words):
                call(bad)
        with pytest.raises(ShapeError, match=words):
            context.run_into(bad, first)
    np.testing.assert_array_equal(context.run(good)["y"], first["y"])


def test_an_array_that_does_not_fit_is_named(engine: Engine) -> None:
    x = f(4, 8)
    for wrong, error, words in (
        (whole(4, 2, 4, dtype=np.int32), BindingError, "input 'to' has dtype int32"),
        (np.array([4.0, 2, 4]), BindingError, "input 'to' has dtype float64"),
        (whole(4, 2), ShapeError, r"input 'to' has shape \(2,\), expected \(3,\)"),
        (7, BindingError, "input 'to' is a builtins.int"),
    ):
        for call in (engine, engine.create_context().run):
            with pytest.raises(error, match=words):
                call({"x": x, "to": wrong})
    with pytest.raises(BindingError, match="'to' says sizes by its elements; give it as an array"):
        engine.output_shapes({"x": (4, 8), "to": (4, 2, 4)})
    assert engine.output_shapes({"x": (4, 8), "to": whole(4, 2, 4)}) == {"y": (4, 2, 4)}
    strided = {"x": f(8, 8)[::2], "to": whole(4, 0, 2, 0, 4)[::2]}
    assert engine.output_shapes(strided) == {"y": (4, 2, 4)}
    np.testing.assert_array_equal(
        engine(strided)["y"].reshape(4, 8),
        engine({"x": strided["x"].copy(), "to": whole(4, 2, 4)})["y"].reshape(4, 8),
    )


def test_one_name_is_one_size() -> None:
    tied = camshaft.build(reshaped(), values={"to": ("n", 2, 4)}, **QUICK)
    with pytest.raises(ShapeError, match=r"element 0 is 2, and input 'x', axis 0 is 3: both are n"):
        tied(feeds(3, 2, 2, 4))
    twice = camshaft.build(reshaped(), values={"to": ("m=1..2..9", "m", 4)}, **QUICK)
    assert twice(feeds(8, 4, 4, 4))["y"].shape == (4, 4, 4)
    with pytest.raises(
        ShapeError, match="element 1 is 8, and input 'to', element 0 is 2: both are m"
    ):
        twice(feeds(8, 2, 8, 4))


def test_the_same_array_changed_in_place_says_other_sizes(engine: Engine) -> None:
    context = engine.create_context()
    given = feeds(4, 4, 2, 4)
    for to in ((4, 2, 4), (2, 4, 4), (8, 1, 4), (4, 2, 4)):
        given["to"][:] = to
        y = context.run(given)["y"]
        assert y.shape == to
        np.testing.assert_allclose(y, theirs(reshaped(), given)[0], rtol=1e-6)
        held = {"y": np.empty(to, np.float32)}
        context.run_into(given, held)
        np.testing.assert_array_equal(held["y"], y)
    given["to"][:] = (2, 4, 4)
    with pytest.raises(ShapeError, match=r"output 'y' has shape \(4, 2, 4\), expected \(2, 4, 4\)"):
        context.run_into(given, held)


def test_the_same_values_give_the_same_bits_in_every_context(engine: Engine) -> None:
    calls = [feeds(n, *to) for n, to in ((4, (4, 2, 4)), (4, (2, 4, 4)), (64, (16, 8, 4)))]
    want = [engine(given)["y"] for given in calls]

    def work(seed: int) -> None:
        context, rng = engine.create_context(), np.random.default_rng(seed)
        for _ in range(100):
            context._arena[:] = 0xFF  # NaN, or sizes that do not exist
            i = int(rng.integers(len(calls)))
            np.testing.assert_array_equal(context.run(calls[i])["y"], want[i])

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(work, range(2)))


def test_unchanged_values_set_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    context = engine.create_context()
    counted: list[Any] = []
    original = type(context)._set_shapes

    def counting(self: Any, shaper: Any, shapes: Any, said: Any) -> None:
        counted.append(shapes)
        original(self, shaper, shapes, said)

    monkeypatch.setattr(type(context), "_set_shapes", counting)
    given = feeds(4, 4, 2, 4)
    for _ in range(5):
        context.run({**given, "to": given["to"].copy()})
    assert counted == [((4, 8), (3,), (4, 2, 4))]
    context.run(feeds(4, 2, 4, 4))
    assert len(counted) == 2


def test_scalars_may_be_numbers() -> None:
    model, _ = CASES["range"]
    engine = camshaft.build(model, values={"k": "1..9"}, **QUICK)
    assert engine.symbols == {"k": Symbol("k", 1, 9, 9)}
    for k in (3, np.int64(3), np.array(3)):
        assert engine({"x": f(1), "k": k})["y"].shape == (3,)
        assert engine.output_shapes({"x": (1,), "k": k}) == {"y": (3,)}
    with pytest.raises(
        ShapeError, match=r"input 'k' is 10, and the engine was built for k = 1\.\.9"
    ):
        engine({"x": f(1), "k": 10})
    profile = camshaft.build(model, values={"k": (1, 4, 9)}, **QUICK)
    assert profile.symbols == {"k": Symbol("k", 1, 4, 9)}


def test_sizes_that_no_memory_holds_are_refused() -> None:
    model = small_model("ones = ConstantOfShape(to) y = Exp(ones)", "int64[3] to", "float[a,b,c] y")
    engine = camshaft.build(model, **QUICK)
    assert engine({"to": whole(300, 2, 1)})["y"].shape == (300, 2, 1)
    for to in ((MOST, MOST, MOST), (1 << 20, 1 << 20, 1 << 24), (1 << 30, 1 << 30, 4)):
        with pytest.raises(ShapeError, match=r"would have \d+ bytes"):
            engine({"to": whole(*to)})
    assert engine({"to": whole(2, 2, 2)})["y"].shape == (2, 2, 2)


@pytest.mark.parametrize("exponent", [10, 21, 22, 30])
def test_inputs_whose_product_no_memory_holds_are_refused(exponent: int) -> None:
    """a * b * c has 2 ** (42 + exponent) bytes, which 64 bits hold or do not."""
    text = "ab = Mul(a, b) abc = Mul(ab, c) y = ReduceMax<keepdims=0>(abc)"
    model = small_model(text, "float[i,1,1] a, float[j,1] b, float[k] c", "float y")
    engine = camshaft.build(model, **QUICK)
    sizes = (1 << 20, 1 << 20, 1 << exponent)
    shapes = [(sizes[0], 1, 1), (sizes[1], 1), (sizes[2],)]
    large = {n: np.empty(s, np.float32) for n, s in zip("abc", shapes, strict=True)}
    with pytest.raises(ShapeError, match=rf"would have {1 << 42 + exponent} bytes"):
        engine(large)
    small = {n: np.full((2,) + (1,) * i, 3, np.float32) for i, n in enumerate("cba")}
    assert engine(small)["y"] == 27


def test_a_product_that_wraps_is_no_match() -> None:
    """641 * 6700417 == 2 ** 32 + 1, so that these products are 32 modulo 2 ** 64, as 8 * 4 is."""
    engine = camshaft.build(reshaped(), values={"to": ("a", "b", "c")}, **QUICK)
    a, b = 641 * 32, 6700417
    c = pow(641 * 6700417, -1, 1 << 59) % (1 << 59)
    assert a * b * c % (1 << 64) == 32
    factors = [(a, b, c), (a, c, b)]
    for to in factors:
        with pytest.raises(ShapeError):
            engine(feeds(4, *to))


def test_typical_sizes_are_found_where_several_must_fit() -> None:
    """3 * n == to_0 * to_1 with 128 for each usual size: n stays, and one of the others follows."""
    odd = small_model("y = Reshape(x, to)", "float[n,3] x, int64[2] to", "float[a,b] y")
    sizes: dict[str, Any] = {"values": {"to": (None, None)}}
    typical = {s.name: s.typical for s in camshaft.build(odd, **sizes, **QUICK).symbols.values()}
    assert typical["n"] == 1 and typical["to_0"] * typical["to_1"] == 3
    fixed = small_model("y = Reshape(x, to)", "float[1,3,224,225] x, int64[2] to", "float[a,b] y")
    engine = camshaft.build(fixed, **sizes, **QUICK)
    assert engine({"x": f(1, 3, 224, 225), "to": whole(225, 672)})["y"].shape == (225, 672)


def test_what_is_assumed_is_said_with_how_to_say_better() -> None:
    unknown = camshaft.BuildConfig(values={"to": (None, None, None)}, **QUICK)
    session = BuildSession(reshaped(), unknown)
    graph = session.import_model()
    assert [s.name for s in session.assumed] == ["n", "to_0", "to_1", "to_2"]
    said = advice(graph, session.assumed)
    assert "to_0 1 (1..)" in said and " --values to=to_0=1..8,to_1=1..128..256," in said
    known = camshaft.BuildConfig(values={"to": ("1..8", "1..8", 4)}, shapes={"x": ("1..9", 8)})
    session = BuildSession(reshaped(), known)
    session.import_model()
    assert session.assumed == ()


def test_what_values_cannot_say_is_refused() -> None:
    model = small_model("y = Mul(x, s)", "float[4] x, float[1] s, int64[2,2] m", "float[4] y")
    for values, words in (
        ({"s": ("1..3",)}, "only integers of a scalar or a list"),
        ({"m": (("a", 1), (1, 1))}, "only integers of a scalar or a list"),
        ({"s": (None,)}, "only integers"),
    ):
        with pytest.raises(ConfigError, match=words):
            camshaft.build(model, values=values, **QUICK)
    for to, words in (
        (("batch", 4), r"values\['to'\] has the shape \[2\], the input \[3\]"),
        (((1, 1, 4), (2, 4, 4), (1, 8, 4)), "least 1, typical 2 and most 1"),
        (("batch", 1.5, 4), "holds 1.5, which is no size"),
    ):
        with pytest.raises(ConfigError, match=words):
            camshaft.build(reshaped(), values={"to": to}, **QUICK)
    with pytest.raises(ConfigError, match="must ascend"):
        camshaft.build(reshaped(), values={"to": ("9..1", 1, 4)}, **QUICK)


def test_where_no_size_can_be_read_the_input_to_fix_is_named() -> None:
    unknown = small_model(
        "s = ReduceSum<keepdims = 0>(m) t = Unsqueeze(s, zero) y = Expand(x, t)",
        "float[1] x, int64[n] m, int64[1] zero",
        "float[a] y",
    )
    with pytest.raises(
        ModelError, match=r"only a constant is supported; give 'm' a value with values="
    ):
        import_onnx(unknown, values={"zero": (0,)})
    engine = camshaft.build(unknown, values={"zero": 0, "m": [1, 2]}, **QUICK)
    assert engine(f(1))["y"].shape == (3,)
    decides = camshaft.build(unknown, values={"zero": [0]}, **QUICK)
    assert decides({"x": f(1), "m": whole(4, 1)})["y"].shape == (5,)


def test_an_input_of_which_only_one_size_is_possible_is_fixed() -> None:
    model = small_model(
        "e = Expand(x, to) y = Relu(e)", "float[3,4] x, int64[2] to", "float[a,b] y"
    )
    engine = camshaft.build(model, values={"to": (None, None)}, **QUICK)
    assert list(engine.inputs) == ["x"] and engine.fixed_inputs["to"].tolist() == [3, 4]
    given = {"x": f(3, 4), "to": whole(3, 4)}
    np.testing.assert_array_equal(engine(given)["y"], theirs(model, given)[0])
    with pytest.raises(BindingError, match="the build fixed it to"):
        engine({"x": f(3, 4), "to": whole(1, 4)})


def test_int8_engines_take_batches_whose_elements_say_sizes() -> None:
    model = small_model(
        "r = Reshape(x, to) p = MatMul(r, w) y = Relu(p)",
        "float[n,16] x, int64[2] to, float[16,16] w",
        "float[a,b] y",
    )
    w = f(16, 16)
    batches = [{"x": f(n, 16), "to": whole(n, 16)} for n in (3, 8, 5)]
    session = BuildSession(
        model,
        camshaft.BuildConfig(
            values={"to": ("m", 16), "w": w}, precision=frozenset({"int8"}), **QUICK
        ),
        calibration=batches,
    )
    engine = session.run()
    want = np.maximum(batches[1]["x"] @ w, 0)
    got = engine(batches[1])["y"]
    np.testing.assert_allclose(got, want, atol=0.05 * np.abs(want).max())
    batches[1]["to"] = whole(9, 16)
    with pytest.raises(CalibrationError, match="batch 1"):
        BuildSession(model, session.config, calibration=batches).run()


def test_zero_of_a_reshape_is_refused_as_it_would_copy() -> None:
    said = {"to": ("0..8", "0..8", 4)}
    symbols = camshaft.build(reshaped(), values=said, **QUICK).symbols
    assert [symbols[name].low for name in ("to_0", "to_1")] == [1, 1]
