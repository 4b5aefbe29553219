"""Lengths [B] say which rows are padding, as masks do that are computed from them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from camshaft.errors import ConfigError
from camshaft.frontends.onnx import import_model
from camshaft.ir.extents.extent import extent_of
from camshaft.ir.graph import Graph
from camshaft.ir.interpret import interpret
from camshaft.ir.verify import verify
from camshaft.passes.padding.pack import skip_padding
from camshaft.passes.pipeline import optimize
from padded_models import ENDS, LENGTHS, MASKS, lengths_feeds, padded_model

PLACES = 8
GIVEN = ([8, 8, 8], [1, 4, 8], [0, 3, 7], [0, 0, 0], [-2, 9, 100])
"""Lengths: full, of several lengths, with an empty sequence, of nothing, and numbers that are no lengths."""


def graph_of(lengths: str, mask: str, end: str, **options: object) -> Graph:
    model = padded_model(mask, end, lengths=lengths, **options)  # type: ignore[arg-type]
    return optimize(import_model(model).graphs[0])


def packed(graph: Graph, wanted: bool | None = None) -> Graph:
    made = skip_padding(graph, wanted)
    assert made is not graph
    verify(made)
    (kept,) = [t.kept for t in made.inputs if t.kept is not None]
    products = [n for n in made.nodes if n.op.name in ("conv", "matmul") and n.args[1].is_const]
    assert products
    assert all(extent_of(kept.symbol) in n.output.shape for n in products)
    return made


def check(graph: Graph, made: Graph, *, zeroed: bool = False) -> None:
    (dtype,) = (t.type.dtype.numpy for t in graph.inputs if t.name == "lengths")
    for lengths in GIVEN:
        feeds = lengths_feeds(np.array(lengths), PLACES, dtype)
        with np.errstate(all="ignore"):
            wanted, found = (interpret(g, feeds)["y"] for g in (graph, made))
        mask = np.arange(PLACES) < np.array(lengths)[:, None]
        if wanted.ndim == 3 and wanted.shape[:2] != mask.shape:
            found, wanted = (a.swapaxes(0, 1) for a in (found, wanted))
        compared = mask if wanted.ndim == 3 else np.isfinite(wanted) | mask.any(axis=1)[:, None]
        if wanted.ndim == 3:
            assert zeroed
            assert not found[~mask].any()
        near = 2e-3 if wanted.dtype == np.float16 else 2e-4
        np.testing.assert_allclose(
            found[compared], wanted[compared], near, near / 10, err_msg=str(lengths)
        )


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize(("batch", "length"), [("b", "s"), (3, PLACES), ("b", PLACES)])
def test_every_way_to_compare(lengths: str, batch: int | str, length: int | str) -> None:
    graph = graph_of(lengths, "selected", "mean", layers=1, batch=batch, length=length)
    made = packed(graph)
    assert [n.op.name for n in made.nodes].count("ragged_attention") == 1
    check(graph, made)


@given(st.data())
@settings(max_examples=12, phases=[Phase.generate])
def test_random_encoders(data: st.DataObject) -> None:
    lengths, mask, end = (data.draw(st.sampled_from(sorted(x))) for x in (LENGTHS, MASKS, ENDS))
    dtype = data.draw(st.sampled_from(["int64", "int32"]))
    wanted = data.draw(st.sampled_from([None, True]))
    graph = graph_of(lengths, mask, end, layers=1, dtype=dtype)
    try:
        made = skip_padding(graph, wanted)
    except ConfigError:
        return
    if made is not graph:
        verify(made)
        check(graph, made, zeroed=wanted is True)


@pytest.mark.parametrize("compared", ["LessOrEqual", "Greater", "GreaterOrEqual", "Equal"])
def test_lengths_that_say_something_else(compared: str) -> None:
    """Keys at the length itself are seen, or keys behind it, or none other: rows are not those below the length."""
    model = padded_model("selected", "mean", lengths="below", layers=1)
    (node,) = [n for n in model.graph.node if n.op_type == "Less"]
    node.op_type = compared
    graph = optimize(import_model(model).graphs[0])
    assert skip_padding(graph, None) is graph
    with pytest.raises(ConfigError, match="keys behind the lengths 'lengths'"):
        skip_padding(graph, True)
