"""Running engines: results, refused arrays, host steps, no allocation, profiles."""

from __future__ import annotations

import gc
import re
import resource
import tracemalloc
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pytest

from camshaft.backends.cpu.processor import host_target
from camshaft.backends.cpu.runner.functions import RunnerFunctions, array_layout, compile_runner
from camshaft.backends.cpu.runner.ir.layout import BARRIER, SERIAL
from camshaft.backends.cpu.runner.tables import row_flags
from camshaft.builder.engine_builder import Builder
from camshaft.builder.tuning.timing_cache import TimingCache
from camshaft.errors import BindingError, ConfigError, ModelError
from camshaft.ir.graph import GraphBuilder
from camshaft.ir.types import TensorType, bf16, boolean, f16, f32, f64, i64, u8
from camshaft.machine.backend import cpu_backend
from camshaft.program.program import Binding, Block, Launch, Note, Phase, Program
from camshaft.program.rows import Row
from camshaft.program.view import Buffer
from camshaft.runtime import Engine, ExecutionContext
from camshaft.runtime.file.manifest import Manifest
from camshaft.version import VERSION
from runtime_programs import chain, fingerprint, flat, kernel, sum_of

X = np.arange(64, dtype=np.float32).reshape(1, 64)


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("items", [1, 2, 64])
def test_results_do_not_depend_on_threads_or_split(threads: int, items: int) -> None:
    engine = chain(length=9, threads=threads, items=items)
    for _ in range(20):
        assert np.array_equal(engine(X)["y"], X + 9)


def test_dictionary_and_positional_calls_agree() -> None:
    engine = chain()
    assert np.array_equal(engine({"x": X})["y"], engine(X)["y"])
    first = engine(X)["y"]
    engine(X + 1)
    assert np.array_equal(first, X + 3), "a result changed when the engine ran again"


def test_run_into_writes_where_told_and_nowhere_else() -> None:
    room = np.full((3, 64), 7, np.float32)
    chain().create_context().run_into({"x": X}, {"y": room[1:2]})
    assert np.array_equal(room[1:2], X + 3)
    assert (room[[0, 2]] == 7).all()


def test_a_memory_map_is_an_array_too(tmp_path: Path) -> None:
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=(1, 64))
    mapped[:] = X
    assert np.array_equal(chain()(mapped)["y"], X + 3)


def _unaligned(values: np.ndarray) -> np.ndarray:
    made = np.zeros(values.nbytes + 1, np.uint8)[1:].view(values.dtype).reshape(values.shape)
    made[...] = values
    return made


def _read_only(values: np.ndarray) -> np.ndarray:
    made = values.copy()
    made.flags.writeable = False
    return made


class Own(np.ndarray):
    """A subclass."""


VIEWS = {
    "strided": lambda: np.repeat(X, 2, axis=1)[:, ::2],
    "backwards": lambda: X[:, ::-1].copy()[:, ::-1],
    "transposed": lambda: np.repeat(X.T, 3, axis=1)[:, 1:2].T,
    "broadcast": lambda: np.broadcast_to(np.float32(5), (1, 64)),
    "of a record": lambda: np.rec.fromarrays([X, X + 1], names="a,b")["a"],
    "unaligned": lambda: _unaligned(X),
    "read-only": lambda: _read_only(X),
    "a subclass": lambda: X.view(Own),
    "a subclass's": lambda: np.repeat(X, 2, axis=1).view(Own)[:, ::2],
}


@pytest.mark.parametrize("view", VIEWS)
def test_views_are_read_as_the_arrays_that_they_are(view: str) -> None:
    """Whatever lies between their elements; the array itself is left as it is, and results are plain arrays."""
    given = VIEWS[view]()
    before, context = np.array(given), chain().create_context()
    for _ in range(2):
        made = context.run({"x": given})["y"]
        assert type(made) is np.ndarray
        np.testing.assert_array_equal(made, before + 3)
        into = np.zeros_like(X)
        context.run_into({"x": given}, {"y": into})
        np.testing.assert_array_equal(into, before + 3)
        np.testing.assert_array_equal(context.run({"x": X})["y"], X + 3)
    np.testing.assert_array_equal(np.asarray(given), before)


