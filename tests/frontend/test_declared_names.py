"""Names of extents that are computed from other names, and lengths that a model counts out."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import camshaft
from camshaft.errors import ConfigError
from camshaft.frontends.onnx import import_onnx
from camshaft.ir.extents.extent import sole_symbol
from camshaft.ir.extents.sizes import typical
from camshaft.ir.graph import Graph
from cli_models import QUICK, call, call_json
from open_engines import check_open, open_model
from traced_decoders import HEADS, SIZE, tokens, traced


def shapes(graph: Graph) -> dict[str, list[str]]:
    return {t.name: list(map(str, t.shape)) for t in graph.inputs}


def sizes(graph: Graph) -> dict[str, tuple[int, ...]]:
    return {t.name: tuple(map(typical, t.shape)) for t in graph.inputs}


SUM = "past + seq"


@pytest.mark.parametrize(
    ("said", "mask"),
    [
        ({}, SUM),
        ({"ids": (None, 1)}, "past + 1"),
        ({"ids": (2, 5), "past.key": (None, None, 3, None)}, "8"),
        ({"past.*": (None, None, "p=0..16..40", None)}, "p + seq"),
        ({"mask": (None, "all=1..64")}, "all"),
        ({"mask": ("batch", 24)}, "24"),
    ],
)
def test_a_name_that_computes_is_what_it_says(said: dict[str, Any], mask: str) -> None:
    graph = import_onnx(traced(SUM), shapes=said)
    assert shapes(graph)["mask"][1] == mask
    found = sizes(graph)
    assert found["mask"][1] >= found["past.key"][2] + found["ids"][1]


def test_a_length_of_one_more() -> None:
    found = shapes(import_onnx(traced("past + 1", seq=1)))
    assert found["mask"] == ["batch", "past + 1"] and found["past.key"][2] == "past"


def test_a_profile_says_the_range_of_such_an_axis() -> None:
    three = {
        "ids": ((1, 1), (1, 4), (1, 8)),
        "mask": ((1, 1), (1, 20), (1, 40)),
        "past.key": tuple((1, HEADS, p, SIZE) for p in (0, 16, 32)),
    }
    mask = import_onnx(traced(SUM), profiles=[three]).inputs[1]
    symbol = sole_symbol(mask.shape[1])
    assert symbol is not None and (symbol.typical, symbol.high) == (20, 40)


@pytest.mark.parametrize("name", ["batch-size", "n/2", "n +", "floor(n)", "m + 1", "2", "n - 3"])
def test_other_names_are_names(name: str) -> None:
    """Of what no input has, of no operation that extents have, and of what could be negative."""
    node = helper.make_node("Add", ["x", "one"], ["y"])
    model = open_model([node], {"x": ["n", name]}, ["y"], {"one": np.ones(1, np.float32)})
    graph = import_onnx(model)
    assert shapes(graph)["x"][0] == "n"
    assert name == "2" or sole_symbol(graph.inputs[0].shape[1]) is not None


def test_lengths_that_are_counted_out_are_learned() -> None:
    graph = import_onnx(traced(places=512))
    assert [str(c) for c in graph.constraints] == ["512 >= past + seq", "total >= past + seq"]
    assert sizes(graph) == sizes(import_onnx(traced(SUM, places=512)))
    assert sizes(graph)["mask"] == (1, 256) and sizes(graph)["past.key"] == (1, HEADS, 128, SIZE)
    tight = sizes(import_onnx(traced(places=128)))  # a past of nothing would fit, and show nothing
    assert tight["ids"] == (1, 64) and tight["past.key"][2] == 64
    short = sizes(import_onnx(traced(places=64)))
    assert short["ids"] == (1, 32) and short["past.key"][2] == 32 and short["mask"] == (1, 128)


@pytest.mark.parametrize("total", ["total", SUM])
def test_decoders_at_many_sizes(total: str, tmp_path: Path) -> None:
    batches = [tokens(1, 0, 5), tokens(2, 5, 1), tokens(2, 40, 24)]
    engine = check_open(traced(total), batches, tmp_path)
    with pytest.raises(camshaft.ShapeError, match=r"64 >= past \+ seq"):
        engine(tokens(1, 60, 5))
    with pytest.raises(camshaft.ShapeError, match=r"past \+ seq"):
        engine(tokens(1, 5, 5, total=9))


@pytest.mark.parametrize("total", ["total", SUM])
def test_commands_choose_sizes_that_fit(total: str, tmp_path: Path) -> None:
    onnx.save(traced(total), tmp_path / "net.onnx")
    command = ("compare", tmp_path / "net.onnx", "--with", "reference", *QUICK)
    assert call_json(*command)["passed"]
    advised = call("build", tmp_path / "net.onnx", *QUICK).stderr.split("set with ")[1].split()
    again = call("build", tmp_path / "net.onnx", *QUICK, *advised)
    assert "assumed" not in again.stderr
    few = ("--shapes", f"past.key:1x{HEADS}x50x{SIZE}")
    data = call_json("bench", tmp_path / "net.engine", *few, "--iterations", 1, "--warm-up", 0)
    assert data["shapes"]["mask"][1] >= 50 + data["shapes"]["ids"][1]


def test_one_length_called_by_two_names_is_one() -> None:
    """As PyTorch's exporter calls the pasts of keys and values."""
    model = traced(pasts=("s15", "s89"))
    assert shapes(import_onnx(model))["past.value"][2] == "s15"
    said = {"past.key": (None, None, "p=0..16..40", None)}
    assert shapes(import_onnx(model, shapes=said))["past.value"][2] == "p"


def test_two_ranges_of_one_length_are_refused_with_the_remedy() -> None:
    said = {
        n: (None, None, e, None)
        for n, e in (("past.key", "p=0..16..40"), ("past.value", "q=0..9..20"))
    }
    with pytest.raises(ConfigError, match="needs q to be p, so give them one name and one range"):
        import_onnx(traced(pasts=("s15", "s89")), shapes=said)
    one = dict.fromkeys(said, (None, None, "p=0..16..40", None))
    assert shapes(import_onnx(traced(pasts=("s15", "s89")), shapes=one))["past.value"][2] == "p"
    with pytest.raises(ConfigError, match="equal names are equal extents"):
        import_onnx(traced(), shapes=said | {"past.value": (None, None, "p=0..9", None)})


def test_python_warns_of_two_names_of_one_size() -> None:
    model = traced(mask_batch="s43")
    with pytest.warns(
        UserWarning, match=r"give them one name, shapes=\{'mask': \('batch', None\)\}"
    ):
        camshaft.build(model, optimization_level=1, threads=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shapes = {"mask": ("batch", None)}
        engine = camshaft.build(model, shapes=shapes, optimization_level=1, threads=1)
    feeds = tokens(2, 3, 4)
    want = camshaft.build(traced(), optimization_level=1, threads=1)(feeds)
    np.testing.assert_array_equal(engine(feeds)["y"], want["y"])
