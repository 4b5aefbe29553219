"""Rows of padding are left out of graphs where that is certain to change nothing, and computed elsewhere."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from camshaft.errors import ConfigError
from camshaft.frontends.onnx import import_model
from camshaft.ir.extents.extent import extent_of
from camshaft.ir.graph import Graph
from camshaft.ir.interpret import interpret
from camshaft.ir.verify import verify
from camshaft.passes.padding.pack import skip_padding
from camshaft.passes.pipeline import optimize
from padded_models import ENDS, MASKS, padded_feeds, padded_model, patterns

PROVED = [m for m in MASKS if m != "little"]


def graph_of(mask: str, end: str, **options: object) -> Graph:
    return optimize(import_model(padded_model(mask, end, **options)).graphs[0])  # type: ignore[arg-type]


def packed(graph: Graph, wanted: bool | None = None) -> Graph:
    """The graph without padding, which differs from the one given."""
    made = skip_padding(graph, wanted)
    assert made is not graph
    verify(made)
    (kept,) = [t.kept for t in made.inputs if t.kept is not None]
    count = extent_of(kept.symbol)
    products = [n for n in made.nodes if n.op.name in ("conv", "matmul")]
    assert products
    assert all(count in n.output.shape for n in products)
    return made


def check(graph: Graph, made: Graph, *, rows: bool = False, first: bool = False) -> None:
    for name, mask in patterns().items():
        feeds = padded_feeds(mask)
        with np.errstate(all="ignore"):
            (want,), (got,) = (list(interpret(g, feeds).values()) for g in (graph, made))
        if rows:
            assert not got[~mask].any()
            got, want = got[mask], want[mask]
        elif not first:  # of sequences without rows, what is not a number need not be so
            finite = np.isfinite(want).all(axis=-1) | mask.any(axis=-1)
            got, want = got[finite], want[finite]
        np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("end", ["mean", "largest"])
@pytest.mark.parametrize("mask", PROVED)
def test_pooling_by_the_mask(mask: str, end: str) -> None:
    graph = graph_of(mask, end)
    made = packed(graph)
    check(graph, made)
    ops = Counter(n.op.name for n in made.nodes)
    ragged = mask != "biased too"
    if mask != "causal too":
        assert ops["ragged_attention"] == 2 * ragged
    assert ops["ragged_attention"] + ops["attention"] == 2


@pytest.mark.parametrize("mask", ["selected", "added", "by indices", "biased too"])
def test_the_first_row_is_read(mask: str) -> None:
    graph = graph_of(mask, "first")
    made = packed(graph)
    (kept,) = [t.kept for t in made.inputs if t.kept is not None]
    assert (kept.places, kept.whole) == ((0,), True)
    check(graph, made, first=True)


def test_a_first_row_that_may_see_nothing_is_not_certain() -> None:
    graph = graph_of("causal too", "first")
    assert skip_padding(graph, None) is graph


@pytest.mark.parametrize("mask", MASKS)
def test_rows_that_are_handed_out(mask: str) -> None:
    graph = graph_of(mask, "rows")
    assert skip_padding(graph, None) is graph
    check(graph, packed(graph, wanted=True), rows=True)


def test_scores_that_padding_could_reach() -> None:
    graph = graph_of("little", "mean")
    assert skip_padding(graph, None) is graph
    check(graph, packed(graph, wanted=True))


def test_a_mean_over_all_rows_needs_them() -> None:
    graph = graph_of("selected", "plain mean")
    assert skip_padding(graph, None) is graph
    with pytest.raises(ConfigError, match="skip_padding"):
        skip_padding(graph, True)


def test_not_wanted() -> None:
    graph = graph_of("selected", "mean")
    assert skip_padding(graph, False) is graph
    assert skip_padding(graph, None, level=0) is graph


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("mask", PROVED)
def test_sizes_that_are_known(mask: str, batch: int) -> None:
    graph = graph_of(mask, "mean", batch=batch, length=8)
    made = packed(graph)
    for name, pattern in patterns().items():
        feeds = padded_feeds(pattern[-batch:])
        with np.errstate(all="ignore"):
            (want,), (got,) = (list(interpret(g, feeds).values()) for g in (graph, made))
        finite = np.isfinite(want)
        np.testing.assert_allclose(got[finite], want[finite], rtol=2e-4, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("end", ENDS)
def test_one_row_is_left_alone(end: str) -> None:
    graph = graph_of("selected", end, batch=1, length=1)
    assert skip_padding(graph, None) is graph
