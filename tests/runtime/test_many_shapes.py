"""Contexts of engines of open extents from shape to shape: memory, other contexts, files, checks."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import camshaft
from camshaft import BindingError, Engine, ShapeError
from camshaft.runtime.shaping import Shaper
from random_builds import bits

pytestmark = pytest.mark.codegen


def net() -> ModelProto:
    """x [batch, 3, rows, columns] through convolutions and a softmax along the columns."""
    rng = np.random.default_rng(0)
    nodes, weights, x = [], [], "x"
    for i, (k, c) in enumerate(((8, 3), (8, 8), (4, 8))):
        w = rng.standard_normal((k, c, 3, 3)).astype(np.float32) * 0.1
        weights.append(numpy_helper.from_array(w, f"w{i}"))
        nodes.append(helper.make_node("Conv", [x, f"w{i}"], [f"c{i}"], pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"]))
        x = f"r{i}"
    nodes.append(helper.make_node("Softmax", [x], ["y"], axis=3))
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, "rows", "columns"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def image(*sizes: int) -> dict[str, np.ndarray]:
    batch, rows, columns = sizes
    values = np.random.default_rng(sizes).standard_normal((batch, 3, rows, columns))
    return {"x": values.astype(np.float32)}


@pytest.fixture(scope="module")
def engine() -> Engine:
    shapes = {"x": ("1..2..4", 3, "1..16..64", "1..16..64")}
    return camshaft.build(net(), shapes=shapes, optimization_level=1, threads=2)


def resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_memory_stays_flat_over_a_thousand_shapes(engine: Engine) -> None:
    rng = np.random.default_rng(1)
    sizes = [tuple(int(v) for v in rng.integers(1, (5, 65, 65))) for _ in range(1000)]
    x = np.zeros(4 * 3 * 64 * 64, np.float32)
    with engine.create_context(2) as context:

        def run(batch: int, rows: int, columns: int) -> None:
            shape = (batch, 3, rows, columns)
            context.run({"x": x[: batch * 3 * rows * columns].reshape(shape)})

        run(4, 64, 64)  # the arena grows to the largest
        for each in sizes[:100]:
            run(*each)
        grown = []
        for _ in range(3):  # a leak grows each time, what the system had taken away comes back once
            before = resident()
            for each in sizes[100:]:
                run(*each)
            grown.append(resident() - before)
        assert min(grown) < 2 << 20


def test_a_shape_gives_the_same_bits_whatever_ran_before(engine: Engine) -> None:
    """Small and large ones, and back again."""
    sizes = [(1 + i % 4, 1 + 7 * i % 64, 1 + 11 * i % 64) for i in range(40)]
    want = {each: bits(engine.create_context(1).run(image(*each))) for each in sizes[::4]}
    with engine.create_context(2) as context:
        for order in (sizes, sizes[::-1], [sizes[0]] * 2 + sizes[5::3] + sizes):
            for each in order:
                got = bits(context.run(image(*each)))
                assert want.get(each, got) == got, each


def test_the_shape_of_the_last_call_is_not_computed_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    compute = Shaper.compute

    def counted(self: Shaper, shapes: Any) -> int:
        seen.append(shapes)
        return compute(self, shapes)

    monkeypatch.setattr(Shaper, "compute", counted)
    with engine.create_context(1) as context:
        for each in [(4, 64, 64), *[(1, 5, 6)] * 3, (1, 6, 5), (1, 6, 5)]:
            context.run(image(*each))
    assert seen == [((4, 3, 64, 64),), ((1, 3, 5, 6),), ((1, 3, 6, 5),)]


def test_a_refused_shape_leaves_the_context_as_it_was(engine: Engine) -> None:
    with engine.create_context(1) as context:
        want = bits(context.run(image(2, 9, 7)))
        for wrong in (image(5, 9, 7), image(2, 65, 7), image(2, 7, 0)):
            with pytest.raises(ShapeError, match="input 'x', axis"):
                context.run(wrong)
            assert bits(context.run(image(2, 9, 7))) == want
        with pytest.raises(ShapeError, match="expected"):
            context.run({"x": np.zeros((2, 4, 9, 7), np.float32)})
        assert bits(context.run(image(2, 9, 7))) == want


def test_contexts_at_different_shapes_run_at_the_same_time(engine: Engine) -> None:
    sizes = [(1, 64, 3), (4, 7, 64), (2, 33, 33), (1, 1, 1)]
    want = [bits(engine.create_context(1).run(image(*each))) for each in sizes]

    def work(number: int) -> None:
        with engine.create_context(1 + number % 2) as context:
            for i in range(60):
                which = (number + i // 3) % len(sizes)
                assert bits(context.run(image(*sizes[which]))) == want[which]
                assert bits(engine(image(*sizes[which]))) == want[which]

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


def test_a_loaded_engine_takes_all_shapes(engine: Engine, tmp_path: Path) -> None:
    engine.save(tmp_path / "open.engine")
    loaded = camshaft.load(tmp_path / "open.engine")
    for each in ((4, 64, 64), (1, 1, 1), (3, 17, 5)):
        assert bits(loaded(image(*each))) == bits(engine(image(*each)))


def test_nan_is_found_at_every_size(engine: Engine) -> None:
    with engine.create_context(2, check_finite=True) as context:
        for each in ((1, 3, 3), (4, 64, 64), (2, 9, 31), (1, 1, 1)):
            x = image(*each)
            context.run(x)
            x["x"][-1, -1, -1, -1] = np.nan
            with pytest.raises(BindingError, match=rf"holds nan at index \({each[0] - 1}, 2, "):
                context.run(x)
            assert np.isfinite(context.run(image(*each))["y"]).all()


def test_steps_are_timed_at_any_size(engine: Engine) -> None:
    for each in ((1, 3, 3), (4, 64, 64)):
        profile = engine.profile(image(*each), runs=5)
        assert len(profile.layers) == len(engine.notes) and profile.total_us > 0
