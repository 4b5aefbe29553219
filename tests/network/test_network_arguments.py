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