def test_a_view_may_share_memory_with_an_output_since_it_is_copied() -> None:
    room = np.repeat(X, 2, axis=0)
    wide = np.ascontiguousarray(room.reshape(1, 128))
    wide[:, ::2] = X
    chain().create_context().run_into({"x": wide[:, ::2]}, {"y": wide[:, 64:]})
    np.testing.assert_array_equal(wide[:, 64:], X + 3)


@pytest.mark.parametrize(
    ("inputs", "complaint"),
    [
        ({}, "missing input 'x'; the engine's inputs are: x: f32[1,64]"),
        ({"z": X}, "unknown input 'z', missing input 'x'"),
        ({"x": X, "z": X}, "unknown input 'z'"),
        ({"x": X.tolist()}, "is a builtins.list, not a numpy array"),
        ({"x": None}, "not a numpy array"),
        ({"x": X.astype(np.float64)}, "has dtype float64, expected float32"),
        (
            {"x": X.astype(">f4")},
            "has dtype >f4, expected float32; convert it with .astype('float32')",
        ),
        ({"x": X.astype(">f4")[:, ::-1]}, "has dtype >f4, expected float32"),
        ({"x": X[0]}, "has shape (64,), expected (1, 64)"),
        ({"x": X[:, :32]}, "has shape (1, 32)"),
        ({"x": np.zeros((1, 128), np.float32)[:, ::4]}, "has shape (1, 32)"),
    ],
)
def test_bad_inputs_are_named(inputs: dict[str, Any], complaint: str) -> None:
    engine = chain()
    with pytest.raises(BindingError, match=re.escape(complaint)):
        engine(inputs)
    assert np.array_equal(engine(X)["y"], X + 3), "the engine must still work"


def test_the_number_of_positional_arrays_is_checked() -> None:
    with pytest.raises(BindingError, match="2 arrays passed, and the engine takes 1 input: "):
        chain()(X, X)


@pytest.mark.parametrize("given", [X, None, [("x", X)], "x", 3], ids=lambda g: type(g).__name__)
def test_what_is_no_dictionary_is_told_by_its_type(given: Any) -> None:
    context = chain().create_context()
    for call in (
        lambda: context.run(given),
        lambda: context.run_into(given, {"y": np.empty_like(X)}),
        lambda: context.run_into({"x": X}, given),
    ):
        with pytest.raises(BindingError, match=rf"come as {type(given).__name__}, must be a dict"):
            call()


@pytest.mark.parametrize("threads", [0, -1, 9, "1", 1.0, True])
def test_threads_of_calls_are_checked_when_an_engine_is_loaded(
    tmp_path: Path, threads: Any
) -> None:
    engine = chain()
    engine.save(tmp_path / "e.engine")
    with pytest.raises(ConfigError, match="threads="):
        Engine.load(tmp_path / "e.engine", threads)
    assert engine.create_context(threads=np.int64(1)).threads == 1  # type: ignore[arg-type]


def test_bad_outputs_are_named() -> None:
    ctx = chain().create_context()
    locked = np.zeros_like(X)
    locked.flags.writeable = False
    shared, wide = X.copy(), np.zeros((1, 128), np.float32)
    for inputs, outputs, complaint in (
        ({"x": X}, {"y": locked}, "output 'y' is read-only"),
        ({"x": X}, {"z": X}, "unknown output 'z', missing output 'y'"),
        ({"x": X}, {"y": np.zeros((64, 1), np.float32)}, "output 'y' has shape (64, 1)"),
        ({"x": X}, {"y": wide[:, ::2]}, "output 'y' is not C-contiguous (strides"),
        ({"x": X}, {"y": _unaligned(X)}, "output 'y' is not aligned to 4 bytes"),
        ({"x": shared}, {"y": shared}, "output 'y' shares memory with input 'x'"),
    ):
        with pytest.raises(BindingError, match=re.escape(complaint)):
            ctx.run_into(inputs, outputs)


