"""Kernels for open sizes are held against their reference at sizes that tiles don't divide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import camshaft
from camshaft.builder.tuning.ranges import uneven_sizes
from camshaft.errors import BuildError
from camshaft.ir.extents.extent import Extent, extent_of, remainder
from camshaft.ir.extents.sizes import Constraint
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.plugins.kernels import Work

LANES = 8


@pytest.fixture(autouse=True)
def _forget() -> Any:
    yield
    for name in camshaft.ir.plugins.registry.registered():
        if name.startswith("uneven::"):
            camshaft.ir.plugins.registry.unregister(name)


def doubled(name: str, with_rest: bool) -> camshaft.Plugin:
    """Twice its input, by vectors; one without the rest leaves out what is behind the last whole vector."""

    @camshaft.plugin(name, types=["f32"])
    def plugin(x: np.ndarray) -> np.ndarray:
        return 2 * x

    @plugin.kernel()
    def vectors(k: Any, work: Work, x: Any, y: Any) -> None:
        whole = k.begin + (k.end - k.begin) // LANES * LANES
        with k.loop(k.begin, whole, LANES) as i:
            k.store(k.load(x.at(i), LANES) * 2.0, y.at(i))
        if with_rest:
            with k.loop(whole, k.end) as i:
                k.store(k.load(x.at(i)) * 2.0, y.at(i))

    return plugin


def network(plugin: camshaft.Plugin, rows: str = "rows=1..64") -> camshaft.Network:
    n = camshaft.Network()
    n.output(n.plugin(plugin, n.input("x", (rows, 3))), "y")
    return n


@pytest.mark.parametrize("level", [0, 1, 3])
def test_kernels_without_a_remainder_are_refused(level: int) -> None:
    """They are right at the typical sizes, 8 x 3 = 3 vectors."""
    plugin = doubled(f"uneven::Part{level}", with_rest=False)
    options = {"optimization_level": level, "threads": 1, "shapes": {"x": ("rows=1..64", 3)}}
    with pytest.raises(
        BuildError, match=r"kernel 'vectors' of plugin 'uneven::Part.*something else"
    ):
        network(plugin).build(profiles=[{"x": [(1, 3), (8, 3), (64, 3)]}], **options)


@pytest.mark.parametrize("level", [0, 3])
def test_right_kernels_are_taken(level: int) -> None:
    plugin = doubled(f"uneven::Whole{level}", with_rest=True)
    engine = network(plugin).build(optimization_level=level)
    x = np.random.default_rng(0).standard_normal((13, 3), np.float32)
    np.testing.assert_array_equal(engine({"x": x})["y"], 2 * x)


def test_sizes_that_the_model_does_not_take_are_not_tried() -> None:
    """The reference would fail at odd ones."""

    @camshaft.plugin("uneven::Halves", infer=lambda x: (x.dtype, (x.shape[0] // 2, 2)))
    def halves(x: np.ndarray) -> np.ndarray:
        return x.reshape(-1, 2)

    @halves.kernel()
    def copied(k: Any, work: Work, x: Any, y: Any) -> None:
        with k.loop(k.begin, k.end) as i:
            k.store(k.load(x.at(i)), y.at(i))

    n = camshaft.Network()
    x = n.input("x", ("n=2..64",))
    n.output(n.plugin(halves, x), "y")
    n.output(n.reshape(x, (-1, 2)), "z")
    engine = n.build(optimization_level=1)
    assert engine({"x": np.arange(6, dtype=np.float32)})["y"].shape == (3, 2)


@pytest.mark.parametrize(
    ("low", "typical", "high", "uneven"),
    [(1, 8, 64, 7), (1, 1, 64, 5), (4, 4, 8, 5), (8, 8, 8, 8), (1, 64, None, 65), (8, 8, 10, 9), (2, 6, 6, 5)],
)  # fmt: skip
def test_which_sizes(low: int, typical: int, high: int | None, uneven: int) -> None:
    n = Symbol("n", low, typical, high)
    assert uneven_sizes([n], []) == {"n": uneven}


@pytest.mark.parametrize(
    ("right", "sizes"),
    [
        (lambda n, m: (remainder(n, 4), 0), {"n": 16, "m": 7}),
        (lambda n, m: (n, m * 2), {"n": 16, "m": 8}),
    ],
)
def test_sizes_keep_to_constraints(
    right: Callable[[Extent, Extent], tuple[Extent, Extent]], sizes: dict[str, int]
) -> None:
    n, m = Symbol("n", 1, 16, 32), Symbol("m", 1, 8, 32)
    constraint = Constraint(*((a := right(extent_of(n), extent_of(m)))[0], "==", a[1]), "a test")
    assert uneven_sizes([n, m], [constraint]) == sizes
