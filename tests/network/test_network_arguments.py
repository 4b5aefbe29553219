"""Arguments of layers that cannot be: errors at their line that name them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import camshaft


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda n, x: n.conv(x, "weights"), "'weights' is no tensor, array or number"),
        (lambda n, x: n.add(x, "y"), "'y' is no tensor, array or number"),
        (lambda n, x: n.pad(x, (1, 2)), r"padding is \(1, 2\); give \(before, after\)"),
        (lambda n, x: n.pad(x, [(1, 2, 3)] * 4), "for each axis"),
        (lambda n, x: n.fake_quantize(x, 0.0), "'dequantizelinear_0': scale 0.0 must be above 0"),
        (lambda n, x: n.quantize(x, -1.0, name="q"), "'q': scale -1.0 must be above 0"),
        (lambda n, x: n.quantize(x, np.float32("nan")), "scale nan must be above 0 and finite"),
        (lambda n, x: n.dequantize(n.cast(x, "int8"), [1.0, 0.0, 2.0], axis=1), "must be above 0"),
    ],
)
def test_an_argument_that_cannot_be_is_named(
    make: Callable[[camshaft.Network, Any], Any], said: str
) -> None:
    network = camshaft.Network()
    with pytest.raises(camshaft.ModelError, match=said):
        make(network, network.input("x", (2, 3, 8, 8)))


def double(body: Any, step: Any, total: Any) -> Any:
    return body.sum(total) < 10, [total * 2], []


def test_a_bodys_tensors_are_not_there_outside() -> None:
    network, kept = camshaft.Network(), []
    x = network.input("x", (3,))

    def body(inner: Any, step: Any, total: Any) -> Any:
        kept.append(total)
        return double(inner, step, total)

    (last,) = network.loop(body, [x])
    for make in (
        lambda: network.relu(kept[0]),
        lambda: kept[0] + last,
        lambda: network.output(kept[0]),
    ):
        with pytest.raises(camshaft.ModelError, match=r"'loop_0\.body'.* not there"):
            make()
    network.output(last, "y")
    assert (
        network.build(optimization_level=0)({"x": np.ones(3, np.float32)})["y"].tolist()
        == [8.0] * 3
    )


def test_arithmetic_of_tensors_inside_and_outside_is_inside() -> None:
    network = camshaft.Network()
    x = network.input("x", (3,))

    def body(inner: Any, step: Any, total: Any) -> Any:
        return (
            inner.sum(total) < 100,
            [
                x + total,
            ],
            [x * 2 + total, total - x],
        )

    last, stacked, differences = network.loop(body, [x], count=3)
    for name, tensor in (("last", last), ("stacked", stacked), ("differences", differences)):
        network.output(tensor, name)
    found = network.build(optimization_level=0)({"x": np.array([1, 2, 3], np.float32)})
    assert found["last"].tolist() == [4, 8, 12]
    assert found["stacked"][:, 0].tolist() == [3, 4, 5]
    assert found["differences"][:, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (lambda n, i, t: (True, [t]), "the body must return .condition to go on, tensors to carry"),
        (lambda n, i, t: t, "the body must return"),
        (lambda n, i, t: (True, t, []), "tensors to carry on must be a list"),
    ],
)
def test_bodies_say_what_they_must_return(body: Any, said: str) -> None:
    network = camshaft.Network()
    with pytest.raises(camshaft.ModelError, match=said):
        network.loop(body, [network.input("x", (3,))])