@pytest.mark.parametrize("dtype", [f16, bf16, f32, f64])
@pytest.mark.parametrize("count", [1, 3, 63, 64, 65, 5000, 70001])
def test_nan_and_infinity_are_found_wherever_they_are(dtype: Any, count: int) -> None:
    """A program without steps still checks its inputs."""
    type_ = TensorType(dtype, (count,))
    buffers = (Buffer("x", dtype, count, "input"),)
    program = Program((Binding("x", type_),), (), buffers, (), Block(), max_threads=2)
    engine = Engine(Manifest(fingerprint(), program, ()), {}, {})
    context = engine.create_context(check_finite=True)
    x = np.full(count, -3.5, dtype.numpy)
    x[-1] = np.finfo(np.float32).max if dtype in (f32, f64) else 60000
    context.run({"x": x})
    rng = np.random.default_rng(count)
    for bad in (np.nan, np.inf, -np.inf):
        where = int(rng.integers(count))
        y = x.copy()
        y[where] = bad
        with pytest.raises(BindingError, match=rf"input 'x' holds {bad} at index \({where},\)"):
            context.run({"x": y})


def test_nan_and_infinity_are_taken_unless_the_check_is_asked_for() -> None:
    engine = chain()
    x = X.copy()
    x[0, :2] = np.nan, -np.inf
    np.testing.assert_array_equal(engine(x)["y"], x + 3)
    np.testing.assert_array_equal(engine.create_context().run({"x": x})["y"], x + 3)
    with pytest.raises(BindingError, match="check_finite off"):
        engine.create_context(check_finite=True).run({"x": x})


SCALARS: tuple[tuple[Any, list[Any], list[Any]], ...] = (
    (f32, [2, 2.5, np.float32(3), np.array(4, np.float32), -np.inf], [True, np.float64(1), "2"]),
    (i64, [2, -(2**63), np.int64(3)], [2.0, True, 2**63, np.int32(1)]),
    (u8, [0, 255, np.uint8(7)], [-1, 256, 1.0]),
    (boolean, [True, np.False_], [1, 0.0]),
)


@pytest.mark.parametrize("dtype", [s[0] for s in SCALARS])
def test_numbers_are_taken_where_a_scalar_is_declared(dtype: Any) -> None:
    """The engine copies a scalar; a vector of one element is no scalar."""
    b = GraphBuilder("copy")
    b_x = b.input("x", TensorType(dtype, ()))
    b_v = b.input("v", TensorType(dtype, (1,)))
    builder = Builder(
        cpu_backend("host"), TimingCache(), level=0, threads=1, workspace_limit=1 << 20
    )
    tuned = builder.tune(b.graph({"y": b_x, "w": b_v}))
    engine = builder.finish(tuned, builder.backend.fingerprint)
    v = np.ones(1, dtype.numpy)
    (_, good, bad), *_ = (s for s in SCALARS if s[0] == dtype)
    for value in good:
        got = engine({"x": value, "v": v})["y"]
        assert got.shape == () and got == value
        out = {"y": np.empty((), dtype.numpy), "w": v.copy()}
        engine.create_context().run_into({"x": value, "v": v}, out)
        assert out["y"] == value
    for value in bad:
        with pytest.raises(BindingError, match=r"input 'x' (is|has dtype)"):
            engine({"x": value, "v": v})
    with pytest.raises(BindingError, match="input 'v'"):
        engine({"x": good[0], "v": good[0]})


def test_threads_beyond_the_plan_are_refused() -> None:
    engine = chain(threads=2)
    for threads in (0, 3, -1, 1.0):
        with pytest.raises(ConfigError, match="built for 1 to 2 threads"):
            engine.create_context(threads)  # type: ignore[arg-type]


