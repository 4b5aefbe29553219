"""Optimized graphs in the form in which they are written as standard ONNX."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from camshaft.ir import expr as E
from camshaft.ir.graph import Graph, GraphBuilder, Node
from camshaft.ir.types import TensorType, f32, u8
from camshaft.ops import ATTENTION, CONV, DEQUANTIZE, MATMUL, POOL, TRANSPOSE
from camshaft.passes.pipeline import optimize
from camshaft.passes.rewrite import Rewrite, sweep
from camshaft.passes.standard.form import RULES, standard_form
from graph_checks import same
from qdq_nets import residual_net
from random_nets import RandomNet
from small_nets import NETS, Net, mobilenet, resnet


def nodes_of(graph: Graph, *ops: object) -> list[Node]:
    return [n for n in graph.nodes if n.op in ops]


@pytest.mark.parametrize("net", NETS, ids=lambda n: n.__name__)
def test_an_optimized_net_computes_the_same_in_channels_first(net: Callable[[], Graph]) -> None:
    optimized = optimize(net())
    form = standard_form(optimized, check=True)
    same(optimized, form)
    for node in nodes_of(form, CONV, POOL):
        assert node.attrs["layout"] == "NCHW"


@pytest.mark.parametrize("seed", range(40))
def test_random_nets_compute_the_same(seed: int) -> None:
    optimized = optimize(RandomNet(seed).grow(14))
    same(optimized, standard_form(optimized, check=True), 1e-4)


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.name)
def test_rule_fires_on_its_example_and_preserves_it(rule: Rewrite) -> None:
    graph = rule.example()
    after, fired = sweep(graph, [rule])
    assert fired[rule.name] == 1
    same(graph, after)


@pytest.mark.parametrize("net", (resnet, mobilenet), ids=lambda n: n.__name__)
def test_an_image_net_has_no_transpose_left(net: Callable[[], Graph]) -> None:
    optimized = optimize(net())
    assert nodes_of(optimized, TRANSPOSE)
    assert not nodes_of(standard_form(optimized), TRANSPOSE)


def test_tensors_keep_the_names_of_the_model() -> None:
    optimized = optimize(resnet())
    made = {n.output.name for n in nodes_of(optimized, CONV) if not n.output.name.endswith(":rows")}
    assert made <= {n.output.name for n in standard_form(optimized).nodes}


def encoder(n: Net) -> Graph:
    """A product whose rows are normalized, and two behind it with a skip around them."""
    x = n.input((2, 3, 8))
    y = n.linear(x, 8)
    z = n.linear(n.relu(n.linear(y, 16)), 8)
    return n.done(n.add(z, y))


def test_products_of_rows_are_matrix_products_without_reshapes() -> None:
    optimized = optimize(encoder(Net("encoder")))
    assert len(nodes_of(optimized, CONV)) == 3
    form = standard_form(optimized, check=True)
    assert [n.op.name for n in form.nodes] == [MATMUL.name] * 3
    assert all(n.output.shape[:2] == (2, 3) for n in form.nodes)
    same(optimized, form)


def test_images_of_one_row_stay_images() -> None:
    n = Net("row")
    x = n.input((1, 4, 1, 6))
    graph = optimize(n.done(n.relu(n.conv(x, 5))))
    form = standard_form(graph, check=True)
    assert [m.op for m in form.nodes] == [CONV]
    same(graph, form)


@pytest.mark.parametrize("activations", (np.uint8, np.int8))
@pytest.mark.parametrize("per_channel", (True, False))
def test_quantized_weights_are_reordered_as_integers(activations: type, per_channel: bool) -> None:
    optimized = optimize(residual_net(activations, per_channel))
    form = standard_form(optimized, check=True)
    same(optimized, form)
    weights = [n for n in nodes_of(form, DEQUANTIZE) if n.args[0].is_const]
    readers = {w.output.name: form.consumers[w.output.name][0] for w in weights}
    assert len(weights) == 4
    assert {r.op.name for r in readers.values()} == {CONV.name, MATMUL.name}
    for name, reader in readers.items():
        made = form.producers[name]
        runs = made.args[1].type.rank
        assert not runs or made.attrs["axis"] == (1 if reader.op is MATMUL else 0)


def attention(**attrs: object) -> Graph:
    b = GraphBuilder("attention")
    q = b.input("q", TensorType(f32, (2, 4, 5, 8)))
    k, v = (b.input(name, TensorType(f32, (2, 1, 6, 8))) for name in "kv")
    bias = b.input("bias", TensorType(f32, (5, 6)))
    score = E.add(E.mul(E.inp(0), E.const(0.3)), E.inp(1))
    given = {"score": score, "operands": 1, "epilogue": E.mul(E.inp(0), E.const(2.0)), **attrs}
    return b.graph({"y": b.emit(ATTENTION, [q, k, v, bias], given, name="attention")})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "attrs", ({}, {"causal": True, "first": 1}, {"causal": True, "first": 3, "window": 4})
)
def test_attention_in_parts_computes_the_same(attrs: dict[str, object]) -> None:
    graph = attention(**attrs)
    form = standard_form(graph, check=True)
    assert not nodes_of(form, ATTENTION)
    same(graph, form)


@pytest.mark.parametrize("products", ("bf16", "i8"))
@pytest.mark.parametrize("attrs", ({}, {"causal": True, "first": 1}))
def test_attention_of_rounded_products_computes_the_same(
    products: str, attrs: dict[str, object]
) -> None:
    """To the bits that rounding leaves: floats are further off."""
    graph = attention(products=products, **attrs)
    form = standard_form(graph, check=True)
    assert not nodes_of(form, ATTENTION)
    same(graph, form, 1e-5)
    with pytest.raises(AssertionError):
        same(attention(**attrs), form, 1e-5)


def test_products_of_bytes_in_attention_are_of_integers() -> None:
    form = standard_form(attention(products="i8"))
    (scores,) = (n for n in nodes_of(form, MATMUL) if not n.args[0].type.dtype.is_float)
    assert [t.type.dtype for t in scores.args[:2]] == [u8, u8]
