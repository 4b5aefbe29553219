"""Contexts and threads: side by side, misused, dropped, forked, and at the interpreter's end."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from camshaft.errors import ConfigError
from camshaft.runtime import ExecutionContext
from runtime_programs import chain

ROOT = Path(__file__).parent
X = np.arange(64, dtype=np.float32).reshape(1, 64)
BIG = (1, 1 << 16)


def _workers() -> int:
    return sum(t.name.startswith("camshaft-worker") for t in threading.enumerate())


def _python(code: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter that can see the tests' helper module."""
    path = os.pathsep.join([str(ROOT), str(ROOT.parent / "src"), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.mark.parametrize("threads", [1, 2])
def test_contexts_run_side_by_side(threads: int) -> None:
    engine = chain(length=6, threads=2, items=16)
    wrong: list[float] = []

    def work(offset: float) -> None:
        ctx = engine.create_context(threads)
        out = np.empty_like(X)
        for i in range(400):
            ctx.run_into({"x": X + offset + i}, {"y": out})
            if not np.array_equal(out, X + offset + i + 6):
                wrong.append(offset + i)

    helpers = [threading.Thread(target=work, args=(1000.0 * t,)) for t in range(4)]
    for helper in helpers:
        helper.start()
    for helper in helpers:
        helper.join()
    assert not wrong


def test_one_engine_may_be_called_from_many_threads() -> None:
    engine = chain(length=4, threads=2, items=16)
    wrong: list[int] = []

    def work(base: int) -> None:
        for i in range(base, base + 300):
            if not np.array_equal(engine(X + i)["y"], X + i + 4):
                wrong.append(i)

    helpers = [threading.Thread(target=work, args=(1000 * t,)) for t in range(4)]
    for helper in helpers:
        helper.start()
    for helper in helpers:
        helper.join()
    assert not wrong
    assert len(engine._idle) <= 4, "more contexts than calls were in progress at once"


def test_a_context_used_by_two_threads_says_so() -> None:
    ctx = chain(length=40, shape=BIG).create_context()
    x = np.zeros(BIG, np.float32)
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            try:
                ctx.run({"x": x})
            except ConfigError:
                continue

    helper = threading.Thread(target=work)
    helper.start()
    try:
        with pytest.raises(ConfigError, match="in use by another thread"):
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                ctx.run({"x": x})
    finally:
        done.set()
        helper.join()
    assert np.array_equal(ctx.run({"x": x})["y"], x + 40)


def test_workers_live_from_the_first_call_until_close() -> None:
    before = _workers()
    ctx = chain(threads=3, items=64).create_context(3)
    assert _workers() == before
    ctx.run({"x": X})
    ctx.run({"x": X})
    assert _workers() == before + 2
    ctx.close()
    assert _workers() == before
    ctx.close()
    with pytest.raises(ConfigError, match="closed"):
        ctx.run({"x": X})


def test_dropping_a_context_or_an_engine_ends_its_threads() -> None:
    before = _workers()
    engine = chain(threads=2, items=64)
    for _ in range(5):
        engine.create_context(2).run({"x": X})
    engine(X)
    assert _workers() >= before + 1
    del engine
    gc.collect()
    assert _workers() == before


def test_with_closes() -> None:
    with chain(threads=2, items=64).create_context(2) as ctx:
        ctx.run({"x": X})
        assert isinstance(ctx, ExecutionContext)
    with pytest.raises(ConfigError, match="closed"):
        ctx.run({"x": X})


def test_a_closed_context_that_never_ran_is_closed_too() -> None:
    ctx = chain().create_context()
    ctx.close()
    with pytest.raises(ConfigError, match="closed"):
        ctx.run({"x": X})


def test_workers_wake_up_after_a_pause() -> None:
    ctx = chain(length=5, threads=2, items=64).create_context(2)
    for pause in (0, 0.0001, 0.001, 0.02, 0.1):
        for _ in range(3):
            time.sleep(pause)
            assert np.array_equal(ctx.run({"x": X})["y"], X + 5)


def test_workers_keep_off_the_callers_core() -> None:
    """Also where the system would wake them there; the caller's affinity is not touched."""
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        pytest.skip("needs two cores")
    ctx = chain(length=20, shape=BIG, threads=2, items=64).create_context(2)
    x = np.zeros(BIG, np.float32)
    apart = 0
    for _ in range(30):
        time.sleep(0.001)
        for _ in range(3):
            ctx.run({"x": x})
        words = ctx._program._tables.words  # type: ignore[attr-defined]
        seen = [int(words[128 + 16 * w + 1]) for w in range(2)]
        apart += seen[0] != seen[1]
    assert apart >= 20
    assert os.sched_getaffinity(0) == cores


def test_a_forked_child_can_go_on_using_a_context() -> None:
    code = """
import os, warnings
import numpy as np
from runtime_programs import chain
warnings.simplefilter("ignore")
x = np.ones((1, 64), np.float32)
engine = chain(length=5, threads=2, items=64)
ctx = engine.create_context(2)
ctx.run({"x": x}); engine(x)
pid = os.fork()
ok = all((c({"x": x})["y"] == 6).all() for c in (ctx.run, engine) for _ in range(50))
if pid == 0:
    os._exit(0 if ok else 3)
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
assert ok and status == 0, (ok, status)
pid = os.fork()
if pid == 0:
    raise SystemExit(0)  # an orderly end of a child that never ran anything
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
print("fine")
"""
    result = _python(code)
    assert result.returncode == 0 and result.stdout == "fine\n", result.stderr


@pytest.mark.parametrize(
    "ending",
    [
        "",
        "raise SystemExit(0)",
        "import gc; del ctx; gc.collect()",
        "import threading; threading.Thread(target=lambda: ctx.run({'x': x})).start()",
        "globals()['cycle'] = [ctx]; cycle.append(cycle)",
    ],
)
def test_the_interpreter_ends_promptly_and_quietly(ending: str) -> None:
    code = f"""
import numpy as np
from runtime_programs import chain
x = np.ones((1, 64), np.float32)
ctx = chain(length=5, threads=3, items=64).create_context(3)
ctx.run({{"x": x}})
{ending}
"""
    start = time.monotonic()
    result = _python(code)
    assert result.returncode == 0 and not result.stderr, result.stderr
    assert time.monotonic() - start < 20


def test_importing_the_runtime_is_quick_and_needs_little() -> None:
    code = """
import sys, time
import numpy
start = time.process_time()
import camshaft.runtime
taken = time.process_time() - start
heavy = {"onnx", "torch", "llvmlite", "onnxruntime", "openvino"} & set(sys.modules)
assert not heavy, heavy
print(taken)
"""
    times = []
    for _ in range(3):
        result = _python(code)
        assert result.returncode == 0, result.stderr
        times.append(float(result.stdout))
    assert min(times) < 0.15, times