def test_without_known_array_layout_everything_still_works(monkeypatch: Any) -> None:
    monkeypatch.setattr(RunnerFunctions, "bound_call", lambda self, program, name: None)
    engine = chain(length=5, threads=2, items=4, host_at=2)
    assert np.array_equal(engine(X)["y"], 2 * (X + 2) + 2)
    with pytest.raises(BindingError, match="has dtype"):
        engine(X.astype(np.int32))


def test_numpy_has_the_layout_that_is_built_in() -> None:
    assert array_layout() is not None


# --- host steps -----------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("at", [0, 2, 3])
def test_a_host_step_runs_in_its_place(threads: int, at: int) -> None:
    engine = chain(length=4, host_at=at, threads=threads, items=16)
    want = 2 * (X + at) + (3 - at)
    for _ in range(3):
        assert np.array_equal(engine(X)["y"], want)


def test_a_failing_host_step_is_named_and_leaves_the_context_usable() -> None:
    ctx = chain(length=4, host_at=2).create_context()
    bad = X.copy()
    bad[0, 0] = -1002
    with pytest.raises(ModelError, match=r"host step 'host2' \(double\) failed: ZeroDivision"):
        ctx.run({"x": bad})
    assert np.array_equal(ctx.run({"x": X})["y"], 2 * (X + 2) + 1)


# --- several phases, barriers ---------------------------------------------------------------


def test_phases_of_a_kernel_run_one_after_the_other() -> None:
    """Phase two reads what phase one wrote, across the split between workers."""
    type_ = TensorType(f32, (64,))
    x, y, c = flat("x", 64, "input"), flat("y", 64, "output"), flat("c", 64, "constant")
    program = Program(
        (Binding("x", type_),),
        (Binding("y", type_),),
        (x.buffer, y.buffer, c.buffer),
        (
            sum_of("add", (Phase("fadd", 64),) * 3, 256),
            sum_of("mul", (Phase("fmul", 1),), 256),
        ),
        Block((Launch(0, (x, c, y)), Launch(1, (y, c, y)))),
        max_threads=3,
    )
    manifest = Manifest(fingerprint(), program, (Note("sum", "add"), Note("scale", "mul")))
    code = {"add": kernel("fadd"), "mul": kernel("fmul", 64)}
    engine = Engine(manifest, {"c": np.full(64, 2, np.float32)}, code)
    data = np.arange(64, dtype=np.float32)
    for _ in range(50):
        assert np.array_equal(engine(data)["y"], 2 * (data + 2))


def _rows(*items: int) -> list[Row]:
    return [Row(code=1 if n else 0, args=(), items=n, waits=True) for n in items]


def test_barriers_stand_only_where_workers_meet() -> None:
    flags = row_flags(_rows(8, 8, 1, 1, 8), checks=0)
    assert [bool(f & BARRIER) for f in flags] == [False, True, True, False, True]
    flags = row_flags(_rows(8, 0, 8, 1), checks=0)
    assert [bool(f & BARRIER) for f in flags] == [False, False, False, True], "host steps part rows"
    flags = row_flags(_rows(8, 8, 8), checks=1)
    assert [bool(f & BARRIER) for f in flags] == [False, False, True], "checks only read"
    free = [r._replace(waits=i != 1) for i, r in enumerate(_rows(8, 8, 8))]
    assert [bool(f & BARRIER) for f in row_flags(free, 0)] == [False, False, True]


def test_a_barrier_left_out_is_made_up_for_by_the_next_shared_row() -> None:
    """Rows 1 and 2 are worker 0's; row 3 waits for row 1 only through row 2's barrier."""
    rows = [r._replace(waits=i != 3) for i, r in enumerate(_rows(8, 1, 1, 8, 8))]
    assert [bool(f & BARRIER) for f in row_flags(rows, 0)] == [False, True, False, True, True]
    rows = [r._replace(waits=i < 3) for i, r in enumerate(_rows(8, 1, 1, 1, 8, 8))]
    assert [bool(f & BARRIER) for f in row_flags(rows, 0)] == [
        *(False, True, False),
        *(False, True, False),
    ]


