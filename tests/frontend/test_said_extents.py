"""What is said of open extents in `shapes` and `profiles`: its forms, its limits, and what does not fit."""

from __future__ import annotations

import numpy as np
import pytest

from camshaft.config import BuildConfig
from camshaft.errors import ConfigError, ModelError
from camshaft.frontends.onnx import import_onnx
from camshaft.ir.extents.said import Range, parse_said, profile_text, shape_text
from camshaft.ir.extents.symbol import Symbol
from declared_models import model, node, relu, symbols


def test_what_is_said_goes_first() -> None:
    proto = relu(x=["batch", 3, "h", "w"])
    graph = import_onnx(proto, shapes={"x": ("n=1..4..16", 3, 64, "w=32..")})
    found = symbols(graph)
    assert found["n"] == Symbol("n", 1, 4, 16)
    assert (found["w"].low, found["w"].high) == (32, None)
    assert graph.inputs[0].shape[2] == 64
    profiles = [{"x": ((1, 3, 64, 64), (2, 3, 128, 96), (8, 3, 256, 256))}]
    graph = import_onnx(proto, profiles=profiles)
    assert list(symbols(graph).values()) == [
        Symbol("batch", 1, 2, 8),
        Symbol("h", 64, 128, 256),
        Symbol("w", 64, 96, 256),
    ]


def test_forms_of_what_is_said() -> None:
    assert parse_said("batch") == ("batch", Range())
    assert parse_said(" n = 1 .. 16 ") == ("n", Range(1, None, 16))
    assert parse_said("n=1..") == ("n", Range(1, None, None))
    assert parse_said("n=1..4..16") == ("n", Range(1, 4, 16))
    assert parse_said("1..16") == ("", Range(1, None, 16))
    assert parse_said("1..4..") == ("", Range(1, 4, None))
    assert parse_said("n=4") == ("n", Range(4, 4, 4))
    assert parse_said("n=..4") == ("n", Range(None, None, 4))
    assert parse_said("..4") == ("", Range(None, None, 4))
    assert parse_said("..4..9") == ("", Range(None, 4, 9))
    assert parse_said("..4..") == ("", Range(None, 4, None))
    for wrong in ("", "4", "-1", "n=-1", "n=", "..", "n=..", "a b", "n=1...4", "1..x", "n=4x"):
        with pytest.raises(ConfigError, match="is none of"):
            parse_said(wrong)
    for wrong in ("n=4..1", "1..5..4"):
        with pytest.raises(ConfigError, match="must ascend"):
            parse_said(wrong)


def test_said_shapes_as_text() -> None:
    assert shape_text(("n=1..4", 3, None)) == "n=1..4x3x?"
    assert shape_text(("max", 3)) == "max/3"
    assert shape_text(("max=1..4",)) == "max=1..4/"
    assert shape_text(()) == "scalar"
    assert profile_text(((1, 3), (4, 3), (16, 3))) == "1..4..16x3"


def test_ranges_without_a_name_keep_the_models() -> None:
    graph = import_onnx(relu(x=["n", "?", 3]), shapes={"x": ("2..8", "1..", "1..3")})
    assert list(symbols(graph).values()) == [
        Symbol("n", 2, 2, 8),
        Symbol("x_1", 1, 128, None),
        Symbol("x_2", 1, 3, 3),
    ]
    assert import_onnx(relu(x=["n", 3]), shapes={"x": (None, None)}).inputs[0].shape[1] == 3


@pytest.mark.parametrize("at", ["a", "b"])
def test_a_range_said_of_one_input_holds_for_all_of_that_name(at: str) -> None:
    for proto in (
        relu(a=["n", 4], b=["n", 4]),
        model([node("Add", "a b")], {"a": ["n", 4], "b": ["m", 4]}),
    ):
        graph = import_onnx(proto, shapes={at: ("2..8", 4)})
        assert len({t.shape for t in graph.inputs}) == 1
        (symbol,) = symbols(graph).values()
        assert (symbol.low, symbol.high) == (2, 8)


