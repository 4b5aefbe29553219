"""Requests that a pool joins: which, how they are parted again, and what becomes of errors."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from onnx import helper

import camshaft
from camshaft import ConfigError, Engine, StreamPool
from camshaft.ir.extents.extent import extent_of
from camshaft.ir.extents.symbol import Symbol
from camshaft.ir.types import TensorType, f32
from camshaft.runtime.streams.batching import Request, Waiting, batch_symbol, joined, parted
from camshaft.runtime.streams.stream import Stream
from open_engines import open_model


def rows(n: int, width: int = 16, value: float = 1.0) -> dict[str, np.ndarray]:
    return {"x": np.full((n, width), value, np.float32)}


@pytest.fixture(scope="module")
def engine() -> Engine:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    net = open_model(nodes, {"x": ["n", 16]}, ["y"], {"w": np.ones((16, 4), np.float32)})
    return camshaft.build(net, shapes={"x": ("n=1..8", 16)}, threads=1, optimization_level=1)


def held(stream: Stream) -> threading.Event:
    """Keeps a stream busy until the event is set."""
    go = threading.Event()
    stream.submit(go.wait)
    return go


def test_which_size_is_the_batch() -> None:
    n, s = (extent_of(Symbol(name)) for name in "ns")
    image, flat, tokens = ((e, 3) for e in (n, s, n * s))

    def of(*shapes: tuple[object, ...]) -> Symbol | None:
        types = {f"t{i}": TensorType(f32, shape) for i, shape in enumerate(shapes)}  # type: ignore[arg-type]
        return batch_symbol({"t0": types.pop("t0")}, types)

    assert of(image, image) == Symbol("n")
    assert of(image, flat) is None  # an output of another size
    assert of(tokens, tokens) is None  # rows of several sequences
    assert of((n, n), image) is None
    assert of((2, 3), (2, 3)) is None
    assert of((), image) is None
    assert batch_symbol({}, {}) is None


@pytest.mark.parametrize("most", [1, 3, 8])
def test_what_waits_is_taken_in_order_and_whole(most: int) -> None:
    rng = np.random.default_rng(most)
    waiting, added, taken = Waiting(most), list[Request](), list[Request]()
    for _ in range(200):
        inputs = rows(int(rng.integers(0, 5)), width=int(rng.integers(1, 3)))
        added.append(Request.of(inputs if rng.integers(8) else {"x": [1.0]}))
        waiting.add(added[-1])
    while now := waiting.take():
        forms = {r.form for r in now}
        assert len(now) == 1 or (
            len(forms) == 1 and None not in forms and sum(r.rows for r in now) <= most
        )
        taken += now
    assert len(taken) == len(added) and set(map(id, taken)) == set(map(id, added))
    for form in {r.form for r in added}:  # of one form none overtakes another
        if form is not None:
            sizes = [r for r in added if r.form == form]
            firsts = [taken.index(r) for r in sizes if r.rows <= most]
            assert most == 1 or len(firsts) == 0 or firsts[0] == min(firsts)


def test_requests_are_parted_as_they_were_joined() -> None:
    requests = [Request.of(rows(n, value=n)) for n in (2, 0, 1, 3)]
    whole = joined(requests)
    assert whole["x"].shape == (6, 16)
    for request, part in zip(requests, parted({"y": whole["x"] + 1}, requests), strict=True):
        np.testing.assert_array_equal(part["y"], request.inputs["x"] + 1)


def test_a_pool_joins_what_waits(engine: Engine) -> None:
    with StreamPool(engine, 1, batch=8) as pool:
        calls = list[int]()
        run = pool._contexts[0].run

        def counted(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            calls.append(len(inputs["x"]))
            return run(inputs)

        pool._contexts[0].run = counted  # type: ignore[method-assign]
        go = held(pool.streams[0])
        futures = [pool.submit(rows(1, value=n)) for n in range(20)]
        cancelled = pool.submit(rows(1))
        assert cancelled.cancel()
        go.set()
        for n, future in enumerate(futures):
            np.testing.assert_array_equal(future.result(10)["y"], np.full((1, 4), 16.0 * n))
    assert calls == [8, 8, 4]


def test_an_error_is_told_to_whom_it_concerns(engine: Engine) -> None:
    with StreamPool(engine, 2, batch=4) as pool:
        go = [held(s) for s in pool.streams]
        good = [pool.submit(rows(1, value=n)) for n in range(3)]
        bad = [pool.submit(rows(1, width=9)) for _ in range(2)]
        odd = pool.submit({"y": 1})
        large = pool.submit(rows(9))
        for event in go:
            event.set()
        for n, future in enumerate(good):
            assert (future.result(10)["y"] == 16.0 * n).all()
        for future in (*bad, odd, large):
            with pytest.raises(camshaft.CamshaftError, match="'x'"):
                future.result(10)


def test_answers_of_a_map_are_in_order(engine: Engine) -> None:
    requests = [rows(1 + n % 3, value=n) for n in range(100)]
    with StreamPool(engine, 2, batch=8) as pool:
        for request, answer in zip(requests, pool.map(requests), strict=True):
            np.testing.assert_allclose(answer["y"], request["x"] @ np.ones((16, 4)), rtol=1e-6)


def test_batches_that_cannot_be_are_refused(engine: Engine) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    fixed = camshaft.build(
        open_model(nodes, {"x": [2, 3]}, ["y"], {}), threads=1, optimization_level=1
    )
    for e, batch, told in ((engine, 0, "batch=0"), (engine, True, "batch=True"), (engine, 9, "up to 8"), (fixed, 2, "leave batch out")):  # fmt: skip
        with pytest.raises(ConfigError, match=told):
            StreamPool(e, batch=batch)
