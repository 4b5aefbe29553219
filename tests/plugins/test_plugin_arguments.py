"""What a plugin's reference gets."""

from __future__ import annotations

import numpy as np
import pytest

import camshaft
from camshaft.errors import ModelError


def test_a_reference_cannot_write_what_others_read() -> None:
    @camshaft.plugin("arguments::Negates")
    def negates(x: np.ndarray) -> np.ndarray:
        x *= -1
        return x

    n = camshaft.Network()
    x = n.input("x", (3,))
    n.output(n.plugin(negates, x), "y")
    n.output(n.relu(x), "z")
    engine = n.build(optimization_level=1)
    given = np.ones(3, np.float32)
    with pytest.raises(ModelError, match="read-only"):
        engine({"x": given})
    assert np.array_equal(given, np.ones(3))