def test_two_ranges_of_one_name_are_an_error() -> None:
    proto = relu(a=["n", 4], b=["n", 4])
    with pytest.raises(ConfigError, match=r"two ranges, 2\.\.8 and 1\.\.8"):
        import_onnx(proto, shapes={"a": ("2..8", 4), "b": ("1..8", 4)})
    graph = import_onnx(proto, shapes={"a": ("2..8", 4), "b": ("2..4..8", 4)})
    assert symbols(graph)["n"] == Symbol("n", 2, 4, 8)


def test_ranges_that_the_model_does_not_take_are_an_error() -> None:
    weights = {"w": np.ones((5, 8), np.float32)}
    nodes = [node("Add", "a w", "s"), node("Relu", "b", "r")]
    proto = model(nodes, {"a": ["n", 8], "b": ["n", 8]}, ["s", "r"], weights)
    with pytest.raises(ModelError, match="do not broadcast"):
        import_onnx(proto, shapes={"a": ("1..4", 8)})
    with pytest.raises(ConfigError, match="needs 5 there"):
        import_onnx(proto, shapes={"b": ("1..4", 8)})
    assert import_onnx(proto, shapes={"b": ("1..8", 8)}).inputs[1].shape == (5, 8)


def test_a_name_with_a_number_is_that_number_wherever_it_stands() -> None:
    proto = relu(a=["n", 4], b=["n", "m"], c=["k"])
    graph = import_onnx(proto, shapes={"b": (None, "m=7"), "a": ("n=3", 4), "c": ("..9",)})
    assert [t.shape for t in graph.inputs[:2]] == [(3, 4), (3, 7)]
    assert symbols(graph)["k"] == Symbol("k", 1, 9, 9)
    graph = import_onnx(proto, shapes={"b": ("n=3", 4)})
    assert graph.inputs[0].shape == (3, 4)
    with pytest.raises(ConfigError, match="two ranges"):
        import_onnx(proto, shapes={"a": ("n=3", 4), "b": ("n=4", 4)})


def test_several_profiles_are_one_range_and_the_first_is_typical() -> None:
    profiles = [{"x": ((1, 3), (2, 3), (4, 3))}, {"x": ((8, 3), (16, 3), (32, 3))}]
    graph = import_onnx(relu(x=["n", 3]), profiles=profiles)
    assert symbols(graph)["n"] == Symbol("n", 1, 2, 32)


def test_typical_shapes_fix_nothing() -> None:
    proto = relu(x=["n", "h", 3])
    graph = import_onnx(proto, typical={"x": (5, 7, 3)}, shapes={"x": ("1..2..8", None, None)})
    assert list(symbols(graph).values()) == [Symbol("n", 1, 2, 8), Symbol("h", 1, 7)]


def test_what_does_not_fit_is_said() -> None:
    proto = relu(x=["n", 3])
    for options, words in (
        ({"shapes": {"z": (1, 3)}}, "no input for"),
        ({"shapes": {"x": (1, 3, 4)}}, "rank 3"),
        ({"shapes": {"x": (-1, 3)}}, "negative"),
        ({"profiles": [{"x": ((1, 3), (1, 3))}]}, "three shapes"),
        ({"profiles": [{"x": ((1, 2), (1, 3), (1, 4))}]}, "fixes at 3"),
    ):
        with pytest.raises(ConfigError, match=words):
            import_onnx(proto, **options)  # type: ignore[arg-type]


TOO_LARGE = r"a size is 1099511627776 \(2\*\*40\) at most"


@pytest.mark.parametrize(
    "said", ["1..99999999999999999999", "1..1099511627777", "n=5..", 2**40 + 1, 2**63, "1.." + 5000 * "9"]
)  # fmt: skip
def test_sizes_said_have_a_limit(said: int | str) -> None:
    if said == "n=5..":  # without a most there is none
        assert BuildConfig(shapes={"x": (said, 3)}).shapes["x"] == (said, 3)
        return
    with pytest.raises(ConfigError, match=TOO_LARGE):
        BuildConfig(shapes={"x": (said, 3)})


