"""Types of elements that ONNX's operators do not take: an error at the layer's line, which names the input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import camshaft

Make = Callable[[camshaft.Network, Any, Any, Any], Any]


def inputs(network: camshaft.Network) -> tuple[Any, Any, Any]:
    kinds = ("float32", "int32", "bool")
    x, i, b = (network.input(name[0], (2, 3), name) for name in kinds)
    return x, i, b


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda n, x, i, b: n.exp(i), r"layer 'exp_0' \(Exp\): input 0 is int32; it takes .*float"),
        (lambda n, x, i, b: n.softmax(i), "input 0 is int32"),
        (lambda n, x, i, b: n.sigmoid(b), "input 0 is bool"),
        (lambda n, x, i, b: n.logical_and(x, x), "input 0 is float; it takes bool"),
        (lambda n, x, i, b: n.op("Not", x), "input 0 is float; it takes bool"),
        (lambda n, x, i, b: n.add(b, b), "input 0 is bool"),
        (
            lambda n, x, i, b: n.sub(x, n.cast(x, "float16")),
            "input 0 is float, and input 1 float16",
        ),
        (lambda n, x, i, b: n.concat([x, i], 0), "input 0 is float, and input 1 int32"),
        (lambda n, x, i, b: n.gather(x, x), "input 1 is float; it takes int32, int64"),
    ],
)
def test_a_type_that_an_operator_does_not_take_is_an_error_at_its_line(
    make: Make, said: str
) -> None:
    network = camshaft.Network()
    given = inputs(network)
    with pytest.raises(camshaft.ModelError, match=said):
        make(network, *given)
    network.output(network.relu(given[0]), "y")
    assert [node.op_type for node in network.to_onnx().graph.node if node.op_type == "Relu"]


def test_half_floats_are_taken_where_floats_are() -> None:
    """TopK and Einsum of opset 23 do not list bfloat16."""
    network = camshaft.Network()
    x = network.cast(network.input("x", (2, 3)), "bfloat16")
    largest, _ = network.topk(x, 1)
    summed = network.einsum("ij->i", x)
    network.output(network.cast(largest, "float32"), "largest")
    network.output(network.cast(summed, "float32"), "summed")
    found = network.build(optimization_level=0)({"x": np.array([[1, 2, 3], [6, 5, 4]], np.float32)})
    assert found["largest"].tolist() == [[3], [6]]
    assert found["summed"].tolist() == [6, 15]
