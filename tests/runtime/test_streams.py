"""Streams: work in order, several at a time, on cores of their own; contexts whose calls are not waited for."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

import camshaft
from camshaft import BindingError, ConfigError, Engine, Stream, StreamPool
from runtime_programs import chain
from script_models import text_model

SHAPE = (4, 8)
X = {"x": np.arange(32, dtype=np.float32).reshape(SHAPE)}
pinning = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="this system does not pin threads"
)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return chain(length=3, shape=SHAPE, items=2)


@pytest.fixture
def stream() -> Iterator[Stream]:
    with Stream() as made:
        yield made


def held(stream: Stream) -> threading.Event:
    """Keeps a stream busy until the event is set."""
    go = threading.Event()
    stream.submit(go.wait)
    return go


def test_work_is_done_in_order_and_not_at_once(stream: Stream) -> None:
    go, done = held(stream), list[int]()
    futures = [stream.submit(done.append, n) for n in range(20)]
    assert not done and not futures[0].done()
    go.set()
    futures[-1].result(10)
    assert done == list(range(20))


def test_errors_come_from_the_future_and_later_work_is_done(stream: Stream) -> None:
    failing = stream.submit(lambda: 1 / 0)
    fine = stream.submit(lambda: 7)
    assert fine.result(10) == 7
    with pytest.raises(ZeroDivisionError):
        failing.result(10)


def test_work_that_has_not_begun_can_be_cancelled(stream: Stream) -> None:
    go, done = held(stream), list[int]()
    future = stream.submit(done.append, 1)
    assert future.cancel()
    go.set()
    assert stream.synchronize(10) and not done


def test_a_stream_waits_for_an_event_of_another() -> None:
    with Stream(name="first") as first, Stream(name="second") as second:
        go, done = held(first), list[str]()
        first.submit(done.append, "first")
        event = first.record()
        second.wait(event)
        last = second.submit(done.append, "second")
        assert not event.is_reached and not event.wait(0.01) and not last.done()
        go.set()
        last.result(10)
        assert event.is_reached and done == ["first", "second"]


def test_closing_does_the_work_and_refuses_more() -> None:
    stream = Stream(name="short")
    go, done = held(stream), list[int]()
    stream.submit(done.append, 1)
    assert not stream.synchronize(0.01)
    go.set()
    stream.close()
    assert done == [1] and stream.synchronize()
    for more in (lambda: stream.submit(print), stream.record, lambda: stream.wait(stream.record())):
        with pytest.raises(ConfigError, match="'short' is closed"):
            more()
    stream.close()


def test_a_stream_that_is_dropped_ends_its_thread() -> None:
    stream = Stream(name="dropped stream")
    thread = stream._thread
    stream.synchronize(10)
    del stream
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()


def test_work_of_a_stream_can_call_it(stream: Stream) -> None:
    assert stream.submit(lambda: stream.call(lambda: 5)).result(10) == 5
    stream.submit(stream.close).result(10)


def test_callbacks_that_raise_do_not_stop_a_stream(
    stream: Stream, capsys: pytest.CaptureFixture[str]
) -> None:
    go = held(stream)
    future = stream.submit(lambda: 1)
    future.add_done_callback(lambda _: sys.exit(3))
    go.set()
    assert stream.submit(lambda: 2).result(10) == 2
    assert "SystemExit: 3" in capsys.readouterr().err


def test_work_cannot_wait_for_its_own_stream(stream: Stream) -> None:
    for waits in (stream.synchronize, lambda: stream.submit(print).result()):
        with pytest.raises(ConfigError, match="cannot wait for that stream"):
            stream.submit(waits).result(10)
    assert stream.submit(lambda: stream.call(lambda: 3)).result(10) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_has_no_stream() -> None:
    code = """
import os, camshaft
stream = camshaft.Stream(name="old")
assert stream.submit(lambda: 1).result(10) == 1
child = os.fork()
if child == 0:
    try:
        stream.submit(print)
    except camshaft.ConfigError as error:
        stream.close()
        os._exit(0 if "before the process forked" in str(error) else 1)
    os._exit(2)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
stream.close()
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60)


def test_work_is_done_before_the_interpreter_ends() -> None:
    code = """
import time, camshaft
stream = camshaft.Stream()
stream.submit(time.sleep, 0.2)
stream.submit(print, "done")
"""
    ran = subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True
    )
    assert ran.stdout == "done\n"


@pinning
def test_cores_are_those_of_its_thread_alone() -> None:
    mine = os.sched_getaffinity(0)
    core = max(mine)
    with Stream(cores=[core]) as stream:
        assert stream.call(os.sched_getaffinity, 0) == {core} and stream.width == 1
    assert os.sched_getaffinity(0) == mine
    for cores in ({core}, [np.int64(core)], range(core, core + 1)):
        with Stream(cores=cores) as stream:
            assert stream.cores == (core,)


@pinning
@pytest.mark.parametrize("cores", [[], [10**6], "0", 0, [True], [0.5], [-1]])
def test_cores_that_are_none_are_refused(cores: object) -> None:
    with pytest.raises(ConfigError, match="cores="):
        Stream(cores=cores)  # type: ignore[arg-type]


# -- contexts --------------------------------------------------------------------------------------