@pytest.mark.parametrize("most", [2**40 + 1, 2**63, 2**70])
def test_sizes_of_profiles_have_a_limit(most: int) -> None:
    with pytest.raises(ConfigError, match=TOO_LARGE):
        BuildConfig(profiles=[{"x": ((1, 3), (4, 3), (most, 3))}])


@pytest.mark.parametrize("said", ["\u0663..\u0665", "\u0663", "n=\u0663..\u0665"])
def test_digits_are_those_of_ascii(said: str) -> None:
    with pytest.raises(ConfigError, match="is none of"):
        parse_said(said)


@pytest.mark.parametrize(
    ("said", "profile", "words"),
    [
        (("n=1..4", 3), ((5, 3), (6, 3), (8, 3)), r"5..6..8 of axis 0, and shapes\['x'\] says n=1..4"),
        (("n=1..4", 3), ((2, 3), (3, 3), (8, 3)), r"2..3..8 of axis 0, and shapes\['x'\] says n=1..4"),
        (("n=3..", 3), ((2, 3), (3, 3), (8, 3)), r"2..3..8 of axis 0, and shapes\['x'\] says n=3.."),
        ((7, 3), ((2, 3), (3, 3), (8, 3)), r"2..3..8 of axis 0, and shapes\['x'\] says 7"),
        (("n", 3), ((5, 4), (6, 4), (8, 4)), r"4..4..4 of axis 1, and shapes\['x'\] says 3"),
        (None, ((5, 4), (6, 4), (8, 4)), "4..4..4 of axis 1, which the model fixes at 3"),
        (None, ((5, 2), (6, 3), (8, 4)), "2..3..4 of axis 1, which the model fixes at 3"),
    ],
)  # fmt: skip
def test_profiles_and_shapes_that_differ_name_both(
    said: tuple[int | str, ...] | None, profile: tuple[tuple[int, ...], ...], words: str
) -> None:
    shapes = {} if said is None else {"x": said}
    with pytest.raises(ConfigError, match=rf"profiles\[...\]\['x'\] says {words}"):
        import_onnx(relu(x=["n", 3]), shapes=shapes, profiles=[{"x": profile}])


def test_profiles_within_what_is_said() -> None:
    profile = {"x": ((2, 3), (3, 3), (8, 3))}
    for said in ("n", "1..9", "n=1..", "n=2..8", None):
        graph = import_onnx(relu(x=["n", 3]), shapes={"x": (said, 3)}, profiles=[profile])
        (n,) = symbols(graph).values()
        assert (n.typical, n.low <= 2, n.high is None or n.high >= 8) == (3, True, True)


@pytest.mark.parametrize("at", ["a", "b"])
def test_a_number_holds_for_all_axes_of_a_name_that_are_not_said(at: str) -> None:
    proto = relu(a=["batch", "n"], b=["n", "batch"])
    said = {"a": (2, None), "b": (None, 2)}
    graph = import_onnx(proto, shapes={at: said[at]})
    assert [[str(d) for d in t.shape] for t in graph.inputs] == [["2", "n"], ["n", "2"]]
    graph = import_onnx(proto, shapes={"a": (2, 5), "b": ("m", 3)})
    assert [[str(d) for d in t.shape] for t in graph.inputs] == [["2", "5"], ["m", "3"]]


def test_numbers_that_differ_say_nothing_of_a_third_axis() -> None:
    proto = relu(a=["n", 4], b=["n", 4], c=["n", 4])
    with pytest.raises(ConfigError, match=r"shapes\['c'\] at axis 0: .* 'n', .* are 2 and 3; say"):
        import_onnx(proto, shapes={"a": (2, 4), "b": (3, 4)})
