"""Kernels are called only as they are declared, and held against the reference at every level."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import camshaft
from camshaft.errors import BuildError, ModelError
from camshaft.ir.plugins.kernels import Work
from camshaft.ir.plugins.signatures import Parameter, declared_by
from camshaft.ir.types import i64
from leaky_plugin import IR, compiled, leaky_plugin, slope_of

F = ctypes.POINTER(ctypes.c_float)
LEVELS = (0, 1, 2)


def refusal(plugin: camshaft.Plugin, level: int = 0, **options: Any) -> str:
    """What the build of a net with the plugin says."""
    n = camshaft.Network()
    n.output(n.plugin(plugin, n.input("x", (3, 8))), "y")
    with pytest.raises(BuildError) as error:
        n.build(optimization_level=level, **options)
    return str(error.value)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ("ptr %x, double %slope, i64 %begin, i64 %end", "(ptr, double, i64, i64)"),
        ("ptr %x, ptr %y, ptr %z, double %slope, i64 %begin, i64 %end", "ptr, ptr, ptr, double"),
        ("ptr %x, ptr %y, i64 %begin, i64 %end", "(ptr, ptr, i64, i64)"),
        ("ptr %x, ptr %y, float %slope, i64 %begin, i64 %end", "(ptr, ptr, float, i64, i64)"),
        ("ptr %x, ptr %y, double %slope, i32 %begin, i32 %end", "(ptr, ptr, double, i32, i32)"),
    ],
)
def test_llvm_functions_of_other_parameters(level: int, parameters: str, said: str) -> None:
    leaky = leaky_plugin("test::LeakyParameters")
    leaky.llvm(f"define void @f({parameters}) {{\n  ret void\n}}", "f", arguments=slope_of)
    message = refusal(leaky, level)
    assert f"its parameters are {said}" in message or said in message
    assert "kernel 'f' of plugin 'test::LeakyParameters'" in message
    assert "it is called with (ptr to f32, ptr to f32, double, i64, i64)" in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("define i32 @f(ptr %x) {\n  ret i32 0\n}", "of type void (...), and has i32 (ptr)"),
        ("define void @f(ptr %x, ...) {\n  ret void\n}", "of type void (...), and has void (ptr, ...)"),
        ("declare void @f(ptr)", "must define a function @f"),
        ("define void @g() {\n  ret void\n}", "defines no function @f"),
        ("define void @f(", "invalid LLVM IR"),
        (lambda work: 5, "its text is 5, not LLVM IR"),
        (lambda work: work.none, "its text failed: AttributeError"),
    ],
)  # fmt: skip
def test_llvm_texts_that_define_no_such_function(text: Any, said: str) -> None:
    leaky = leaky_plugin("test::LeakyTexts")
    leaky.llvm(text, "f")
    message = refusal(leaky)
    assert said in message and "kernel 'f' of plugin 'test::LeakyTexts'" in message


class Cfunc(SimpleNamespace):
    """What numba's cfunc has: the address, and a function of ctypes."""


def c_function(*kinds: Any) -> Any:
    return ctypes.CFUNCTYPE(None, *kinds)(compiled()["leaky_function"])


@pytest.mark.parametrize("numba", [False, True])
@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        ([F, F, ctypes.c_int64, ctypes.c_int64], "(ptr to f32, ptr to f32, i64, i64)"),
        ([F, F, ctypes.c_float, ctypes.c_int64, ctypes.c_int64], "float"),
        ([F, F, ctypes.c_double, ctypes.c_int, ctypes.c_int], "i32, i32"),
        ([F, ctypes.POINTER(ctypes.c_int32), ctypes.c_double, *[ctypes.c_int64] * 2], "ptr to i32"),
    ],
)
def test_functions_by_address_that_declare_others(
    numba: bool, kinds: Sequence[Any], said: str
) -> None:
    leaky = leaky_plugin("test::LeakyDeclared")
    function = c_function(*kinds)
    given = Cfunc(address=compiled()["leaky_function"], ctypes=function) if numba else function
    leaky.function(given, types=["f32"], arguments=slope_of, name="leak")
    message = refusal(leaky)
    assert said in message and "kernel 'leak' of plugin 'test::LeakyDeclared'" in message