def test_a_context_runs_in_a_stream(engine: Engine, stream: Stream) -> None:
    want = engine(X)["y"]
    with engine.create_context() as context:
        go = held(stream)
        futures = [context.run_async(X, stream=stream) for _ in range(3)]
        assert not any(f.done() for f in futures)
        go.set()
        for future in futures:
            np.testing.assert_array_equal(future.result(10)["y"], want)
        with pytest.raises(BindingError, match="'x'"):
            context.run_async({}, stream=stream).result(10)


def test_a_context_has_a_stream_of_its_own(engine: Engine) -> None:
    context = engine.create_context()
    futures = [context.run_async(X) for _ in range(5)]
    context.close()
    assert all(f.done() for f in futures)
    with pytest.raises(ConfigError, match="closed"):
        context.run_async(X)


def test_futures_can_be_awaited(engine: Engine) -> None:
    async def both() -> list[dict[str, np.ndarray]]:
        with engine.create_context() as first, engine.create_context() as second:
            return await asyncio.gather(*(c.run_async(X) for c in (first, second)))

    want = engine(X)["y"]
    for got in asyncio.run(both()):
        np.testing.assert_array_equal(got["y"], want)


@pinning
def test_workers_keep_to_the_cores_of_their_stream() -> None:
    engine = chain(length=3, shape=SHAPE, items=2, threads=2)
    core = max(os.sched_getaffinity(0))
    with Stream(cores=[core]) as stream, engine.create_context(stream=stream) as context:
        assert context.stream is stream
        np.testing.assert_array_equal(context.run_async(X).result(10)["y"], engine(X)["y"])
        with pytest.raises(ConfigError, match="threads=2, and the stream 'stream' has 1"):
            engine.create_context(2, stream=stream)
        assert stream.call(lambda: engine.create_context(stream=stream)).stream is stream


def test_a_model_with_branches_runs_in_a_stream(stream: Stream) -> None:
    model = text_model(
        """(float[3] x, bool flag) => (float[3] y) { y = If (flag) <
            then_branch = a () => (float[3] p) { p = Exp (x) }, else_branch = b () => (float[3] q) { q = Neg (x) } > }"""
    )
    x = np.ones(3, np.float32)
    engine = camshaft.build(model, threads=1, optimization_level=0)
    with engine.create_context(stream=stream) as context:
        taken, other = (context.run_async({"x": x, "flag": np.array(on)}) for on in (True, False))
        np.testing.assert_allclose(taken.result(10)["y"], np.exp(x), 1e-6)
        np.testing.assert_array_equal(other.result(10)["y"], -x)


# -- pools -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("streams", [1, 3])
def test_a_pool_answers_in_order(engine: Engine, streams: int) -> None:
    requests = [{"x": X["x"] * n} for n in range(25)]
    with StreamPool(engine, streams) as pool:
        answers = list(pool.map(requests))
        futures = [pool.submit(r) for r in requests]
        assert len(pool.streams) == streams
    assert all(f.done() for f in futures)
    for request, answer, future in zip(requests, answers, futures, strict=True):
        want = engine(request)["y"]
        np.testing.assert_array_equal(answer["y"], want)
        np.testing.assert_array_equal(future.result()["y"], want)


def test_a_pool_takes_few_requests_ahead(engine: Engine) -> None:
    taken: list[int] = []

    def requests() -> Iterator[dict[str, np.ndarray]]:
        for n in range(100):
            taken.append(n)
            yield X

    with StreamPool(engine, 2) as pool:
        answers = pool.map(requests())
        next(answers)
        assert len(taken) <= 5
        answers.close()  # type: ignore[attr-defined]
    assert len(taken) <= 5


def test_requests_that_do_not_fit_do_not_stop_a_pool(engine: Engine) -> None:
    with StreamPool(engine, 2) as pool:
        bad, good = pool.submit({"x": X["x"][:1]}), pool.submit(X)
        good.result(10)
        with pytest.raises(camshaft.CamshaftError, match="'x'"):
            bad.result(10)
    with pytest.raises(ConfigError, match="closed"):
        pool.submit(X)


def test_a_pool_can_be_closed_by_an_answer(engine: Engine) -> None:
    pool = StreamPool(engine, 2)
    go = [held(stream) for stream in pool.streams]
    futures = [pool.submit(X) for _ in range(6)]
    futures[0].add_done_callback(lambda _: pool.close())
    for event in go:
        event.set()
    for future in futures:
        assert future.result(10)["y"].shape == SHAPE


def test_what_is_none_of_ours_is_refused(engine: Engine, stream: Stream) -> None:
    with pytest.raises(ConfigError, match=r"takes an engine, not .net\.engine"):
        StreamPool("net.engine")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"stream=1 is no camshaft\.Stream"):
        engine.create_context(stream=1)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="waits for events"):
        stream.wait(3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="3 is none"):
        stream.submit(3)  # type: ignore[arg-type]
    with StreamPool(engine, 1) as pool, pytest.raises(ConfigError, match="not 5"):
        pool.map(5)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="the pool is closed"):
        pool.submit(X)


@pytest.mark.parametrize(("options", "told"), [
    ({"streams": 0}, "streams=0"), ({"pinned": "yes"}, "pinned='yes'"), ({"streams": True}, "streams=True"), ({"threads": 99}, "threads=99"),
    ({"streams": 10**4, "pinned": True}, "cannot be pinned"),
])  # fmt: skip
def test_pools_that_cannot_be_are_refused(
    engine: Engine, options: dict[str, int], told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        StreamPool(engine, **options)  # type: ignore[arg-type]
