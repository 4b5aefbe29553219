"""Rows of padding are left out of graphs where that is certain to change nothing, and computed elsewhere."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from camshaft.errors import ConfigError
from camshaft.frontends.onnx import import_model
from camshaft.ir.extents.extent import extent_of
from camshaft.ir.graph import Graph
from camshaft.ir.interpret import interpret
from camshaft.ir.verify import verify
from camshaft.passes.padding.pack import skip_padding
from camshaft.passes.pipeline import optimize
from padded_models import ADDED, ENDS, MASKS, ORDERS, STEPS, padded_feeds, padded_model, patterns

PROVED = [m for m in MASKS if m != "little"]
OF_QUERIES = ("biased too", "outer")
"""Masks with which scores of rows that are kept depend on the place of the query: no ragged attention."""


def graph_of(mask: str, end: str, **options: object) -> Graph:
    return optimize(import_model(padded_model(mask, end, **options)).graphs[0])  # type: ignore[arg-type]


def packed(graph: Graph, wanted: bool | None = None) -> Graph:
    """The graph without padding, which differs from the one given."""
    made = skip_padding(graph, wanted)
    assert made is not graph
    verify(made)
    (kept,) = [t.kept for t in made.inputs if t.kept is not None]
    count = extent_of(kept.symbol)
    products = [n for n in made.nodes if n.op.name in ("conv", "matmul") and n.args[1].is_const]
    assert products
    assert all(count in n.output.shape for n in products)
    return made


def check(graph: Graph, made: Graph, *, batch: int = 3, zeroed: bool = False) -> None:
    """zeroed: whether outputs of all rows are 0 where the mask is."""
    (dtype,) = (t.type.dtype.numpy for t in graph.inputs if t.name == "mask")
    for name, mask in patterns(batch).items():
        feeds = padded_feeds(mask, dtype)
        with np.errstate(all="ignore"):
            wanted, found = (interpret(g, feeds) for g in (graph, made))
        for output, want in wanted.items():
            got = found[output]
            if want.ndim == 3 and want.shape[:2] != mask.shape:
                got, want = (a.swapaxes(0, 1) for a in (got, want))
            compared = np.ones(want.shape, bool)
            if want.ndim == 3 and zeroed:
                assert not got[~mask].any()
                compared = np.broadcast_to(mask[..., None], want.shape)
            elif want.ndim == 2:  # of sequences without rows, what is not a number need not be so
                compared = np.isfinite(want) | mask.any(axis=1)[:, None]
            near = 2e-3 if want.dtype == np.float16 else 2e-4
            np.testing.assert_allclose(
                got[compared], want[compared], near, near / 10, err_msg=f"{name}: {output}"
            )


@pytest.mark.parametrize(
    ("mask", "end"), [(m, ("mean", "largest")[n % 2]) for n, m in enumerate(PROVED)]
)
def test_pooling_by_the_mask(mask: str, end: str) -> None:
    graph = graph_of(mask, end)
    made = packed(graph)
    check(graph, made)
    ops = Counter(n.op.name for n in made.nodes)
    ragged = mask not in OF_QUERIES
    if mask != "causal too":
        assert ops["ragged_attention"] == 2 * ragged
    assert ops["ragged_attention"] + ops["attention"] == 2


@pytest.mark.parametrize("end", [
    "linear mean", "relu largest", "residual filled sum", "tanh mean", "both largest", "product", "tanh product",
    "residual mean, first",
])  # fmt: skip
def test_pooling_behind_any_step(end: str) -> None:
    graph = graph_of("selected", end, layers=1)
    check(graph, packed(graph))


@pytest.mark.parametrize("order", [o for o in ORDERS if o != "batch first"])
@pytest.mark.parametrize(("mask", "end"), [
    ("added", "mean"), ("selected", "turned mean"), ("expanded", "turned first"), ("causal too", "residual turned mean"),
    ("biased too", "largest"),
])  # fmt: skip
def test_attention_in_other_orders_of_axes(order: str, mask: str, end: str) -> None:
    graph = graph_of(mask, end, order=order)
    made = packed(graph)
    check(graph, made)
    if mask in ("added", "selected"):
        assert Counter(n.op.name for n in made.nodes)["ragged_attention"] == 2


@pytest.mark.parametrize(("mask", "end", "wanted"), [
    ("added", "mean", None), ("selected", "turned mean", None), ("by indices", "first", None), ("expanded", "largest", None),
    ("selected", "rows", True), ("causal too", "filled sum", None),
])  # fmt: skip
def test_bools_that_say_what_is_hidden(mask: str, end: str, wanted: bool | None) -> None:
    """As PyTorch's key_padding_mask."""
    graph = graph_of(mask, end, layers=1, hidden=True)
    made = packed(graph, wanted)
    (kept,) = [t.kept for t in made.inputs if t.kept is not None]
    assert kept.inverted
    for name, pattern in patterns().items():
        feeds = {"ids": padded_feeds(pattern)["ids"], "hidden": ~pattern}
        with np.errstate(all="ignore"):
            want, got = (interpret(g, feeds)["y"] for g in (graph, made))
        compared = pattern if wanted else np.isfinite(want) | pattern.any(axis=1)[:, None]
        np.testing.assert_allclose(got[compared], want[compared], 2e-4, 2e-5, err_msg=name)
        assert not wanted or not got[~pattern].any()


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("end", ["rows", "turned rows"])
def test_rows_of_other_orders_are_handed_out(order: str, end: str) -> None:
    graph = graph_of("selected", end, order=order, layers=1)
    assert skip_padding(graph, None) is graph
    check(graph, packed(graph, wanted=True), zeroed=True)