def test_segments_of_single_items_wake_nobody() -> None:
    flags = row_flags(_rows(1, 8, 0, 1, 1), checks=0)
    assert [bool(f & SERIAL) for f in flags] == [False, False, True, True, True]


# --- allocation and time --------------------------------------------------------------------


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("into", [True, False], ids=["run_into", "run"])
def test_nothing_is_allocated_after_the_first_calls(threads: int, into: bool) -> None:
    """But the arrays that `run` returns, which are gone when the caller drops them.

    The process may grow for other reasons while it runs (what earlier tests left is collected, the system makes
    huge pages of small ones); what calls keep, it grows by every time.
    """
    gc.collect()
    ctx = chain(length=6, threads=threads, items=16).create_context(threads)
    inputs, outputs = {"x": X}, {"y": np.empty_like(X)}

    def repeat(times: int) -> None:
        for _ in range(times):
            if into:
                ctx.run_into(inputs, outputs)
            else:
                ctx.run(inputs)

    repeat(100)
    resident = [_resident()]
    for _ in range(3):
        repeat(5_000)
        resident.append(_resident())
    assert min(np.diff(resident)) < 64 << 10, resident
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    repeat(5_000)
    grown, peak = (n - before for n in tracemalloc.get_traced_memory())
    tracemalloc.stop()
    assert grown < 1024, f"{grown} bytes were kept"
    results = 0 if into else 2 * X.nbytes
    assert peak < 4096 + results, f"{peak} bytes were in use at a time: arguments only should be"


def test_profile_gives_every_step_a_time() -> None:
    engine = chain(length=5, shape=(1, 1 << 14), threads=2, items=16, host_at=2)
    profile = engine.profile({"x": np.ones((1, 1 << 14), np.float32)}, runs=5)
    assert [layer.name for layer in profile.layers] == ["add0", "add1", "host2", "add3", "add4"]
    assert profile.layers[2].tactic == "host"
    assert all(0 < layer.min_us <= layer.median_us for layer in profile.layers)
    assert sum(layer.share for layer in profile.layers) == pytest.approx(1)
    total = sum(layer.median_us for layer in profile.layers)
    assert total < 4 * profile.total_us + 100
    assert profile.threads == 2 and profile.to_json()["runs"] == 5
    with pytest.raises(ConfigError, match="at least one run"):
        engine.profile({"x": np.ones((1, 1 << 14), np.float32)}, runs=0)


def test_inspect_reports_what_the_manifest_says() -> None:
    report = chain(length=4, host_at=1).inspect()
    assert [s["kind"] for s in report["steps"]] == ["kernel", "host", "kernel", "kernel"]
    assert report["steps"][0]["origin"] == ["n0"]
    assert report["steps"][2]["operands"][0] == {
        "space": "arena",
        "name": "odd",
        "type": "f32[64]",
        "offset": 256,
        "bytes": 256,
    }
    assert report["fingerprint"]["camshaft"] == VERSION


def test_polling_instead_of_futexes_works_too() -> None:
    """What systems other than Linux run."""
    code = compile_runner(host_target(), linux=False)
    engine = chain(length=5, threads=3, items=64)
    engine._code["runner"] = code
    for _ in range(20):
        assert np.array_equal(engine(X)["y"], X + 5)


def test_crowded_workers_give_way() -> None:
    """Eight workers on a few cores: a barrier must cost microseconds, not scheduler ticks."""
    engine = chain(length=100, threads=8, items=64)
    ctx = engine.create_context(8)
    ctx.run({"x": X})
    best = min(_timed(ctx) for _ in range(5))
    assert best < 0.2, f"100 barriers took {best:.3f} s"


def _timed(ctx: ExecutionContext) -> float:
    start = perf_counter()
    ctx.run({"x": X})
    return perf_counter() - start
