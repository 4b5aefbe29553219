"""Kernels for open sizes are held against their reference at sizes that tiles don't divide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import camshaft
from camshaft.builder.tuning.ranges import uneven_points
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


def built(plugin: camshaft.Plugin, rows: str, columns: int | str = 3, **options: Any) -> Any:
    n = camshaft.Network()
    names = ["rows", columns if isinstance(columns, int) else "columns"]
    n.output(n.plugin(plugin, n.input("x", names)), "y")
    return n.build(**{"threads": 1, "shapes": {"x": (rows, columns)}, **options})


@pytest.mark.parametrize("level", [0, 1, 3])
def test_kernels_without_a_remainder_are_refused(level: int) -> None:
    """They are right at the typical sizes, 8 x 3 = 3 vectors."""
    plugin = doubled(f"uneven::Part{level}", with_rest=False)
    with pytest.raises(
        BuildError, match=r"kernel 'vectors' of plugin 'uneven::Part.*something else"
    ):
        built(plugin, "1..8..64", optimization_level=level)


@pytest.mark.parametrize("level", [0, 3])
def test_right_kernels_are_taken(level: int) -> None:
    plugin = doubled(f"uneven::Whole{level}", with_rest=True)
    engine = built(plugin, "1..8..64", optimization_level=level)
    x = np.random.default_rng(0).standard_normal((13, 3), np.float32)
    np.testing.assert_array_equal(engine({"x": x})["y"], 2 * x)
    assert not any("not tried" in note.reason for note in engine.manifest.notes)


def test_sums_of_sizes_are_odd_too() -> None:
    """n + m is even where both are odd."""

    @camshaft.plugin("uneven::Joined", types=[("f32", "f32")],
                     infer=lambda x, z: (x.dtype, (x.shape[0] + z.shape[0],)))  # fmt: skip
    def joined(x: np.ndarray, z: np.ndarray) -> np.ndarray:
        return np.concatenate([x, z])

    @joined.kernel()
    def pairs(k: Any, work: Work, x: Any, z: Any, y: Any) -> None:
        first = work.inputs[0]
        assert first is not None
        with k.loop(k.begin, k.begin + (k.end - k.begin) // 2 * 2) as i:
            of_x = i < first.size
            own, others = k.select(of_x, i, 0), k.select(of_x, 0, i - first.size)
            k.store(k.select(of_x, k.load(x.at(own)), k.load(z.at(others))), y.at(i))

    n = camshaft.Network()
    n.output(n.plugin(joined, n.input("x", ("n",)), n.input("z", ("m",))), "y")
    shapes = {"x": ("1..8..64",), "z": ("1..8..64",)}
    with pytest.raises(BuildError, match="kernel 'pairs' of plugin 'uneven::Joined'"):
        n.build(optimization_level=0, threads=1, shapes=shapes)


def test_sizes_that_the_reference_does_not_take_are_noted() -> None:
    """Its kernels may be right for all that the model is used for."""

    @camshaft.plugin("uneven::Halves", infer=lambda x: (x.dtype, (x.shape[0] // 2, 2)))
    def halves(x: np.ndarray) -> np.ndarray:
        return x.reshape(-1, 2)

    @halves.kernel()
    def copied(k: Any, work: Work, x: Any, y: Any) -> None:
        with k.loop(k.begin, k.end) as i:
            k.store(k.load(x.at(i)), y.at(i))

    n = camshaft.Network()
    n.output(n.plugin(halves, n.input("x", ("n",))), "y")
    engine = n.build(optimization_level=1, shapes={"x": ("2..8..64",)})
    assert engine({"x": np.arange(6, dtype=np.float32)})["y"].shape == (3, 2)
    (note,) = (n for n in engine.manifest.notes if n.tactic == "plugin")
    assert "; not tried at n=7: the reference of plugin 'uneven::Halves' failed" in note.reason


def test_equal_layers_are_tried_once() -> None:
    calls = []

    @camshaft.plugin("uneven::Counted", types=["f32"])
    def counted(x: np.ndarray) -> np.ndarray:
        calls.append(x.shape)
        return x

    @counted.kernel()
    def copied(k: Any, work: Work, x: Any, y: Any) -> None:
        with k.loop(k.begin, k.end) as i:
            k.store(k.load(x.at(i)), y.at(i))

    n = camshaft.Network()
    x = n.input("x", ("n", 4))
    for _ in range(6):
        x = n.plugin(counted, x)
    n.output(x, "y")
    n.build(optimization_level=0, shapes={"x": ("1..8..64", 4)})
    assert calls == [(8, 4), (7, 4)]


def test_what_does_not_fit_in_memory_is_noted() -> None:
    plugin = doubled("uneven::Large", with_rest=True)
    options = {"optimization_level": 0, "memory_budget": 400 << 20}
    engine = built(plugin, "1..1..64", 4_000_000, **options)
    (note,) = (n for n in engine.manifest.notes if n.tactic == "plugin")
    assert note.reason.endswith("not tried at rows=3: memory_budget leaves too little")


@pytest.mark.parametrize(
    ("low", "typical", "high", "uneven"),
    [
        (1, 8, 64, 7), (1, 1, 64, 3), (4, 4, 8, 5), (8, 8, 8, None), (1, 64, None, 65), (8, 8, 10, 9), (2, 6, 6, 5),
        (1, 2, 2, 1), (1, 1, 2, 2), (0, 0, 4, 3), (1, 7, 64, None),
    ],
)  # fmt: skip
def test_which_sizes(low: int, typical: int, high: int | None, uneven: int | None) -> None:
    n = Symbol("n", low, typical, high)
    assert uneven_points([n], [n], []) == ([] if uneven is None else [{"n": uneven}])


def test_several_symbols_are_tried_together_and_alone() -> None:
    n, m, other = Symbol("n", 1, 8, 64), Symbol("m", 1, 16, 64), Symbol("other", 1, 4, 8)
    assert uneven_points([n, m], [n, m, other], []) == [
        {"n": 7, "m": 17, "other": 4}, {"n": 7, "m": 16, "other": 4}, {"n": 8, "m": 17, "other": 4}
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("right", "points"),
    [
        (lambda n, m: (remainder(n, 4), 0), [{"n": 16, "m": 7}]),
        (lambda n, m: (n, m * 2), []),
    ],
)
def test_sizes_keep_to_constraints(
    right: Callable[[Extent, Extent], tuple[Extent, Extent]], points: list[dict[str, int]]
) -> None:
    n, m = Symbol("n", 1, 16, 32), Symbol("m", 1, 8, 32)
    left, of = right(extent_of(n), extent_of(m))
    assert uneven_points([n, m], [n, m], [Constraint(left, "==", of, "a test")]) == points