@pytest.mark.parametrize("mask", ["selected", "by indices", "biased too", "causal too", "outer"])
def test_the_first_row_is_read(mask: str) -> None:
    graph = graph_of(mask, "first")
    made = packed(graph)
    (kept,) = [t.kept for t in made.inputs if t.kept is not None]
    assert kept.places == (0,)
    check(graph, made)


@pytest.mark.parametrize("mask", MASKS)
def test_rows_that_are_handed_out(mask: str) -> None:
    graph = graph_of(mask, "rows")
    assert skip_padding(graph, None) is graph
    check(graph, packed(graph, wanted=True), zeroed=True)


def test_scores_that_padding_could_reach() -> None:
    graph = graph_of("little", "mean")
    assert skip_padding(graph, None) is graph
    check(graph, packed(graph, wanted=True))


def test_a_mean_over_all_rows_needs_them() -> None:
    graph = graph_of("selected", "rows, plain mean")
    assert skip_padding(graph, None) is graph
    with pytest.raises(ConfigError, match="reduce 'y_b' reads rows that 'mask' hides, of 'last'"):
        skip_padding(graph, True)


def test_refusals_say_why() -> None:
    unmasked = graph_of("selected", "rows", dtype="float16", layers=1)  # no type of a mask
    with pytest.raises(ConfigError, match="no scores of attention depend on 'ids'"):
        skip_padding(unmasked, True)
    weak = padded_model("selected", "rows", layers=1)
    (infinite,) = [t for t in weak.graph.initializer if t.name == "infinite"]
    infinite.CopyFrom(numpy_helper.from_array(np.array(-1, np.float32), "infinite"))
    with pytest.raises(ConfigError, match=r"'p_0 . a_0' does not .* keys for which 'mask' is 0"):
        skip_padding(optimize(import_model(weak).graphs[0]), True)
    single = import_model(padded_model("selected", batch=1, length=1, layers=1)).graphs[0]
    with pytest.raises(
        ConfigError, match=r"no input of 'net' \(ids i64\[1,1\], mask .*\) can be a mask"
    ):
        skip_padding(optimize(single), True)
    plain = import_model(padded_model("selected", layers=1)).graphs[0]
    with pytest.raises(ConfigError, match="optimization_level 0"):
        skip_padding(optimize(plain, level=0), True, level=0)


def test_rows_that_are_lost() -> None:
    model = padded_model("selected", "rows", layers=1)
    for node in model.graph.node:
        if node.output[0] == "k_0":
            node.input[0] = "reversed"
    turn = helper.make_node("Slice", ["x_0", "minus", "far", "i1", "minus"], ["reversed"], "turn")
    far = numpy_helper.from_array(np.array([-100]), "far")
    model.graph.initializer.append(far)
    at = [n.output[0] for n in model.graph.node].index("x_0")
    model.graph.node.insert(at + 1, turn)
    graph = optimize(import_model(model).graphs[0])
    with pytest.raises(ConfigError, match=r"the rows of 'mask' cannot be followed .* 'turn'"):
        skip_padding(graph, True)


def test_not_wanted() -> None:
    graph = graph_of("selected", "mean")
    assert skip_padding(graph, False) is graph
    assert skip_padding(graph, None, level=0) is graph


@pytest.mark.parametrize(("mask", "batch"), [("added", 1), ("selected", 3), ("by indices", 1)])
def test_sizes_that_are_known(mask: str, batch: int) -> None:
    graph = graph_of(mask, "mean", batch=batch, length=8)
    check(graph, packed(graph), batch=batch)


@given(st.data())
@settings(max_examples=16, phases=[Phase.generate])
def test_random_encoders(data: st.DataObject) -> None:
    """What is left out of an encoder of any mask, with any ends, changes no output."""
    ends = st.lists(st.sampled_from(sorted(ENDS)), min_size=1, max_size=2, unique=True)
    mask, names = data.draw(st.sampled_from(sorted(MASKS))), data.draw(ends)
    end = ", ".join(data.draw(st.sampled_from(["", *(f"{s} " for s in STEPS)])) + n for n in names)
    dtype = data.draw(st.sampled_from(["int64", "bool", "float"]))
    batch = data.draw(st.sampled_from([None, 1, 3]))
    sizes = {} if batch is None else {"batch": batch, "length": 8}
    order = data.draw(st.sampled_from(ORDERS if MASKS[mask][1] == ADDED else ORDERS[:2]))
    graph = graph_of(mask, end, layers=1, dtype=dtype, order=order, **sizes)
    wanted = data.draw(st.sampled_from([None, True]))
    try:
        made = skip_padding(graph, wanted)
    except ConfigError:
        return
    if made is not graph:
        verify(made)
        check(graph, made, batch=batch or 3, zeroed=wanted is True)


@pytest.mark.parametrize("end", [e for e in ENDS if e != "third"])
def test_one_row_is_left_alone(end: str) -> None:
    graph = graph_of("selected", end, batch=1, length=1)
    assert skip_padding(graph, None) is graph
