"""What `camshaft.Network` says while it is written: types, names, errors at the line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import camshaft
from camshaft.errors import ModelError
from camshaft.network import Network

W = np.random.default_rng(0).standard_normal((8, 3, 3, 3)).astype(np.float32)


def test_types_are_known_at_once() -> None:
    network = Network()
    x = network.input("x", ("batch", 3, 32, None))
    y = network.conv(x, W, strides=2, padding=1)
    assert y.shape == ("batch", 8, 16, "(x_3 + 1)//2")
    assert y.dtype == np.float32
    half = y.astype("float16")
    assert half.dtype == np.float16
    assert (half * 2).dtype == np.float16
    assert str(network.argmax(y, 1).dtype) == "int64"
    assert repr(x) == "<tensor 'x' float32 [batch, 3, 32, x_3]>"


def test_sizes_that_must_be_equal_become_one() -> None:
    network = Network()
    a, b = network.input("a", ("n", 4)), network.input("b", ("m", 4))
    total = a + b
    assert a.shape == b.shape == total.shape


def test_bfloat16() -> None:
    network = Network()
    x = network.input("x", (2, 3), "bfloat16")
    assert str((x + 1).dtype) == "bfloat16"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (lambda n, x: n.conv(x, W[:, :2]), "conv_0.*3 channels"),
        (lambda n, x: n.conv(x, W, strides=(1, 2, 3)), "strides.*2 axes"),
        (lambda n, x: n.conv(x, W, padding="valid"), "'valid'"),
        (lambda n, x: x @ W[0, 0], "matmul_0.*do not multiply"),
        (lambda n, x: n.op("Conv", x, W, foo=1), "foo"),
        (lambda n, x: n.op("Frobnicate", x), "Frobnicate"),
        (lambda n, x: x + W[:5], "broadcast"),
        (lambda n, x: n.relu(x, name="x"), "'x' is taken"),
        (lambda n, x: n.input("x", (1,)), "'x' is taken"),
        (lambda n, x: n.output(x), "input or a constant"),
        (lambda n, x: n.relu(Network().input("z", (1,))), "another network"),
        (lambda n, x: n.resize(x), "sizes or scales"),
        (lambda n, x: x[0, 0, 0, 0, 0], "5 axes"),
        (lambda n, x: n.cond(n.sum(x) > 0, lambda b: x, lambda b: (x, x)), "gives 1.*2"),
        (lambda n, x: n.loop(lambda b, i, c: (True, [], []), [x], count=2), "carries 0"),
        (lambda n, x: n.constant(np.array(["a", 1], object)), "constant"),
    ],
)
def test_a_wrong_layer_fails_at_its_line(line, says: str) -> None:  # type: ignore[no-untyped-def]
    network = Network()
    x = network.input("x", (1, 3, 8, 8))
    with pytest.raises(ModelError, match=says):
        line(network, x)
    network.output(network.relu(x), "y")  # the network goes on as it was
    assert network.build(optimization_level=0)({"x": np.ones((1, 3, 8, 8), np.float32)})["y"].all()


def test_types_that_there_are_not() -> None:
    with pytest.raises(ValueError, match="no element type"):
        Network().input("x", (1,), "complex32")


def test_a_tensor_is_no_truth_and_no_list() -> None:
    x = Network().input("x", (2, 3))
    with pytest.raises(TypeError, match="truth"):
        bool(x > 0)
    with pytest.raises(TypeError, match="iterable"):
        list(x)


def test_names(tmp_path: Path) -> None:
    network = Network("mine")
    x = network.input("x", (1, 3, 8, 8))
    y = network.relu(network.conv(x, W, np.zeros(8, np.float32), name="first"))
    network.conv(x, W, name="unused")
    network.output(network.conv(y, W.transpose(1, 0, 2, 3)), "y")
    model = onnx.load(network.save(tmp_path / "m.onnx"))
    onnx.checker.check_model(model, full_check=True)
    assert [n.name for n in model.graph.node] == ["first", "relu_0", "conv_0", "y"]
    assert {t.name for t in model.graph.initializer} == {"first.weight", "first.bias", "conv_0.weight"}  # fmt: skip
    assert model.graph.name == "mine"


def test_bodies_read_tensors_around_them_and_hold_layers_of_their_own() -> None:
    network = Network()
    x = network.input("x", (3,))
    scale = x * 2

    def body(inner, step, total):  # type: ignore[no-untyped-def]
        deeper = inner.cond(inner.sum(total) > 10, lambda b: total, lambda b: total + scale)
        return True, [deeper], [inner.sum(deeper)]

    last, sums = network.loop(body, [x], count=4)
    assert sums.shape == (4,)
    network.output(last, "last")
    network.output(sums, "sums")
    got = camshaft.build(network, optimization_level=0)({"x": np.ones(3, np.float32)})
    assert got["last"].tolist() == [5, 5, 5]
    assert got["sums"].tolist() == [9, 15, 15, 15]


def test_a_body_is_no_model() -> None:
    network = Network()
    x = network.input("x", (3,))
    bodies = []
    network.cond(network.sum(x) > 0, lambda b: (bodies.append(b), x)[1], lambda b: -x)
    with pytest.raises(ModelError, match="body"):
        bodies[0].to_onnx()


def test_no_outputs() -> None:
    with pytest.raises(ModelError, match="no outputs"):
        Network().build()


def test_other_domains() -> None:
    network = Network()
    x = network.input("x", (2, 4))
    y = network.op(
        "FusedGemm", x, np.ones((4, 3), np.float32), domain="com.microsoft", activation="Relu"
    )
    network.output(y, "y")
    assert network.build(optimization_level=0)({"x": -np.ones((2, 4), np.float32)})["y"].tolist() == [[0] * 3] * 2  # fmt: skip
