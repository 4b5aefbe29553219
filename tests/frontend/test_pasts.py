"""Inputs that hold what earlier calls computed may be empty, with nothing said."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, helper

import camshaft
from camshaft.frontends.onnx import import_onnx
from camshaft.frontends.onnx.sizes.pasts import PASTS, pasts_of
from declared_models import Dims, model, node, symbols
from open_engines import onnxruntime_session

WIDTH = 16


def decoder(past: Dims) -> ModelProto:
    """Attention of new rows over those of earlier calls and their own."""
    nodes = [
        node("MatMul", "h wq", "q"),
        node("MatMul", "h wk", "k"),
        node("Concat", "past k", "keys", axis=1),
        node("Transpose", "keys", "turned", perm=[0, 2, 1]),
        node("MatMul", "q turned", "scores"),
        node("Softmax", "scores", "p", axis=-1),
        node("MatMul", "p keys"),
    ]
    rng = np.random.default_rng(0)
    weights = {n: rng.normal(0, 0.2, (WIDTH, WIDTH)).astype(np.float32) for n in ("wq", "wk")}
    inputs: dict[str, Dims] = {"h": ["b", "new", WIDTH], "past": past}
    return model(nodes, inputs, ["y", "keys"], weights)


def test_a_past_may_be_empty_and_grows() -> None:
    proto = decoder(["b", "past", WIDTH])
    engine = camshaft.build(proto, optimization_level=0)
    session = onnxruntime_session(proto)
    past = np.zeros((2, 0, WIDTH), np.float32)
    rng = np.random.default_rng(1)
    for new in (5, 1, 1, 3):
        feeds = {"h": rng.normal(size=(2, new, WIDTH)).astype(np.float32), "past": past}
        found, expected = engine(feeds), session.run(["y", "keys"], feeds)
        for got, right in zip(found.values(), expected, strict=True):
            np.testing.assert_allclose(got, right, atol=1e-5)
        past = found["keys"]
    assert past.shape == (2, 10, WIDTH)


@pytest.mark.parametrize(
    ("past", "least"),
    [
        (["b", "past", WIDTH], 0),
        (["b", "?", WIDTH], 0),
        (["b", "new", WIDTH], 1),  # the axis of new rows has the name, too
    ],
)
def test_only_axes_that_are_nothing_else(past: Dims, least: int) -> None:
    found = symbols(import_onnx(decoder(past)))
    assert found["b"].low == 1
    assert found[{"?": "past_1"}.get(str(past[1]), str(past[1]))].low == least


def test_what_is_said_goes_first() -> None:
    said = import_onnx(decoder(["b", "past", WIDTH]), shapes={"past": (None, "3..9", None)})
    assert [(s.low, s.high) for s in symbols(said).values()][-1] == (3, 9)


@pytest.mark.parametrize(("domain", "op"), sorted(PASTS))
def test_attention_operators_name_their_pasts(domain: str, op: str) -> None:
    axes = PASTS[domain, op]
    names = [f"x{i}" if i in axes else f"w{i}" for i in range(max(axes) + 1)]
    proto = model([], {n: [f"{n}_{a}" for a in range(5)] for n in names})
    proto.graph.node.append(helper.make_node(op, names, ["y"], domain=domain))
    assert pasts_of(proto.graph) == {(f"x{i}", axis) for i, axis in axes.items()}


def test_branches_append_too() -> None:
    inner = decoder(["b", "past", WIDTH]).graph
    del inner.input[:]
    proto = model(
        [helper.make_node("If", ["cond"], ["y", "k"], then_branch=inner, else_branch=inner)],
        {"h": ["b", "new", WIDTH], "past": ["b", "past", WIDTH], "cond": []},
    )
    assert pasts_of(proto.graph) == {("past", 1)}