def test_functions_that_declare_the_right_ones_or_none() -> None:
    i64 = [ctypes.c_int64] * 2
    for kinds in ([F, F, ctypes.c_double, *i64], [ctypes.c_void_p] * 2 + [ctypes.c_double, *i64], ()):  # fmt: skip
        leaky = leaky_plugin("test::LeakyRight")
        leaky.function(c_function(*kinds), types=["f32"], arguments=slope_of)
        n = camshaft.Network()
        n.output(n.plugin(leaky, n.input("x", (3, 8))), "y")
        x = np.linspace(-1, 1, 24, dtype=np.float32).reshape(3, 8)
        engine = n.build(optimization_level=0)
        assert [s.tactic for s in engine.manifest.notes] == ["plugin_function"]
        np.testing.assert_array_equal(engine({"x": x})["y"], leaky(x))


def test_pointers_to_bytes_and_structures_are_open() -> None:
    class Pair(ctypes.Structure):
        _fields_ = (("a", ctypes.c_int), ("b", ctypes.c_int))

    kinds = [ctypes.c_char_p, ctypes.POINTER(ctypes.c_uint8), ctypes.POINTER(Pair), F]
    assert declared_by(c_function(*kinds)) == (*[Parameter("ptr")] * 3, Parameter("ptr", "f32"))
    assert declared_by(4096) is None


@pytest.mark.parametrize("level", LEVELS)
def test_writers_of_other_pointers(level: int) -> None:
    leaky = leaky_plugin("test::LeakyWriter")

    @leaky.kernel()
    def one(k: Any, work: Work, x: Any) -> None: ...

    message = refusal(leaky, level)
    assert "kernel 'one' of plugin 'test::LeakyWriter'" in message
    assert "called with the builder, the work and 2 pointers: too many positional" in message


@pytest.mark.parametrize("level", LEVELS)
def test_wrong_kernels_stop_builds_of_all_levels(level: int, tmp_path: Path) -> None:
    """Even where the timing cache knows them from a build in which they were right."""
    leaky = leaky_plugin("test::LeakyHeld")
    right = IR.replace("NAME", "held")
    leaky.llvm(right, "held", arguments=slope_of)
    n = camshaft.Network()
    n.output(n.plugin(leaky, n.input("x", (3, 8))), "y")
    n.build(optimization_level=level, timing_cache=tmp_path / "cache")
    leaky.llvm(right.replace("fmul", "fadd"), "held", arguments=slope_of)
    for options in ({}, {"timing_cache": tmp_path / "cache"}, {"time_budget": 1e-6}):
        message = refusal(leaky, level, **options)
        assert "kernel 'held' of plugin 'test::LeakyHeld' computes something else" in message


def test_kernels_are_tried_within_the_memory_budget() -> None:
    """What is tried at all levels is no less at the lowest."""
    leaky = leaky_plugin("test::LeakyLarge", "llvm")
    n = camshaft.Network()
    n.output(n.plugin(leaky, n.input("x", (1 << 20,))), "y")
    with pytest.raises(BuildError, match=r"to try kernels takes about .* MiB$"):
        n.build(optimization_level=0, memory_budget=1 << 24)
    assert n.build(optimization_level=0)


def picked() -> camshaft.Plugin:
    """Rows of the first input by the second, which ascends; the reference takes no others."""

    @camshaft.plugin(
        "test::Picked",
        types=[("f32", "i32")],
        infer=lambda x, rows: (x.dtype, (rows.shape[0], *x.shape[1:])),
    )
    def picked(x: np.ndarray, rows: np.ndarray) -> np.ndarray:
        if (np.diff(rows) < 0).any():
            raise ValueError("rows descend")
        return x[rows]

    @picked.kernel()
    def pick(k: Any, work: Work, x: Any, rows: Any, y: Any) -> None:
        assert work.inputs[0] is not None
        width = work.inputs[0].shape[1]
        with k.loop(k.begin, k.end) as i:
            row = k.cast(k.load(rows.at(i // width)), i64)
            k.store(k.load(x.at(row * width + i % width)), y.at(i))

    return picked


def built(plugin: camshaft.Plugin) -> camshaft.Engine:
    n = camshaft.Network()
    x, rows = n.input("x", (9, 3, 4)), n.input("rows", ("rows",), "int32")
    n.output(n.plugin(plugin, x[:, 1], rows), "y")
    return n.build(optimization_level=0)


def test_kernels_are_tried_on_samples() -> None:
    plugin = picked()
    plugin.integers = lambda x, rows: {1: (0, x.shape[0] - 1)}
    with pytest.raises(BuildError, match=r"rows descend; this was on operands.*`samples` or"):
        built(plugin)
    plugin.samples = lambda rng, x, rows: (
        rng.standard_normal(x.shape),
        np.sort(rng.integers(0, x.shape[0], rows.shape)),
    )
    feed = np.arange(108, dtype=np.float32).reshape(9, 3, 4)
    rows = np.array([0, 3, 3, 8], np.int32)
    engine = built(plugin)
    assert [s.tactic for s in engine.manifest.notes] == ["plugin"]
    np.testing.assert_array_equal(engine({"x": feed, "rows": rows})["y"], feed[rows, 1])


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        (lambda rng, x, rows: [x], "gives 1 arrays, and there are 2 inputs"),
        (lambda rng, x, rows: (np.ones(3), np.ones(3)), r"gives input 0 the shape \[3\], and it is f32"),
        (lambda rng, x, rows: 1 / 0, "samples of plugin 'test::Picked' failed: ZeroDivisionError"),
        (lambda rng, x, rows: ("a", "b"), "gives input 0 the shape"),
    ],
)  # fmt: skip
def test_samples_that_do_not_fit(samples: Any, says: str) -> None:
    plugin = picked()
    plugin.samples = samples
    with pytest.raises(ModelError, match=says):
        built(plugin)


@pytest.mark.parametrize("integers", [[1], {0: 5}, {7: (0, 1)}, None])
def test_integers_that_do_not_fit(integers: Any) -> None:
    plugin = picked()
    plugin.integers = lambda x, rows: integers
    with pytest.raises(
        ModelError, match=r"integers of plugin 'test::Picked' gives .* for the 2 inputs"
    ):
        built(plugin)


def test_faults_of_kernels_functions_name_the_kernel() -> None:
    leaky = leaky_plugin("test::LeakyWhen")
    leaky.llvm(IR.replace("NAME", "f"), "f", arguments=slope_of, when=lambda w: w.attrs["none"] > 0)
    assert "kernel 'f' of plugin 'test::LeakyWhen': when failed: KeyError" in refusal(leaky)
    leaky = leaky_plugin("test::LeakyStores")
    leaky.kernel(name="w")(lambda k, work, x, y: k.store(k.index(1), y))
    message = refusal(leaky)
    assert "kernel 'w' of plugin 'test::LeakyStores': its function failed: cannot store" in message


def test_sizes_that_functions_of_the_work_give_are_checked() -> None:
    for items, said in ((lambda work: -1, "items gives -1"), (lambda work: 2.0, "items gives 2.0")):
        leaky = leaky_plugin("test::LeakyItems")
        leaky.llvm(IR.replace("NAME", "f"), "f", arguments=slope_of, items=items)  # type: ignore[arg-type]
        assert said in refusal(leaky)
    leaky = leaky_plugin("test::LeakyScratch")
    leaky.llvm(IR.replace("NAME", "f"), "f", arguments=slope_of, scratch=lambda work: -64)
    assert "scratch gives -64" in refusal(leaky)
